"""Drawing from the prior against drawing from where real latents lie, for the VAEs of the zoo.

    python benchmarks/generate.py --data DIR --out benchmarks/generate

DIR holds the archives that the presets were trained on. Fréchet distance to test images in the frozen features of
ae-chestxray, precision and recall (see `medzoo.evaluate.samples`), and the share of samples that the memorisation
check calls copies of training images. For vae-brainmri, drawn by class, also whether a classifier that was trained on
real images takes a drawn image for what it was meant to be.
"""

from pathlib import Path

import click
import keras
import numpy as np
from results import write

import medzoo
from medzoo.evaluate.samples import _covered, frechet
from medzoo.images.archive import load_npz, load_npz_labels, to_float
from medzoo.recipes import recipe
from medzoo.reports.tables import table
from medzoo.tasks.features import features
from medzoo.tasks.generate import AggregatePosterior, copies

NAMES = ("vae-chestxray-64", "vae-brainmri", "vae-headct", "vae-breastmri", "vae-handxray", "vae-abdomenct")
COUNT = 1000


def judged(model, data, judge):
    """Yields (method, measures) for one VAE."""
    own = recipe(model.name)
    train, test = (to_float(load_npz(data / own.data, split, own.classes)) for split in ("train", "test"))
    real, held_out = features(judge, test), model.reconstruct(test)
    mixture = AggregatePosterior(model).fit(train)
    drawn = {
        "prior": model.sample(COUNT, seed=0),
        "prior, temperature 0.8": model.sample(COUNT, seed=0, temperature=0.8),
        "aggregate posterior": mixture.sample(COUNT, seed=0),
        "training images": train[np.random.default_rng(0).permutation(len(train))[:COUNT]],
    }
    for method, images in drawn.items():
        yield method, judged_by(judge, images, real, train, held_out)


def judged_by(judge, images, real, train, held_out, kind="latents"):
    """Measures of drawn images; `real` are the features of test images, `held_out` those images reconstructed."""
    seen = features(judge, images, kind)
    m = min(len(seen), len(real))
    return {
        "frechet": round(frechet(seen, real), 3),
        "precision": round(_covered(seen[:m], real[:m]), 3),
        "recall": round(_covered(real[:m], seen[:m]), 3),
        "copies": round(float(copies(images, train, held_out).mean()), 4),
    }


def by_class(model, data):
    """Balanced accuracy of a classifier of real images on real and on drawn ones."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    path = data / recipe(model.name).data[0].source["file"]
    images, labels = ({s: f(path, s) for s in ("train", "test")} for f in (load_npz, load_npz_labels))
    images = {s: to_float(x) for s, x in images.items()}
    judge = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000, class_weight="balanced"))
    # The classifier sees reconstructions, or it would judge how sharp an image is.
    judge.fit(features(model, model.reconstruct(images["train"]), "deep"), labels["train"])
    generator = AggregatePosterior(model).fit(images["train"], labels["train"])
    wanted = np.repeat(np.unique(labels["train"]), 100)
    drawn = np.concatenate([generator.sample(100, int(k), seed=0) for k in np.unique(labels["train"])])

    def right(x, truth):
        return round(float(balanced_accuracy_score(truth, judge.predict(features(model, x, "deep")))), 3)

    return {
        "real test images, reconstructed": right(model.reconstruct(images["test"]), labels["test"]),
        "drawn by class": right(drawn, wanted),
    }


def figure(path, rows):
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(9, 3.6), layout="constrained")
    axis = drawing.subplots()
    methods = list(dict.fromkeys(r["method"] for r in rows))
    for i, method in enumerate(methods):
        own = [r["frechet"] for r in rows if r["method"] == method]
        axis.bar(np.arange(len(own)) + 0.2 * (i - 1.5), own, width=0.2, label=method)
    axis.set_xticks(range(len(NAMES)), NAMES, fontsize=8)
    axis.set(ylabel="Fréchet distance to test images")
    axis.legend(frameon=False, fontsize=8)
    drawing.savefig(path, dpi=120)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder with the archives.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, out):
    judge, rows = medzoo.load("ae-chestxray"), []
    for name in NAMES:
        for method, m in judged(medzoo.load(name), data, judge):
            rows.append({"model": name, "method": method, **m})
            click.echo(f"{name:16} {method:24} {m}")
    classes = by_class(medzoo.load("vae-brainmri"), data)
    click.echo(str(classes))
    header = ["model", "", "Fréchet distance", "precision", "recall", "called copies"]
    cells = [[r["model"], r["method"], r["frechet"], r["precision"], r["recall"], f"{r['copies']:.1%}"] for r in rows]
    text = (
        f"{COUNT:,} images each (training images: as many as there are, at most so many). A check that finds nothing "
        "calls 1% copies; that training images are called copies shows that it sees them.\n\n"
        "Drawn by class with `AggregatePosterior`, vae-brainmri, balanced accuracy of a logistic regression fitted to "
        "real training images:\n\n" + table(["", "balanced accuracy"], list(classes.items()))
    )
    facts = {"backend": keras.backend.backend(), "results": rows, "by_class": classes}
    figure(out.with_suffix(".png"), rows)
    write(out, "Generate", [("Where to draw from", header, cells)], facts, text)


if __name__ == "__main__":
    main()
