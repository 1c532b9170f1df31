"""Training and evaluation of a segmenter on images and masks, and segmentation of files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from medzoo.data.splits import SPLITS
from medzoo.io.image import read_image, title_of
from medzoo.io.volume_reader import read_volume
from medzoo.io.writers import write_labels
from medzoo.metrics.bootstrap import bootstrap_mean_ci, bootstrap_unit
from medzoo.metrics.segmentation import dice, hausdorff_distance, one_hot_masks
from medzoo.tasks.segment.augmentation import AugmentedSegmentationDataset
from medzoo.tasks.segment.data import open_pairs
from medzoo.tasks.segment.segmenter import Segmenter
from medzoo.tasks.shared.data import SIZE
from medzoo.tasks.shared.finetuning import fit_best
from medzoo.tasks.shared.volumes import apply_to_volume
from medzoo.utils.files import atomic_write, write_json
from medzoo.utils.groups import take_groups
from medzoo.visualization import save_segmentation
from medzoo.zoo.preprocessor import Preprocessor
from medzoo.zoo.presets import loaded

BATCH = {2: 8, 3: 4}  # images, volumes
LEAST = 30  # minimum number of batches per epoch; few pairs are repeated with different augmentation


def train_segmenter(
    model: keras.Model | str | Path,
    images: str | Path,
    masks: str | Path | None,
    out: str | Path,
    *,
    size: int | tuple[int, ...] | None = None,
    group: str | None = None,
    groups: Sequence | np.ndarray | None = None,
    epochs: int = 30,
    seed: int = 0,
    pretrained: bool = True,
    verbose: int = 2,
    command: str | None = None,
) -> tuple[Segmenter, dict[str, Any]]:
    """Train a segmenter, evaluate it on the test split, and write both to a folder.

    Writes `segmenter.keras`, `report.json` and `report.png`.

    Args:
        model: A medzoo model, or anything `medzoo.load` takes.
        images: Folder, see `load_masks`, or an NPZ file, see `load_mask_npz`. In a folder, 15% of the patients are
            held out for validation, which selects the epoch, and 15% for the test; where patients are not known, 15% of
            the pairs.
        masks: Folder, see `load_masks`; `None` for an NPZ file.
        out: Folder to write to; it is created if it does not exist.
        size: int or tuple. Side length in pixels, for a model that accepts any size; by default 256. For volumes of any
            size `(depth, height, width)` of the central region that is used for training.
        group: Regular expression that extracts the patient identifier from the path of each image; by default the
            PatientID of DICOM files.
        groups: Sequence with one patient identifier per image instead of `group`, see `open_pairs`.
        epochs: int. Number of epochs. An epoch contains each pair once, and at least 30 batches.
        seed: int. Seed of the training and of the split.
        pretrained: bool. If `False`, the encoder is randomly initialized, as a baseline.
        verbose: int. See `keras.Model.fit`.
        command: Command line to include in the report, or `None`.

    Returns:
        `(segmenter, report)`. The report is JSON-serializable. Its confidence intervals are over patients where these
        are known, otherwise over images (`"bootstrap_unit"`).

    Raises:
        ImageError: If there are fewer than 10 pairs, or as for `load_masks`.
        ValueError: If the size is missing for volumes.
    """
    model, out = loaded(model), Path(out)
    pairs = open_pairs(images, masks, _size(model, size), seed, group, groups)
    parts, patients = {split: pairs.part(split) for split in SPLITS}, pairs.patients("test")
    (x, y), (test, truth) = parts["train"], parts["test"]
    multi_label = y.ndim == x.ndim
    classes = y.shape[-1] if multi_label else 1 + max(1, *(int(own.max()) for _, own in parts.values()))
    keras.utils.set_random_seed(seed)
    segmenter = Segmenter.from_pretrained(model, classes, pretrained=pretrained, multi_label=multi_label)
    batch = BATCH[model.spatial_dims]
    batches = AugmentedSegmentationDataset(x, y, batch, max(LEAST, -(-len(x) // batch)), seed)
    options: dict[str, Any] = {
        "validation_data": parts["val"],
        "batch_size": batch,
        "verbose": verbose,
        "shuffle": False,
    }
    fit_best(segmenter, batches, epochs=epochs, steps=len(batches), learning_rate=2e-3, **options)
    truth, predicted = (one_hot_masks(m, classes, multi_label) for m in (truth, segmenter.segment(test)))
    result = {
        "command": command,
        "images": dict(zip(("train", "validation", "test"), (len(own) for own, _ in parts.values()), strict=True)),
        "split": pairs.split,
        "bootstrap_unit": bootstrap_unit(patients),
        "size": list(x.shape[1:-1]),
        "backend": keras.backend.backend(),
        **_metrics(truth, predicted, pairs.names or range(1, 1 + truth.shape[-1]), patients),
    }
    if segmenter.spatial_dims == 2:
        segmenter.preprocess = Preprocessor(x.shape[1:-1])
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / "segmenter.keras") as part:
        segmenter.save(part)
    write_json(out / "report.json", result)
    titles = [f"Dice {value:.2f}" for value in dice(truth[..., 0], predicted[..., 0])]
    images, truth, predicted = _to_2d(test[:16], truth[:16], predicted[:16])
    save_segmentation(out / "report.png", images, truth, predicted, titles, f"{model.name}: held-out images")
    return segmenter, result


def _size(model, size):
    """Return the size to which images are resized."""
    if model.image_shape[0]:
        return model.image_shape[:-1]
    if model.spatial_dims == 3 and (size is None or np.isscalar(size)):
        raise ValueError(
            f"{model.name}: invalid size. Expected (depth, height, width) of the training volumes, got {size}."
        )
    return SIZE if size is None else size


def _to_2d(images, *masks):
    """Return images and masks; of volumes the axial slice with the largest area of the first mask."""
    if images.ndim == 4:
        return images, *masks
    largest = masks[0].sum(axis=(2, 3, 4)).argmax(axis=1)
    return tuple(array[np.arange(len(array)), largest] for array in (images, *masks))


def _metrics(truth, predicted, names, groups):
    """Return Dice and Hausdorff distance of each label with intervals, and the number of pairs with one empty mask."""
    pairs = {name: (truth[..., k], predicted[..., k]) for k, name in enumerate(names)}
    distances = {name: hausdorff_distance(*pair) for name, pair in pairs.items()}
    finite = {name: np.isfinite(d) for name, d in distances.items()}
    return {
        "dice": {name: bootstrap_mean_ci(dice(*pair), groups=groups) for name, pair in pairs.items()},
        "hausdorff_95_pixels": {
            name: bootstrap_mean_ci(distances[name][own], groups=take_groups(groups, own))
            for name, own in finite.items()
            if own.any()
        },
        "one_mask_empty": {name: int((~own).sum()) for name, own in finite.items()},
    }


def segment_file(
    segmenter: Segmenter,
    file: str | Path,
    out: str | Path,
    size: int | None = None,
    name: str | None = None,
) -> np.ndarray:
    """Segment a file and write its mask and a figure with the contours.

    Of an image, writes NAME-mask.png with labels as gray values, or NAME-mask.tif with one page per label where labels
    may overlap. Of a volume, writes NAME-mask.nii.gz on the grid of the file. The figure is NAME.png; of a volume it
    shows the axial slice with the largest segmented area.

    Args:
        segmenter: A `Segmenter`.
        file: Path of an image file; of volumes a path that `read_volume` takes.
        out: Folder to write to.
        size: int. Side length in pixels, for a model that accepts any image size; by default the size used in training
            if known, otherwise 256. Not used for volumes.
        name: Name of the output files without suffix; by default that of the file.

    Returns:
        Integer mask of shape `(H, W)`, `(D, H, W)`, or `(H, W, K)`.
    """
    out, name, reading = Path(out), name or title_of(file), segmenter.preprocess or Preprocessor()
    if segmenter.spatial_dims == 3:
        volume = read_volume(file)
        image = volume.to_images(window=reading.window)
        mask = apply_to_volume(segmenter.segment, image, segmenter, rest=np.zeros(image.shape[:3], int))
        out.mkdir(parents=True, exist_ok=True)
        volume.save(mask, out / f"{name}-mask.nii.gz", overwrite=True)
    else:
        own = segmenter.image_shape[:-1]
        image = read_image(
            file, cast("int | tuple[int, int]", own if own[0] else size or reading.size or SIZE), reading.window
        )
        mask = segmenter.segment(image[None])[0]
        write_labels(out / f"{name}-mask", mask)
    predicted = one_hot_masks(mask[None], segmenter.num_classes, segmenter.multi_label)
    image, predicted = _to_2d(image[None], predicted)
    save_segmentation(out / f"{name}.png", image, None, predicted, [Path(file).name], None)
    return mask
