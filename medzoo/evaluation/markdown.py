"""The numbers of `evaluate` as Markdown: the same text in reports and in model cards."""

from medzoo.metrics.bootstrap import format_ci, over
from medzoo.utils.tables import table


def sections(measured):
    """Everything measured, as Markdown sections of the third level."""
    parts = [
        _reconstruction(measured),
        _latents(measured["latents"]),
        _likelihood(measured),
        _samples(measured.get("prior_samples")),
        _perturbations(measured["perturbations"]),
        _probe(measured.get("probe")),
        _speed(measured["speed"]),
    ]
    return "\n\n".join(part for part in parts if part)


def baseline_name(pca):
    """`PCA, 64 components` or `PCA of 8×8 patches, 4 components`."""
    patch = pca.get("patch")
    of = f" of {patch if isinstance(patch, str) else f'{patch}×{patch}'} patches" if patch else ""
    return f"PCA{of}, {pca['components']} component{'s' if pca['components'] > 1 else ''}"


def _reconstruction(m):
    names = [n for n in ("psnr", "ssim", "ms_ssim") if n in m]
    titles = {"psnr": "PSNR, dB", "ssim": "SSIM", "ms_ssim": "MS-SSIM"}

    def row(title, values):
        return [title, *(format_ci(values[n], 2 if n == "psnr" else 4) for n in names)]

    rows = [row("model", m)]
    if "pca" in m:
        rows.append(row(baseline_name(m["pca"]), m["pca"]))
    named = {k: v for k, v in m["loss_terms"].items() if k != "bits_per_pixel"}  # by quality under Latents
    terms = ", ".join(f"{k.replace('_', ' ')} {v:,.1f}" for k, v in named.items())
    size = "×".join(map(str, m["image_size"]))
    classes = f" (classes: {', '.join(m['classes'])})" if m["classes"] else ""
    kind = "images of {} pixels" if len(m["image_size"]) == 2 else "volumes of {} voxels"
    return (
        f"### Reconstruction\n\n{m['images']} {kind.format(size)}, {m['split']} split of `{m['data']}`{classes}; "
        f"mean per image and {_interval(m, m['psnr'])}.\n\n{table(['', *(titles[n] for n in names)], rows)}\n\n"
        f"Terms of the loss on the same images: {terms}.\n\nCommand: `{m['command']}`"
    )


def _interval(m, value):
    """What the intervals are over; metrics measured before that was recorded are over images."""
    return over(value, m["images"]) if "bootstrap_unit" in m else "95% bootstrap interval"


def _latents(x):
    head = f"### Latents\n\n{x['numbers']:,} {{}} an image, one for {x['compression_ratio']:g} pixels."
    if "codebook_size" in x:
        return head.format("codes") + (
            f" Of the {x['codebook_size']:,} entries of the codebook {100 * x['usage']:.1f}% were used; perplexity "
            f"{x['perplexity']:.1f}. Bits per pixel: {x['bits_per_pixel']:.4f} as plain numbers, "
            f"{x['bits_per_pixel_entropy_coded']:.4f} with an ideal entropy coder that knows how often each code "
            "occurs in the training images (and nothing of its neighbours)."
        )
    if "qualities" in x:
        each = "; ".join(
            f"{q['quality']}: {q['bits_per_pixel']:.4f} bits per pixel, {q['psnr']:.2f} dB" for q in x["qualities"]
        )
        return head.format("whole numbers") + f" What they cost by the model's own prior, by quality: {each}."
    if "active_units" not in x:
        s = x["standard_deviation"]
        return head.format("numbers") + (
            f" Standard deviation over images: {s['mean']:.3f} on average ({s['least']:.3f} to {s['most']:.3f} by "
            f"latent). Sparsity (Hoyer 2004; 0: all alike, 1: all but one zero): {x['hoyer_sparsity']:.3f}."
        )
    a = x["aggregate_posterior"]
    each = ", ".join(f"{v:.2f}" for v in x["kl_per_latent"][:5])
    return head.format("numbers") + (
        f" Active units (variance of the posterior mean over 0.01): {x['active_units']} of {x['latent_dim']}. "
        f"KL to the prior {x['kl']:.1f} nats an image; the largest by latent: {each} nats. Aggregate posterior against "
        f"N(0, I): variances {a['variance']['least']:.2f} to {a['variance']['most']:.2f} (1 is the prior's), "
        f"largest mean {a['largest_mean']:.2f}, KL between Gaussians {a['kl_to_prior_as_gaussian']:.2f} nats."
    )


def _likelihood(m):
    if "log_likelihood" not in m:
        return ""
    value = m["log_likelihood"]
    return (
        f"Log-likelihood, importance-weighted with {value['samples']} samples on {value['images']} images "
        f"(Burda et al. 2016, arXiv:1509.00519): {format_ci(value['nats'], 1)} nats an image; "
        f"evidence lower bound of the same images: {format_ci(value['elbo'], 1)}."
    )


def _samples(s):
    if not s:
        return ""
    f, n = s["frechet"], s["novelty"]
    rows = [
        ["this model", f"{f['model']:.3f}"],
        ["probabilistic PCA, as many latents", f"{f['pca']:.3f}"],
        ["training images (the best to hope for)", f"{f['training_images']:.3f}"],
    ]
    return (
        f"### Samples of the prior\n\n{s['samples']:,} samples. Fréchet distance to the test images, in the frozen "
        f"features of `{s['encoder']}`, which was not trained on this archive:\n\n"
        f"{table(['', 'Fréchet distance'], rows)}\n\n"
        f"Precision {s['precision']:.2f}, recall {s['recall']:.2f} (Kynkäänniemi et al. 2019, arXiv:1904.06991).\n"
        f"Novelty: the nearest training image is {n['median_distance']:.3f} away (median; root mean square of pixel "
        f"differences), from reconstructed test images {n['median_of_reconstructed_test_images']:.3f}; "
        f"{100 * n['share_nearer_than_1_percent']:.1f}% of the samples are nearer to one than all but 1% of those "
        "(copies would be)."
    )


def _perturbations(p):
    base = p["none"]["psnr"]["mean"]
    rows = [
        [
            name,
            format_ci(v["psnr"]),
            f"{v['psnr']['mean'] - base:+.2f}",
            f"{v['input_psnr']:.2f}" if "input_psnr" in v else "",
        ]
        for name, v in p.items()
    ]
    header = ["change", "PSNR, dB", "against none", "PSNR of the noisy input"]
    return (
        "### Other exposures\n\nReconstructions of changed images, compared with the changed image; with noise, "
        f"compared with the image before the noise.\n\n{table(header, rows)}"
    )


def _probe(p):
    if not p:
        return ""
    names = {
        "linear": "logistic regression on latents",
        "knn": "5 nearest neighbours on latents",
        "linear_deep": f"logistic regression on the encoder's filters ({p['linear_deep']['features']} numbers)",
        "pca_linear": f"logistic regression on {p['pca_linear']['components']} principal components of the pixels",
    }
    rows = [[title, format_ci(p[key]["auc"], 3), format_ci(p[key]["accuracy"], 3)] for key, title in names.items()]
    over_what = f" ({over(p['linear']['auc'], p['images'])})" if "bootstrap_unit" in p else ""
    return (
        f"### What the features know\n\nFrozen features (latents: {p['features']} numbers an image), classifiers "
        f"fitted to {p['train_images']:,} images of `{p['data']}`, measured on {p['images']} of its test "
        f"split{over_what}.\n\n"
        f"{table(['', 'AUC', 'accuracy'], rows)}"
    )


def _speed(s):
    size = "×".join(map(str, s["size"]))
    memory = f"; memory of the process {s['memory_mib']:.0f} MiB" if "memory_mib" in s else ""
    return (
        f"### Cost\n\n{s['images_per_second']:.0f} images of {size} a second through encode and decode in batches of "
        f"{s['batch_size']} ({s['machine']}, {s['backend']} backend){memory}."
    )
