"""Segmentation with manual masks: pretrained encoders compared with training from scratch.

    KERAS_BACKEND=torch python benchmarks/segmentation.py --data DIR --cache DIR --out benchmarks/segmentation

DIR contains jsrt_256.npz (chest X-rays of 256 pixels with the outlines of van Ginneken et al. 2006, which may overlap:
lungs, heart, clavicles; trained on odd-numbered images at 128 pixels, evaluated on the 80 given even-numbered images at
256 pixels) and hippocampus (MR volumes of 32x48x32 voxels of 1 mm; labels 1 anterior, 2 posterior; the 40 test volumes
of the split). Dice coefficients are averaged over the seeds, with 95% intervals over test images, also of the paired
difference between pretraining and training from scratch. Learning rate and augmentation are the same for all rows, the
number of steps for both initializations. The weights of the last step are evaluated, so no choice depends on the test
images. Published: Novikov et al. 2018, arXiv:1701.08816, abstract, on the same images with other folds. They report the
mean Jaccard overlap, which the last table lists for all models.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import click
import keras
import numpy as np
from common import cached, description, use_one_core, write_page

import medzoo
from medzoo.data.masks import load_masks
from medzoo.data.npz import load_npz, to_float
from medzoo.io.intensity import center_crop_resize
from medzoo.metrics.bootstrap import bootstrap_mean_ci, format_ci
from medzoo.tasks.segment import AugmentedSegmentationDataset, dice
from medzoo.training.trainer import training_schedule

ORGANS = {"lungs": (1, 2), "heart": (4,), "clavicles": (8, 16)}
TASKS = {
    "chest X-ray": {
        "model": "ae-chestxray",
        "counts": {10: (300, (0, 1, 2)), 104: (1000, (0, 1, 2))},  # training images: (steps, seeds)
        "batch": 8,
        "names": tuple(ORGANS),
    },
    "hippocampus": {
        "model": "vqvae-hippocampus",
        "counts": {5: (300, (0, 1, 2)), 20: (300, (0, 1, 2)), 144: (600, (0, 1, 2))},
        "batch": 4,
        "names": ("anterior", "posterior"),
    },
}
INITIALIZATIONS = {"pretrained": True, "from scratch": False}
PUBLISHED = {"lungs": 0.950, "heart": 0.882, "clavicles": 0.868}  # Jaccard overlap


@lru_cache(1)
def read(data, task):
    """Return `{split: (images, masks)}` of the training and test split; masks of organs are `(N, H, W, 3)`."""
    found = {}
    for split in ("train", "test"):
        if task == "hippocampus":
            folder = data / "hippocampus"
            rows = [row.split(",") for row in (folder / "split.csv").read_text().split()[1:]]
            every = sorted(path.name for path in (folder / "images").glob("*.nii.gz"))
            own = np.isin(every, [name for name, where in rows if where == split])
            images, masks = load_masks(folder / "images", folder / "labels", (32, 48, 32))
            found[split] = images[own], masks[own]
        else:
            path = data / "jsrt_256.npz"
            with np.load(path) as archive:
                bits = archive[f"{split}_masks"]
            masks = np.stack([np.isin(bits & sum(of), [0], invert=True) for of in ORGANS.values()], axis=-1)
            found[split] = to_float(load_npz(path, split)), masks.astype("uint8")
    return found


def trained(data, task, init, count, seed):
    """Return the Dice coefficients of each test image and structure, `(N, K)`."""
    own, splits = TASKS[task], read(data, task)
    steps, _ = own["counts"][count]
    overlapping = task != "hippocampus"
    images, masks = splits["train"]
    chosen = np.random.default_rng(seed).permutation(len(images))[:count]
    images, masks = images[chosen], masks[chosen]
    if overlapping:
        images, masks = center_crop_resize(images, (128, 128)), masks[:, ::2, ::2]
    keras.utils.set_random_seed(seed)
    classes = len(own["names"]) if overlapping else 1 + len(own["names"])
    model = medzoo.Segmenter.from_pretrained(own["model"], classes, INITIALIZATIONS[init], multi_label=overlapping)
    model.compile(keras.optimizers.Adam(training_schedule(2e-3, steps), global_clipnorm=1.0))
    pairs = AugmentedSegmentationDataset(images, masks, own["batch"], steps, seed)
    model.fit(pairs, epochs=1, shuffle=False, verbose=0)
    images, truth = splits["test"]
    if not overlapping:
        found = model.segment(images)
        return np.stack([dice(truth, found, k) for k in range(1, classes)], axis=1)
    found = model.predict(center_crop_resize(images, (128, 128)), verbose=0)
    large = [center_crop_resize(found[..., k : k + 1], (256, 256))[..., 0] > 0.5 for k in range(classes)]
    return np.stack([dice(truth[..., k], large[k].astype(int)) for k in range(classes)], axis=1)


def job(arguments):
    cache, data, *rest = arguments
    return cached(cache, rest, lambda: trained(data, *rest))


def figure(path, results):
    from matplotlib.figure import Figure

    plot = Figure(figsize=(9, 5.6), layout="constrained")
    *axes, legend_axis = plot.subplots(2, 3).flat
    panels = [(task, name) for task in results for name in TASKS[task]["names"]]
    for axis, (task, name) in zip(axes, panels, strict=True):
        for init in INITIALIZATIONS:
            own = [results[task][count][init][name] for count in TASKS[task]["counts"]]
            means = np.array([m["mean"] for m in own])
            ends = np.array([m["interval"] for m in own]).T
            axis.errorbar(list(TASKS[task]["counts"]), means, np.abs(ends - means), fmt="o-", capsize=3, label=init)
        axis.set(xscale="log", xlabel=f"Training images, {task}", ylabel="Dice", title=name)
        axis.set_xticks(list(TASKS[task]["counts"]), [str(n) for n in TASKS[task]["counts"]])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    legend_axis.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="center")
    legend_axis.axis("off")
    plot.savefig(path, dpi=120)


def published(found):
    """Return the table of Jaccard overlaps with all training images, computed from Dice per image."""
    task, cells = "chest X-ray", []
    count, (_, seeds) = max(TASKS[task]["counts"].items())
    for init in INITIALIZATIONS:
        overlap = np.mean([found[task, init, count, s] / (2 - found[task, init, count, s]) for s in seeds], axis=0)
        cells.append([init, *(format_ci(bootstrap_mean_ci(overlap[:, k]), 3) for k in range(len(PUBLISHED)))])
    cells.append(["Novikov et al. 2018", *(f"{value:.3f}" for value in PUBLISHED.values())])
    return f"{task}, {count} training images: Jaccard overlap", ["Initialization", *PUBLISHED], cells


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="Folder of intermediate results.")
@click.option("--jobs", default=2, show_default=True, help="Number of processes, one core each.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, cache, jobs, out):
    cache.mkdir(parents=True, exist_ok=True)
    every = [
        (t, w, n, s)
        for t in TASKS
        for n, (_, seeds) in TASKS[t]["counts"].items()
        for s in seeds
        for w in INITIALIZATIONS
    ]
    with ProcessPoolExecutor(jobs, get_context("spawn"), use_one_core) as pool:
        found = dict(zip(every, pool.map(job, [(cache, data, *key) for key in every]), strict=True))
    results, tables = {}, []
    for task, own in TASKS.items():
        names, results[task], cells = own["names"], {}, []
        for count, (steps, seeds) in own["counts"].items():
            mean = {init: np.mean([found[task, init, count, s] for s in seeds], axis=0) for init in INITIALIZATIONS}
            mean["difference"] = mean["pretrained"] - mean["from scratch"]
            results[task][count] = {
                row: {name: bootstrap_mean_ci(values[:, k]) for k, name in enumerate(names)}
                for row, values in mean.items()
            }
            first = [count, steps, len(seeds)]
            cells += [[*first, row, *(format_ci(m[n], 3) for n in names)] for row, m in results[task][count].items()]
        header = ["Training images", "steps", "seeds", "Initialization", *names]
        tables.append((f"{task}, encoder of {own['model']}", header, cells))
    tables.append(published(found))
    figure(out.with_suffix(".png"), results)
    write_page(out, "Segmentation", tables, {"backend": keras.backend.backend(), "results": results}, description())


if __name__ == "__main__":
    main()
