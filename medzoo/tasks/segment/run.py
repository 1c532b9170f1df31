"""From a preset, images and masks to a segmenter and a report on images held out; then outlines of new images."""

from pathlib import Path

import keras
import numpy as np
from PIL import Image

from medzoo.errors import ImageError
from medzoo.files import write_json, written_whole
from medzoo.images.masks import load_masks
from medzoo.images.read import read_image
from medzoo.reports.bootstrap import summary
from medzoo.reports.plots import save_outlines
from medzoo.tasks.segment.measures import dice, hausdorff
from medzoo.tasks.segment.pairs import MovedPairs
from medzoo.tasks.segment.segmenter import Segmenter
from medzoo.tasks.shared.data import SIZE
from medzoo.tasks.shared.fit import fit_best
from medzoo.zoo.presets import loaded

HELD_OUT = 0.15  # share of the pairs that chooses the epoch, and as many that are reported on
BATCH = 8


def train_segmenter(
    model, images, masks, out, *, size=SIZE, epochs=30, seed=0, pretrained=True, verbose=2, command=None
):
    """Trains a segmenter and writes `segmenter.keras`, `report.json` and `report.png`.

    15% of the pairs choose the epoch, another 15% are reported on.

    Args:
        model: a medzoo model, or anything `medzoo.load` takes.
        images, masks: folders, see `load_masks`.
        out: folder to write to; made if it is not there.
        size: side in pixels, for a model that takes any.
        epochs, verbose: of the training.
        seed: of the training, and of what is held out.
        pretrained: `False` starts from random weights, as a control.
        command: for the report.

    Returns: `(segmenter, report)`, the report JSON-ready.

    Raises:
        ImageError: fewer than ten pairs; or as `load_masks`.
    """
    model, out = loaded(model), Path(out)
    x, y = load_masks(images, masks, model.image_shape[:2] if model.image_shape[0] else size)
    count = round(HELD_OUT * len(x))
    if count < 2:
        raise ImageError(f"{images}: {len(x)} pairs; expected 10 or more, so that some can be held out.")
    order = np.random.default_rng(seed).permutation(len(x))
    test, validation, train = order[:count], order[count : 2 * count], order[2 * count :]
    keras.utils.set_random_seed(seed)
    segmenter = Segmenter.from_pretrained(model, max(2, int(y.max()) + 1), pretrained=pretrained)
    pairs = MovedPairs(x[train], y[train], BATCH, seed=seed)
    seen = {"validation_data": (x[validation], y[validation]), "verbose": verbose}
    fit_best(segmenter, pairs, epochs=epochs, steps=len(pairs), learning_rate=2e-3, **seen)
    found, truth = segmenter.segment(x[test]), y[test]
    result = {
        "command": command,
        "images": {"train": len(train), "validation": len(validation), "test": len(test)},
        "size": list(x.shape[1:3]),
        "backend": keras.backend.backend(),
        **_agreement(truth, found, segmenter.num_classes),
    }
    out.mkdir(parents=True, exist_ok=True)
    with written_whole(out / "segmenter.keras") as part:
        segmenter.save(part)
    write_json(out / "report.json", result)
    titles = [f"Dice {value:.2f}" for value in dice(truth, found, 1)]
    save_outlines(out / "report.png", x[test][:16], truth[:16], found[:16], titles, f"{model.name}: held-out images")
    return segmenter, result


def _agreement(truth, found, classes):
    """Dice and Hausdorff distance of each label with intervals, and how often one of the two masks is empty."""
    labels = range(1, classes)
    distances = {k: hausdorff(truth, found, k) for k in labels}
    return {
        "dice": {k: summary(dice(truth, found, k)) for k in labels},
        "hausdorff_95_pixels": {k: summary(d[np.isfinite(d)]) for k, d in distances.items() if np.isfinite(d).any()},
        "one_mask_empty": {k: int((~np.isfinite(d)).sum()) for k, d in distances.items()},
    }


def outline(segmenter, file, out, size=SIZE, name=None):
    """Writes the mask of an image file (labels as grey values, NAME-mask.png) and a picture with its outline, NAME.png.

    Args:
        segmenter: a `Segmenter`.
        file: an image file.
        out: folder to write to.
        size: side in pixels, for a model that takes any.
        name: of the pictures; by default the file's.

    Returns: the integer mask `(H, W)`.
    """
    own, name = segmenter.image_shape[:2], name or Path(file).stem
    image = read_image(file, own if own[0] else size, segmenter.preprocess and segmenter.preprocess.window)[None]
    mask = segmenter.segment(image)
    with written_whole(Path(out) / f"{name}-mask.png") as part:
        Image.fromarray(mask[0].astype("uint8")).save(part)
    save_outlines(Path(out) / f"{name}.png", image, None, mask, [Path(file).name], None)
    return mask[0]
