"""Similar cases, drift and maps: what the features of a preset are worth beside the pixels.

    python benchmarks/retrieval_and_drift.py --data DIR --out benchmarks/retrieval_and_drift

DIR holds medical_mnist_64.npz, pneumoniamnist_28.npz, brainmri_128.npz and chestxray_256.npz. Similar cases: share of
the five nearest training images that carry the test image's label. Drift: AUC of a classifier that tells two sets of
films apart, and p-value of a permutation test.
"""

from pathlib import Path

import click
import keras
import numpy as np
from common import write

import medzoo
from medzoo.data.npz import load_npz, load_npz_labels, to_float
from medzoo.metrics.bootstrap import bootstrap_mean_ci, format_ci
from medzoo.tasks.drift import detect_drift
from medzoo.tasks.features import extract_features, resize_to_model
from medzoo.tasks.projection import project_2d
from medzoo.tasks.retrieval import ImageRetriever

ARCHIVES = {  # title: (file, presets)
    "pneumonia, children's films": ("pneumoniamnist_28.npz", ("ae-chestxray-64", "vqvae-chestxray-64")),
    "four classes of brain MR": ("brainmri_128.npz", ("vae-brainmri",)),
    "five body parts and modalities": ("medical_mnist_64.npz", ("vae-medical", "ae-chestxray-64")),
}
NEAREST = 5


def similar(path, names, most=3000):
    """Yields (method, share of neighbours with the right label)."""
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import normalize

    rng = np.random.default_rng(0)
    (train, known), (test, labels) = ((load_npz(path, s), load_npz_labels(path, s)) for s in ("train", "test"))
    some = np.sort(rng.permutation(len(train))[:most])
    train, known = train[some], known[some]

    def flat(x):
        x = to_float(x).reshape(len(x), -1)
        return normalize(x - x.mean(axis=1, keepdims=True))

    _, near = NearestNeighbors(n_neighbors=NEAREST, algorithm="brute").fit(flat(train)).kneighbors(flat(test))
    yield "pixels (correlation)", bootstrap_mean_ci((known[near] == labels[:, None]).mean(axis=1))
    for name in names:
        model = medzoo.load(name)
        for kind in ("latents", "deep", "both"):
            search = ImageRetriever(model, kind).fit(resize_to_model(model, train))
            near, _ = search.search(resize_to_model(model, test), NEAREST)
            yield f"{name}, {kind}", bootstrap_mean_ci((known[near] == labels[:, None]).mean(axis=1))


def drifts(data):
    """Yields (two sets, what `drift` says), in the features of ae-chestxray-64."""
    model = medzoo.load("ae-chestxray-64")

    def table(x):
        return extract_features(model, resize_to_model(model, x), "both")

    archive = load_npz(data / "medical_mnist_64.npz", "test", ["chest_xray"])
    adults, children = load_npz(data / "chestxray_256.npz", "train"), load_npz(data / "pneumoniamnist_28.npz", "test")
    darker = (to_float(archive[300:600]) ** 1.1 * 255).round().astype("uint8")
    pairs = {
        "the same archive, two halves": (archive[:300], archive[300:600]),
        "the same archive, second half at gamma 1.1": (archive[:300], darker),
        "the same hospital, another preparation": (archive[:300], adults[:300]),
        "adults in the USA, children in China": (adults[:300], children[:300]),
    }
    for title, (old, new) in pairs.items():
        found = detect_drift(table(old), table(new))
        yield title, {"auc": round(found["auc"], 3), "p_value": round(found["p_value"], 4)}


def figure(path, data):
    """Maps of the body parts, one colour each."""
    from matplotlib.figure import Figure

    archive = data / "medical_mnist_64.npz"
    images, labels = load_npz(archive, "test"), load_npz_labels(archive, "test")
    names = np.load(archive)["class_names"]
    table = extract_features(medzoo.load("vae-medical"), to_float(images), "both")
    drawing = Figure(figsize=(10, 4.5), layout="constrained")
    for axis, method in zip(drawing.subplots(1, 2), ("pca", "tsne"), strict=True):
        where = project_2d(table, method)
        for k in np.unique(labels):
            axis.plot(*where[labels == k].T, ".", markersize=3, alpha=0.6, label=str(names[k]))
        axis.set_title(f"vae-medical, {len(images):,} test images, {method}", fontsize=9)
        axis.set_axis_off()
    axis.legend(frameon=False, fontsize=8, markerscale=3)
    drawing.savefig(path, dpi=120)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder with the archives.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, out):
    found = []
    for title, (file, names) in ARCHIVES.items():
        for method, share in similar(data / file, names):
            found.append({"archive": title, "method": method, "share": share})
            click.echo(f"{title:32} {method:28} {format_ci(share, 3)}")
    moved = [{"sets": title, **m} for title, m in drifts(data)]
    for row in moved:
        click.echo(str(row))
    figure(out.with_suffix(".png"), data)
    share = f"of the {NEAREST} nearest, same label"
    tables = [
        (
            "Similar cases",
            ["archive", "", share],
            [[r["archive"], r["method"], format_ci(r["share"], 3)] for r in found],
        ),
        ("Drift", ["", "AUC", "p-value"], [[r["sets"], r["auc"], r["p_value"]] for r in moved]),
    ]
    text = (
        "Share of the nearest training images with the test image's label, mean over test images and 95% bootstrap "
        "interval; by cosine in standardised features (`ImageRetriever`) or by correlation of pixels. Drift in the "
        "features of ae-chestxray-64, 300 films each. The map shows the features of vae-medical, which was trained "
        "without labels."
    )
    facts = {"backend": keras.backend.backend(), "similar": found, "drift": moved}
    write(out, "Explore", tables, facts, text)


if __name__ == "__main__":
    main()
