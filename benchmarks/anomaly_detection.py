"""Anomaly scores fitted to normal images only, compared with baselines that need no autoencoder.

    python benchmarks/anomaly_detection.py --data DIR --cache DIR --out benchmarks/anomaly_detection

DIR contains pediatric_cxr (1,050 normal pediatric training images; the official test split of 234 normal and 390
pneumonia images), pneumoniamnist_28.npz (388 normal training images; the official test images, of 28 pixels) and
breast_us_192.npz (80 normal training images; test images without and with a lesion; image-level split). Synthetic
lesions are also inserted into the normal pediatric test images (`medzoo.data.lesions`), one per image. The tables list
the AUROC of diseased versus normal test images, with 95% intervals over images and seeds. No test label was used for
any choice. Validation AUROCs are listed for the original images and after simulated acquisition shift (translation,
affine distortion, brightness, contrast, sharpness and noise). The settings of the default score (`synthetic`) were
chosen by the mean of these two AUROCs on the pediatric images. All scores except `synthetic` are deterministic and were
fitted once. Unless stated otherwise, each image is first resized to 96 pixels and standardized in mean and contrast;
`synthetic` also receives a histogram-equalized copy. The averaged scores of its seeds correspond to one detector with
five times the training.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import click
import keras
import numpy as np
from common import bootstrap_over_seeds, cached, description, use_one_core, write_page

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
    "pediatric pneumonia": "pediatric_cxr",
    "pneumonia, PneumoniaMNIST": "pneumoniamnist_28.npz",
    "lesions, breast ultrasound": "breast_us_192.npz",
}
LESION_TASK = "pediatric pneumonia"
MAPS = {"synthetic": "synthetic", "padim": "padim"}
METHODS = {
    "synthetic": {},
    "knn": {},
    "mahalanobis": {},
    "padim": {},
    "l1": {},
    "ssim": {},
    "knn, ae-chestxray-64": {"model": "ae-chestxray-64"},
    "knn, images not standardized": {"standardize": False},
}
SPLITS = {"test": "test", "val": "validation", "acquisition": "acquisition shift"}
N_EXAMPLES = 8
AVERAGED = "synthetic, scores averaged"


@lru_cache(3)
def read(data, task):
    """Return `{split: (float images (N, H, W, 1), diseased (N,))}`; the training split contains normal images only."""
    dataset = open_dataset(data / TASKS[task], 224)
    normal = dataset.class_names.index("normal") if "normal" in dataset.class_names else 0
    found = {}
    for split in ("train", "val", "test"):
        images, diseased = to_float(dataset.images(split)), np.asarray(dataset.labels(split)) != normal
        found[split] = (images[~diseased], None) if split == "train" else (images, diseased)
    return found | {"acquisition": shift_acquisition(*found["val"])}


def shift_acquisition(images, diseased):
    """Return images after a simulated acquisition shift, and their labels."""
    rng, translation = np.random.default_rng(0), images.shape[1] / 12
    moved, diseased = AugmentedDataset(
        images, len(images), 0, diseased, translation=translation, affine=0.15, contrast=0.0
    )[0]
    return np.stack([random_acquisition(x[..., 0], rng, 0.5) for x in moved])[..., None].astype("float32"), diseased


def insert_lesions(data):
    """Return normal test images with one synthetic lesion each, and the masks of the lesions."""
    images, diseased = read(data, LESION_TASK)["test"]
    pairs = [add_lesion(image, seed=i) for i, image in enumerate(images[~diseased])]
    return tuple(np.stack(part) for part in zip(*pairs, strict=True))


def evaluate_detector(data, task, method, seed):
    """Return scores by split, the threshold, and for synthetic lesions the scores and their localization."""
    images = read(data, task)
    score = method.split(",")[0]
    own = {"scores": (score,), "map_score": MAPS.get(score, "l1"), "seed": seed, **METHODS[method]}
    detector = medzoo.AnomalyDetector(**own).fit(images["train"][0])
    found = {split: detector.anomaly_scores(images[split][0]) for split in SPLITS}
    found["threshold"] = detector.threshold_
    if task == LESION_TASK:
        lesions, masks = insert_lesions(data)
        found["lesions"] = detector.anomaly_scores(lesions)
        if score in MAPS:
            maps = detector.anomaly_map(lesions, lesions.shape[1:3])
            found |= evaluate_maps(maps[..., 0], masks[..., 0])
            chosen = example_indices(data)
            found["example_maps"] = detector.anomaly_map(images["test"][0][chosen], lesions.shape[1:3])[..., 0]
    return found


def evaluate_maps(maps, masks):
    """Return per image: peak of the map inside the lesion, average precision over pixels, Dice of pixels above 0.5."""
    from sklearn.metrics import average_precision_score

    peaks = maps.reshape(len(maps), -1).argmax(axis=1)
    precision = [average_precision_score(m.ravel(), h.ravel()) for h, m in zip(maps, masks, strict=True)]
    return {
        "peak_in_lesion": masks.reshape(len(masks), -1)[np.arange(len(masks)), peaks] > 0,
        "average_precision": np.array(precision),
        "dice": dice(masks, (maps > 0.5).astype(int)),
    }


def example_indices(data):
    """Return indices of randomly selected test images, half of them normal."""
    _, diseased = read(data, LESION_TASK)["test"]
    rng = np.random.default_rng(0)
    return np.concatenate(
        [rng.choice(np.flatnonzero(diseased == k), N_EXAMPLES // 2, replace=False) for k in (True, False)]
    )


def baselines(data, task):
    """Yield `(name, scores by split)` of baselines that need no autoencoder, at 96 pixels."""
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
        f"PCA reconstruction error, {pca.n_components_} components": lambda x: np.abs(
            flat(x) - pca.inverse_transform(pca.transform(flat(x)))
        ).mean(axis=1),
        "5 nearest neighbors, pixels": lambda x: search.kneighbors(flat(x))[0].mean(axis=1),
        "deviation from mean brightness": lambda x: np.abs(x.mean(axis=(1, 2, 3)) - brightness),
    }
    for name, function in functions.items():
        yield name, {split: function(images[split][0]) for split in SPLITS}


def job(arguments):
    cache, data, *rest = arguments
    return cached(cache, rest, lambda: evaluate_detector(data, *rest))


def summarize(data, task, runs):
    """Return `{row: results}` of a task from runs by method."""
    truth = {split: read(data, task)[split][1] for split in SPLITS}
    rows = {}
    for name, own in [*runs.items(), *((name, [scores]) for name, scores in baselines(data, task))]:
        rows[name] = {split: bootstrap_over_seeds([r[split] for r in own], truth[split], roc_auc) for split in SPLITS}
        rows[name]["seeds"] = len(own)
        if "threshold" in own[0]:
            flagged = {split: np.mean([r[split] > r["threshold"] for r in own], axis=0) for split in truth}
            rows[name]["flagged_normal_validation"] = bootstrap_mean_ci(flagged["val"][~truth["val"]])
            rows[name]["flagged_normal_test"] = bootstrap_mean_ci(flagged["test"][~truth["test"]])
            rows[name]["flagged_diseased_test"] = bootstrap_mean_ci(flagged["test"][truth["test"]])
        if "lesions" in own[0]:
            normal = [r["test"][~truth["test"]] for r in own]
            pairs = [np.concatenate([a, r["lesions"]]) for a, r in zip(normal, own, strict=True)]
            rows[name]["synthetic_lesions"] = bootstrap_over_seeds(
                pairs, np.arange(2 * len(normal[0])) >= len(normal[0]), roc_auc
            )
        for key in ("peak_in_lesion", "average_precision", "dice"):
            if key in own[0]:
                rows[name][key] = bootstrap_mean_ci(np.mean([r[key] for r in own], axis=0))
    together = {split: np.mean([r[split] for r in runs["synthetic"]], axis=0) for split in SPLITS}
    rows[AVERAGED] = {split: bootstrap_over_seeds([together[split]], truth[split], roc_auc) for split in SPLITS}
    rows[AVERAGED]["seeds"] = len(runs["synthetic"])
    return rows


def figure(path, results):
    from matplotlib.figure import Figure

    plot = Figure(figsize=(12, 3.6), layout="constrained")
    for axis, (task, rows) in zip(plot.subplots(1, len(results)), results.items(), strict=True):
        for i, (name, m) in enumerate(rows.items()):
            color = "C1" if name in ("synthetic", AVERAGED) else "C0" if name in METHODS else "0.5"
            axis.plot(m["test"]["interval"], [i, i], color=color, alpha=0.5)
            axis.plot(m["test"]["mean"], i, "o", color=color)
        axis.set_yticks(range(len(rows)), list(rows), fontsize=7)
        axis.axvline(0.5, color="0.7", linestyle="--", linewidth=1)
        axis.invert_yaxis()
        axis.set_xlabel("AUROC, test split")
        axis.set_title(task, fontsize=9)
        axis.grid(axis="x", alpha=0.3)
    plot.savefig(path, dpi=100)


def save_examples(path, data, runs):
    """Save randomly selected test images with anomaly maps and bounding boxes, false and true alike."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    from medzoo.tasks.anomaly import find_boxes

    run, chosen = runs["synthetic"][0], example_indices(data)
    images, diseased = read(data, LESION_TASK)["test"]
    plot = Figure(figsize=(13, 3.9), layout="constrained")
    for column, (axes, i) in enumerate(zip(plot.subplots(2, N_EXAMPLES).T, chosen, strict=True)):
        for axis in axes:
            axis.imshow(images[i, ..., 0], cmap="gray", vmin=0, vmax=1)
            axis.axis("off")
        flagged = run["test"][i] > run["threshold"]
        axes[0].set_title(
            f"{'pneumonia' if diseased[i] else 'normal'}, {'flagged' if flagged else 'not flagged'}", fontsize=8
        )
        anomaly_map = run["example_maps"][column]
        axes[1].imshow(anomaly_map, cmap="inferno", alpha=0.5, vmin=0, vmax=1)
        for top, left, bottom, right in find_boxes(anomaly_map[..., None]) if flagged else ():
            axes[1].add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="C1"))
    plot.savefig(path, dpi=100)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="Folder of intermediate results.")
@click.option("--seeds", default=5, show_default=True, help="Number of seeds.")
@click.option("--jobs", default=2, show_default=True, help="Number of processes, one core each.")
@click.option("--images", type=click.Path(path_type=Path), help="PNG of real images with their maps; not for a commit.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, cache, seeds, jobs, images, out):
    cache.mkdir(parents=True, exist_ok=True)
    every = [(t, m, s) for s in range(seeds) for t in TASKS for m in METHODS if s == 0 or m == "synthetic"]
    with ProcessPoolExecutor(jobs, get_context("spawn"), use_one_core) as pool:
        found = dict(zip(every, pool.map(job, [(cache, data, *key) for key in every]), strict=True))
    runs = {t: {m: [found[k] for k in every if k[:2] == (t, m)] for m in METHODS} for t in TASKS}
    results = {task: summarize(data, task, own) for task, own in runs.items()}
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
        tables.append((task, ["Score", *(f"AUROC, {title}" for title in SPLITS.values()), "seeds"], cells))
    named = ("flagged_normal_validation", "flagged_normal_test", "flagged_diseased_test")
    cells = [[task, *(format_ci(rows["synthetic"][key], 3) for key in named)] for task, rows in results.items()]
    header = ["`predict` of the default score, nominal rate 5%", "normal, validation", "normal, test", "diseased, test"]
    tables.append(("Fraction of images flagged by the threshold", header, cells))
    rows = results[LESION_TASK]
    cells = [
        [
            name,
            format_ci(m["synthetic_lesions"], 3),
            *(format_ci(m[k], 3) if k in m else "–" for k in ("peak_in_lesion", "average_precision", "dice")),
        ]
        for name, m in rows.items()
        if "synthetic_lesions" in m
    ]
    header = ["Score", "AUROC", "peak inside the lesion", "average precision, pixels", "Dice"]
    tables.append(("Synthetic lesions in normal test images", header, cells))
    figure(out.with_suffix(".png"), results)
    if images:
        save_examples(images, data, runs[LESION_TASK])
    write_page(
        out, "Anomaly detection", tables, {"backend": keras.backend.backend(), "results": results}, description()
    )


if __name__ == "__main__":
    main()
