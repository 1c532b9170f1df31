"""Classifiers trained on latents instead of images: AUC, training throughput and storage.

    python benchmarks/latent_training.py --data DIR --out benchmarks/latent_training

DIR contains pediatric_cxr: pediatric chest X-rays of 224 pixels, normal or pneumonia, with the official test split. A
small convolutional network is trained on the images, on images downsampled to 56 pixels, and on the 28x28x4 latents of
vae-chestxray: sampled from the posterior in each epoch, a single fixed sample, and the posterior means. All networks
share the three levels from 28x28 on; larger inputs first pass a convolution of stride 2 per halving. The epoch with the
lowest validation loss is kept. The table lists the AUC with 95% bootstrap intervals, averaged over the seeds, and its
paired difference to training on the images; the training throughput in images per second, all inputs in turn (measured
again with --speed); and bytes per image as stored (images as JPEG, latents as Parquet).
"""

import json
import tempfile
from pathlib import Path

import click
import keras
import numpy as np
from common import seconds, write_page

from medzoo.data.datasets import from_latents, load_latents, open_dataset
from medzoo.data.npz import to_float
from medzoo.io.intensity import center_crop_resize
from medzoo.metrics.bootstrap import bootstrap_ci, format_ci
from medzoo.metrics.classification import roc_auc
from medzoo.tasks.encode import encode_folder

NAME, SIZE = "vae-chestxray", 224
WIDTHS = (32, 64, 128)  # of the levels from 28x28 on
STEM_WIDTH = 16  # of the levels before


def network(shape):
    """Return a classifier: strided convolutions down to 28x28, one level per halving, global average pooling."""
    layers = [keras.Input(shape)]
    for width in (STEM_WIDTH,) * round(np.log2(shape[0] / 28)):
        layers += [*convolution(width, 2)]
    for width in WIDTHS:
        layers += [*convolution(width, 1), keras.layers.MaxPooling2D()]
    return keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)])


def convolution(width, stride):
    yield keras.layers.Conv2D(width, 3, stride, padding="same", use_bias=False)
    yield keras.layers.BatchNormalization(momentum=0.9)
    yield keras.layers.ReLU()


def trained(train, val, test, epochs, seed):
    """Return the scores of the test images."""
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


def training_throughput(inputs, rounds=3, steps=20):
    """Return training images per second for each input: the best of several rounds, all inputs in turn."""
    trainings = [(compiled(sets["train"], steps), sets["train"].take(steps)) for sets, _ in inputs.values()]
    best = [0.0] * len(trainings)
    for number in range(rounds + 1):
        for i, (model, batches) in enumerate(trainings):
            spent = seconds(lambda m=model, b=batches: m.fit(b, shuffle=False, verbose=0))
            best[i] = max(best[i], 32 * steps / spent) if number else 0.0
    return [round(value) for value in best]


def datasets(images, labels):
    """Return batches of each split, from arrays."""
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
    """Return `(labels of the test images, {input: (data sets by split, bytes per image or None)})`."""
    source, splits = data / "pediatric_cxr", ("train", "val", "test")
    dataset = open_dataset(source, SIZE)
    labels = {s: np.asarray(dataset.labels(s)) for s in splits}
    images = {s: to_float(dataset.images(s)) for s in splits}
    jpeg = sum(p.stat().st_size for p in source.rglob("*.jp*g")) / sum(map(len, images.values()))
    sampled = {}
    for split in splits:
        list(encode_folder(NAME, source / split, folder / split))
        train = split == "train"
        sampled[split] = from_latents(folder / split, pneumonia, shuffle=train, sample=train)
    latents = {s: load_latents(folder / s) for s in splits}
    parquet = sum(p.stat().st_size for p in folder.rglob("*.parquet")) / sum(map(len, images.values()))
    for s in splits:  # images and latents must be in the same order
        assert [Path(p).relative_to(s).as_posix() for p in dataset.paths(s)] == latents[s][0]
    fixed = next(iter(from_latents(folder / "train", shuffle=False, seed=0, batch_size=10**6))).numpy()
    means, small = {s: latents[s][1] for s in splits}, (SIZE // 4, SIZE // 4)
    return labels["test"], {
        f"images, {SIZE} pixels": (datasets(images, labels), jpeg),
        f"images downsampled to {SIZE // 4} pixels": (
            datasets({s: center_crop_resize(x, small) for s, x in images.items()}, labels),
            None,
        ),
        "latents, sampled in each epoch": (sampled, parquet),
        "latents, single fixed sample": (datasets({**means, "train": fixed}, labels), None),
        "latents, posterior means": (datasets(means, labels), None),
    }


def measured(truth, inputs, seeds, epochs):
    """Yield one row per input."""
    every = []
    for name, (sets, size) in inputs.items():
        scores = np.stack([trained(*sets.values(), epochs, seed) for seed in range(seeds)])
        every.append(scores)
        found = bootstrap_ci(lambda i, s=scores: mean_auc(s, truth, i), len(truth), 1000)
        difference = bootstrap_ci(
            lambda i, s=scores: mean_auc(s, truth, i) - mean_auc(every[0], truth, i), len(truth), 1000
        )
        yield {"input": name, "auc": found, "difference": difference, "bytes": size and round(size)}


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option("--seeds", default=3, show_default=True, help="Number of seeds.")
@click.option("--epochs", default=6, show_default=True, help="Number of epochs.")
@click.option("--speed", is_flag=True, help="Only measure the training throughput again; requires an idle machine.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, seeds, epochs, speed, out):
    with tempfile.TemporaryDirectory() as folder:
        truth, inputs = prepared(data, Path(folder))
        known = json.loads(out.with_suffix(".json").read_text()) if speed else {"seeds": seeds, "epochs": epochs}
        rows = known["results"] if speed else list(measured(truth, inputs, seeds, epochs))
        for row, value in zip(rows, training_throughput(inputs), strict=True):
            row["images_per_second"] = value
            click.echo(str(row))
    header = ["Input", "AUC", "difference to images", "training images per second", "bytes per image"]
    shown = [(r["input"], *(format_ci(r[k], 3) for k in ("auc", "difference"))) for r in rows]
    cells = [[*row, r["images_per_second"], r["bytes"] or "–"] for row, r in zip(shown, rows, strict=True)]
    figure(out.with_suffix(".png"), rows)
    facts = {"seeds": known["seeds"], "epochs": known["epochs"], "backend": keras.backend.backend(), "results": rows}
    write_page(out, "Training on latents", [("", header, cells)], facts)


def mean_auc(scores, truth, chosen):
    """Return the AUC over the chosen images, averaged over the seeds."""
    return np.mean([roc_auc(s[chosen], truth[chosen]) for s in scores])


def figure(path, rows):
    from matplotlib.figure import Figure

    plot = Figure(figsize=(6, 3.6), layout="constrained")
    axis = plot.subplots()
    for row in rows:
        axis.plot(row["images_per_second"], row["auc"]["mean"], "o", label=row["input"])
    axis.set(xlabel="Training images per second", ylabel="AUC", xscale="log")
    axis.legend(frameon=False, fontsize=8)
    plot.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
