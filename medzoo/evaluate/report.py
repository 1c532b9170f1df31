"""One report for every model: numbers as JSON, the same as Markdown, and figures."""

import json
import logging
from pathlib import Path

import numpy as np

from medzoo import metrics
from medzoo.errors import ImageError
from medzoo.evaluate import plots
from medzoo.evaluate.bootstrap import show, summary
from medzoo.evaluate.card import write_card
from medzoo.evaluate.latents import kl_per_latent, latent_statistics, log_likelihood
from medzoo.evaluate.markdown import sections
from medzoo.evaluate.perturbations import perturbations
from medzoo.evaluate.probe import probe
from medzoo.evaluate.reconstruction import pca_baseline, per_image, similarity
from medzoo.evaluate.samples import sample_quality
from medzoo.evaluate.speed import speed
from medzoo.images.datasets import load_npz, load_npz_labels, to_float
from medzoo.models import VAE
from medzoo.zoo.manifest import BUNDLED
from medzoo.zoo.presets import load

log = logging.getLogger("medzoo")
ENCODER = "ae-chestxray-256"  # whose features judge samples; takes any size
IMAGES_FOR_LIKELIHOOD = 100


def evaluate(name, data, split="test", classes=None, probe_data=None, out=None):
    """Measures a model on one split of an npz archive.

    Args:
        name: anything `medzoo.load` takes.
        data, split, classes: see `medzoo.datasets.load_npz`. Baselines are fitted to the archive's training split.
        probe_data: another archive, with labels, for the linear probe; by default `data`, if it holds several classes.
        out: folder for `metrics.json`, `report.md` and figures, or `None`.

    Returns: dict of numbers, JSON-ready: reconstruction beside PCA, terms of the loss, latents, codebook or posterior,
        samples (vector VAEs), perturbations, probe, speed, and where the images came from.
    """
    model = load(name)
    images, train = (to_float(load_npz(data, s, classes)) for s in (split, "train"))
    log.info("%s: reconstructing %d images of %s, also brighter, darker, noisier", model.name, len(images), data)
    reconstructions = model.reconstruct(images)
    flags = f" --classes {','.join(map(str, classes))}" if classes else ""
    flags += f" --probe {Path(probe_data).name}" if probe_data else ""
    result = {
        "command": f"medzoo evaluate {model.name} --data {Path(data).name} --split {split}{flags}",
        "data": Path(data).name,
        "split": split,
        "classes": classes,
        "images": len(images),
        "image_size": list(images.shape[1:3]),
        "parameters": model.count_params(),
        "latent_shape": list(model.latent_shape(images.shape[1:])),
        **similarity(images, reconstructions),
        "loss_terms": _loss_terms(model, images),
        "latents": latent_statistics(model, images, train),
        "perturbations": perturbations(model, images),
        "speed": speed(name, images.shape[1:3]),
    }
    if (baseline := pca_baseline(model, train, images)) is not None:
        result["pca"] = baseline
    if isinstance(model, VAE):
        log.info("%s: log-likelihood and samples", model.name)
        some = images[:: -(-len(images) // IMAGES_FOR_LIKELIHOOD)]
        k = 64 if model.bottleneck == "vector" else 16
        bound, elbo = (summary(values) for values in log_likelihood(model, some, k))
        result["log_likelihood"] = {"samples": k, "images": len(some), "nats": bound, "elbo": elbo}
        if model.bottleneck == "vector":
            result["prior_samples"] = sample_quality(model, train, images, load(BUNDLED / ENCODER))
    if probe_data or _labelled(data, split, classes):
        log.info("%s: what simple classifiers find in the latents", model.name)
        result["probe"] = probe(model, Path(probe_data or data), None if probe_data else classes)
    if out is not None:
        _write(Path(out), model, result, images, reconstructions)
    return result


def _loss_terms(model, images):
    if not model.compiled:
        model.compile()
    terms = model.evaluate(images, batch_size=20, verbose=0, return_dict=True)
    known = ("psnr", "perplexity", "usage")  # stand elsewhere in the report
    return {k: round(float(v), 3) for k, v in sorted(terms.items()) if k not in known}


def _labelled(data, split, classes):
    try:
        return len(np.unique(load_npz_labels(data, split, classes))) > 1
    except ImageError:
        return False


def _write(out, model, result, images, reconstructions):
    out.mkdir(parents=True, exist_ok=True)
    write_metrics(out, result)
    text = f"# {model.name} on {result['data']}\n\n{sections(result)}\n\n![reconstructions](reconstructions.png)\n"
    psnr = per_image(metrics.psnr, images, reconstructions)
    order = np.argsort(psnr)[::-1]
    middle = len(order) // 2
    chosen = [("best", i) for i in order[:2]] + [("median", i) for i in order[middle : middle + 2]]
    chosen += [("worst", i) for i in order[-10:]]
    where = [i for _, i in chosen]
    titles = [f"{kind}: {psnr[i]:.1f} dB" for kind, i in chosen]
    plots.save_reconstructions(
        out / "reconstructions.png", images[where], reconstructions[where], titles, f"{model.name}, {result['data']}"
    )
    if isinstance(model, VAE):
        plots.save_latents(out / "latents.png", kl_per_latent(model, images), model.encode(images), model.name)
        text += "\n![latents](latents.png)\n"
        size = None if model.image_shape[0] else images.shape[1:3]
        plots.save_grid(
            out / "samples.png", model.sample(32, seed=0, size=size), title=f"{model.name}: samples, seed 0"
        )
        text += "\n![samples of the prior](samples.png)\n"
    (out / "report.md").write_text(text, encoding="utf-8")


def write_metrics(folder, result):
    """Writes the result of `evaluate` beside a preset."""
    (Path(folder) / "metrics.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def report(folder, data, classes=None, probe_data=None):
    """Measures a trained preset on its archive's test split and writes metrics and card beside it.

    Args:
        folder: preset folder as a recipe leaves it.
        data: the archive it was trained on.
        classes: the recipe's.
        probe_data: see `evaluate`.

    Returns: a line that sums up.
    """
    result = evaluate(folder, data, "test", classes, probe_data)
    write_metrics(folder, result)
    write_card(folder)
    pca = f"; PCA {show(result['pca']['psnr'])}" if "pca" in result else ""
    return f"{folder}: test PSNR {show(result['psnr'])} dB, SSIM {show(result['ssim'], 4)}{pca}"
