"""Images and masks in splits, for training a segmenter."""

from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.images.masks import load_mask_archive, load_masks
from medzoo.images.splits import SPLITS

HELD_OUT = 0.15  # share of the pairs that chooses the epoch, and as many that are reported on


def split_pairs(images, masks, size, seed):
    """Images and masks to learn from, to choose the epoch by, and to report on.

    Args:
        images, masks: folders, see `load_masks`; or an npz archive, see `load_mask_archive`, and `None`.
        size: see `load_masks`.
        seed: int; chooses what is held out where no splits are given, 15% and 15%.

    Returns: `({"train", "val", "test": (images, masks)}, names of the labels or None)`.

    Raises:
        ImageError: fewer than ten pairs without splits; or as `load_masks`.
    """
    names = None
    if Path(images).suffix.lower() == ".npz":
        parts, names = load_mask_archive(images, size)
        if len(parts) == len(SPLITS):
            return parts, names
        x, y = (np.concatenate(arrays) for arrays in zip(*parts.values(), strict=True))
    else:
        x, y = load_masks(images, masks, size)
    count = round(HELD_OUT * len(x))
    if count < 2:
        raise ImageError(f"{images}: {len(x)} pairs; expected 10 or more, so that some can be held out.")
    order = np.random.default_rng(seed).permutation(len(x))
    chosen = order[2 * count :], order[count : 2 * count], order[:count]
    return {split: (x[own], y[own]) for split, own in zip(SPLITS, chosen, strict=True)}, names
