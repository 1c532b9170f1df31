"""Outlining drawn lesions on real films: a pretrained encoder, the same net from random weights, and a threshold.

    python benchmarks/segment.py --data chestxray_256.npz --out benchmarks/segment

No real masks are at hand, so the lesions are drawn (`medzoo.images.lesions`): the figures compare methods, and say
nothing of how well disease would be outlined. Dice and Hausdorff distance on the test split, 95% bootstrap intervals.
"""

from pathlib import Path

import click
import keras
import numpy as np
from results import write

import medzoo
from medzoo.images.archive import load_npz, to_float
from medzoo.images.intensity import resize
from medzoo.images.lesions import add_lesion
from medzoo.reports.bootstrap import show, summary
from medzoo.tasks.segment import dice, hausdorff

SIZE = 128
COUNTS = (20, 100)
METHODS = ("threshold", "random weights", "pretrained")
STEPS = 400


def with_lesions(images, seed):
    pairs = [add_lesion(image, seed=(seed, i)) for i, image in enumerate(images)]
    return tuple(np.stack(part) for part in zip(*pairs, strict=True))


def threshold(train, masks, images):
    """Brighter than the local mean by as much as is best on the training images: what needs no network."""
    from scipy.ndimage import gaussian_filter

    def excess(x):
        return np.stack([image - gaussian_filter(image, SIZE / 8) for image in x[..., 0]])

    levels = np.linspace(0, 0.4, 41)
    found = [dice(masks[..., 0], excess(train) > level).mean() for level in levels]
    return (excess(images) > levels[int(np.argmax(found))]).astype(int)


def network(name, train, validation, images, pretrained, seed=0, batch_size=16):
    """Masks from a segmenter trained for STEPS steps; the epoch with the lowest validation loss is kept."""
    keras.utils.set_random_seed(seed)
    model = medzoo.Segmenter.from_pretrained(name, 2, pretrained=pretrained)
    epochs = max(4, round(STEPS * batch_size / len(train[0])))
    steps = epochs * -(-len(train[0]) // batch_size)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps, alpha=0.02)))
    best = keras.callbacks.EarlyStopping(monitor="val_loss", patience=epochs, restore_best_weights=True)
    # Few images make many short epochs: looking at the validation images in each of them would take longer than they.
    every = max(1, epochs // 20)
    model.fit(
        *train,
        validation_data=validation,
        validation_freq=every,
        batch_size=batch_size,
        epochs=epochs,
        callbacks=[best],
        verbose=0,
    )
    return model.segment(images)


def figure(path, rows):
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8, 3.6), layout="constrained")
    for axis, key, title in zip(
        drawing.subplots(1, 2), ("dice", "hausdorff"), ("Dice", "Hausdorff distance, 95%, pixels"), strict=True
    ):
        for method in METHODS:
            own = [row for row in rows if row["method"] == method]
            means = np.array([row[key]["mean"] for row in own])
            ends = np.array([row[key]["interval"] for row in own]).T
            axis.errorbar(
                [r["images"] for r in own], means, np.abs(ends - means), fmt="o-", capsize=3, label=method, markersize=4
            )
        axis.set(xscale="log", xlabel="training films", title=title)
        axis.set_xticks(COUNTS, [str(n) for n in COUNTS])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    drawing.savefig(path, dpi=120)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--model", default="ae-chestxray", show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, model, out):
    films = {split: resize(to_float(load_npz(data, split)), SIZE) for split in ("train", "val", "test")}
    made = {split: with_lesions(images, seed) for seed, (split, images) in enumerate(films.items())}
    images, truth = made["test"]
    rows = []
    for count in COUNTS:
        train = tuple(part[:count] for part in made["train"])
        for method in METHODS:
            if method == "threshold":
                masks = threshold(*train, images)
            else:
                masks = network(model, train, made["val"], images, pretrained=method == "pretrained")
            distance = hausdorff(truth[..., 0], masks)
            missed = ~np.isfinite(distance)
            distance[missed] = SIZE * 2**0.5  # nothing found: as far as the film is wide
            row = {"images": len(train[0]), "method": method, "dice": summary(dice(truth[..., 0], masks))}
            rows.append({**row, "hausdorff": summary(distance), "nothing_found": int(missed.sum())})
            click.echo(f"{count:4} films, {method:15} Dice {show(row['dice'], 3)}")
    cells = [
        [r["images"], r["method"], show(r["dice"], 3), show(r["hausdorff"], 1), f"{r['nothing_found']}"] for r in rows
    ]
    text = (
        f"Lesions drawn on {len(images)} test films of `{data.name}` at {SIZE}×{SIZE} pixels, one on each; no real "
        f"masks. The networks are `Segmenter`s on `{model}`, trained for about {STEPS} steps of 16 films with Dice and "
        "cross-entropy; the threshold on the brightness above the surroundings is set on the same training films. "
        "Hausdorff distance: 95th percentile, pixels; where nothing was found, the film's diagonal."
    )
    facts = {"backend": keras.backend.backend(), "model": model, "size": SIZE, "steps": STEPS, "results": rows}
    figure(out.with_suffix(".png"), rows)
    header = ["training films", "", "Dice", "Hausdorff distance", "films with nothing found"]
    write(out, "Segment", [("", header, cells)], facts, text)


if __name__ == "__main__":
    main()
