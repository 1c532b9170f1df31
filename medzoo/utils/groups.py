"""Groups: the patient of each image, as arrays.

`groups` follows scikit-learn: an array with one value per image that identifies its patient. An image whose value is
missing (`None`, NaN, an empty string) counts as a patient of its own.
"""

from collections.abc import Sequence

import numpy as np


def encode_groups(groups: Sequence | np.ndarray | None, count: int) -> np.ndarray:
    """Return the patient index of each image, counted from 0 in order of first appearance.

    Args:
        groups: Sequence of length `count` that identifies patients, or `None`. Each missing value is a patient of its
            own.
        count: int. Number of images.

    Returns:
        Integer array of shape `(count,)`; without groups `0, 1, 2, ...`.

    Raises:
        ValueError: If there is not one group per image.
    """
    if groups is None:
        return np.arange(count)
    values = group_values(groups)
    if len(values) != count:
        raise ValueError(f"groups: {len(values)} values for {count} images. Expected one value per image.")
    known = {}
    keys = ((None, i) if value is None else value for i, value in enumerate(values))
    return np.array([known.setdefault(key, len(known)) for key in keys], int)


def has_known_groups(groups: Sequence | np.ndarray | None) -> bool:
    """Return whether groups are given and at least one of them identifies a patient."""
    return groups is not None and any(value is not None for value in group_values(groups))


def group_values(groups: Sequence | np.ndarray) -> list:
    """Return the groups as a list of hashable values, `None` where one is missing."""
    return [_value(value) for value in groups]


def _value(value):
    value = value.decode() if isinstance(value, bytes) else value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str):
        return value.strip() or None
    missing = value is None or str(value) in ("<NA>", "NaT") or (isinstance(value, float) and value != value)
    return None if missing else value


def group_indices(groups: Sequence | np.ndarray | None, count: int) -> list[np.ndarray]:
    """Return the image indices of each patient, in order of first appearance.

    Args:
        groups: See `encode_groups`; without groups each image is a patient of its own.
        count: int. Number of images.

    Returns:
        List of integer arrays, one per patient.
    """
    numbers = encode_groups(groups, count)
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers))[:-1]) if count else []


def take_groups(groups: Sequence | np.ndarray | None, indices) -> np.ndarray | None:
    """Return the groups of some images; `None` without groups."""
    if groups is None:
        return None
    values = np.empty(len(groups), object)
    values[:] = group_values(groups)
    return values[indices]


def hold_out(patients: list[np.ndarray], counts: Sequence[int], seed: int) -> list[np.ndarray]:
    """Split images at random into parts without common patients.

    Args:
        patients: List of index arrays, see `group_indices`.
        counts: List of int. Number of patients of each held-out part.
        seed: int. Seed of the random split.

    Returns:
        List of index arrays: the held-out parts in this order, then the images of all other patients.

    Raises:
        ValueError: If there are too few patients for every part to have one.
    """
    if sum(counts) >= len(patients) or min(counts) < 1:
        raise ValueError(
            f"hold_out: {len(patients)} patients (or images, where patients are not known). Expected "
            f"{max(sum(counts), len(counts)) + 1} or more, so that each part has one."
        )
    order = np.random.default_rng(seed).permutation(len(patients))
    parts = np.split(order, np.cumsum(counts))
    return [np.concatenate([patients[k] for k in part]) for part in parts]
