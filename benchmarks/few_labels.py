"""Four classes of brain MR images from few labels: a pretrained encoder against the same net from random weights.

    python benchmarks/few_labels.py --data brainmri_128.npz --out benchmarks/few_labels

Training, choice of the epoch and temperature scaling see the training and validation splits only; the figures are of
the test split.
"""

from pathlib import Path

import click
import keras
import numpy as np
from classify import frozen, read, sized, trained
from results import write

import medzoo
from medzoo.reports.bootstrap import show

SHARES = (0.01, 0.1, 1.0)
SEEDS = (0, 1, 2)  # draws of the labelled images, and of the weights


def few_labels(path, name):
    """Yields (share of labels, row, seed, measures) for four classes of brain MR images."""
    data = read(path)
    data = sized(medzoo.load(name), data)
    images, labels = data["train"]
    extractor = medzoo.FeatureExtractor(name, kind="deep")
    for share in SHARES:
        for seed in SEEDS if share < 1 else SEEDS[:1]:
            some = {**data, "train": draw(images, labels, share, seed)}
            yield share, "frozen filters, logistic regression", seed, frozen(some, extractor)
            some["train"] = repeated(*some["train"])
            yield share, "pretrained, fine-tuned", seed, trained(name, some, seed, rates=(1e-3, 1e-3))
            yield share, "random weights", seed, trained(name, some, seed, pretrained=False)


def draw(images, labels, share, seed):
    """A stratified share of the images, at least two a class."""
    rng = np.random.default_rng(seed)
    chosen = [
        rng.choice(np.flatnonzero(labels == k), max(2, round(share * (labels == k).sum())), replace=False)
        for k in np.unique(labels)
    ]
    chosen = np.sort(np.concatenate(chosen))
    return images[chosen], labels[chosen]


def repeated(images, labels, least=512):
    """The images as often as makes an epoch worth its validation."""
    times = -(-least // len(images))
    return np.tile(images, (times, 1, 1, 1)), np.tile(labels, times)


def figure(path, rows):
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6, 4), layout="constrained")
    axis = drawing.subplots()
    for name in dict.fromkeys(r for _, r, _, _ in rows):
        points = [[m["auc"]["mean"] for s, r, _, m in rows if (s, r) == (share, name)] for share in SHARES]
        (line,) = axis.plot([100 * s for s in SHARES], [np.mean(p) for p in points], "o-", label=name)
        for share, p in zip(SHARES, points, strict=True):
            axis.plot([100 * share] * len(p), p, ".", color=line.get_color(), alpha=0.5)
    axis.set(xscale="log", xlabel="labelled images, %", ylabel="AUC", title="brain MR, four classes")
    axis.set_xticks([1, 10, 100], ["1", "10", "100"])
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    drawing.savefig(path, dpi=120)


TEXT = """{test} test slices, {train:,} training slices at 100%; one against the rest, averaged over classes. Split by
image because no patient numbers exist, so slices of one patient may stand on both sides. Where not all labels are used:
means over three draws; the autoencoder itself was trained on all the training slices, without their labels.
"Fine-tuned": head first, then everything; "random weights": the same net and as many epochs without pretraining."""


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--model", default="vae-brainmri", show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, model, out):
    rows = []
    for share, row, seed, m in few_labels(data, model):
        rows.append((share, row, seed, m))
        click.echo(f"{share:<5} {row:36} AUC {show(m['auc'], 3)} accuracy {show(m['accuracy'], 3)}")
    cells = []
    for share in SHARES:
        for name in dict.fromkeys(r for _, r, _, _ in rows):
            found = [m for s, r, _, m in rows if (s, r) == (share, name)]
            cells.append([f"{share:.0%}", name, *(over_draws([m[k] for m in found]) for k in MEASURES)])
    facts = {
        "backend": keras.backend.backend(),
        "model": model,
        "results": [{"share": s, "name": r, "seed": seed, **m} for s, r, seed, m in rows],
    }
    counts = {split: len(images) for split, (images, _) in read(data).items()}
    figure(out.with_suffix(".png"), rows)
    table = ("", ["labels", "", "AUC", "accuracy", "balanced accuracy"], cells)
    write(out, "Few labels: brain MR", [table], facts, TEXT.format(**counts))


MEASURES = ("auc", "accuracy", "balanced_accuracy")


def over_draws(found):
    """The value with its interval over images, or the mean over draws with their range."""
    if len(found) == 1:
        return show(found[0], 3)
    means = [value["mean"] for value in found]
    return f"{np.mean(means):.3f} (draws: {min(means):.3f} to {max(means):.3f})"


if __name__ == "__main__":
    main()
