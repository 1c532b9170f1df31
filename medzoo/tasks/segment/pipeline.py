"""From a preset, images and masks to a segmenter and a report on images held out; then outlines of new images."""

from pathlib import Path

import keras
import numpy as np

from medzoo.data.splits import SPLITS
from medzoo.io.image import read_image, title_of
from medzoo.io.volume import apply_to_volume
from medzoo.io.volume_reader import read_volume
from medzoo.io.writers import write_labels
from medzoo.metrics.bootstrap import bootstrap_mean_ci, unit_of
from medzoo.metrics.segmentation import dice, hausdorff_distance, one_hot_masks
from medzoo.tasks.segment.augmentation import AugmentedSegmentationDataset
from medzoo.tasks.segment.data import open_pairs
from medzoo.tasks.segment.segmenter import Segmenter
from medzoo.tasks.shared.data import SIZE
from medzoo.tasks.shared.finetuning import fit_best
from medzoo.utils.files import write_json, written_whole
from medzoo.utils.groups import take_groups
from medzoo.visualization import save_segmentation
from medzoo.zoo.preprocessor import Preprocessor
from medzoo.zoo.presets import loaded

BATCH = {2: 8, 3: 4}  # images, volumes
LEAST = 30  # batches an epoch: few pairs are shown again, each time moved otherwise


def train_segmenter(
    model,
    images,
    masks,
    out,
    *,
    size=None,
    group=None,
    groups=None,
    epochs=30,
    seed=0,
    pretrained=True,
    verbose=2,
    command=None,
):
    """Trains a segmenter and writes `segmenter.keras`, `report.json` and `report.png`.

    Args:
        model: a medzoo model, or anything `medzoo.load` takes.
        images, masks: folders, see `load_masks`: 15% of the patients choose the epoch, another 15% are reported on;
            where patients are not known, 15% of the pairs. Or an npz archive, see `load_mask_archive`, and `None`.
        out: folder to write to; made if it is not there.
        size: side in pixels, for a model that takes any; by default 256. Of volumes of any size `(depth, height,
            width)`: what is cut out of their middle to learn from.
        group: Regular expression on the paths of the images that finds what tells patients apart; by default the
            PatientID of DICOM files.
        groups: In place of `group` an array that tells patients apart, one value per image, see `open_pairs`.
        epochs, verbose: of the training; an epoch shows each pair once, and is 30 batches at least.
        seed: of the training, and of what is held out.
        pretrained: `False` starts from random weights, as a control.
        command: for the report.

    Returns: `(segmenter, report)`, the report JSON-ready. Its intervals are over patients where these are known, else
        over images (`"bootstrap_unit"`).

    Raises:
        ImageError: fewer than ten pairs; or as `load_masks`.
        ValueError: no size for volumes.
    """
    model, out = loaded(model), Path(out)
    pairs = open_pairs(images, masks, _size(model, size), seed, group, groups)
    parts, whose = {split: pairs.part(split) for split in SPLITS}, pairs.patients("test")
    (x, y), (test, truth) = parts["train"], parts["test"]
    several = y.ndim == x.ndim
    classes = y.shape[-1] if several else 1 + max(1, *(int(own.max()) for _, own in parts.values()))
    keras.utils.set_random_seed(seed)
    segmenter = Segmenter.from_pretrained(model, classes, pretrained=pretrained, multi_label=several)
    batch = BATCH[model.spatial_dims]
    moved = AugmentedSegmentationDataset(x, y, batch, max(LEAST, -(-len(x) // batch)), seed)
    seen = {"validation_data": parts["val"], "batch_size": batch, "verbose": verbose, "shuffle": False}
    fit_best(segmenter, moved, epochs=epochs, steps=len(moved), learning_rate=2e-3, **seen)
    truth, found = (one_hot_masks(m, classes, several) for m in (truth, segmenter.segment(test)))
    result = {
        "command": command,
        "images": dict(zip(("train", "validation", "test"), (len(own) for own, _ in parts.values()), strict=True)),
        "split": pairs.split,
        "bootstrap_unit": unit_of(whose),
        "size": list(x.shape[1:-1]),
        "backend": keras.backend.backend(),
        **_agreement(truth, found, pairs.names or range(1, 1 + truth.shape[-1]), whose),
    }
    if segmenter.spatial_dims == 2:
        segmenter.preprocess = Preprocessor(x.shape[1:-1])
    out.mkdir(parents=True, exist_ok=True)
    with written_whole(out / "segmenter.keras") as part:
        segmenter.save(part)
    write_json(out / "report.json", result)
    titles = [f"Dice {value:.2f}" for value in dice(truth[..., 0], found[..., 0])]
    shown = _flat(test[:16], truth[:16], found[:16])
    save_segmentation(out / "report.png", *shown, titles, f"{model.name}: held-out images")
    return segmenter, result


def _size(model, size):
    if model.image_shape[0]:
        return model.image_shape[:-1]
    if model.spatial_dims == 3 and (size is None or np.isscalar(size)):
        raise ValueError(f"{model.name}: size={size}; expected (depth, height, width) of what is learned from.")
    return SIZE if size is None else size


def _flat(images, *masks):
    """Images and layers of masks; of volumes the axial slice that the first mask fills most."""
    if images.ndim == 4:
        return images, *masks
    fill = masks[0].sum(axis=(2, 3, 4)).argmax(axis=1)
    return tuple(array[np.arange(len(array)), fill] for array in (images, *masks))


def _agreement(truth, found, names, groups):
    """Dice and Hausdorff distance of each label with intervals, and how often one of the two masks is empty."""
    pairs = {name: (truth[..., k], found[..., k]) for k, name in enumerate(names)}
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


def segment_file(segmenter, file, out, size=None, name=None):
    """Writes what a segmenter finds in a file, and a picture of its outlines, NAME.png.

    Of an image NAME-mask.png, labels as grey values, or NAME-mask.tif where labels may overlap, a page for each. Of a
    volume NAME-mask.nii.gz, on the grid of the file; the picture shows the axial slice where most is found.

    Args:
        segmenter: a `Segmenter`.
        file: an image file; of volumes what `read_volume` takes.
        out: folder to write to.
        size: side in pixels, for a model that takes any image; by default what it was trained on, where a command did
            that, else 256. Volumes keep theirs.
        name: of what is written; by default the file's.

    Returns: the integer mask `(H, W)`, `(D, H, W)`, or `(H, W, K)`.
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
        image = read_image(file, own if own[0] else size or reading.size or SIZE, reading.window)
        mask = segmenter.segment(image[None])[0]
        write_labels(out / f"{name}-mask", mask)
    found = one_hot_masks(mask[None], segmenter.num_classes, segmenter.multi_label)
    image, found = _flat(image[None], found)
    save_segmentation(out / f"{name}.png", image, None, found, [Path(file).name], None)
    return mask
