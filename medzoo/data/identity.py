"""Which images are one image, one file, one patient: what no split may part."""

import hashlib
import os
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.walk import file_id
from medzoo.utils.labels import canonical, is_unknown, label_key

PIECE = 4096  # bytes at the beginning, in the middle and at the end that files are first compared by


def deduplicate(source, found):
    """`Found` with each image once, however often and by whatever path it is named.

    Raises:
        ImageError: If what is said of one image contradicts itself; names the file.
    """
    ids = {path: file_id(found.root / path) for path, _ in found.sources}
    said = {"label": found.names, "split": found.where, "patient": found.groups, **found.subgroups}
    same = {"label": label_key, "patient": lambda patient: "" if is_unknown(patient) else canonical(patient)}
    first, kept, wrong = {}, [], []
    for i, (path, frame) in enumerate(found.sources):
        before = first.setdefault((ids[path], frame or 0), i)
        if before == i:
            kept.append(i)
            continue
        for what, values in said.items():
            key = same.get(what, canonical)
            if values is not None and key(str(values[before])) != key(str(values[i])):
                where = " and ".join(f"{str(values[n])!r} ({found.places[n]})" for n in (before, i))
                wrong.append(f"{path}: {what} {where}")
    if wrong:
        raise ImageError(
            f"{source}: {len(wrong)} contradictions about images that are named more than once. Expected one row for "
            "each image; join several findings of one image by '|' in one cell.\n" + "\n".join(wrong[:20])
        )
    if len(kept) == len(found.sources):
        return found
    double = len(found.sources) - len(kept)
    note = f"{double} of {len(found.sources)} entries name an image again; each image is used once"

    def rows(values):
        return None if values is None else [values[i] for i in kept]

    return replace(
        found,
        sources=rows(found.sources),
        where=None if found.where is None else found.where[kept],
        names=rows(found.names),
        groups=rows(found.groups),
        subgroups={name: rows(values) for name, values in found.subgroups.items()},
        places=rows(found.places),
        studies=rows(found.studies),
        notes=[*found.notes, note],
    )


def grouped(found, same_bytes):
    """What belongs together: images of one patient, or where nobody knows the patient, of one study or one file.

    Args:
        found: `Found`.
        same_bytes: see `copies`.

    Returns:
        `(groups, kind, notes)`: array of str `(N,)` or `None` if each image is by itself; `"patient"`, `"examination"`
        or, if at most copies are together, `"image"`; sentences for the report.
    """
    count = len(found.sources)
    patients = [None] * count if found.groups is None else [None if is_unknown(p) else str(p) for p in found.groups]
    studies = found.studies or [None] * count
    ids = [file_id(found.root / path) for path, _ in found.sources]
    contents = [same_bytes.get(path) for path, _ in found.sources]
    shown, known, first, groups = {}, {}, {}, []
    for patient, *marks in zip(patients, studies, ids, contents, strict=True):
        if patient is not None:
            patient = shown.setdefault(canonical(patient), patient)
            for mark in enumerate(marks):
                known.setdefault(mark, patient)
    for i, ((path, _), patient, study, file) in enumerate(zip(found.sources, patients, studies, ids, strict=True)):
        if patient is not None:
            groups.append(shown[canonical(patient)])
        else:  # an image of a study or a file belongs to the patient of the others
            marks = [mark for mark in enumerate((study, file, contents[i])) if mark[1]]
            own = next((known[mark] for mark in marks if mark in known), None) or (study and f"study {study}")
            groups.append(own or str(contents[i] or first.setdefault(file, path)))
    unknown, groups = patients.count(None), np.array(groups)
    if unknown == count:
        if len(set(groups.tolist())) == count:
            return None, "image", []
        return groups, "examination" if any(studies) or len(set(ids)) < count else "image", []
    notes = [f"{unknown} of {count} images have no patient ID and count as patients of their own"] if unknown else []
    return groups, "patient", notes


def copies(found):
    """`{path: the first path with the same bytes}` of files that are copies of each other."""
    sizes = defaultdict(dict)
    for path, _ in found.sources:
        file = found.root / path
        if file.is_file():
            sizes[file.stat().st_size].setdefault(file_id(file), path)
    result = {}
    for size, paths in sizes.items():
        for compare in (_sample, _whole) if size and len(paths) > 1 else ():
            alike = defaultdict(list)
            for path in paths.values() if isinstance(paths, dict) else paths:
                alike[compare(found.root / path, size)].append(path)
            paths = [path for own in alike.values() if len(own) > 1 for path in own]
            if compare is _whole:
                result |= {path: own[0] for own in alike.values() if len(own) > 1 for path in own}
    return result


def _sample(path, size):
    try:
        with open(path, "rb") as file:
            pieces = []
            for start in (0, max(0, size // 2), max(0, size - PIECE)):
                file.seek(start)
                pieces.append(file.read(PIECE))
        return b"".join(pieces)
    except OSError:  # it is reported when it is read
        return os.fspath(path)


def _whole(path, size):
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return os.fspath(path)


def copies_between(found, first, where, targets):
    """Sentences about files that are copies of others, `first` of `copies`: in two splits, or with two labels."""
    splits, labels = defaultdict(set), defaultdict(set)
    for i, (path, _) in enumerate(found.sources):
        if path in first:
            splits[first[path]].add(str(where[i]))
            labels[first[path]].add(None if targets is None else targets[i].tobytes())
    between = sum(len(own) > 1 for own in splits.values())
    notes = [f"{between} images have copies, byte for byte, in another split"] if between else []
    other = [str(path) for path, own in labels.items() if len(own) > 1]
    if other:
        notes.append(f"{len(other)} images have copies, byte for byte, with another label, e.g. {other[0]}")
    return notes


def one_patient(groups):
    """The ID that all images share, as anonymized files do; or `None`."""
    found = Counter(np.asarray(groups).tolist())
    return next(iter(found)) if len(found) == 1 and sum(found.values()) > 1 else None
