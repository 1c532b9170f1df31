"""Training and evaluation of a classifier on a dataset, and classification of files."""

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from medzoo.data.augmentation import ArrayDataset
from medzoo.metrics import classification
from medzoo.metrics.bootstrap import bootstrap_unit
from medzoo.metrics.subgroups import by_subgroup
from medzoo.metrics.two_sample import ALPHA, LEAST
from medzoo.tasks.classify.classifier import Classifier, fine_tune
from medzoo.tasks.features import resize_to_model, target_size
from medzoo.tasks.shared.data import open_for
from medzoo.utils.files import atomic_write, write_json
from medzoo.utils.progress import track
from medzoo.visualization import save_attribution_map, save_classification
from medzoo.zoo.preprocessor import Preprocessor
from medzoo.zoo.presets import loaded

log = logging.getLogger("medzoo")
MAX_REFERENCE = 1000  # maximum number of validation images for the reference statistics


def train_classifier(
    model: keras.Model | str | Path,
    data: str | Path,
    out: str | Path,
    *,
    size: int | tuple[int, ...] | None = None,
    epochs: Sequence[int] = (15, 15),
    augment: bool | str | dict[str, Any] = True,
    seed: int = 0,
    pretrained: bool = True,
    verbose: int = 2,
    command: str | None = None,
    **reading: Any,
) -> tuple[Classifier, dict[str, Any]]:
    """Train a classifier, evaluate it on the test split, and write both to a folder.

    Writes `classifier.keras`, `report.json`, `report.png` and `probabilities.npz`. The validation split selects the
    epoch and the temperature, and provides the reference statistics of `Classifier.ood_pvalue`. The report contains
    the metrics of the test split, and of its subgroups where a CSV file defines some.

    Args:
        model: A medzoo model, or anything `medzoo.load` takes.
        data: Labeled images, see `medzoo.datasets.open_dataset`. With several labels per image, each has its own
            probability and AUC.
        out: Folder to write to; it is created if it does not exist.
        size: int or tuple. Side length in pixels of images from files, for a model that accepts any size; by default
            256.
        epochs: See `fine_tune`.
        augment: See `fine_tune`.
        seed: See `fine_tune`.
        pretrained: bool. If `False`, the network is randomly initialized and trained from scratch, as a baseline.
        verbose: See `fine_tune`.
        command: Command line to include in the report, or `None`.
        reading: Further options of `open_dataset`.

    Returns:
        `(classifier, report)`. `classifier.preprocess` reads files as in training. The report is JSON-serializable. Its
        confidence intervals are over patients where these are known, otherwise over images (`"bootstrap_unit"`).
    """
    keras.utils.set_random_seed(seed)
    model, out = loaded(model), Path(out)
    dataset = open_for(model, data, size, **reading)
    labels = {split: dataset.labels(split) for split in ("train", "val", "test")}
    names, multi_label = cast("list[str]", dataset.class_names), dataset.multi_label
    own: dict[str, Any] = {"pretrained": pretrained, "multi_label": multi_label, "class_names": names}
    classifier = Classifier.from_pretrained(model, len(names), **own)
    images = {split: dataset.images(split) for split in labels}
    if images["train"].shape[1:3] != target_size(classifier, images["train"]):  # otherwise they may remain on disk
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
    classifier.fit_reference(cast("np.ndarray", ArrayDataset(images["val"], batch_size=MAX_REFERENCE)[0]))
    probabilities = classifier.predict(ArrayDataset(images["test"]), verbose=0)
    own = {"names": names, "groups": dataset.patients("test")}
    result = {
        "command": command,
        **dataset.summary(),
        "size": list(images["test"].shape[1:-1]),
        "augment": augment,
        "temperature": round(float(classifier.temperature), 4),
        "backend": keras.backend.backend(),
        "bootstrap_unit": bootstrap_unit(own["groups"]),
        **classification.classification_metrics(probabilities, labels["test"], **own),
        "subgroups": by_subgroup(probabilities, labels["test"], dataset.subgroups("test"), **own),
    }
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / "classifier.keras") as part:
        classifier.save(part)
    write_json(out / "report.json", result)
    save_classification(out / "report.png", probabilities, labels["test"], names, f"{model.name}, {dataset.name}")
    np.savez_compressed(out / "probabilities.npz", test=probabilities, labels=labels["test"], class_names=names)
    return classifier, result


def classify_files(classifier: Classifier, files: Sequence[str | Path], out: str | Path) -> list[dict[str, Any]]:
    """Classify image files.

    Writes `predictions.csv` and an occlusion map of the predicted class per file. Logs a warning for
    out-of-distribution images, and for a distribution shift of 10 or more images, see
    `Classifier.distribution_shift_pvalue`.

    Args:
        classifier: A classifier that `train_classifier` returned.
        files: Paths that its `preprocess` reads.
        out: Folder to write to; it is created if it does not exist.

    Returns:
        One dict per file with `"file"`, the probability of each class, and `"ood_pvalue"`, see `Classifier.ood_pvalue`.
    """
    out, names, rows, inputs = Path(out), classifier.class_names, [], []
    out.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(track(files, "classifying")):
        x = classifier.preprocess(file)
        inputs += [x] if len(inputs) < MAX_REFERENCE else []
        probabilities, pvalue = classifier.predict(x, verbose=0)[0], float(classifier.ood_pvalue(x)[0])
        if warning := classifier.ood_warning(x):
            log.warning("%s: %s", file, warning)
        columns = {name: round(float(p), 4) for name, p in zip(names, probabilities, strict=True)}
        rows.append({"file": str(file), **columns, "ood_pvalue": round(pvalue, 4)})
        if classifier.spatial_dims == 2:
            best = int(probabilities.argmax())
            title = f"{Path(file).name}: {names[best]}, probability {probabilities[best]:.2f}"
            name = f"{number:05d}-{Path(file).name.partition('.')[0]}.png"
            save_attribution_map(out / name, x[0], classifier.occlusion_map(x[0], best), title)
    if min(len(inputs), len(classifier.reference_statistics.scores)) >= LEAST:  # type: ignore[union-attr]
        _warn_of_shift(classifier, np.concatenate(inputs))
    with atomic_write(out / "predictions.csv") as part, open(part, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["file", *names, "ood_pvalue"])
        table.writeheader()
        table.writerows(rows)
    return rows


def _warn_of_shift(classifier, images):
    """Log a warning if a set of images differs from the reference images of the classifier."""
    p = classifier.distribution_shift_pvalue(images)
    if p <= ALPHA:
        log.warning(
            "the distribution of the %d new images differs from that of the %d reference images of the classifier "
            "(p = %.3f; without a shift this warning is issued for %.0f%% of sets). The shift is %.1f standard "
            "deviations. Possible causes are another site, scanner or patient population. Evaluate the classifier on "
            "labeled images of that source before relying on its results.",
            *(
                len(images),
                classifier.reference_statistics.images,
                p,
                100 * ALPHA,
                classifier.distribution_shift(images),
            ),
        )
