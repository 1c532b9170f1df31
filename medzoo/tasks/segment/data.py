"""Images and masks in splits, for training a segmenter."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medzoo.data.masks import load_mask_archive, load_pairs
from medzoo.data.patients import groups_from_paths, patients_of_files
from medzoo.data.splits import SPLITS, count_leaking_groups
from medzoo.errors import ImageError
from medzoo.utils.groups import encode_groups, group_indices, has_known_groups, hold_out, take_groups

HELD_OUT = 0.15  # share of the pairs that chooses the epoch, and as many that are reported on
LEAST = 10  # pairs, so that two or more are in each part


@dataclass
class Pairs:
    """Images and masks in splits.

    Attributes:
        images: float32 array, see `load_masks`.
        masks: int32 array, see `load_masks`.
        places: Dict of the split's name to the indices of its images.
        groups: Array `(N,)` that tells patients apart, or `None` where they are not known.
        names: Names of the labels, or `None`.
        split: str. How the splits came about, for reports.
    """

    images: np.ndarray
    masks: np.ndarray
    places: dict
    groups: np.ndarray | None
    names: list | None
    split: str

    def part(self, split):
        """Return `(images, masks)` of a split."""
        own = self.places[split]
        return self.images[own], self.masks[own]

    def patients(self, split):
        """Return the groups of a split, or `None`."""
        return take_groups(self.groups, self.places[split])


def split_pairs(images, masks, size, seed, group=None, groups=None):
    """Images and masks to learn from, to choose the epoch by, and to report on.

    Args:
        images, masks, size, seed, group, groups: See `open_pairs`.

    Returns:
        `({"train", "val", "test": (images, masks)}, names of the labels or None)`.
    """
    pairs = open_pairs(images, masks, size, seed, group, groups)
    return {split: pairs.part(split) for split in SPLITS}, pairs.names


def open_pairs(images, masks, size, seed, group=None, groups=None):
    """Read images and masks, and split them so that no patient is in two splits.

    Args:
        images: Folder, see `load_masks`; or an npz archive, see `load_mask_archive`. Splits of an archive are kept.
        masks: Folder; `None` for an archive.
        size: See `load_masks`.
        seed: int. Chooses what is held out where no splits are given, 15% and 15% of the patients.
        group: Regular expression that finds in the path of each image below its folder what tells patients apart. By
            default the PatientID of DICOM files; where there is none, each image is a patient of its own.
        groups: Sequence that tells patients apart, one value per image in the order of the files (of an archive:
            training, validation, test), in place of `group`.

    Returns:
        `Pairs`.

    Raises:
        ImageError: If there are fewer than ten pairs, or fewer than three patients, without splits; or as `load_masks`.
        ValueError: If there is not one group per image.
    """
    names, given = None, {}
    if Path(images).suffix.lower() == ".npz":
        if group is not None:
            raise ValueError(f"{images}: group={group!r}, but an archive has no file names. Pass groups instead.")
        parts, names = load_mask_archive(images, size)
        x, y = (np.concatenate(arrays) for arrays in zip(*parts.values(), strict=True))
        ends = np.cumsum([len(own) for own, _ in parts.values()])[:-1]
        given = dict(zip(parts, np.split(np.arange(len(x)), ends), strict=True))
    else:
        x, y, files = load_pairs(images, masks, size)
        if groups is None:
            groups = patients_of_files(files) if group is None else groups_from_paths(group, images, files)
    groups = groups if has_known_groups(groups) else None
    numbers = encode_groups(groups, len(x))
    places = {**given, **_missing(images, given, numbers, seed)}
    places = {split: places[split] for split in SPLITS}
    return Pairs(x, y, places, groups, names, _sentence(set(SPLITS) <= set(given), groups, numbers, places))


def _missing(source, given, numbers, seed):
    """Indices of the splits that are not given, cut from the training images, and of what is left of these."""
    missing = [split for split in ("test", "val") if split not in given]
    if not missing:
        return {}
    own = given.get("train", np.arange(len(numbers)))
    patients = group_indices(numbers[own], len(own))
    count = round(HELD_OUT * len(patients))
    if round(HELD_OUT * len(own)) < 2:
        raise ImageError(f"{source}: {len(own)} pairs; expected {LEAST} or more, so that some can be held out.")
    if len(patients) <= len(missing):
        raise ImageError(
            f"{source}: pairs of {len(patients)} patients; expected {len(missing) + 1} patients or more, so that none "
            "is in two splits."
        )
    parts = hold_out(patients, [max(1, count)] * len(missing), seed)
    return {split: own[part] for split, part in zip((*missing, "train"), parts, strict=True)}


def _sentence(given, groups, numbers, places):
    """How the splits came about, in words."""
    if groups is None:
        known = "whose each image is, is not known"
        return f"given with the data; {known}" if given else f"by image: {known}"
    where = np.empty(len(numbers), "U8")
    for split, own in places.items():
        where[own] = split
    if both := count_leaking_groups(numbers, where):
        return f"given with the data; {both} patients stand in more than one"
    return "given, by patient" if given else "by patient"
