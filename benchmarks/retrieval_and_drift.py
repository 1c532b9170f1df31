"""Image retrieval, drift detection and 2D projection with features of presets, compared with pixels.

    python benchmarks/retrieval_and_drift.py --data DIR --out benchmarks/retrieval_and_drift

DIR contains medical_mnist_64.npz, pneumoniamnist_28.npz, brainmri_128.npz and chestxray_256.npz. Retrieval: fraction of
the five nearest training images that have the label of the test image. Drift: AUC of a classifier that discriminates
between two sets of images, and p-value of a permutation test.
"""

from pathlib import Path

import click
import keras
import numpy as np
from common import write_page

import medzoo
from medzoo.data.npz import load_npz, load_npz_labels, to_float
from medzoo.metrics.bootstrap import bootstrap_mean_ci, format_ci
from medzoo.tasks.drift import detect_drift
from medzoo.tasks.features import extract_features, resize_to_model
from medzoo.tasks.projection import project_2d
from medzoo.tasks.retrieval import ImageRetriever

DATASETS = {  # title: (file, presets)
    "pediatric pneumonia": ("pneumoniamnist_28.npz", ("ae-chestxray-64", "vqvae-chestxray-64")),
    "four classes of brain MR": ("brainmri_128.npz", ("vae-brainmri",)),
    "five body parts and modalities": ("medical_mnist_64.npz", ("vae-medical", "ae-chestxray-64")),
}
NEAREST = 5


def evaluate_retrieval(path, names, max_images=3000):
    """Yield `(method, fraction of nearest images with the label of the query)`."""
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import normalize

    rng = np.random.default_rng(0)
    (train, known), (test, labels) = ((load_npz(path, s), load_npz_labels(path, s)) for s in ("train", "test"))
    some = np.sort(rng.permutation(len(train))[:max_images])
    train, known = train[some], known[some]

    def flat(x):
        x = to_float(x).reshape(len(x), -1)
        return normalize(x - x.mean(axis=1, keepdims=True))

    _, near = NearestNeighbors(n_neighbors=NEAREST, algorithm="brute").fit(flat(train)).kneighbors(flat(test))
    yield "pixels (correlation)", bootstrap_mean_ci((known[near] == labels[:, None]).mean(axis=1))
    for name in names:
        model = medzoo.load(name)
        for feature_type in ("latent", "encoder", "both"):
            retriever = ImageRetriever(model, feature_type).fit(resize_to_model(model, train))
            _, near = retriever.search(resize_to_model(model, test), NEAREST)
            yield f"{name}, {feature_type}", bootstrap_mean_ci((known[near] == labels[:, None]).mean(axis=1))


def evaluate_drift(data):
    """Yield `(sets, results of detect_drift)` in the features of ae-chestxray-64."""
    model = medzoo.load("ae-chestxray-64")

    def table(x):
        return extract_features(model, resize_to_model(model, x), "both")

    images = load_npz(data / "medical_mnist_64.npz", "test", ["chest_xray"])
    adults, pediatric = load_npz(data / "chestxray_256.npz", "train"), load_npz(data / "pneumoniamnist_28.npz", "test")
    darker = (to_float(images[300:600]) ** 1.1 * 255).round().astype("uint8")
    pairs = {
        "same data set, two halves": (images[:300], images[300:600]),
        "same data set, second half with gamma 1.1": (images[:300], darker),
        "same site, different preprocessing": (images[:300], adults[:300]),
        "adults (USA) versus children (China)": (adults[:300], pediatric[:300]),
    }
    for title, (reference, new) in pairs.items():
        found = detect_drift(table(reference), table(new))
        yield title, {"auc": round(found["auc"], 3), "p_value": round(found["p_value"], 4)}


def figure(path, data):
    """Save 2D projections of the body parts, one color each."""
    from matplotlib.figure import Figure

    file = data / "medical_mnist_64.npz"
    images, labels = load_npz(file, "test"), load_npz_labels(file, "test")
    names = np.load(file)["class_names"]
    table = extract_features(medzoo.load("vae-medical"), to_float(images), "both")
    plot = Figure(figsize=(10, 4.5), layout="constrained")
    for axis, method in zip(plot.subplots(1, 2), ("pca", "tsne"), strict=True):
        points = project_2d(table, method)
        for k in np.unique(labels):
            axis.plot(*points[labels == k].T, ".", markersize=3, alpha=0.6, label=str(names[k]))
        axis.set_title(f"vae-medical, {len(images):,} test images, {method}", fontsize=9)
        axis.set_axis_off()
    axis.legend(frameon=False, fontsize=8, markerscale=3)
    plot.savefig(path, dpi=120)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, out):
    found = []
    for title, (file, names) in DATASETS.items():
        for method, fraction in evaluate_retrieval(data / file, names):
            found.append({"dataset": title, "method": method, "fraction": fraction})
            click.echo(f"{title:32} {method:28} {format_ci(fraction, 3)}")
    drift = [{"sets": title, **m} for title, m in evaluate_drift(data)]
    for row in drift:
        click.echo(str(row))
    figure(out.with_suffix(".png"), data)
    fraction = f"same label among the {NEAREST} nearest"
    tables = [
        (
            "Retrieval",
            ["Data set", "Features", fraction],
            [[r["dataset"], r["method"], format_ci(r["fraction"], 3)] for r in found],
        ),
        ("Drift", ["Sets", "AUC", "p-value"], [[r["sets"], r["auc"], r["p_value"]] for r in drift]),
    ]
    text = (
        "Retrieval: fraction of the nearest training images that have the label of the test image, mean over test "
        "images with 95% bootstrap interval; by cosine similarity of standardized features (`ImageRetriever`) or by "
        "correlation of pixels. Drift: in the features of ae-chestxray-64, 300 images per set. The figure shows a "
        "two-dimensional projection of the features of vae-medical, which was trained without labels."
    )
    facts = {"backend": keras.backend.backend(), "retrieval": found, "drift": drift}
    write_page(out, "Retrieval and drift", tables, facts, text)


if __name__ == "__main__":
    main()
