"""Patient identifiers of image files, from DICOM tags or paths, and checks for patients shared between datasets."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.image import split_frame
from medzoo.io.listing import patients_of
from medzoo.utils.groups import group_values

if TYPE_CHECKING:
    from medzoo.data.image_dataset import ImageDataset

log = logging.getLogger("medzoo")


def patients_of_files(files: Sequence[str | Path]) -> np.ndarray | None:
    """Return the PatientID of image files.

    Args:
        files: list of paths; `scan.dcm#3` is a frame, a folder is a DICOM series.

    Returns:
        Array of str `(len(files),)`, or `None` if no patients are known.
    """
    sources = [split_frame(file) for file in files]
    if not all(path.exists() for path, _ in sources):  # missing files raise an error when they are read
        return None
    return patients_of(Path(), [(_first_of(path), frame) for path, frame in sources])


def _first_of(path):
    """Return the first file of a folder, which represents its series; return files unchanged."""
    return min(file for file in path.iterdir() if file.is_file()) if path.is_dir() else path


def groups_from_paths(pattern: str, folder: str | Path, files: Sequence[str | Path]) -> np.ndarray:
    """Extract a group value from the path of each file with a regular expression.

    Args:
        pattern: regular expression; its first capturing group is used, else the whole match.
        folder: folder of the files; the pattern is applied to paths relative to it.
        files: list of paths.

    Returns:
        Array of str `(len(files),)`.

    Raises:
        ImageError: If the pattern is not a regular expression, or matches nothing in a path.
    """
    folder = Path(folder)
    below = [Path(file).relative_to(folder if folder.is_dir() else folder.parent).as_posix() for file in files]
    return np.array(match_groups(pattern, folder, below))


def match_groups(pattern: str, where: str | Path, paths: Sequence[str]) -> list[str]:
    """Extract a group value from each path with a regular expression.

    Args:
        pattern: see `groups_from_paths`.
        where: source of the paths, for error messages.
        paths: list of str.

    Raises:
        ImageError: If the pattern is not a regular expression, or matches nothing in a path.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ImageError(f"{where}: group={pattern!r} is not a regular expression ({error}).") from error
    matches = [compiled.search(path) for path in paths]
    values = [match and match[match.re.groups and 1] for match in matches]
    if missing := [path for path, match in zip(paths, values, strict=True) if not match]:
        raise ImageError(
            f"{where}: group={pattern!r} matches nothing in {len(missing)} of {len(paths)} paths, e.g. "
            f"{', '.join(missing[:3])}. Expected a part that identifies the patient in every path."
        )
    return cast("list[str]", values)


def warn_shared_patients(datasets: "Sequence[ImageDataset]") -> None:
    """Log a warning for patients that are in different splits of several datasets.

    Args:
        datasets: list of `ImageDataset`.
    """
    splits = {}
    for number, dataset in enumerate(datasets):
        if dataset.groups is not None:
            for value, split in zip(group_values(dataset.groups), dataset.splits.tolist(), strict=True):
                if value is not None:
                    splits.setdefault(value, {}).setdefault((number, dataset.name), set()).add(split)
    shared = [p for p in splits.values() if len(p) > 1 and len(set.union(*p.values())) > 1]
    if shared:
        names = [name for _, name in sorted({key for patient in shared for key in patient})]
        log.warning(
            "%s: %d patients with the same identifier are in different splits of these datasets. If they are the "
            "same persons, open the datasets as one CSV file with a column of patients.",
            ", ".join(names),
            len(shared),
        )
