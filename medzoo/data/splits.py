"""Patient-level training, validation and test splits."""

from collections.abc import Sequence
from typing import cast

import numpy as np

SPLITS = ("train", "val", "test")
PARTS = 7  # validation and test split contain one of 7 folds each


def stratified_group_split(
    labels: np.ndarray | None, groups: np.ndarray | None = None, seed: int = 0, names: Sequence[str] = SPLITS
) -> np.ndarray:
    """Split images by group, stratified by class.

    Every split except the first gets one seventh of the images.

    Args:
        labels: integer array `(N,)`; or 0 and 1 `(N, K)` for multi-label data, where the rarest label of an image
            defines its stratum; or `None`.
        groups: array `(N,)` of group values, e.g. patients. All images of a group are in the same split. With `None`
            (default), every image is its own group.
        seed: int. Seed of the split, default 0.
        names: names of the splits, default `("train", "val", "test")`.

    Returns:
        Array of str `(N,)` with the split of each image.

    Raises:
        ValueError: If there are fewer than seven images or groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    count = len(groups) if groups is not None else len(cast("np.ndarray", labels))
    groups = np.arange(count) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if groups.max() + 1 < PARTS:
        raise ValueError(f"{groups.max() + 1} images or patients; expected {PARTS} or more for a split.")
    labels = np.zeros(count, int) if labels is None else _rarest(labels) if np.ndim(labels) == 2 else labels
    labels = np.where(np.bincount(labels)[labels] < PARTS, -1, labels)  # too few images to stratify
    labels = np.unique(labels, return_inverse=True)[1]
    chosen = np.full(count, names[0], dtype="U8")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # rare strata cannot be in every fold
        folds = StratifiedGroupKFold(PARTS, shuffle=True, random_state=seed).split(labels, labels, groups)
        for name, (_, held_out) in zip(names[1:], folds, strict=False):
            chosen[held_out] = name
    return chosen


def _rarest(labels):
    """Index of the rarest label of each image plus 1; 0 for images without labels."""
    order = np.argsort(labels.sum(axis=0))
    ranked = labels[:, order]
    return np.where(ranked.any(axis=1), 1 + ranked.argmax(axis=1), 0)


def count_leaking_groups(groups: np.ndarray, splits: np.ndarray) -> int:
    """Return the number of groups with images in more than one split.

    Args:
        groups: array `(N,)` of group values.
        splits: array `(N,)` with the split of each image.
    """
    splits_of = {}
    for group, name in zip(np.asarray(groups).tolist(), np.asarray(splits).tolist(), strict=True):
        splits_of.setdefault(group, set()).add(name)
    return sum(len(own) > 1 for own in splits_of.values())
