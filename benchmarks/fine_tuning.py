"""Fine-tuned classifiers on published protocols, compared with training from scratch and with published results.

    python benchmarks/fine_tuning.py --data DIR --cache DIR --out benchmarks/fine_tuning

DIR contains pediatric_cxr (pneumonia or normal; the official 624 test images) and breast_us_192.npz (malignant or
other; image-level split, which differs from that of BreastMNIST). `fine_tune` trains `ae-efficientnet-lite0` (first the
head, then all layers at a low learning rate), `mae-medical`, and the network of `mae-medical` from random
initialization for as many epochs. The epoch is selected and probabilities are calibrated on validation images. For the
pediatric images, a further model starts from the encoder of an `AnomalyDetector` of `mae-medical`, which was trained to
segment synthetic anomalies in the normal training images. `ae-efficientnet-lite0` receives images of 224 pixels, the
other models images of 128 pixels. It is trained on TensorFlow, where it is faster; the others are trained on PyTorch.
The pediatric images are augmented with acquisition variation (`augment="acquisition"`), because normal images differ
from pneumonia images in aspect ratio and sharpness. Ultrasound images use the default augmentation, because the shape
of a lesion is diagnostic. The tables list means over seeds with 95% intervals over images and seeds, the same for
averaged probabilities of the seeds, and paired differences to training from scratch. Accuracy is that of the more
probable class; ECE is the expected calibration error. Published: Doerrich et al. 2025, arXiv:2404.15786, the tables of
PneumoniaMNIST and BreastMNIST in BENCHMARK.md of their repository
sdoerrich97/rethinking-model-prototyping-MedMNISTPlus, means of three seeds of networks pretrained on ImageNet.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click
import keras
import numpy as np
from common import bootstrap_over_seeds, cached, description, use_one_core, write_page
from label_efficiency import read

import medzoo
from medzoo.data.npz import to_float
from medzoo.metrics.bootstrap import format_ci
from medzoo.metrics.classification import expected_calibration_error, macro_roc_auc, sensitivity_at_specificity
from medzoo.tasks.anomaly import AnomalyDetector
from medzoo.tasks.classify import fine_tune

MODEL, SIDE = "mae-medical", 128
IMAGENET = "ae-efficientnet-lite0"
SEEDS = 3
TASKS = {  # epochs of the head and of all layers, augmentation, is class 0 normal (for a detector)?
    "pediatric pneumonia": {"epochs": (1, 6), "augment": "acquisition", "normals": True},
    "breast ultrasound, malignant": {"epochs": (5, 20), "augment": True, "normals": False},
}
# For the network pretrained on ImageNet: first the head, then few epochs of all layers, because fine-tuning can distort
# pretrained features (Kumar et al. 2022, arXiv:2202.10054).
LARGE, RATES = 224, (1e-3, 1e-4)
EPOCHS = {"pediatric pneumonia": (2, 1), "breast ultrasound, malignant": (3, 8)}
SCRATCH = f"{MODEL}, from scratch"
MODELS = {
    f"{IMAGENET}, fine-tuned": "imagenet",
    f"{MODEL}, fine-tuned": True,
    "encoder of an anomaly detector, fine-tuned": "detector",
    SCRATCH: False,
}
METRICS = {
    "AUC": macro_roc_auc,
    "accuracy": lambda p, y: (p.argmax(axis=1) == y).mean(),
    "sensitivity at 90% specificity": lambda p, y: sensitivity_at_specificity(p[:, 1], y, 0.9),
    "ECE": expected_calibration_error,
}
PUBLISHED = {  # network, pixels: AUC, accuracy
    "pediatric pneumonia": {
        "ResNet-18, 64 pixels": (0.9434, 0.8600),
        "ResNet-18, 128 pixels": (0.9791, 0.8985),
        "ResNet-18, 224 pixels": (0.9804, 0.9113),
        "ViT-B/16 (DINO), frozen, 224 pixels": (0.9892, 0.9156),
    },
    "breast ultrasound, malignant": {
        "ResNet-18, 64 pixels": (0.8714, 0.8333),
        "ResNet-18, 128 pixels": (0.8778, 0.8547),
        "ResNet-18, 224 pixels": (0.8994, 0.8718),
        "AlexNet, 128 pixels": (0.9397, 0.9060),
    },
}


def models(task):
    return {name: variant for name, variant in MODELS.items() if TASKS[task]["normals"] or variant != "detector"}


def fine_tuned_probabilities(data, task, variant, seed):
    """Return the probabilities of the test images."""
    own, rates = TASKS[task], {}
    initial, side, count = MODEL, SIDE, own["epochs"]
    if variant == "imagenet":
        initial, side, count, rates = IMAGENET, LARGE, EPOCHS[task], {"learning_rates": RATES}
    images = read(data, task, side)
    x, y = images["train"]
    if variant == "detector":
        initial = AnomalyDetector(MODEL, size=side, seed=seed).fit(x[y == 0]).segmenter_
    keras.utils.set_random_seed(seed)
    model = medzoo.Classifier.from_pretrained(initial, 1 + int(y.max()), pretrained=bool(variant))
    epochs = count if variant else (0, sum(count))
    fine_tune(model, x, y, images["val"], epochs=epochs, augment=own["augment"], seed=seed, **rates)
    model.calibrate(to_float(images["val"][0]), images["val"][1])
    return model.predict(to_float(images["test"][0]), verbose=0)


def job(arguments):
    cache, data, *rest = arguments
    return cached(cache, rest, lambda: fine_tuned_probabilities(data, *rest))


def figure(path, results):
    from matplotlib.figure import Figure

    plot = Figure(figsize=(11, 3), layout="constrained")
    for axis, (task, rows) in zip(plot.subplots(1, len(results)), results.items(), strict=True):
        names = [*models(task), *PUBLISHED[task]]
        for i, name in enumerate(names):
            value = rows[name]["AUC"] if name in MODELS else {"mean": PUBLISHED[task][name][0]}
            axis.plot(value["mean"], i, "o", color="C1" if name in MODELS else "0.5")
            axis.plot(value.get("interval", []), [i, i][: len(value.get("interval", []))], color="C1", alpha=0.5)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.invert_yaxis()
        axis.set(xlabel="AUC, test images", title=task)
        axis.grid(axis="x", alpha=0.3)
    plot.savefig(path, dpi=100)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="Folder of intermediate results.")
@click.option("--jobs", default=2, show_default=True, help="Number of processes, one core each.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, cache, jobs, out):
    cache.mkdir(parents=True, exist_ok=True)
    found = {}
    for backend in ("tensorflow", "torch"):
        every = [(t, variant, seed) for t in TASKS for seed in range(SEEDS) for variant in models(t).values()]
        every = [key for key in every if (key[1] == "imagenet") == (backend == "tensorflow")]
        os.environ |= {"KERAS_BACKEND": backend, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
        with ProcessPoolExecutor(jobs, get_context("spawn"), use_one_core) as pool:
            found |= zip(every, pool.map(job, [(cache, data, *key) for key in every]), strict=True)
    results, tables = {}, []
    for task in TASKS:
        truth = read(data, task, SIDE)["test"][1]
        runs = {name: [found[task, variant, seed] for seed in range(SEEDS)] for name, variant in models(task).items()}
        averaged = {f"{name}, seeds averaged": [np.mean(own, axis=0)] for name, own in runs.items()}
        rows = {
            n: {m: bootstrap_over_seeds(own, truth, f) for m, f in METRICS.items()}
            for n, own in (runs | averaged).items()
        }
        for name in list(runs)[:-1]:
            difference = {m: bootstrap_over_seeds(runs[name], truth, f, runs[SCRATCH]) for m, f in METRICS.items()}
            rows[f"{name.removesuffix(', fine-tuned')}, difference to scratch"] = difference
        results[task] = rows
        cells = [[name, *(format_ci(row[m], 3) for m in METRICS)] for name, row in rows.items()]
        cells += [[f"published: {n}", f"{a:.3f}", f"{b:.3f}", "–", "–"] for n, (a, b) in PUBLISHED[task].items()]
        tables.append((f"{task}, {SEEDS} seeds", ["Model", *METRICS], cells))
    figure(out.with_suffix(".png"), results)
    write_page(out, "Fine-tuning", tables, {"results": results}, description())


if __name__ == "__main__":
    main()
