"""Anomaly scores fitted to normal images only, on the protocols of the literature, beside what needs no autoencoder.

    python benchmarks/anomaly_detection.py --data DIR --cache DIR --out benchmarks/anomaly_detection

DIR holds pediatric_cxr (1,050 normal training films of children; the official 234 normal and 390 pneumonia test films),
pneumoniamnist_28.npz (388 normal training films; the official test films, of 28 pixels) and breast_us_192.npz (80
normal training images; test images without and with a lesion; split by image). Lesions are also drawn on the normal
test films of children (`medzoo.data.lesions`), one on each. AUROC of diseased against normal test images, with 95%
intervals over images and seeds. No test label was used for any choice: beside it stand validation images as they are,
and retaken, as elsewhere they might have been: moved, turned, stretched, with another exposure, sharpness and noise.
The settings of the default (`synthetic`) were chosen by the mean of these two AUROCs, on the children's films.
Everything but `synthetic` learns the same from every seed and is fitted once. Each image is brought to 96 pixels, one
mean and one contrast first, except where it says so; `synthetic` also looks at it with an even histogram. Beside the
mean over its seeds stand their scores averaged, as one detector of five times the training.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import click
import keras
import numpy as np
from common import alone, explained, over, remembered, write

import medzoo
from medzoo.data.augmentation import AugmentedDataset, random_acquisition
from medzoo.data.image_dataset import open_dataset
from medzoo.data.lesions import add_lesion
from medzoo.data.npz import to_float
from medzoo.io.intensity import center_crop_resize, standardize
from medzoo.metrics.bootstrap import bootstrap_mean_ci, format_ci
from medzoo.metrics.classification import roc_auc
from medzoo.tasks.segment import dice

TASKS = {
    "pneumonia, children's films": "pediatric_cxr",
    "pneumonia, PneumoniaMNIST": "pneumoniamnist_28.npz",
    "lesions, breast ultrasound": "breast_us_192.npz",
}
DRAWN_ON = "pneumonia, children's films"
MAPS = {"synthetic": "synthetic", "padim": "padim"}
METHODS = {
    "synthetic": {},
    "knn": {},
    "mahalanobis": {},
    "padim": {},
    "l1": {},
    "ssim": {},
    "neighbours, ae-chestxray-64": {"model": "ae-chestxray-64"},
    "neighbours, exposure left as it is": {"standardize": False},
}
MEASURED = {"test": "test", "val": "validation", "acquisition": "acquisition"}
PICTURES = 8
TOGETHER = "synthetic, scores averaged"


@lru_cache(3)
def read(data, task):
    """`{split: (float images (N, H, W, 1), diseased (N,))}`, training images normal ones only."""
    collection = open_dataset(data / TASKS[task], 224)
    normal = collection.class_names.index("normal") if "normal" in collection.class_names else 0
    found = {}
    for split in ("train", "val", "test"):
        images, diseased = to_float(collection.images(split)), np.asarray(collection.labels(split)) != normal
        found[split] = (images[~diseased], None) if split == "train" else (images, diseased)
    return found | {"acquisition": retaken(*found["val"])}


def retaken(images, diseased):
    rng, shift = np.random.default_rng(0), images.shape[1] / 12
    moved, diseased = AugmentedDataset(images, len(images), 0, diseased, translation=shift, affine=0.15, contrast=0.0)[
        0
    ]
    return np.stack([random_acquisition(x[..., 0], rng, 0.5) for x in moved])[..., None].astype("float32"), diseased


def drawn(data):
    """Normal test films with a lesion each, and its masks."""
    images, diseased = read(data, DRAWN_ON)["test"]
    pairs = [add_lesion(image, seed=i) for i, image in enumerate(images[~diseased])]
    return tuple(np.stack(part) for part in zip(*pairs, strict=True))


def detected(data, task, method, seed):
    """What one detector says: scores by split, its threshold, and of drawn lesions the scores and how well the map
    shows them."""
    images = read(data, task)
    score = method.split(",")[0]
    own = {"scores": (score,), "heat": MAPS.get(score, "l1"), "seed": seed, **METHODS[method]}
    detector = medzoo.AnomalyDetector(**own).fit(images["train"][0])
    found = {split: detector.anomaly_scores(images[split][0]) for split in MEASURED}
    found["threshold"] = detector.threshold_
    if task == DRAWN_ON:
        films, masks = drawn(data)
        found["drawn"] = detector.anomaly_scores(films)
        if score in MAPS:
            maps = detector.anomaly_map(films, films.shape[1:3])
            found |= placed(maps[..., 0], masks[..., 0])
            chosen = pictured(data)
            found["pictures"] = detector.anomaly_map(images["test"][0][chosen], films.shape[1:3])[..., 0]
    return found


def placed(maps, masks):
    """Of each film: is the map's peak in the lesion, average precision over pixels, Dice of the pixels above 0.5."""
    from sklearn.metrics import average_precision_score

    peaks = maps.reshape(len(maps), -1).argmax(axis=1)
    precision = [average_precision_score(m.ravel(), h.ravel()) for h, m in zip(maps, masks, strict=True)]
    return {
        "pointing": masks.reshape(len(masks), -1)[np.arange(len(masks)), peaks] > 0,
        "precision": np.array(precision),
        "dice": dice(masks, (maps > 0.5).astype(int)),
    }


def pictured(data):
    """Test films for the page: drawn by lot, half of them normal."""
    _, diseased = read(data, DRAWN_ON)["test"]
    rng = np.random.default_rng(0)
    return np.concatenate(
        [rng.choice(np.flatnonzero(diseased == k), PICTURES // 2, replace=False) for k in (True, False)]
    )


def baselines(data, task):
    """Yields (name, scores by split) of what needs no autoencoder, at 96 pixels."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    def flat(x):
        return standardize(center_crop_resize(x, (96, 96))).reshape(len(x), -1)

    images = read(data, task)
    known = flat(images["train"][0])
    pca = PCA(min(64, len(known) // 2), random_state=0).fit(known)
    search = NearestNeighbors(n_neighbors=5).fit(known)
    brightness = images["train"][0].mean(axis=(1, 2, 3)).mean()
    functions = {
        f"error of a PCA, {pca.n_components_} components": lambda x: np.abs(
            flat(x) - pca.inverse_transform(pca.transform(flat(x)))
        ).mean(axis=1),
        "5 nearest neighbours, pixels": lambda x: search.kneighbors(flat(x))[0].mean(axis=1),
        "unusual brightness alone": lambda x: np.abs(x.mean(axis=(1, 2, 3)) - brightness),
    }
    for name, function in functions.items():
        yield name, {split: function(images[split][0]) for split in MEASURED}


def job(arguments):
    cache, data, *rest = arguments
    return remembered(cache, rest, lambda: detected(data, *rest))


def summed_up(data, task, runs):
    """`{row: measures}` of a task; runs by method."""
    truth = {split: read(data, task)[split][1] for split in MEASURED}
    rows = {}
    for name, own in [*runs.items(), *((name, [scores]) for name, scores in baselines(data, task))]:
        rows[name] = {split: over([r[split] for r in own], truth[split], roc_auc) for split in MEASURED}
        rows[name]["seeds"] = len(own)
        if "threshold" in own[0]:
            called = {split: np.mean([r[split] > r["threshold"] for r in own], axis=0) for split in truth}
            rows[name]["called_normal_validation"] = bootstrap_mean_ci(called["val"][~truth["val"]])
            rows[name]["called_normal_test"] = bootstrap_mean_ci(called["test"][~truth["test"]])
            rows[name]["called_diseased_test"] = bootstrap_mean_ci(called["test"][truth["test"]])
        if "drawn" in own[0]:
            normal = [r["test"][~truth["test"]] for r in own]
            pairs = [np.concatenate([a, r["drawn"]]) for a, r in zip(normal, own, strict=True)]
            rows[name]["drawn"] = over(pairs, np.arange(2 * len(normal[0])) >= len(normal[0]), roc_auc)
        for key in ("pointing", "precision", "dice"):
            if key in own[0]:
                rows[name][key] = bootstrap_mean_ci(np.mean([r[key] for r in own], axis=0))
    together = {split: np.mean([r[split] for r in runs["synthetic"]], axis=0) for split in MEASURED}
    rows[TOGETHER] = {split: over([together[split]], truth[split], roc_auc) for split in MEASURED}
    rows[TOGETHER]["seeds"] = len(runs["synthetic"])
    return rows


def figure(path, results):
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(12, 3.6), layout="constrained")
    for axis, (task, rows) in zip(drawing.subplots(1, len(results)), results.items(), strict=True):
        for i, (name, m) in enumerate(rows.items()):
            color = "C1" if name in ("synthetic", TOGETHER) else "C0" if name in METHODS else "0.5"
            axis.plot(m["test"]["interval"], [i, i], color=color, alpha=0.5)
            axis.plot(m["test"]["mean"], i, "o", color=color)
        axis.set_yticks(range(len(rows)), list(rows), fontsize=7)
        axis.axvline(0.5, color="0.7", linestyle="--", linewidth=1)
        axis.invert_yaxis()
        axis.set_xlabel("AUROC, test")
        axis.set_title(task, fontsize=9)
        axis.grid(axis="x", alpha=0.3)
    drawing.savefig(path, dpi=100)


def picture(path, data, runs):
    """Films drawn by lot, the detector's map over them, with its boxes: misses as well as hits."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    from medzoo.tasks.anomaly import find_boxes

    run, chosen = runs["synthetic"][0], pictured(data)
    images, diseased = read(data, DRAWN_ON)["test"]
    drawing = Figure(figsize=(13, 3.9), layout="constrained")
    for column, (axes, i) in enumerate(zip(drawing.subplots(2, PICTURES).T, chosen, strict=True)):
        for axis in axes:
            axis.imshow(images[i, ..., 0], cmap="gray", vmin=0, vmax=1)
            axis.axis("off")
        called = run["test"][i] > run["threshold"]
        axes[0].set_title(
            f"{'pneumonia' if diseased[i] else 'normal'}, {'called' if called else 'not called'}", fontsize=8
        )
        heat = run["pictures"][column]
        axes[1].imshow(heat, cmap="inferno", alpha=0.5, vmin=0, vmax=1)
        for top, left, bottom, right in find_boxes(heat[..., None]) if called else ():
            axes[1].add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="C1"))
    drawing.savefig(path, dpi=100)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder with the archives.")
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="Folder for what was reached.")
@click.option("--seeds", default=5, show_default=True)
@click.option("--jobs", default=2, show_default=True, help="Processes, one core each.")
@click.option("--films", type=click.Path(path_type=Path), help="PNG of real films with their maps; not for a commit.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, cache, seeds, jobs, films, out):
    cache.mkdir(parents=True, exist_ok=True)
    every = [(t, m, s) for s in range(seeds) for t in TASKS for m in METHODS if s == 0 or m == "synthetic"]
    with ProcessPoolExecutor(jobs, get_context("spawn"), alone) as pool:
        found = dict(zip(every, pool.map(job, [(cache, data, *key) for key in every]), strict=True))
    runs = {t: {m: [found[k] for k in every if k[:2] == (t, m)] for m in METHODS} for t in TASKS}
    results = {task: summed_up(data, task, own) for task, own in runs.items()}
    tables = []
    for task, rows in results.items():
        cells = [
            [
                name,
                format_ci(m["test"], 3),
                *(f"{m[split]['mean']:.3f}" for split in ("val", "acquisition")),
                str(m["seeds"]),
            ]
            for name, m in rows.items()
        ]
        tables.append((task, ["score", *(f"AUROC, {title}" for title in MEASURED.values()), "seeds"], cells))
    named = ("called_normal_validation", "called_normal_test", "called_diseased_test")
    cells = [[task, *(format_ci(rows["synthetic"][key], 3) for key in named)] for task, rows in results.items()]
    header = ["`predict` of the default, 5% asked for", "validation normals called", "test normals", "test diseased"]
    tables.append(("A threshold", header, cells))
    rows = results[DRAWN_ON]
    cells = [
        [
            name,
            format_ci(m["drawn"], 3),
            *(format_ci(m[k], 3) if k in m else "–" for k in ("pointing", "precision", "dice")),
        ]
        for name, m in rows.items()
        if "drawn" in m
    ]
    header = ["score", "AUROC", "peak in the lesion", "average precision, pixels", "Dice"]
    tables.append(("Lesions drawn on normal test films", header, cells))
    figure(out.with_suffix(".png"), results)
    if films:
        picture(films, data, runs[DRAWN_ON])
    write(out, "Anomalies", tables, {"backend": keras.backend.backend(), "results": results}, explained())


if __name__ == "__main__":
    main()
