"""A classifier trained on latents in the place of pixels, as MedVAE is used: how good, how quick, how large?

    python benchmarks/latent_training.py --data DIR --out benchmarks/latent_training

DIR holds pediatric_cxr: children's films of 224 pixels, normal or with pneumonia, the official test set. A small
convolutional network learns from the films, from films reduced to 56 pixels, and from the 28x28x4 latents of
vae-chestxray: drawn anew each epoch, one frozen draw, and the means. It has the same three levels from 28x28 on
everywhere; before them stands a convolution of stride 2 for each halving that the larger pictures need. The epoch with
the least validation loss is kept. AUC with 95% bootstrap intervals, averaged over the seeds, and its paired difference
to the films; images a second in training, of all in turn (anew with --speed); bytes an image as stored (films as JPEG,
latents as Parquet).
"""

import json
import tempfile
from pathlib import Path

import click
import keras
import numpy as np
from common import seconds, write

from medzoo.data.datasets import from_latents, load_latents, open_dataset
from medzoo.data.npz import to_float
from medzoo.io.intensity import center_crop_resize
from medzoo.metrics.bootstrap import bootstrap_ci, format_ci
from medzoo.metrics.classification import roc_auc
from medzoo.tasks.encode import encode_folder

NAME, SIZE = "vae-chestxray", 224
BODY = (32, 64, 128)  # widths from 28x28 on
FRONT = 16  # of the levels before


def network(shape):
    """Convolutions down to 28x28, each of stride 2, then a level for each halving; then the mean of each channel."""
    layers = [keras.Input(shape)]
    for width in (FRONT,) * round(np.log2(shape[0] / 28)):
        layers += [*convolution(width, 2)]
    for width in BODY:
        layers += [*convolution(width, 1), keras.layers.MaxPooling2D()]
    return keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)])


def convolution(width, stride):
    yield keras.layers.Conv2D(width, 3, stride, padding="same", use_bias=False)
    yield keras.layers.BatchNormalization(momentum=0.9)
    yield keras.layers.ReLU()


def trained(train, val, test, epochs, seed):
    """Scores of the test images."""
    keras.utils.set_random_seed(seed)
    model = compiled(val, epochs * len(train))
    best = keras.callbacks.EarlyStopping("val_loss", patience=epochs, restore_best_weights=True)
    model.fit(train, validation_data=val, epochs=epochs, shuffle=False, callbacks=[best], verbose=2)
    return model.predict(test, verbose=0)[:, 0]


def compiled(batches, steps):
    model = network(tuple(next(iter(batches))[0].shape[1:]))
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps, alpha=0.02)
    model.compile(keras.optimizers.AdamW(rate), keras.losses.BinaryCrossentropy(from_logits=True))
    return model


def paces(inputs, rounds=3, steps=20):
    """Images a second in training on each input: the best of some rounds, in turn, so that all see the same machine."""
    trainings = [(compiled(sets["train"], steps), sets["train"].take(steps)) for sets, _ in inputs.values()]
    best = [0.0] * len(trainings)
    for number in range(rounds + 1):
        for i, (model, batches) in enumerate(trainings):
            spent = seconds(lambda m=model, b=batches: m.fit(b, shuffle=False, verbose=0))
            best[i] = max(best[i], 32 * steps / spent) if number else 0.0
    return [round(pace) for pace in best]


def datasets(images, labels):
    """Batches of each split, from arrays."""
    import tensorflow as tf

    found = {}
    for split, x in images.items():
        data = tf.data.Dataset.from_tensor_slices((x, labels[split].astype("float32")[:, None]))
        data = data.shuffle(len(x), seed=0) if split == "train" else data
        found[split] = data.batch(32).prefetch(2)
    return found


def pneumonia(path):
    return [float("pneumonia" in path)]


def prepared(data, folder):
    """`(labels of the test films, {what is learned from: (data sets by split, bytes an image or None)})`."""
    source, splits = data / "pediatric_cxr", ("train", "val", "test")
    collection = open_dataset(source, SIZE)
    labels = {s: np.asarray(collection.labels(s)) for s in splits}
    films = {s: to_float(collection.images(s)) for s in splits}
    jpeg = sum(p.stat().st_size for p in source.rglob("*.jp*g")) / sum(map(len, films.values()))
    drawn = {}
    for split in splits:
        list(encode_folder(NAME, source / split, folder / split))
        train = split == "train"
        drawn[split] = from_latents(folder / split, pneumonia, shuffle=train, sample=train)
    latents = {s: load_latents(folder / s) for s in splits}
    parquet = sum(p.stat().st_size for p in folder.rglob("*.parquet")) / sum(map(len, films.values()))
    for s in splits:  # films and latents must stand in one order
        assert [Path(p).relative_to(s).as_posix() for p in collection.paths(s)] == latents[s][0]
    frozen = next(iter(from_latents(folder / "train", shuffle=False, seed=0, batch_size=10**6))).numpy()
    means, small = {s: latents[s][1] for s in splits}, (SIZE // 4, SIZE // 4)
    return labels["test"], {
        f"films, {SIZE} pixels": (datasets(films, labels), jpeg),
        f"films reduced to {SIZE // 4} pixels": (
            datasets({s: center_crop_resize(x, small) for s, x in films.items()}, labels),
            None,
        ),
        "latents, drawn anew": (drawn, parquet),
        "latents, one frozen draw": (datasets({**means, "train": frozen}, labels), None),
        "latents, means": (datasets(means, labels), None),
    }


def measured(truth, inputs, seeds, epochs):
    """Yields a row for each input."""
    every = []
    for name, (sets, size) in inputs.items():
        scores = np.stack([trained(*sets.values(), epochs, seed) for seed in range(seeds)])
        every.append(scores)
        found = bootstrap_ci(lambda i, s=scores: area(s, truth, i), len(truth), 1000)
        less = bootstrap_ci(lambda i, s=scores: area(s, truth, i) - area(every[0], truth, i), len(truth), 1000)
        yield {"input": name, "auc": found, "difference": less, "bytes": size and round(size)}


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--seeds", default=3, show_default=True)
@click.option("--epochs", default=6, show_default=True)
@click.option("--speed", is_flag=True, help="Measure the images a second anew only; on an idle machine.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, seeds, epochs, speed, out):
    with tempfile.TemporaryDirectory() as folder:
        truth, inputs = prepared(data, Path(folder))
        known = json.loads(out.with_suffix(".json").read_text()) if speed else {"seeds": seeds, "epochs": epochs}
        rows = known["results"] if speed else list(measured(truth, inputs, seeds, epochs))
        for row, pace in zip(rows, paces(inputs), strict=True):
            row["images_per_second"] = pace
            click.echo(str(row))
    header = ["learns from", "AUC", "less films'", "images a second in training", "bytes an image"]
    shown = [(r["input"], *(format_ci(r[k], 3) for k in ("auc", "difference"))) for r in rows]
    cells = [[*row, r["images_per_second"], r["bytes"] or "–"] for row, r in zip(shown, rows, strict=True)]
    figure(out.with_suffix(".png"), rows)
    facts = {"seeds": known["seeds"], "epochs": known["epochs"], "backend": keras.backend.backend(), "results": rows}
    write(out, "Latents in the place of pixels", [("", header, cells)], facts)


def area(scores, truth, chosen):
    """AUC over the chosen images, averaged over the seeds."""
    return np.mean([roc_auc(s[chosen], truth[chosen]) for s in scores])


def figure(path, rows):
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6, 3.6), layout="constrained")
    axis = drawing.subplots()
    for row in rows:
        axis.plot(row["images_per_second"], row["auc"]["mean"], "o", label=row["input"])
    axis.set(xlabel="images a second in training", ylabel="AUC", xscale="log")
    axis.legend(frameon=False, fontsize=8)
    drawing.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
