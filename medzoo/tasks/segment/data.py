"""Splits of images and masks for training a segmenter."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from medzoo.data.masks import load_mask_npz, load_pairs
from medzoo.data.patients import groups_from_paths, patients_of_files
from medzoo.data.splits import SPLITS, count_leaking_groups
from medzoo.errors import ImageError
from medzoo.utils.groups import encode_groups, group_indices, has_known_groups, hold_out, take_groups

HELD_OUT = 0.15  # fraction of the pairs for validation, and for the test split
LEAST = 10  # minimum number of pairs, so that two or more are in each split


@dataclass
class Pairs:
    """Images and masks in splits.

    Attributes:
        images: Float32 array, see `load_masks`.
        masks: int32 array, see `load_masks`.
        indices: Dict of the indices of the images of each split.
        groups: Array of N patient identifiers, or `None` where they are not known.
        names: Names of the labels, or `None`.
        split: str. Description of the splits for reports.
    """

    images: np.ndarray
    masks: np.ndarray
    indices: dict[str, np.ndarray]
    groups: Sequence | np.ndarray | None
    names: list | None
    split: str

    def part(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Return `(images, masks)` of a split.

        Args:
            split: `"train"`, `"val"` or `"test"`.

        Returns:
            Tuple of arrays.
        """
        own = self.indices[split]
        return self.images[own], self.masks[own]

    def patients(self, split: str) -> np.ndarray | None:
        """Return the patient identifiers of a split.

        Args:
            split: `"train"`, `"val"` or `"test"`.

        Returns:
            Array with one identifier per image, or `None` if patients are unknown.
        """
        return take_groups(self.groups, self.indices[split])


def split_pairs(
    images: str | Path,
    masks: str | Path | None,
    size: int | tuple[int, ...] | None,
    seed: int,
    group: str | None = None,
    groups: Sequence | np.ndarray | None = None,
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list | None]:
    """Read images and masks and split them into training, validation and test pairs.

    Args:
        images: See `open_pairs`.
        masks: See `open_pairs`.
        size: See `open_pairs`.
        seed: See `open_pairs`.
        group: See `open_pairs`.
        groups: See `open_pairs`.

    Returns:
        `({"train": (images, masks), "val": ..., "test": ...}, names)`; the names of the labels may be `None`.
    """
    pairs = open_pairs(images, masks, size, seed, group, groups)
    return {split: pairs.part(split) for split in SPLITS}, pairs.names


def open_pairs(
    images: str | Path,
    masks: str | Path | None,
    size: int | tuple[int, ...] | None,
    seed: int,
    group: str | None = None,
    groups: Sequence | np.ndarray | None = None,
) -> Pairs:
    """Read images and masks, with a patient-level split.

    Args:
        images: Folder, see `load_masks`; or an NPZ file, see `load_mask_npz`. Splits of an NPZ file are kept.
        masks: Folder; `None` for an NPZ file.
        size: See `load_masks`.
        seed: int. Seed of the split where none is given: 15% of the patients for validation and 15% for the test.
        group: Regular expression that extracts the patient identifier from the path of each image below its folder. By
            default the PatientID of DICOM files; images of other files count as separate patients.
        groups: Sequence with one patient identifier per image instead of `group`, in the order of the files (in an NPZ
            file: training, validation, test).

    Returns:
        The pairs.

    Raises:
        ImageError: If splits are missing and there are fewer than 10 pairs or too few patients, or as for `load_masks`.
        ValueError: If there is not one group per image.
    """
    names, given = None, {}
    if Path(images).suffix.lower() == ".npz":
        if group is not None:
            raise ValueError(f"{images}: group={group!r}, but an NPZ file has no file names. Pass groups instead.")
        parts, names = load_mask_npz(images, size)
        x, y = (np.concatenate(arrays) for arrays in zip(*parts.values(), strict=True))
        ends = np.cumsum([len(own) for own, _ in parts.values()])[:-1]
        given = dict(zip(parts, np.split(np.arange(len(x)), ends), strict=True))
    else:
        x, y, files = load_pairs(images, cast("str | Path", masks), size)
        if groups is None:
            groups = patients_of_files(files) if group is None else groups_from_paths(group, images, files)
    groups = groups if has_known_groups(groups) else None
    numbers = encode_groups(groups, len(x))
    indices = {**given, **_missing(images, given, numbers, seed)}
    indices = {split: indices[split] for split in SPLITS}
    return Pairs(x, y, indices, groups, names, _describe_split(set(SPLITS) <= set(given), groups, numbers, indices))


def _missing(source, given, numbers, seed):
    """Return the indices of the splits that are not given, and of the remaining training images."""
    missing = [split for split in ("test", "val") if split not in given]
    if not missing:
        return {}
    own = given.get("train", np.arange(len(numbers)))
    patients = group_indices(numbers[own], len(own))
    count = round(HELD_OUT * len(patients))
    if round(HELD_OUT * len(own)) < 2:
        raise ImageError(
            f"{source}: too few pairs. Expected {LEAST} or more, so that some can be held out, got {len(own)}."
        )
    if len(patients) <= len(missing):
        raise ImageError(
            f"{source}: too few patients. Expected {len(missing) + 1} or more, so that none is in two splits, got "
            f"{len(patients)}."
        )
    parts = hold_out(patients, [max(1, count)] * len(missing), seed)
    return {split: own[part] for split, part in zip((*missing, "train"), parts, strict=True)}


def _describe_split(given, groups, numbers, indices):
    """Return a description of how the splits were defined and of possible leakage."""
    if groups is None:
        return "given with the data; patients are unknown" if given else "by image: patients are unknown"
    splits = np.empty(len(numbers), "U8")
    for split, own in indices.items():
        splits[own] = split
    if leaking := count_leaking_groups(numbers, splits):
        return f"given with the data; {leaking} patients are in more than one split"
    return "given, by patient" if given else "by patient"
