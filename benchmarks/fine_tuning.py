"""Classify on the protocols of the literature: a pretrained encoder, fine-tuned with all labels, and what is published.

    python benchmarks/fine_tuning.py --data DIR --cache DIR --out benchmarks/fine_tuning

DIR holds pediatric_cxr (pneumonia or none; the official 624 test films) and breast_us_192.npz (malignant or not; split
by image, otherwise than BreastMNIST). `fine_tune` of `ae-efficientnet-lite0`, its head first and then at a small rate; of
`mae-medical`, and of its net from random weights, as many epochs; the epoch is chosen on validation images, and
probabilities are calibrated there. Of the children's films also from the encoder of an `AnomalyDetector` of
`mae-medical`, which has learned to see what was put into the normal training films. `ae-efficientnet-lite0` sees images of 224
pixels, the others of 128; it trains on TensorFlow, where its net is quicker, the others on PyTorch. The children's
films are varied as another machine might have taken them (`augment="acquisition"`), since normal ones have other
proportions and are sharper than those of pneumonia; ultrasound as by default, since a lesion's shape is a sign. Means
over seeds, with 95% intervals over images and seeds; also of the seeds' probabilities averaged; less random (the net of
`mae-medical`), seed for seed. Accuracy is that of the more probable class; ECE is the expected calibration error.
Published: Doerrich et al. 2025, arXiv:2404.15786, the tables of PneumoniaMNIST and BreastMNIST in BENCHMARK.md of their
repository sdoerrich97/rethinking-model-prototyping-MedMNISTPlus, means of three seeds of nets pretrained on ImageNet.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click
import keras
import numpy as np
from labels import read
from common import alone, explained, over, remembered, write

import medzoo
from medzoo.data.npz import to_float
from medzoo.metrics.bootstrap import format_ci
from medzoo.metrics.classification import expected_calibration_error, macro_roc_auc, sensitivity_at_specificity
from medzoo.tasks.anomaly import AnomalyDetector
from medzoo.tasks.classify import fine_tune

MODEL, SIDE = "mae-medical", 128
IMAGENET = "ae-efficientnet-lite0"
SEEDS = 3
TASKS = {  # epochs of the head and of everything, how images are varied, is class 0 normal (for a detector)?
    "children's pneumonia": {"epochs": (1, 6), "augment": "acquisition", "normals": True},
    "breast ultrasound, malignant": {"epochs": (5, 20), "augment": True, "normals": False},
}
# Of the net that knows ImageNet: the head first, then little of the rest, or what it knows is lost (Kumar et al. 2022,
# arXiv:2202.10054).
LARGE, RATES = 224, (1e-3, 1e-4)
EPOCHS = {"children's pneumonia": (2, 1), "breast ultrasound, malignant": (3, 8)}
RANDOM = f"net of {MODEL} from random weights"
WAYS = {
    f"{IMAGENET}, fine-tuned": "imagenet",
    f"{MODEL}, fine-tuned": True,
    "first a detector, fine-tuned": "detector",
    RANDOM: False,
}
MEASURES = {
    "AUC": macro_roc_auc,
    "accuracy": lambda p, y: (p.argmax(axis=1) == y).mean(),
    "sensitivity at 90% specificity": lambda p, y: sensitivity_at_specificity(p[:, 1], y, 0.9),
    "ECE": expected_calibration_error,
}
PUBLISHED = {  # net, pixels: AUC, accuracy
    "children's pneumonia": {
        "ResNet-18, 64 pixels": (0.9434, 0.8600),
        "ResNet-18, 128 pixels": (0.9791, 0.8985),
        "ResNet-18, 224 pixels": (0.9804, 0.9113),
        "ViT-B/16 of DINO, frozen, 224 pixels": (0.9892, 0.9156),
    },
    "breast ultrasound, malignant": {
        "ResNet-18, 64 pixels": (0.8714, 0.8333),
        "ResNet-18, 128 pixels": (0.8778, 0.8547),
        "ResNet-18, 224 pixels": (0.8994, 0.8718),
        "AlexNet, 128 pixels": (0.9397, 0.9060),
    },
}


def ways(task):
    return {name: way for name, way in WAYS.items() if TASKS[task]["normals"] or way != "detector"}


def tuned(data, task, way, seed):
    """Probabilities of the test images."""
    own, rates = TASKS[task], {}
    start, side, count = MODEL, SIDE, own["epochs"]
    if way == "imagenet":
        start, side, count, rates = IMAGENET, LARGE, EPOCHS[task], {"learning_rates": RATES}
    images = read(data, task, side)
    x, y = images["train"]
    if way == "detector":
        start = AnomalyDetector(MODEL, size=side, seed=seed).fit(x[y == 0]).segmenter_
    keras.utils.set_random_seed(seed)
    model = medzoo.Classifier.from_pretrained(start, 1 + int(y.max()), pretrained=bool(way))
    epochs = count if way else (0, sum(count))
    fine_tune(model, x, y, images["val"], epochs=epochs, augment=own["augment"], seed=seed, **rates)
    model.calibrate(to_float(images["val"][0]), images["val"][1])
    return model.predict(to_float(images["test"][0]), verbose=0)


def job(arguments):
    cache, data, *rest = arguments
    return remembered(cache, rest, lambda: tuned(data, *rest))


def figure(path, results):
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(11, 3), layout="constrained")
    for axis, (task, rows) in zip(drawing.subplots(1, len(results)), results.items(), strict=True):
        names = [*ways(task), *PUBLISHED[task]]
        for i, name in enumerate(names):
            value = rows[name]["AUC"] if name in WAYS else {"mean": PUBLISHED[task][name][0]}
            axis.plot(value["mean"], i, "o", color="C1" if name in WAYS else "0.5")
            axis.plot(value.get("interval", []), [i, i][: len(value.get("interval", []))], color="C1", alpha=0.5)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.invert_yaxis()
        axis.set(xlabel="AUC, test images", title=task)
        axis.grid(axis="x", alpha=0.3)
    drawing.savefig(path, dpi=100)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder with the archives.")
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="Folder for what was reached.")
@click.option("--jobs", default=2, show_default=True, help="Processes, one core each.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, cache, jobs, out):
    cache.mkdir(parents=True, exist_ok=True)
    found = {}
    for backend in ("tensorflow", "torch"):
        every = [(t, way, seed) for t in TASKS for seed in range(SEEDS) for way in ways(t).values()]
        every = [key for key in every if (key[1] == "imagenet") == (backend == "tensorflow")]
        os.environ |= {"KERAS_BACKEND": backend, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
        with ProcessPoolExecutor(jobs, get_context("spawn"), alone) as pool:
            found |= zip(every, pool.map(job, [(cache, data, *key) for key in every]), strict=True)
    results, tables = {}, []
    for task in TASKS:
        truth = read(data, task, SIDE)["test"][1]
        runs = {name: [found[task, way, seed] for seed in range(SEEDS)] for name, way in ways(task).items()}
        together = {f"{name}, seeds averaged": [np.mean(own, axis=0)] for name, own in runs.items()}
        rows = {n: {m: over(own, truth, f) for m, f in MEASURES.items()} for n, own in (runs | together).items()}
        for name in list(runs)[:-1]:
            less = {m: over(runs[name], truth, f, runs[RANDOM]) for m, f in MEASURES.items()}
            rows[f"{name.removesuffix(', fine-tuned')} less random"] = less
        results[task] = rows
        cells = [[name, *(format_ci(row[m], 3) for m in MEASURES)] for name, row in rows.items()]
        cells += [[f"published: {n}", f"{a:.3f}", f"{b:.3f}", "–", "–"] for n, (a, b) in PUBLISHED[task].items()]
        tables.append((f"{task}, {SEEDS} seeds", ["", *MEASURES], cells))
    figure(out.with_suffix(".png"), results)
    write(out, "Diagnosis", tables, {"results": results}, explained())


if __name__ == "__main__":
    main()
