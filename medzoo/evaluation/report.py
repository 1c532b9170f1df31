"""Evaluation of a model on one split of a dataset: results as JSON, Markdown and figures."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from medzoo.evaluation.robustness import evaluate_robustness
from medzoo.evaluation.throughput import benchmark_preset
from medzoo.metrics.bootstrap import bootstrap_mean_ci, bootstrap_unit, describe_ci, format_ci
from medzoo.models import VAE
from medzoo.tasks.shared.data import open_for
from medzoo.utils.files import write_json
from medzoo.utils.groups import take_groups
from medzoo.zoo.manifest import BUNDLED
from medzoo.zoo.presets import load

if TYPE_CHECKING:
    from medzoo.data.image_dataset import ImageDataset

log = logging.getLogger("medzoo")
ENCODER = "vqvae-brainmri"  # its features compare generated chest X-rays; not trained on them; accepts any size
MAX_LIKELIHOOD_IMAGES = 100


def evaluate(
    name: str | os.PathLike,
    data: "str | os.PathLike | ImageDataset",
    split: str = "test",
    classes: Sequence[str] | None = None,
    probe_data: "str | os.PathLike | ImageDataset | None" = None,
    out: str | os.PathLike | None = None,
    *,
    size: int | None = None,
    command: str | None = None,
    **reading: Any,
) -> dict:
    """Evaluate a model on one split of a dataset.

    Args:
        name: Anything `medzoo.load` takes.
        data: Dataset, see `medzoo.datasets.open_dataset`. Baselines are fitted to its training split.
        split: `"train"`, `"val"` or `"test"`. Default: `"test"`.
        classes: Class names to evaluate on. Default: all.
        probe_data: Another labeled dataset for the linear probe. Default: `data`, if it contains several classes.
        out: Folder for `metrics.json`, `report.md` and figures, or `None`.
        size: int. Side in pixels of images read from files, for a model that accepts any size. Default: 256.
        command: Command line stated in the report. Default: the command for an NPZ file.
        **reading: Options of `open_dataset`.

    Returns:
        Dict, serializable as JSON: reconstruction compared with PCA, loss terms, latents, codebook or posterior,
        generated samples (VAEs with a latent vector), robustness, linear probe, throughput and dataset. Intervals are
        over patients where they are known, else over images (`"bootstrap_unit"`).
    """
    model = load(name)
    dataset = open_for(model, data, size, classes=classes, **reading)
    classes = dataset.selected_classes
    images, train = (to_float(dataset.images(s)) for s in (split, "train"))
    groups = dataset.patients(split)
    log.info("%s: reconstructing %d images of %s, also perturbed", model.name, len(images), data)
    reconstructions = model.reconstruct(images)
    result = {
        "command": command or _command(model, dataset, split, classes, probe_data, images),
        "data": dataset.name,
        **({"skipped": dataset.skipped} if dataset.skipped else {}),
        "split": split,
        "classes": classes,
        "images": len(images),
        "bootstrap_unit": bootstrap_unit(groups),
        "image_size": list(images.shape[1:-1]),
        "parameters": model.count_params(),
        "latent_shape": list(model.latent_shape(images.shape[1:])),
        **similarity(images, reconstructions, groups),
        "loss_terms": _loss_terms(model, images),
        "latents": latent_statistics(model, images, train),
        "perturbations": evaluate_robustness(model, images, groups=groups),
        "speed": benchmark_preset(name, images.shape[1:-1]),
    }
    if (baseline := pca_baseline(model, train, images, groups)) is not None:
        result["pca"] = baseline
    if isinstance(model, VAE):
        log.info("%s: log-likelihood and samples", model.name)
        every = slice(None, None, -(-len(images) // MAX_LIKELIHOOD_IMAGES))
        subset, subset_groups = images[every], take_groups(groups, every)
        k = 64 if model.bottleneck == "vector" else 16
        bound, elbo = (bootstrap_mean_ci(v, groups=subset_groups) for v in log_likelihood(model, subset, k))
        result["log_likelihood"] = {"samples": k, "images": len(subset), "nats": bound, "elbo": elbo}
        if model.bottleneck == "vector" and model.spatial_dims == 2:
            result["prior_samples"] = sample_quality(model, train, images, load(BUNDLED / ENCODER))
    labeled = open_for(model, probe_data, size) if probe_data else dataset
    if probe_data or labeled.classes_in(split) > 1:
        log.info("%s: linear probe on the latents", model.name)
        result["probe"] = probe(model, labeled)
    if out is not None:
        _write(Path(out), model, result, images, reconstructions)
    return result


def _command(model, dataset, split, classes, probe_data, images):
    """The command that repeats the evaluation."""
    flags = f" --classes {','.join(map(str, classes))}" if classes else ""
    flags += f" --probe {Path(probe_data).name}" if probe_data else ""
    if model.spatial_dims == 3 and not model.image_shape[0]:
        flags += f" --size {'x'.join(map(str, images.shape[1:-1]))}"
    return f"medzoo evaluate {model.name} --data {dataset.name} --split {split}{flags}"


def _loss_terms(model, images):
    if not model.compiled:
        model.compile()
    terms = model.evaluate(images, batch_size=20, verbose=0, return_dict=True)
    elsewhere = ("psnr", "perplexity", "usage")  # in other sections of the report
    return {k: round(float(v), 3) for k, v in sorted(terms.items()) if k not in elsewhere}


def _write(out, model, result, images, reconstructions):
    out.mkdir(parents=True, exist_ok=True)
    write_metrics(out, result)
    text = f"# {model.name} on {result['data']}\n\n{sections(result)}\n\n![reconstructions](reconstructions.png)\n"
    psnr = metrics.per_image(metrics.psnr, images, reconstructions)
    order = np.argsort(psnr)[::-1]
    middle = len(order) // 2
    chosen = [("best", i) for i in order[:2]] + [("median", i) for i in order[middle : middle + 2]]
    chosen += [("worst", i) for i in order[-10:]]
    indices = [i for _, i in chosen]
    titles = [f"{kind}: {psnr[i]:.1f} dB" for kind, i in chosen]
    pairs = [plots.middle_slices(x[indices]) for x in (images, reconstructions)]
    plots.save_reconstructions(out / "reconstructions.png", *pairs, titles, f"{model.name}, {result['data']}")
    if isinstance(model, VAE):
        plots.save_latents(out / "latents.png", kl_per_latent(model, images), model.encode(images), model.name)
        text += "\n![latents](latents.png)\n"
        if model.can_sample:
            samples = plots.middle_slices(model.sample(32, seed=0))
            plots.save_grid(out / "samples.png", samples, title=f"{model.name}: generated images, seed 0")
            text += "\n![generated images](samples.png)\n"
    (out / "report.md").write_text(text, encoding="utf-8")


def write_metrics(folder: str | os.PathLike, result: dict) -> None:
    """Write the result of `evaluate` as `metrics.json` in a folder."""
    write_json(Path(folder) / "metrics.json", result)


def report(
    folder: str | os.PathLike,
    data: "str | os.PathLike | ImageDataset",
    probe_data: "str | os.PathLike | ImageDataset | None" = None,
) -> str:
    """Evaluate a preset on its test split; write `metrics.json` and the model card to its folder.

    Args:
        folder: Preset folder as a recipe writes it.
        data: Its training dataset, see `medzoo.datasets.open_dataset`.
        probe_data: See `evaluate`.

    Returns:
        One line with PSNR and SSIM.
    """
    result = evaluate(folder, data, probe_data=probe_data)
    write_metrics(folder, result)
    write_card(folder)
    pca = f"; PCA {format_ci(result['pca']['psnr'])}" if "pca" in result else ""
    intervals = describe_ci(result["psnr"], result["images"])
    return f"{folder}: test PSNR {format_ci(result['psnr'])} dB, SSIM {format_ci(result['ssim'], 4)}{pca} ({intervals})"
