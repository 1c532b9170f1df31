"""The command line's uses of the models; see `medzoo.cli`."""

import csv
import json
from pathlib import Path

import click
import numpy as np


def _nothing_there(targets, overwrite):
    """Refuses to write over a file unless asked to."""
    for target in targets:
        if target.exists() and not overwrite:
            raise click.ClickException(f"{target}: exists; pass --overwrite to replace it.")


def _new_folder(out, overwrite, file):
    _nothing_there([out / file], overwrite)
    out.mkdir(parents=True, exist_ok=True)


def _files(paths):
    """Image files among paths and below folders."""
    from medzoo.images.datasets import list_images

    return [file for path in paths for file in (list_images(path) if path.is_dir() else [path])]


def _read(model, files, size):
    """The files as the model was trained to see them; presets that take any size get `size`."""
    from medzoo.images.read import read_image

    if model.image_shape[0]:
        return model.preprocess(files)
    return np.stack([read_image(file, size) for file in files])


@click.command()
@click.argument("name")
@click.argument("normal", type=click.Path(path_type=Path, exists=True))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for scores.csv and pictures.")
@click.option("--rate", default=0.05, show_default=True, help="Share of normal images that may be called anomalies.")
@click.option("--overwrite", is_flag=True, help="Replace scores.csv and pictures that are there already.")
def anomaly(name, normal, images, out, rate, overwrite):
    """Find what is unlike the normal images in folder NORMAL: scores, heat maps and boxes for IMAGES.

    \b
    Example:
        medzoo anomaly ae-chestxray normal-films/ film.dcm more-films/ -o out/
    """
    from rich.progress import track

    from medzoo.evaluate.plots import save_heat_map
    from medzoo.tasks.anomaly import AnomalyDetector, find_boxes

    files = _files(images)
    _new_folder(out, overwrite, "scores.csv")
    detector = AnomalyDetector(name, false_positive_rate=rate)
    click.echo(f"learning what is normal from {normal}")
    detector.fit(_files([normal]))
    rows = []
    for number, file in enumerate(track(files, "looking for anomalies")):
        score = float(detector.anomaly_scores([file])[0])
        heat = detector.heat_map([file])[0]
        boxes = find_boxes(heat)
        picture = out / f"{number:05d}-{file.stem}.png"
        strange = score > detector.threshold_
        title = f"{file.name}: {score:.2f} ({'above' if strange else 'below'} {detector.threshold_:.2f})"
        image = detector.model_.preprocess(file)[0]
        save_heat_map(picture, image, heat, boxes, title)
        rows.append([str(file), f"{score:.4f}", int(strange), json.dumps([[int(n) for n in box] for box in boxes])])
    with open(out / "scores.csv", "w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([["file", "score", "anomaly", "boxes (top, left, bottom, right)"], *rows])
    found = sum(row[2] for row in rows)
    click.echo(f"{found} of {len(rows)} images above the threshold {detector.threshold_:.2f}; wrote {out}")


@click.command()
@click.argument("name")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Labelled archive (npz).")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for classifier and report.")
@click.option("--epochs", default="15,15", show_default=True, help="Of the head alone, then of everything.")
@click.option("--seed", default=0, show_default=True)
@click.option("--random", is_flag=True, help="From random weights instead: what is the pretraining worth?")
@click.option("--overwrite", is_flag=True, help="Replace a classifier that is there already.")
def classify(name, data, out, epochs, seed, random, overwrite):
    """Train a classifier on a preset's encoder: writes classifier.keras, report.json and report.png.

    The archive's validation split chooses the epoch and the temperature; the report is on its test split.

    \b
    Example:
        medzoo classify ae-chestxray --data pneumoniamnist_28.npz -o pneumonia/
    """
    import keras

    from medzoo.evaluate import classification
    from medzoo.evaluate.bootstrap import show
    from medzoo.evaluate.plots import save_classification
    from medzoo.images.datasets import load_npz, load_npz_labels
    from medzoo.tasks.classify import Classifier, fine_tune
    from medzoo.tasks.features import fit_size

    _new_folder(out, overwrite, "classifier.keras")
    keras.utils.set_random_seed(seed)
    labels = {split: load_npz_labels(data, split) for split in ("train", "val", "test")}
    classifier = Classifier.from_pretrained(name, int(labels["train"].max()) + 1, pretrained=not random)
    images = {split: fit_size(classifier, load_npz(data, split)) for split in labels}
    head, rest = (int(n) for n in epochs.split(","))
    validation = images["val"], labels["val"]
    fine_tune(classifier, images["train"], labels["train"], validation, epochs=(head, rest), verbose=2)
    t = classification.temperature(classifier.predict(images["val"], verbose=0), labels["val"])
    probabilities = classification.with_temperature(classifier.predict(images["test"], verbose=0), t)
    result = {
        "command": f"medzoo classify {name} --data {data.name} --epochs {epochs} --seed {seed}"
        + (" --random" if random else ""),
        "images": {split: len(x) for split, x in images.items()},
        "temperature": round(t, 4),
        "backend": keras.backend.backend(),
        **classification.measure(probabilities, labels["test"]),
    }
    classifier.save(out / "classifier.keras", overwrite=True)
    (out / "report.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    save_classification(out / "report.png", probabilities, labels["test"], f"{name}, {data.name}")
    np.savez_compressed(out / "probabilities.npz", test=probabilities, labels=labels["test"])
    click.echo(f"{name} on {data.name}: AUC {show(result['auc'], 3)}, accuracy {show(result['accuracy'], 3)}")


@click.command()
@click.argument("name")
@click.argument("images", type=click.Path(path_type=Path, exists=True))
@click.argument("masks", type=click.Path(path_type=Path, exists=True))
@click.argument("new", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for segmenter and report.")
@click.option("--size", default=256, show_default=True, help="Side in pixels, for presets that take any size.")
@click.option("--epochs", default=30, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the training, and of what is held out for the report.")
@click.option("--random", is_flag=True, help="From random weights instead: what is the pretraining worth?")
@click.option("--overwrite", is_flag=True, help="Replace a segmenter that is there already.")
def segment(name, images, masks, new, out, size, epochs, seed, random, overwrite):
    """Train a segmenter on a preset's encoder from folders IMAGES and MASKS; then outline NEW images.

    Masks are PNG or npy files named as their images, with integer labels (or black and white). 15% of the pairs choose
    the epoch, another 15% are reported on. Writes segmenter.keras, report.json and report.png, and for each new image a
    mask (labels as grey values) and a picture with the outline.

    \b
    Example:
        medzoo segment ae-chestxray-256 films/ masks/ new-films/ -o lungs/
    """
    import keras
    from PIL import Image
    from rich.progress import track

    from medzoo.evaluate.bootstrap import show, summary
    from medzoo.evaluate.plots import save_outlines
    from medzoo.images.masks import load_masks
    from medzoo.tasks.segment import Segmenter, dice, hausdorff
    from medzoo.zoo.presets import load

    _new_folder(out, overwrite, "segmenter.keras")
    model = load(name)
    x, y = load_masks(images, masks, model.image_shape[:2] if model.image_shape[0] else size)
    held_out = round(0.15 * len(x))
    if held_out < 2:
        raise click.ClickException(f"{images}: {len(x)} pairs; expected 10 or more, so that some can be held out.")
    order = np.random.default_rng(seed).permutation(len(x))
    test, validation, train = order[:held_out], order[held_out : 2 * held_out], order[2 * held_out :]
    keras.utils.set_random_seed(seed)
    segmenter = Segmenter.from_pretrained(name, max(2, int(y.max()) + 1), pretrained=not random)
    steps = epochs * -(-len(train) // 8)
    segmenter.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps, alpha=0.02)))
    best = keras.callbacks.EarlyStopping(monitor="val_loss", patience=epochs, restore_best_weights=True)
    held = (x[validation], y[validation])
    segmenter.fit(x[train], y[train], validation_data=held, batch_size=8, epochs=epochs, callbacks=[best], verbose=2)
    found, truth = segmenter.segment(x[test]), y[test]
    labels = range(1, segmenter.num_classes)
    distances = {k: hausdorff(truth, found, k) for k in labels}
    result = {
        "command": f"medzoo segment {name} {images.name} {masks.name} --epochs {epochs} --seed {seed}"
        + (" --random" if random else ""),
        "images": {"train": len(train), "validation": len(validation), "test": len(test)},
        "size": list(x.shape[1:3]),
        "backend": keras.backend.backend(),
        "dice": {k: summary(dice(truth, found, k)) for k in labels},
        "hausdorff_95_pixels": {k: summary(d[np.isfinite(d)]) for k, d in distances.items() if np.isfinite(d).any()},
        "one_mask_empty": {k: int((~np.isfinite(d)).sum()) for k, d in distances.items()},
    }
    segmenter.save(out / "segmenter.keras", overwrite=True)
    (out / "report.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    titles = [f"Dice {value:.2f}" for value in dice(truth, found, 1)]
    save_outlines(out / "report.png", x[test][:16], truth[:16], found[:16], titles, f"{name}: held-out images")
    for label in labels:
        click.echo(f"label {label}: Dice {show(result['dice'][label], 3)} on {len(test)} held-out images")
    for number, file in enumerate(track(_files(new), "outlining", disable=not new)):
        image = _read(model, [file], size)
        mask = segmenter.segment(image)
        target = out / f"{number:05d}-{file.stem}-mask.png"
        Image.fromarray(mask[0].astype("uint8")).save(target)
        save_outlines(target.with_name(f"{number:05d}-{file.stem}.png"), image, None, mask, [file.name], None)
    click.echo(f"wrote {out}")


@click.command()
@click.argument("name")
@click.argument("new", type=click.Path(path_type=Path, exists=True))
@click.argument("old", type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Preset folder to write.")
@click.option("--distance", default="coral", show_default=True, type=click.Choice(["coral", "mmd"]))
@click.option("--weight", default=0.1, show_default=True, help="Of the distance between the latents; 0: none.")
@click.option("--size", default=256, show_default=True, help="Side in pixels, for presets that take any size.")
@click.option("--epochs", default=5, show_default=True)
@click.option("--seed", default=0, show_default=True)
def adapt(name, new, old, out, distance, weight, size, epochs, seed):
    """Adapt a preset to images of a folder NEW (a new scanner or hospital), without labels.

    OLD holds images like those it was trained on, so that they are not forgotten. A fifth of each folder is held out to
    measure PSNR before and after.

    \b
    Example:
        medzoo adapt ae-chestxray new-hospital/ old-hospital/ -o ae-new-hospital/
    """
    from medzoo import metrics
    from medzoo.evaluate.bootstrap import show, summary
    from medzoo.evaluate.reconstruction import per_image
    from medzoo.tasks.adapt import adapt as adapted_copy
    from medzoo.zoo.presets import load, save_preset

    if out.exists():
        raise click.ClickException(f"{out}: exists; choose another folder.")
    model = load(name)
    held_out, known = {}, {}
    for title, folder in (("new", new), ("old", old)):
        images = _read(model, _files([folder]), size)
        order = np.random.default_rng(seed).permutation(len(images))
        cut = max(1, len(images) // 5)
        held_out[title], known[title] = images[order[:cut]], images[order[cut:]]
    adapted = adapted_copy(model, known["new"], known["old"], distance, weight, epochs, seed=seed, verbose=2)
    for title, images in held_out.items():
        before, after = (summary(per_image(metrics.psnr, images, m.reconstruct(images))) for m in (model, adapted))
        click.echo(f"{title}: PSNR {show(before)} -> {show(after)} dB on {len(images)} held-out images")
    save_preset(adapted, out)
    click.echo(f"wrote {out}; medzoo.load({str(out)!r})")
