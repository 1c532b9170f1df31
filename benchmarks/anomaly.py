"""Anomaly scores fitted to normal images only, beside baselines that need no autoencoder.

    python benchmarks/anomaly.py --data DIR --out benchmarks/anomaly

DIR holds pneumoniamnist_28.npz and brainmri_128.npz. AUROC of diseased against normal images of the test splits, with
95% bootstrap intervals, and of the validation splits, by which the default score was chosen; nothing else saw a label.
"""

from pathlib import Path

import click
import keras
import numpy as np
from results import write

import medzoo
from medzoo.images.archive import load_npz, load_npz_labels, to_float
from medzoo.images.intensity import standardize
from medzoo.reports.bootstrap import interval_of, show
from medzoo.reports.classification import auc
from medzoo.tasks.anomaly.scores import SCORES

TASKS = {
    "pneumonia, children's films": {
        "file": "pneumoniamnist_28.npz",
        "normal": 0,
        "models": {
            "ae-chestxray-64": ("l1", "ssim", "latent", "neighbours", "features"),
            "vae-chestxray-64": tuple(SCORES),
        },
    },
    "tumours, brain MR": {
        "file": "brainmri_128.npz",
        "normal": 0,
        "models": {"vae-brainmri": tuple(SCORES), "vqvae-brainmri": ("l1", "ssim", "latent", "neighbours", "features")},
    },
}


def auroc(scores, diseased, resamples=1000):
    return interval_of(lambda i: auc(scores[i], diseased[i]), len(scores), resamples)


def baselines(normals, images):
    """Yields (name, scores of each split) of what needs no autoencoder."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    def flat(x):
        return standardize(x).reshape(len(x), -1)

    known = flat(normals)
    pca = PCA(min(64, len(known) // 2), random_state=0).fit(known)

    def error(x):
        return np.abs(flat(x) - pca.inverse_transform(pca.transform(flat(x)))).mean(axis=1)

    search = NearestNeighbors(n_neighbors=5).fit(known)
    brightness = normals.mean(axis=(1, 2, 3)).mean()
    black = _black(normals).mean()
    functions = {
        f"error of a PCA, {pca.n_components_} components": error,
        "5 nearest neighbours, pixels": lambda x: search.kneighbors(flat(x))[0].mean(axis=1),
        "unusual brightness alone": lambda x: np.abs(x.mean(axis=(1, 2, 3)) - brightness),
        "unusual share of black alone": lambda x: np.abs(_black(x) - black),
    }
    for name, function in functions.items():
        yield name, {split: function(x) for split, x in images.items()}


def _black(images):
    return (images < 0.05).mean(axis=(1, 2, 3))


def rows_of(task, folder):
    """Yields (model, score, measures)."""
    path = folder / task["file"]
    diseased = {split: load_npz_labels(path, split) != task["normal"] for split in ("train", "val", "test")}
    raw = {split: to_float(load_npz(path, split)) for split in diseased}
    normals, images = raw["train"][~diseased["train"]], {split: raw[split] for split in ("val", "test")}

    def measures(scores):
        return {
            "test": auroc(scores["test"], diseased["test"]),
            "validation": auroc(scores["val"], diseased["val"], 1)["mean"],
        }

    for name, scores in baselines(normals, images):
        yield "none", name, measures(scores)
    for name, wanted in task["models"].items():
        model = medzoo.load(name)
        together = medzoo.AnomalyDetector(model, scores=wanted, heat="l1").fit(normals)
        alone = {split: [] for split in images}
        for split, x in images.items():
            prepared = together._prepare(x)
            for score in wanted:
                middle, scale = together.scale_[score]
                alone[split].append((together.fitted_[score].score(model, prepared)[0] - middle) / scale)
        for i, score in enumerate(wanted):
            yield name, score, measures({split: s[i] for split, s in alone.items()})
        yield name, "all of them, averaged", measures({split: np.mean(s, axis=0) for split, s in alone.items()})
        plain = medzoo.AnomalyDetector(model, standardize=False, heat="l1").fit(normals)
        scores = {split: plain.anomaly_scores(x) for split, x in images.items()}
        yield name, "neighbours, exposure left as it is", measures(scores)
        default = medzoo.AnomalyDetector(model, heat="l1").fit(normals)
        called = default.predict(images["test"]) < 0
        truth = diseased["test"]
        yield (
            name,
            "neighbours at a false-positive rate of 5%",
            {
                "false_positive_rate": round(float(called[~truth].mean()), 4),
                "sensitivity": round(float(called[truth].mean()), 4),
            },
        )


def figure(path, results):
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(11, 6), layout="constrained")
    for axis, (title, rows) in zip(drawing.subplots(1, len(results)), results.items(), strict=True):
        rows = [row for row in rows if "test" in row[2]]
        for i, (model, _, m) in enumerate(rows):
            color = "0.5" if model == "none" else f"C{sorted({r[0] for r in rows}).index(model)}"
            axis.plot(m["test"]["interval"], [i, i], color=color, alpha=0.5)
            axis.plot(m["test"]["mean"], i, "o", color=color)
        names = [score if model == "none" else f"{model}: {score}" for model, score, _ in rows]
        axis.set_yticks(range(len(rows)), names, fontsize=7)
        axis.axvline(0.5, color="0.7", linestyle="--", linewidth=1)
        axis.invert_yaxis()
        axis.set(xlabel="AUROC, test split, 95% interval", title=title)
        axis.grid(axis="x", alpha=0.3)
    drawing.savefig(path, dpi=120)


TEXT = """AUROC of diseased against normal images of the test split, 95% bootstrap interval over images. Only normal
training images were seen (388 films; for the brain, the no_tumor slices). Every image is first brought to the same mean
and contrast, except where it says so.

Beware of the brain figures: the slices without a tumour differ in acquisition from those with one (scanner, sequence,
margins). A score that sees acquisition alone looks good, as the rows without an autoencoder show; none of these numbers
says how well tumours are found. In the children's films, all of one hospital, pneumonia is the paler class, which
is why contrast is standardised."""


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder with the archives.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, out):
    results = {}
    for title, task in TASKS.items():
        results[title] = []
        for row in rows_of(task, data):
            results[title].append(row)
            click.echo(f"{row[0]:16} {row[1]:44} {show(row[2]['test'], 3) if 'test' in row[2] else row[2]}")
    tables = []
    for title, rows in results.items():
        cells = [
            [model, score, show(m["test"], 3), f"{m['validation']:.3f}"] for model, score, m in rows if "test" in m
        ]
        tables.append((title, ["model", "score", "AUROC, test", "AUROC, validation"], cells))
        cells = [
            [model, f"{m['false_positive_rate']:.1%}", f"{m['sensitivity']:.1%}"]
            for model, _, m in rows
            if "sensitivity" in m
        ]
        header = ["model", "normal test images called anomalies", "diseased ones found"]
        tables.append((f"{title}: `predict` with the threshold for 5% false positives", header, cells))
    facts = {
        "backend": keras.backend.backend(),
        "results": {title: [{"model": a, "score": b, **m} for a, b, m in rows] for title, rows in results.items()},
    }
    figure(out.with_suffix(".png"), results)
    write(out, "Anomalies", tables, facts, TEXT)


if __name__ == "__main__":
    main()
