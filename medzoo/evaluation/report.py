"""One report for every model: numbers as JSON, the same as Markdown, and figures."""

import logging
from pathlib import Path

import numpy as np

from medzoo import metrics
from medzoo import visualization as plots
from medzoo.data.npz import to_float
from medzoo.evaluation.generation import sample_quality
from medzoo.evaluation.latent_statistics import kl_per_latent, latent_statistics, log_likelihood
from medzoo.evaluation.linear_probe import probe
from medzoo.evaluation.markdown import sections
from medzoo.evaluation.model_card import write_card
from medzoo.evaluation.reconstruction import pca_baseline, similarity
from medzoo.evaluation.robustness import perturbations
from medzoo.evaluation.throughput import speed
from medzoo.metrics.bootstrap import bootstrap_mean_ci, format_ci, over, unit_of
from medzoo.models import VAE
from medzoo.tasks.shared.data import open_for
from medzoo.utils.files import write_json
from medzoo.utils.groups import take_groups
from medzoo.zoo.manifest import BUNDLED
from medzoo.zoo.presets import load

log = logging.getLogger("medzoo")
ENCODER = "vqvae-brainmri"  # whose features judge samples of films: it has seen none; takes any size
IMAGES_FOR_LIKELIHOOD = 100


def evaluate(
    name,
    data,
    split="test",
    classes=None,
    probe_data=None,
    out=None,
    *,
    size=None,
    command=None,
    **reading,
):
    """Measures a model on one split of some images.

    Args:
        name: anything `medzoo.load` takes.
        data: see `medzoo.datasets.open_dataset`. Baselines are fitted to the training split.
        split, classes: which of them.
        probe_data: others, with labels, for the linear probe; by default `data`, if it holds several classes.
        out: folder for `metrics.json`, `report.md` and figures, or `None`.
        size: side in pixels of images from files, for a model that takes any; by default 256.
        command: for the report; by default the one for an archive.
        reading: options of `open_dataset`.

    Returns: dict of numbers, JSON-ready: reconstruction beside PCA, terms of the loss, latents, codebook or posterior,
        samples (vector VAEs), perturbations, probe, speed, and where the images came from.
        Intervals are over patients where the data know them, else over images: `"bootstrap_unit"`.
    """
    model = load(name)
    collection = open_for(model, data, size, classes=classes, **reading)
    classes = collection.selected_classes
    images, train = (to_float(collection.images(s)) for s in (split, "train"))
    groups = collection.patients(split)
    log.info("%s: reconstructing %d images of %s, also brighter, darker, noisier", model.name, len(images), data)
    reconstructions = model.reconstruct(images)
    flags = f" --classes {','.join(map(str, classes))}" if classes else ""
    flags += f" --probe {Path(probe_data).name}" if probe_data else ""
    flags += (
        f" --size {'x'.join(map(str, images.shape[1:-1]))}"
        if model.spatial_dims == 3 and not model.image_shape[0]
        else ""
    )
    usual = f"medzoo evaluate {model.name} --data {collection.name} --split {split}{flags}"
    result = {
        "command": command or usual,
        "data": collection.name,
        **({"skipped": collection.skipped} if collection.skipped else {}),
        "split": split,
        "classes": classes,
        "images": len(images),
        "bootstrap_unit": unit_of(groups),
        "image_size": list(images.shape[1:-1]),
        "parameters": model.count_params(),
        "latent_shape": list(model.latent_shape(images.shape[1:])),
        **similarity(images, reconstructions, groups),
        "loss_terms": _loss_terms(model, images),
        "latents": latent_statistics(model, images, train),
        "perturbations": perturbations(model, images, groups=groups),
        "speed": speed(name, images.shape[1:-1]),
    }
    if (baseline := pca_baseline(model, train, images, groups)) is not None:
        result["pca"] = baseline
    if isinstance(model, VAE):
        log.info("%s: log-likelihood and samples", model.name)
        every = slice(None, None, -(-len(images) // IMAGES_FOR_LIKELIHOOD))
        some, whose = images[every], take_groups(groups, every)
        k = 64 if model.bottleneck == "vector" else 16
        bound, elbo = (bootstrap_mean_ci(values, groups=whose) for values in log_likelihood(model, some, k))
        result["log_likelihood"] = {"samples": k, "images": len(some), "nats": bound, "elbo": elbo}
        if model.bottleneck == "vector" and model.spatial_dims == 2:
            result["prior_samples"] = sample_quality(model, train, images, load(BUNDLED / ENCODER))
    labelled = open_for(model, probe_data, size) if probe_data else collection
    if probe_data or labelled.classes_in(split) > 1:
        log.info("%s: what simple classifiers find in the latents", model.name)
        result["probe"] = probe(model, labelled)
    if out is not None:
        _write(Path(out), model, result, images, reconstructions)
    return result


def _loss_terms(model, images):
    if not model.compiled:
        model.compile()
    terms = model.evaluate(images, batch_size=20, verbose=0, return_dict=True)
    known = ("psnr", "perplexity", "usage")  # stand elsewhere in the report
    return {k: round(float(v), 3) for k, v in sorted(terms.items()) if k not in known}


def _write(out, model, result, images, reconstructions):
    out.mkdir(parents=True, exist_ok=True)
    write_metrics(out, result)
    text = f"# {model.name} on {result['data']}\n\n{sections(result)}\n\n![reconstructions](reconstructions.png)\n"
    psnr = metrics.per_image(metrics.psnr, images, reconstructions)
    order = np.argsort(psnr)[::-1]
    middle = len(order) // 2
    chosen = [("best", i) for i in order[:2]] + [("median", i) for i in order[middle : middle + 2]]
    chosen += [("worst", i) for i in order[-10:]]
    where = [i for _, i in chosen]
    titles = [f"{kind}: {psnr[i]:.1f} dB" for kind, i in chosen]
    shown = [plots.flat(x[where]) for x in (images, reconstructions)]
    plots.save_reconstructions(out / "reconstructions.png", *shown, titles, f"{model.name}, {result['data']}")
    if isinstance(model, VAE):
        plots.save_latents(out / "latents.png", kl_per_latent(model, images), model.encode(images), model.name)
        text += "\n![latents](latents.png)\n"
        if model.can_sample:
            drawn = plots.flat(model.sample(32, seed=0))
            plots.save_grid(out / "samples.png", drawn, title=f"{model.name}: samples, seed 0")
            text += "\n![samples of the prior](samples.png)\n"
    (out / "report.md").write_text(text, encoding="utf-8")


def write_metrics(folder, result):
    """Writes the result of `evaluate` beside a preset."""
    write_json(Path(folder) / "metrics.json", result)


def report(folder, data, probe_data=None):
    """Measures a trained preset on its test split and writes metrics and card beside it.

    Args:
        folder: preset folder as a recipe leaves it.
        data: the images it was trained on, see `medzoo.datasets.open_dataset`.
        probe_data: see `evaluate`.

    Returns: a line that sums up.
    """
    result = evaluate(folder, data, probe_data=probe_data)
    write_metrics(folder, result)
    write_card(folder)
    pca = f"; PCA {format_ci(result['pca']['psnr'])}" if "pca" in result else ""
    intervals = over(result["psnr"], result["images"])
    return f"{folder}: test PSNR {format_ci(result['psnr'])} dB, SSIM {format_ci(result['ssim'], 4)}{pca} ({intervals})"
