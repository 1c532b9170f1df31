"""Detection of duplicate images, and grouping of images by patient, examination or file."""

import hashlib
import os
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.walk import file_id
from medzoo.utils.labels import canonical, is_unknown, label_key

if TYPE_CHECKING:
    from medzoo.data.indexing import DatasetIndex

CHUNK = 4096  # bytes compared at the beginning, middle and end of files before the full comparison


def deduplicate(source: Path, found: "DatasetIndex") -> "DatasetIndex":
    """Remove entries that refer to an image that is already listed, by any path.

    Args:
        source: path of the dataset, for error messages.
        found: dataset index.

    Returns:
        Dataset index with each image once.

    Raises:
        ImageError: If entries of one image have different labels, splits, patients or subgroups.
    """
    ids = {path: file_id(found.root / path) for path, _ in found.sources}
    columns = {"label": found.names, "split": found.splits, "patient": found.groups, **found.subgroups}
    same = {"label": label_key, "patient": lambda patient: "" if is_unknown(patient) else canonical(patient)}
    first, kept, conflicts = {}, [], []
    for i, (path, frame) in enumerate(found.sources):
        earlier = first.setdefault((ids[path], frame or 0), i)
        if earlier == i:
            kept.append(i)
            continue
        for what, values in columns.items():
            key = same.get(what, canonical)
            if values is not None and key(str(values[earlier])) != key(str(values[i])):
                where = " and ".join(f"{str(values[n])!r} ({found.locations[n]})" for n in (earlier, i))
                conflicts.append(f"{path}: {what} {where}")
    if conflicts:
        raise ImageError(
            f"{source}: {len(conflicts)} contradictions about images that are listed more than once. Expected one row "
            "per image; separate several labels of one image by '|' in one cell.\n" + "\n".join(conflicts[:20])
        )
    if len(kept) == len(found.sources):
        return found
    duplicates = len(found.sources) - len(kept)
    note = f"{duplicates} of {len(found.sources)} entries are duplicates; each image is used once"

    def rows(values):
        return None if values is None else [values[i] for i in kept]

    return replace(
        found,
        sources=rows(found.sources),
        splits=None if found.splits is None else found.splits[kept],
        names=rows(found.names),
        groups=rows(found.groups),
        subgroups={name: rows(values) for name, values in found.subgroups.items()},
        locations=rows(found.locations),
        studies=rows(found.studies),
        notes=[*found.notes, note],
    )


def assign_groups(found: "DatasetIndex", duplicates: dict) -> tuple[np.ndarray | None, str, list[str]]:
    """Group images by patient, or if the patient is unknown by study, file or content.

    Args:
        found: dataset index.
        duplicates: result of `find_duplicates`.

    Returns:
        `(groups, kind, notes)`: array of str `(N,)`, or `None` if each image is its own group; `"patient"`,
        `"examination"`, or `"image"` if only duplicates are grouped; and notes for reports.
    """
    count = len(found.sources)
    patients = [None] * count if found.groups is None else [None if is_unknown(p) else str(p) for p in found.groups]
    studies = found.studies or [None] * count
    ids = [file_id(found.root / path) for path, _ in found.sources]
    contents = [duplicates.get(path) for path, _ in found.sources]
    shown, known, first, groups = {}, {}, {}, []
    for patient, *marks in zip(patients, studies, ids, contents, strict=True):
        if patient is not None:
            patient = shown.setdefault(canonical(patient), patient)
            for mark in enumerate(marks):
                known.setdefault(mark, patient)
    for i, ((path, _), patient, study, file) in enumerate(zip(found.sources, patients, studies, ids, strict=True)):
        if patient is not None:
            groups.append(shown[canonical(patient)])
        else:  # an image without patient gets that of other images of its study, file or content
            marks = [mark for mark in enumerate((study, file, contents[i])) if mark[1]]
            own = next((known[mark] for mark in marks if mark in known), None) or (study and f"study {study}")
            groups.append(own or str(contents[i] or first.setdefault(file, path)))
    unknown, groups = patients.count(None), np.array(groups)
    if unknown == count:
        if len(set(groups.tolist())) == count:
            return None, "image", []
        return groups, "examination" if any(studies) or len(set(ids)) < count else "image", []
    notes = [f"{unknown} of {count} images have no patient ID and are treated as separate patients"] if unknown else []
    return groups, "patient", notes


def find_duplicates(found: "DatasetIndex") -> dict:
    """Return `{path: first path with the same content}` for all byte-identical files.

    Args:
        found: dataset index.
    """
    sizes = defaultdict(dict)
    for path, _ in found.sources:
        file = found.root / path
        if file.is_file():
            sizes[file.stat().st_size].setdefault(file_id(file), path)
    result = {}
    for size, paths in sizes.items():
        for compare in (_sample, _digest) if size and len(paths) > 1 else ():
            by_content = defaultdict(list)
            for path in paths.values() if isinstance(paths, dict) else paths:
                by_content[compare(found.root / path, size)].append(path)
            paths = [path for own in by_content.values() if len(own) > 1 for path in own]
            if compare is _digest:
                result |= {path: own[0] for own in by_content.values() if len(own) > 1 for path in own}
    return result


def _sample(path, size):
    """Bytes at the beginning, middle and end of a file."""
    try:
        with open(path, "rb") as file:
            chunks = []
            for start in (0, max(0, size // 2), max(0, size - CHUNK)):
                file.seek(start)
                chunks.append(file.read(CHUNK))
        return b"".join(chunks)
    except OSError:  # unreadable files are reported when they are decoded
        return os.fspath(path)


def _digest(path, size):
    """Hash of a file."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return os.fspath(path)


def duplicate_notes(found: "DatasetIndex", first: dict, splits: np.ndarray, targets: np.ndarray | None) -> list[str]:
    """Describe byte-identical files that are in different splits or have different labels.

    Args:
        found: dataset index.
        first: result of `find_duplicates`.
        splits: array `(N,)` with the split of each image.
        targets: labels of the images, or `None`.

    Returns:
        Notes for reports.
    """
    splits_of, labels = defaultdict(set), defaultdict(set)
    for i, (path, _) in enumerate(found.sources):
        if path in first:
            splits_of[first[path]].add(str(splits[i]))
            labels[first[path]].add(None if targets is None else targets[i].tobytes())
    leaking = sum(len(own) > 1 for own in splits_of.values())
    notes = [f"{leaking} images have byte-identical copies in another split"] if leaking else []
    other = [str(path) for path, own in labels.items() if len(own) > 1]
    if other:
        notes.append(f"{len(other)} images have byte-identical copies with another label, e.g. {other[0]}")
    return notes


def single_patient(groups: np.ndarray) -> str | None:
    """Return the patient ID if all images have the same one, else `None`.

    Some anonymized datasets use one ID for all patients.

    Args:
        groups: array `(N,)` of patient IDs.
    """
    counts = Counter(np.asarray(groups).tolist())
    return next(iter(counts)) if len(counts) == 1 and sum(counts.values()) > 1 else None
