"""From a preset and labelled images to a classifier and a report on its test images."""

import csv
import logging
from pathlib import Path

import keras
import numpy as np

from medzoo.data.augmentation import ArrayDataset
from medzoo.metrics import classification
from medzoo.metrics.bootstrap import unit_of
from medzoo.metrics.subgroups import by_subgroup
from medzoo.metrics.two_sample import ALPHA, LEAST
from medzoo.tasks.classify.classifier import Classifier, fine_tune
from medzoo.tasks.features import resize_to_model, target_size
from medzoo.tasks.shared.data import open_for
from medzoo.utils.files import write_json, written_whole
from medzoo.utils.progress import track
from medzoo.visualization import save_classification, save_explanation
from medzoo.zoo.preprocessor import Preprocessor
from medzoo.zoo.presets import loaded

log = logging.getLogger("medzoo")
MOST = 1000  # validation images at most that the classifier learns the looks of its images from


def train_classifier(
    model,
    data,
    out,
    *,
    size=None,
    epochs=(15, 15),
    augment=True,
    seed=0,
    pretrained=True,
    verbose=2,
    command=None,
    **reading,
):
    """Trains a classifier and writes `classifier.keras`, `report.json`, `report.png` and `probabilities.npz`.

    The validation split chooses the epoch and the temperature, and shows the classifier what its images look like (see
    `Classifier.ood_pvalue`); the report is on the test split, and on its subgroups where a table names some.

    Args:
        model: a medzoo model, or anything `medzoo.load` takes.
        data: labelled images, see `medzoo.datasets.open_dataset`; with several findings an image each has a
            probability and an AUC of its own.
        out: folder to write to; made if it is not there.
        size: side in pixels of images from files, for a model that takes any; by default 256.
        epochs, augment, seed, verbose: see `fine_tune`.
        pretrained: `False` starts from random weights, as a control.
        command: for the report.
        reading: options of `open_dataset`.

    Returns: `(classifier, report)`: its `preprocess` reads files as in training; the report is JSON-ready. Its
        intervals are over patients where the data know them, else over images (`"bootstrap_unit"`).
    """
    keras.utils.set_random_seed(seed)
    model, out = loaded(model), Path(out)
    collection = open_for(model, data, size, **reading)
    labels = {split: collection.labels(split) for split in ("train", "val", "test")}
    names, several = collection.class_names, collection.multi_label
    own = {"pretrained": pretrained, "multi_label": several, "class_names": names}
    classifier = Classifier.from_pretrained(model, len(names), **own)
    images = {split: collection.images(split) for split in labels}
    if images["train"].shape[1:3] != target_size(classifier, images["train"]):  # else they may stay on disk
        images = {split: resize_to_model(classifier, x) for split, x in images.items()}
    fine_tune(
        classifier,
        images["train"],
        labels["train"],
        (images["val"], labels["val"]),
        epochs=epochs,
        augment=augment,
        seed=seed,
        verbose=verbose,
    )
    classifier.calibrate(ArrayDataset(images["val"]), labels["val"])
    classifier.preprocess = Preprocessor(images["train"].shape[1:-1], reading.get("window"))
    classifier.fit_reference(ArrayDataset(images["val"], batch_size=MOST)[0])
    probabilities = classifier.predict(ArrayDataset(images["test"]), verbose=0)
    own = {"names": names, "groups": collection.patients("test")}
    result = {
        "command": command,
        **collection.facts(),
        "size": list(images["test"].shape[1:-1]),
        "augment": augment,
        "temperature": round(float(classifier.temperature), 4),
        "backend": keras.backend.backend(),
        "bootstrap_unit": unit_of(own["groups"]),
        **classification.classification_metrics(probabilities, labels["test"], **own),
        "subgroups": by_subgroup(probabilities, labels["test"], collection.subgroups("test"), **own),
    }
    out.mkdir(parents=True, exist_ok=True)
    with written_whole(out / "classifier.keras") as part:
        classifier.save(part)
    write_json(out / "report.json", result)
    save_classification(out / "report.png", probabilities, labels["test"], names, f"{model.name}, {collection.name}")
    np.savez_compressed(out / "probabilities.npz", test=probabilities, labels=labels["test"], class_names=names)
    return classifier, result


def classify_files(classifier, files, out):
    """Classifies files: writes `predictions.csv` and for each image `NAME.png`, what in it speaks for the class found.

    Args:
        classifier: as `train_classifier` gives it.
        files: what its `preprocess` reads.
        out: folder to write to; made if it is not there.

    Returns: list of dicts of the file, the probability of each class, and how `usual` the file is, see
        `Classifier.ood_pvalue`. Warns of out-of-distribution images, and of a distribution shift of 10 images or more,
        see `Classifier.distribution_shift_pvalue`.
    """
    out, names, rows, seen = Path(out), classifier.class_names, [], []
    out.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(track(files, "classifying")):
        x = classifier.preprocess(file)
        seen += [x] if len(seen) < MOST else []
        probabilities, usual = classifier.predict(x, verbose=0)[0], float(classifier.ood_pvalue(x)[0])
        if said := classifier.is_ood(x):
            log.warning("%s: %s", file, said)
        found = {name: round(float(p), 4) for name, p in zip(names, probabilities, strict=True)}
        rows.append({"file": str(file), **found, "reference_statistics": round(usual, 4)})
        if classifier.spatial_dims == 2:
            best = int(probabilities.argmax())
            title = f"{Path(file).name}: {names[best]}, probability {probabilities[best]:.2f}"
            name = f"{number:05d}-{Path(file).name.partition('.')[0]}.png"
            save_explanation(out / name, x[0], classifier.occlusion_map(x[0], best), title)
    if min(len(seen), len(classifier.reference_statistics.scores)) >= LEAST:
        _warn_of_shift(classifier, np.concatenate(seen))
    with written_whole(out / "predictions.csv") as part, open(part, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["file", *names, "reference_statistics"])
        table.writeheader()
        table.writerows(rows)
    return rows


def _warn_of_shift(classifier, images):
    p = classifier.distribution_shift_pvalue(images)
    if p <= ALPHA:
        log.warning(
            "as a set the %d new images differ from the %d reference images of the classifier (p = %.3f; without a "
            "shift this warning occurs for %.0f%% of sets). The shift is %.1f standard deviations: another hospital, "
            "scanner or group of patients? Measure on labeled images of that source before you rely on results.",
            *(
                len(images),
                classifier.reference_statistics.images,
                p,
                100 * ALPHA,
                classifier.distribution_shift(images),
            ),
        )
