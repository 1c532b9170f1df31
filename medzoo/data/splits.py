"""Training, validation and test images that share no patient."""

import numpy as np

SPLITS = ("train", "val", "test")
PARTS = 7  # validation and test are one of so many parts each


def stratified_group_split(labels, groups=None, seed=0, names=SPLITS):
    """Which split each image goes to: a seventh of the images to each but the first, alike in their classes.

    Args:
        labels: integers `(N,)`, or 0 and 1 `(N, K)` where an image may have several findings (its rarest one counts),
            or `None`.
        groups: `(N,)`, whatever tells patients apart; all images of one go to the same split. `None`: each image by
            itself.
        seed: int.
        names: of the splits.

    Returns: array of names `(N,)`.

    Raises:
        ValueError: fewer than seven images or groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    count = len(groups) if groups is not None else len(labels)
    groups = np.arange(count) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if groups.max() + 1 < PARTS:
        raise ValueError(f"{groups.max() + 1} images or patients; expected {PARTS} or more, to hold some out.")
    labels = np.zeros(count, int) if labels is None else _rarest(labels) if np.ndim(labels) == 2 else labels
    labels = np.where(np.bincount(labels)[labels] < PARTS, -1, labels)  # too few to be spread evenly
    labels = np.unique(labels, return_inverse=True)[1]
    chosen = np.full(count, names[0], dtype="U8")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what is rare cannot be in every part
        folds = StratifiedGroupKFold(PARTS, shuffle=True, random_state=seed).split(labels, labels, groups)
        for name, (_, held_out) in zip(names[1:], folds, strict=False):
            chosen[held_out] = name
    return chosen


def _rarest(findings):
    """The rarest finding of each image, as a class number; images without one are a class of their own."""
    order = np.argsort(findings.sum(axis=0))
    ranked = findings[:, order]
    return np.where(ranked.any(axis=1), 1 + ranked.argmax(axis=1), 0)


def count_leaking_groups(groups, where):
    """How many groups stand in more than one split."""
    splits = {}
    for group, name in zip(np.asarray(groups).tolist(), np.asarray(where).tolist(), strict=True):
        splits.setdefault(group, set()).add(name)
    return sum(len(own) > 1 for own in splits.values())
