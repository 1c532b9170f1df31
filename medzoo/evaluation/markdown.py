"""Results of `evaluate` as Markdown, for reports and model cards."""

from medzoo.metrics.bootstrap import describe_ci, format_ci
from medzoo.utils.tables import table

PERTURBATION_NAMES = {
    "contrast x0.7": "contrast ×0.7",
    "contrast x1.3": "contrast ×1.3",
    "mirrored": "horizontal flip",
    "noise 0.02": "Gaussian noise, std 0.02",
    "noise 0.05": "Gaussian noise, std 0.05",
    "noise 0.10": "Gaussian noise, std 0.10",
}


def sections(measured: dict) -> str:
    """Return all results as Markdown sections of the third level.

    Args:
        measured: Dict as `medzoo.evaluation.report.evaluate` returns it.

    Returns:
        Markdown text.
    """
    parts = [
        _reconstruction(measured),
        _latent_space(measured),
        _log_likelihood(measured),
        _robustness(measured["perturbations"]),
        _linear_probe(measured.get("probe")),
        _generated_samples(measured.get("prior_samples")),
        _throughput(measured["speed"], measured["image_size"]),
    ]
    return "\n\n".join(part for part in parts if part)


def baseline_name(pca: dict) -> str:
    """Return the name of the PCA baseline, e.g. `PCA on 8×8 patches (4 components)`."""
    patch = pca.get("patch")
    of = f" on {patch if isinstance(patch, str) else f'{patch}×{patch}'} patches" if patch else ""
    return f"PCA{of} ({pca['components']} component{'s' if pca['components'] > 1 else ''})"


def images_word(size: list) -> str:
    """Return `images` for 2D sizes and `volumes` for 3D sizes."""
    return "images" if len(size) == 2 else "volumes"


def _reconstruction(m):
    names = [n for n in ("psnr", "ssim", "ms_ssim") if n in m]
    titles = {"psnr": "PSNR (dB)", "ssim": "SSIM", "ms_ssim": "MS-SSIM"}

    def row(title, values):
        return [title, *(format_ci(values[n], 2 if n == "psnr" else 4) for n in names)]

    rows = [row("this model", m)]
    if "pca" in m:
        rows.append(row(baseline_name(m["pca"]), m["pca"]))
    named = {k: v for k, v in m["loss_terms"].items() if k != "bits_per_pixel"}  # by quality under Latent space
    terms = ", ".join(f"{k.replace('_', ' ').replace('kl', 'KL')} {v:,.1f}" for k, v in named.items())
    size = "×".join(map(str, m["image_size"]))
    classes = f", classes {', '.join(m['classes'])}" if m["classes"] else ""
    unit = "pixels" if len(m["image_size"]) == 2 else "voxels"
    return (
        f"### Reconstruction\n\nDataset `{m['data']}`, {m['split']} split{classes}: {m['images']} "
        f"{images_word(m['image_size'])} of {size} {unit}. Mean per image and {_interval(m, m['psnr'])}.\n\n"
        f"{table(['', *(titles[n] for n in names)], rows)}\n\n"
        f"Loss terms on the same images: {terms}.\n\nCommand: `{m['command']}`"
    )


def _interval(m, value):
    """Description of the intervals; of reports without a recorded bootstrap unit, they are over images."""
    return describe_ci(value, m["images"]) if "bootstrap_unit" in m else "95% bootstrap interval"


def _latent_space(m):
    x, units = m["latents"], "pixels" if len(m["image_size"]) == 2 else "voxels"
    shape, one = "×".join(map(str, m["latent_shape"])), "image" if len(m["image_size"]) == 2 else "volume"
    kind = "codes" if "codebook_size" in x else "integers" if "qualities" in x else "latent elements"
    head = f"### Latent space\n\n{x['latent_size']:,} {kind} per {one} ({shape})"
    head += "." if "qualities" in x else f": {x['compression_ratio']:g} {units} per latent element."
    if "codebook_size" in x:
        return head + (
            f" Codebook usage {100 * x['usage']:.1f}% of {x['codebook_size']:,} entries, perplexity "
            f"{x['perplexity']:.1f}. Rate: {x['bits_per_pixel']:.4f} bits per {units[:-1]} with codes of fixed length, "
            f"{x['bits_per_pixel_entropy_coded']:.4f} with an ideal entropy coder that uses the code frequencies of "
            "the training images, without context."
        )
    if "qualities" in x:
        rows = [[q["quality"], f"{q['bits_per_pixel']:.4f}", f"{q['psnr']:.2f}"] for q in x["qualities"]]
        header = ["quality", "rate (bpp)", "PSNR (dB)"]
        return head + f" Rate in bits per pixel (bpp) under the model's entropy model:\n\n{table(header, rows)}"
    if "active_units" not in x:
        s = x["standard_deviation"]
        return head + (
            f" Standard deviation over images: mean {s['mean']:.3f}, range {s['least']:.3f} to {s['most']:.3f} over "
            f"latents. Sparsity (Hoyer 2004; 0: all elements equal, 1: all but one are zero): "
            f"{x['hoyer_sparsity']:.3f}."
        )
    a = x["aggregate_posterior"]
    each = ", ".join(f"{v:.2f}" for v in x["kl_per_latent"][:5])
    return head + (
        f" Active units (variance of the posterior mean above 0.01): {x['active_units']} of {x['latent_dim']}. "
        f"KL divergence to the standard normal distribution: {x['kl']:.1f} nats per {one}; largest per latent: {each} "
        f"nats. Aggregate posterior compared with N(0, I): variances {a['variance']['least']:.2f} to "
        f"{a['variance']['most']:.2f}, largest mean {a['largest_mean']:.2f}, KL divergence between Gaussians "
        f"{a['kl_to_prior_as_gaussian']:.2f} nats."
    )


def _log_likelihood(m):
    if "log_likelihood" not in m:
        return ""
    value, one = m["log_likelihood"], images_word(m["image_size"])[:-1]
    return (
        f"Log-likelihood (importance-weighted bound, Burda et al. 2016, arXiv:1509.00519, {value['samples']} samples, "
        f"{value['images']} {one}s): {format_ci(value['nats'], 1)} nats per {one}; evidence lower bound of the same "
        f"{one}s: {format_ci(value['elbo'], 1)}."
    )


def _generated_samples(s):
    if not s:
        return ""
    f, n = s["frechet"], s["novelty"]
    rows = [
        ["this model", f"{f['model']:.3f}"],
        ["probabilistic PCA, same latent size", f"{f['pca']:.3f}"],
        ["training images (reference)", f"{f['training_images']:.3f}"],
    ]
    return (
        f"### Generated samples\n\n{s['samples']:,} samples. Fréchet distance (lower is better) to the test images in "
        f"the features of `{s['encoder']}`, a frozen model that was not trained on this dataset:\n\n"
        f"{table(['', 'Fréchet distance'], rows)}\n\n"
        f"Precision {s['precision']:.2f}, recall {s['recall']:.2f} (Kynkäänniemi et al. 2019, arXiv:1904.06991). "
        f"Median root-mean-square pixel distance to the nearest training image: {n['median_distance']:.3f} for samples "
        f"and {n['median_of_reconstructed_test_images']:.3f} for reconstructed test images. Fraction of samples nearer "
        f"to a training image than the 1st percentile of reconstructed test images: "
        f"{100 * n['share_nearer_than_1_percent']:.1f}% (near 100% for a model that copies its training images)."
    )


def _robustness(p):
    base = p["none"]["psnr"]["mean"]
    rows = [
        [
            PERTURBATION_NAMES.get(name, name),
            format_ci(v["psnr"]),
            f"{v['psnr']['mean'] - base:+.2f}",
            f"{v['input_psnr']:.2f}" if "input_psnr" in v else "",
        ]
        for name, v in p.items()
    ]
    header = ["perturbation", "PSNR (dB)", "difference to none (dB)", "PSNR of the noisy input (dB)"]
    return (
        "### Robustness\n\nReconstruction of perturbed images, compared with the perturbed image; with added noise, "
        f"compared with the image without noise.\n\n{table(header, rows)}"
    )


def _linear_probe(p):
    if not p:
        return ""
    names = {
        "linear": "logistic regression on latents",
        "knn": "5 nearest neighbors on latents",
        "linear_encoder": f"logistic regression on encoder features (dimension {p['linear_encoder']['features']})",
        "pca_linear": f"logistic regression on {p['pca_linear']['components']} principal components of the pixels",
    }
    rows = [[title, format_ci(p[key]["auc"], 3), format_ci(p[key]["accuracy"], 3)] for key, title in names.items()]
    unit = describe_ci(p["linear"]["auc"], p["images"]) if "bootstrap_unit" in p else "95% bootstrap interval"
    return (
        f"### Linear probe\n\nClassifiers on frozen features (latents: dimension {p['features']}), fitted to "
        f"{p['train_images']:,} training images of `{p['data']}`, evaluated on its test split ({p['images']} images; "
        f"{unit}).\n\n{table(['', 'AUC', 'accuracy'], rows)}"
    )


def _throughput(s, image_size):
    size = "×".join(map(str, s["size"]))
    memory = f", peak memory {s['memory_mib']:.0f} MiB" if "memory_mib" in s else ""
    return (
        f"### Throughput\n\n{s['images_per_second']:.0f} {images_word(image_size)} of {size} "
        f"{'pixels' if len(image_size) == 2 else 'voxels'} per second, encoding and decoding, batch size "
        f"{s['batch_size']}{memory} ({s['machine']}, {s['backend']} backend)."
    )
