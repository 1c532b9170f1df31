"""The command line's uses of the models; see `medzoo.cli`."""

import csv
import json
from pathlib import Path

import click
import numpy as np


def _new_folder(out, overwrite, file):
    if (out / file).exists() and not overwrite:
        raise click.ClickException(f"{out / file}: exists; pass --overwrite to replace it.")
    out.mkdir(parents=True, exist_ok=True)


def _files(paths):
    """Image files among paths and below folders."""
    from medzoo.images.datasets import list_images

    return [file for path in paths for file in (list_images(path) if path.is_dir() else [path])]


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
