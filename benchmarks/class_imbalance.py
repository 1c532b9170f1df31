"""Pneumonia classifiers on pretrained encoders, on pixels and from scratch, and strategies for class imbalance.

    python benchmarks/class_imbalance.py --data pneumoniamnist_28.npz --out benchmarks/class_imbalance

Models are trained, epochs selected and temperatures fitted on the training and validation splits only. Results are
those of the test split, with 95% bootstrap intervals over images.
"""

from pathlib import Path

import click
import keras
import numpy as np
from common import write_page

import medzoo
from medzoo.data.npz import load_npz, load_npz_labels, to_float
from medzoo.metrics import classification
from medzoo.metrics.bootstrap import format_ci
from medzoo.tasks.classify import fine_tune
from medzoo.tasks.features import resize_to_model

SPLITS = ("train", "val", "test")
STRATEGIES = ("none", "class weights", "balanced sampling", "focal loss", "generated images")


def read(path):
    return {split: (load_npz(path, split), load_npz_labels(path, split)) for split in SPLITS}


def resized(model, data):
    return {split: (resize_to_model(model, images), labels) for split, (images, labels) in data.items()}


def measured(probabilities, labels):
    """Return metrics of the test split, after temperature scaling on the validation split."""
    t = classification.fit_temperature(probabilities["val"], labels["val"])
    scaled = {split: classification.apply_temperature(p, t) for split, p in probabilities.items()}
    uncalibrated = classification.expected_calibration_error(probabilities["test"], labels["test"])
    return {
        **classification.classification_metrics(scaled["test"], labels["test"]),
        "ece_before": round(uncalibrated, 4),
        "temperature": round(t, 3),
        "validation_auc": classification.classification_metrics(scaled["val"], labels["val"], resamples=1)["auc"][
            "mean"
        ],
    }


def frozen(data, transform):
    """Evaluate a class-weighted logistic regression on a fixed transform of the images."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(
        transform, StandardScaler(), LogisticRegression(C=0.01, max_iter=3000, class_weight="balanced")
    )
    pipeline.fit(*data["train"])
    labels = {split: data[split][1] for split in ("val", "test")}
    return measured({split: pipeline.predict_proba(data[split][0]) for split in labels}, labels)


def trained(name, data, seed=0, pretrained=True, epochs=(5, 10), rates=(1e-3, 3e-4), **own):
    """Evaluate staged fine-tuning of a preset's encoder, or training from scratch for as many epochs."""
    keras.utils.set_random_seed(seed)
    classifier = medzoo.Classifier.from_pretrained(name, 1 + int(data["train"][1].max()), pretrained=pretrained)
    if not pretrained:
        epochs, rates = (0, sum(epochs)), (1e-3, 1e-3)
    fine_tune(classifier, *data["train"], data["val"], epochs=epochs, learning_rates=rates, seed=seed, **own)
    labels = {split: data[split][1] for split in ("val", "test")}
    return measured({split: classifier.predict(data[split][0], verbose=0) for split in labels}, labels)


def rebalance(strategy, images, labels, seed=0):
    """Return training images, labels and arguments of `fine_tune` for one class-imbalance strategy."""
    rng = np.random.default_rng(seed)
    rare = np.flatnonzero(labels == np.bincount(labels).argmin())
    missing = np.bincount(labels).max() - len(rare)
    label = np.full(missing, labels[rare[0]])
    if strategy == "class weights":
        return images, labels, {}
    if strategy == "balanced sampling":
        return np.concatenate([images, images[rng.choice(rare, missing)]]), np.concatenate([labels, label]), {}
    if strategy == "generated images":
        generated = interpolate_images(images[rare], missing, rng)
        return np.concatenate([images, generated]), np.concatenate([labels, label]), {}
    if strategy == "focal loss":
        return images, labels, {"class_weight": None, "loss": FocalLoss()}
    return images, labels, {"class_weight": None}


def interpolate_images(images, count, rng, n_neighbors=5):
    """Generate images between an image and one of its neighbors in the latent space of vae-chestxray-64.

    As in SMOTE (Chawla et al. 2002). The residual of the first image is added, so that generated images are as sharp as
    real ones.
    """
    from sklearn.neighbors import NearestNeighbors

    vae = medzoo.load("vae-chestxray-64")
    latents = vae.encode(images)
    residual = images - vae.decode(latents)
    _, near = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(latents).kneighbors(latents)
    first = rng.integers(0, len(images), count)
    second = near[first, rng.integers(1, n_neighbors + 1, count)]
    position = rng.uniform(0, 0.6, (count, 1)).astype("float32")
    moved = vae.decode(latents[first] + position * (latents[second] - latents[first]))
    return np.clip(moved + residual[first], 0, 1)


class FocalLoss(keras.losses.Loss):
    """Focal loss (Lin et al. 2017, arXiv:1708.02002), gamma 2, for integer labels."""

    def call(self, y_true, y_pred):
        labels = keras.ops.one_hot(keras.ops.reshape(keras.ops.cast(y_true, "int32"), (-1,)), y_pred.shape[-1])
        return keras.losses.categorical_focal_crossentropy(labels, y_pred, alpha=1.0, gamma=2.0)


def pneumonia(path):
    """Yield `(group, row, metrics)` for pneumonia in pediatric chest X-rays."""
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import FunctionTransformer

    data = read(path)
    flat = {split: (to_float(images).reshape(len(images), -1), labels) for split, (images, labels) in data.items()}
    yield "frozen", "256 principal components of the pixels", frozen(flat, PCA(256, random_state=0))
    yield "frozen", "pixels", frozen(flat, FunctionTransformer())
    for name in ("ae-chestxray-64", "vae-chestxray-64", "vqvae-chestxray-64"):
        for feature_type, what in (("latent", "latents"), ("encoder", "encoder features")):
            extractor = medzoo.FeatureExtractor(name, feature_type=feature_type, resize=True)
            yield "frozen", f"{what} of {name}", frozen(data, extractor)
    own = resized(medzoo.load("ae-chestxray-64"), data)
    for strategy in STRATEGIES:
        images, labels, arguments = rebalance(strategy, *own["train"])
        yield "imbalance", strategy, trained("ae-chestxray-64", {**own, "train": (images, labels)}, **arguments)
    yield "fine-tuned", "vqvae-chestxray-64", trained("vqvae-chestxray-64", own)
    yield "from scratch", "ae-chestxray-64", trained("ae-chestxray-64", own, pretrained=False)
    yield "from scratch", "vqvae-chestxray-64", trained("vqvae-chestxray-64", own, pretrained=False)


def figure(path, rows):
    from matplotlib.figure import Figure

    plot = Figure(figsize=(8, 4.2), layout="constrained")
    axis = plot.subplots()
    for i, (group, _, m) in enumerate(rows):
        color = f"C{[g for g, _, _ in rows].index(group)}"
        axis.plot(m["auc"]["interval"], [i, i], color=color, alpha=0.5)
        axis.plot(m["auc"]["mean"], i, "o", color=color)
    axis.set_yticks(range(len(rows)), [f"{group}: {row}" for group, row, _ in rows], fontsize=8)
    axis.invert_yaxis()
    axis.set(xlabel="AUC (95% CI)", title="Pediatric pneumonia, 624 test images")
    axis.grid(axis="x", alpha=0.3)
    plot.savefig(path, dpi=120)


def cells(m):
    sensitivity = m.get("sensitivity_at_0.9_specificity")
    return [
        format_ci(m["auc"], 3),
        format_ci(m["accuracy"], 3),
        format_ci(m["balanced_accuracy"], 3),
        format_ci(sensitivity, 3) if sensitivity else "–",
        f"{m['ece_before']:.3f} → {m['ece']['mean']:.3f}",
        f"{m['validation_auc']:.3f}",
    ]


HEADER = [
    "AUC",
    "accuracy",
    "balanced accuracy",
    "sensitivity at 90% specificity",
    "ECE before → after scaling",
    "AUC, validation",
]
TEXT = """{train:,} training images ({rare} of the minority class), {test} images of the official test split; 95%
bootstrap intervals over images; expected calibration error (ECE) before and after temperature scaling on the validation
split. "Frozen": class-weighted logistic regression on fixed features. "Imbalance": `ae-chestxray-64` fine-tuned (first
the head, then all layers) with each class-imbalance strategy; class weights are the default of `fine_tune`. "From
scratch": the same networks trained from random initialization for as many epochs."""


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="NPZ file of the images.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, out):
    rows = []
    for group, row, m in pneumonia(data):
        rows.append((group, row, m))
        click.echo(f"{group:12} {row:40} AUC {format_ci(m['auc'], 3)} accuracy {format_ci(m['accuracy'], 3)}")
    labels = {split: load_npz_labels(data, split) for split in ("train", "test")}
    counts = {"train": len(labels["train"]), "rare": np.bincount(labels["train"]).min(), "test": len(labels["test"])}
    facts = {"backend": keras.backend.backend(), "results": [{"group": g, "name": r, **m} for g, r, m in rows]}
    figure(out.with_suffix(".png"), rows)
    table = ("", ["Group", "Model", *HEADER], [[group, row, *cells(m)] for group, row, m in rows])
    write_page(out, "Class imbalance: pneumonia", [table], facts, TEXT.format(**counts))


if __name__ == "__main__":
    main()
