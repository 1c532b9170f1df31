"""From a preset and labelled images to a classifier and a report on its test images."""

from pathlib import Path

import keras
import numpy as np

from medzoo.files import write_json, written_whole
from medzoo.recipes.augment import Batches
from medzoo.reports import classification
from medzoo.reports.plots import save_classification
from medzoo.tasks.classify.classifier import Classifier, fine_tune
from medzoo.tasks.features import fit_size, size_for
from medzoo.tasks.shared.data import open_for
from medzoo.zoo.presets import loaded


def train_classifier(
    model, data, out, *, size=None, epochs=(15, 15), seed=0, pretrained=True, verbose=2, command=None, **reading
):
    """Trains a classifier and writes `classifier.keras`, `report.json`, `report.png` and `probabilities.npz`.

    The validation split chooses the epoch and the temperature; the report is on the test split.

    Args:
        model: a medzoo model, or anything `medzoo.load` takes.
        data: labelled images, see `medzoo.datasets.open_collection`; with several findings an image each has a
            probability and an AUC of its own.
        out: folder to write to; made if it is not there.
        size: side in pixels of images from files, for a model that takes any; by default 256.
        epochs, seed, verbose: see `fine_tune`.
        pretrained: `False` starts from random weights, as a control.
        command: for the report.
        reading: options of `open_collection`.

    Returns: the report, JSON-ready.
    """
    keras.utils.set_random_seed(seed)
    model, out = loaded(model), Path(out)
    collection = open_for(model, data, size, **reading)
    labels = {split: collection.labels(split) for split in ("train", "val", "test")}
    names, several = collection.class_names, collection.multi_label
    classifier = Classifier.from_pretrained(model, len(names), pretrained=pretrained, multi_label=several)
    images = {split: collection.images(split) for split in labels}
    if images["train"].shape[1:3] != size_for(classifier, images["train"]):  # else they may stay on disk
        images = {split: fit_size(classifier, x) for split, x in images.items()}
    fine_tune(
        classifier,
        images["train"],
        labels["train"],
        (images["val"], labels["val"]),
        epochs=epochs,
        seed=seed,
        verbose=verbose,
    )
    found = {s: classifier.predict(Batches(images[s]), verbose=0) for s in ("val", "test")}
    t = classification.temperature(found["val"], labels["val"])
    probabilities = classification.with_temperature(found["test"], t, several)
    result = {
        "command": command,
        **collection.facts(),
        "size": list(images["test"].shape[1:3]),
        "temperature": round(t, 4),
        "backend": keras.backend.backend(),
        **classification.measure(probabilities, labels["test"], names),
    }
    out.mkdir(parents=True, exist_ok=True)
    with written_whole(out / "classifier.keras") as part:
        classifier.save(part)
    write_json(out / "report.json", result)
    save_classification(out / "report.png", probabilities, labels["test"], names, f"{model.name}, {collection.name}")
    np.savez_compressed(out / "probabilities.npz", test=probabilities, labels=labels["test"], class_names=names)
    return result
