"""Small images and volumes drawn by the VAEs of the zoo, beside what can be had without a learned prior.

    python benchmarks/generation.py --data DIR --out benchmarks/generation

DIR holds the archives that the presets were trained on. Judged against test images: Fréchet distance, precision and
recall in the features of a model that learned from other archives (of volumes: from the same ones), and the share that
the memorisation check calls copies of training images (a check that finds nothing calls 1% so). Beside them: N(0, I) in
the latents, for vae-chestxray-64 a mixture of Gaussians fitted to them, and as what could be reached at most training
images and reconstructed test images. For vae-brainmri also whether a classifier that was trained on real images takes a
drawn image for what it was meant to be.
"""

from dataclasses import dataclass
from pathlib import Path

import click
import keras
import numpy as np
from common import explained, write

import medzoo
from medzoo import visualization as plots
from medzoo.data.datasets import open_dataset
from medzoo.data.npz import to_float
from medzoo.evaluation.generation import _covered, frechet
from medzoo.tasks.features import extract_features, resize_to_model
from medzoo.tasks.generate import GaussianMixtureSampler, detect_copies
from medzoo.utils.tables import table

COUNT = 200


@dataclass(frozen=True)
class Case:
    """What is drawn: by which preset, of which archive and class, and whose features judge it."""

    title: str
    name: str
    archive: str
    judge: str
    classes: list | None = None


CASES = [
    Case("chest X-ray, 64 pixels", "vae-chestxray-64", "medical_mnist_64.npz", "vqvae-brainmri", ["chest_xray"]),
    Case("brain MR, 128 pixels", "vae-brainmri", "brainmri_128.npz", "ae-chestxray"),
    Case("breast ultrasound, 192 pixels", "vae-breastus", "breast_us_192.npz", "ae-chestxray"),
    Case("hippocampus, 32×48×32 voxels", "vae-hippocampus", "hippocampus", "vqvae-hippocampus"),
]


def drawn(vae, case, count, train):
    """Yields (how, images)."""
    grid = train.shape[1:-1]
    if vae.prior is not None:
        yield "learned prior", vae.sample(count, seed=0)
    yield "N(0, I)", vae.sample(count, seed=0, size=grid, use_prior=False)
    if vae.bottleneck == "vector":
        yield "N(0, I), temperature 0.8", vae.sample(count, seed=0, temperature=0.8)
        yield "mixture of Gaussians", GaussianMixtureSampler(vae).fit(train).sample(count, seed=0)


def judged(case, data):
    """Yields (how, measures, first images) for one case."""
    vae, judge = medzoo.load(case.name), medzoo.load(case.judge)
    size = vae.image_shape[:-1] if vae.spatial_dims == 3 else None
    collection = open_dataset(data / case.archive, size, classes=case.classes)
    train, test = (resize_to_model(vae, collection.images(split)) for split in ("train", "test"))
    held_out, real = vae.reconstruct(test), extract_features(judge, test)
    chosen = np.random.default_rng(0).permutation(len(train))[:COUNT]
    rest = (("reconstructed test images", held_out), ("training images", train[chosen]))
    for how, images in (*drawn(vae, case, min(COUNT, len(train)), train), *rest):
        yield how, judged_by(judge, images, real, train, held_out), images[:12]


def judged_by(judge, images, real, train, held_out, feature_type="latent"):
    """Measures of drawn images; `real` are the features of test images, `held_out` those images reconstructed."""
    seen = extract_features(judge, images, feature_type)
    m = min(len(seen), len(real))
    return {
        "frechet": round(frechet(seen, real), 3),
        "precision": round(_covered(seen[:m], real[:m]), 3),
        "recall": round(_covered(real[:m], seen[:m]), 3),
        "copies": round(float(detect_copies(images, train, held_out).mean()), 4),
    }


def by_class(name, data, count=50):
    """Balanced accuracy of a classifier of real images on real and on drawn ones."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    vae, collection = medzoo.load(name), open_dataset(data / "brainmri_128.npz")
    images, labels = ({s: f(s) for s in ("train", "test")} for f in (collection.images, collection.labels))
    seen = {s: extract_features(vae, vae.reconstruct(to_float(x)), "deep") for s, x in images.items()}
    judge = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000, class_weight="balanced"))
    # The classifier sees reconstructions, or it would judge how sharp an image is.
    judge.fit(seen["train"], labels["train"])
    kinds = np.unique(labels["train"])
    found = np.concatenate([vae.sample(count, seed=0, label=int(k)) for k in kinds])
    seen["drawn"], labels["drawn"] = extract_features(vae, found, "encoder"), np.repeat(kinds, count)
    return {
        text: round(float(balanced_accuracy_score(labels[s], judge.predict(seen[s]))), 3)
        for text, s in (("real test images, reconstructed", "test"), ("drawn by class", "drawn"))
    }


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder with the archives.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, out):
    rows, shown = [], []
    for case in CASES:
        for i, (how, found, images) in enumerate(judged(case, data)):
            rows.append({"images": case.title, "model": case.name, "how": how, **found})
            click.echo(str(rows[-1]))
            if i == 0:  # no patient's image goes into a page
                planes = images[:, :, images.shape[2] // 2] if images.ndim == 5 else images
                shown.append(medzoo.center_crop_resize(planes, (128, 128)))
    classes = by_class("vae-brainmri", data)
    click.echo(str(classes))
    header = ["", "model", "drawn from", "Fréchet distance", "precision", "recall", "called copies"]
    cells = [[*list(r.values())[:-1], f"{r['copies']:.1%}"] for r in rows]
    measured = table(["brain MR", "balanced accuracy"], list(classes.items()))
    text = (
        f"{explained()} At most {COUNT} images each. The picture shows the first that were drawn in the way "
        "that the table names first.\n\nBalanced accuracy of a logistic regression fitted to real training images:\n\n"
        + measured
    )
    plots.save_grid(
        out.with_suffix(".png"), np.concatenate(shown), columns=12, title="drawn: none of these patients exists"
    )
    facts = {"backend": keras.backend.backend(), "results": rows, "by_class": classes}
    write(out, "Generate", [("Where to draw from", header, cells)], facts, text)


if __name__ == "__main__":
    main()
