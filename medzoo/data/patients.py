"""Whose each image is, and parts of a data set that share no patient.

`groups` is scikit-learn's word: an array with one value per image that tells patients apart. A value that is missing
(`None`, NaN, an empty string) tells nothing; such an image is a patient of its own.
"""

import logging
import re
from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.image import split_frame
from medzoo.io.listing import patients_of

log = logging.getLogger("medzoo")


def encode_groups(groups, count):
    """Return the number of each image's patient, counted from 0 in order of first appearance.

    Args:
        groups: Sequence of length `count` that tells patients apart, or `None`. Missing values are patients of their
            own.
        count: int. Number of images.

    Returns:
        Integer array `(count,)`; without groups `0, 1, 2, ...`.

    Raises:
        ValueError: If there is not one group per image.
    """
    if groups is None:
        return np.arange(count)
    values = _values(groups)
    if len(values) != count:
        raise ValueError(f"groups: {len(values)} values for {count} images. Expected one value per image.")
    known = {}
    keys = ((None, i) if value is None else value for i, value in enumerate(values))
    return np.array([known.setdefault(key, len(known)) for key in keys], int)


def has_known_groups(groups):
    """Return whether groups are given and at least one of them tells a patient."""
    return groups is not None and any(value is not None for value in _values(groups))


def _values(groups):
    """The groups as a list of hashable values, `None` where one is missing."""
    return [_value(value) for value in groups]


def _value(value):
    value = value.decode() if isinstance(value, bytes) else value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str):
        return value.strip() or None
    missing = value is None or str(value) in ("<NA>", "NaT") or (isinstance(value, float) and value != value)
    return None if missing else value


def group_indices(groups, count):
    """Return the image indices of each patient, as a list of integer arrays in order of first appearance.

    Args:
        groups: See `numbered`; without groups each image is a unit.
        count: int. Number of images.
    """
    numbers = encode_groups(groups, count)
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers))[:-1]) if count else []


def take_groups(groups, indices):
    """Return the groups of some images; `None` without groups."""
    if groups is None:
        return None
    values = np.empty(len(groups), object)
    values[:] = _values(groups)
    return values[indices]


def hold_out(patients, counts, seed):
    """Split images at random into parts that share no patient.

    Args:
        patients: List of index arrays, see `units`.
        counts: List of int. Number of patients of each part that is held out.
        seed: int.

    Returns:
        List of index arrays: the parts that are held out, in this order, and last the images of all other patients.

    Raises:
        ValueError: If too few patients are there for every part to have one.
    """
    if sum(counts) >= len(patients) or min(counts) < 1:
        raise ValueError(
            f"hold_out: {len(patients)} patients (or images, where patients are not known). Expected "
            f"{max(sum(counts), len(counts)) + 1} or more, so that each part has one."
        )
    order = np.random.default_rng(seed).permutation(len(patients))
    parts = np.split(order, np.cumsum(counts))
    return [np.concatenate([patients[k] for k in part]) for part in parts]


def patients_of_files(files):
    """Return the PatientID of image files.

    Args:
        files: List of paths; `scan.dcm#3` is a frame, a folder a DICOM series.

    Returns:
        Array `(len(files),)`, or `None` where no patients are known.
    """
    sources = [split_frame(file) for file in files]
    if not all(path.exists() for path, _ in sources):  # an error when they are read
        return None
    return patients_of(Path(), [(_first_of(path), frame) for path, frame in sources])


def _first_of(path):
    """The first file of a folder, which stands for its series."""
    return min(file for file in path.iterdir() if file.is_file()) if path.is_dir() else path


def groups_from_paths(pattern, folder, files):
    """Return what a regular expression finds in the path of each file.

    Args:
        pattern: Regular expression; its first group counts, or all that it matches.
        folder: Folder that the files lie in. The path below it is searched.
        files: List of paths.

    Returns:
        Array of str `(len(files),)`.

    Raises:
        ImageError: If the pattern is not a regular expression, or matches nothing in a path.
    """
    folder = Path(folder)
    below = [Path(file).relative_to(folder if folder.is_dir() else folder.parent).as_posix() for file in files]
    return np.array(match_groups(pattern, folder, below))


def match_groups(pattern, where, paths):
    """`named_by` of paths as they are, a list of str; `where` they are from is named in errors."""
    try:
        known = re.compile(pattern)
    except re.error as error:
        raise ImageError(f"{where}: group={pattern!r} is not a regular expression ({error}).") from error
    found = [known.search(path) for path in paths]
    found = [match and match[match.re.groups and 1] for match in found]
    if missing := [path for path, match in zip(paths, found, strict=True) if not match]:
        raise ImageError(
            f"{where}: group={pattern!r} matches nothing in {len(missing)} of {len(paths)} paths, e.g. "
            f"{', '.join(missing[:3])}. Expected a part that identifies the patient in every path."
        )
    return found


def warn_of_shared(collections):
    """Log a warning for patients who are in different splits of several collections that are used together.

    Args:
        collections: List of `Collection`.
    """
    places = {}
    for number, collection in enumerate(collections):
        if collection.groups is not None:
            for value, split in zip(_values(collection.groups), collection.where.tolist(), strict=True):
                if value is not None:
                    places.setdefault(value, {}).setdefault((number, collection.name), set()).add(split)
    shared = [p for p in places.values() if len(p) > 1 and len(set.union(*p.values())) > 1]
    if shared:
        names = [name for _, name in sorted({key for place in shared for key in place})]
        log.warning(
            "%s: %d patients of the same name are in different splits of these data sets. If they are the same "
            "persons, open the data sets as one table with a column of patients.",
            ", ".join(names),
            len(shared),
        )
