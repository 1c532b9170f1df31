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
from medzoo.utils.groups import group_values

log = logging.getLogger("medzoo")


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


def warn_shared_patients(collections):
    """Log a warning for patients who are in different splits of several collections that are used together.

    Args:
        collections: List of `Collection`.
    """
    places = {}
    for number, collection in enumerate(collections):
        if collection.groups is not None:
            for value, split in zip(group_values(collection.groups), collection.splits.tolist(), strict=True):
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
