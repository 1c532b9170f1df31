"""Conversion of written labels to classes, for tables, folders and NPZ files."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medzoo.errors import ImageError

NONE = ("", "no finding", "no_finding", "normal")  # labels of normal images
BLANK = ("", "nan", "none", "na", "n/a", "<na>", "#n/a", "null", "nil", "nat")  # written by programs for an empty cell
UNKNOWN = (*BLANK, "unknown", "unk", "anonymous", "anonymized", "anonymised", "anon", "not available", "missing")
UNKNOWN += (
    "undefined",
    "removed",
    "deidentified",
    "de-identified",
    "-",
    "--",
    "?",
    ".",
)  # placeholders for a patient's name
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?|[+-]?inf(inity)?")
MOST_CLASSES = 10_000  # in an NPZ file without names of classes; more are probably identifiers


def canonical(text: object) -> str:
    """Return the common form of all spellings of a name.

    Unicode NFC, single spaces between words, case folded, `1.0` as `1`.
    """
    text = unicodedata.normalize("NFC", str(text))
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")  # invisible marks
    text = unicodedata.normalize("NFC", " ".join(text.split()).casefold())
    whole = re.fullmatch(r"(-?\d+)[.,]0*", text)
    return whole[1] if whole else text


def is_unknown(patient: object) -> bool:
    """Return whether a patient's name or ID is blank or a placeholder."""
    return canonical(patient).strip("^ ") in UNKNOWN


def label_key(name: str) -> frozenset[str]:
    """Return a key that is equal for cells with the same label or labels."""
    return frozenset(map(canonical, name.split("|"))) - (set(NONE) if "|" in name else set())


def encode_labels(
    source: str | Path,
    names: Sequence[str] | None,
    places: Sequence[str],
    findings: Sequence[str] | None = None,
    written: bool = True,
) -> tuple:
    """Encode labels as classes.

    Args:
        source: Path of the table or folder, for messages.
        names: Label of each image, several labels joined by `|`; or `None`.
        places: Position of each label in the source, e.g. `line 3`.
        findings: list of str. All labels, if the table has a column for each.
        written: bool. Whether the labels are cells of a table; names of folders may be any numbers.

    Returns:
        Tuple `(class names, targets, notes)`: int array `(N,)`, or 0 and 1 `(N, K)` for multi-label data; the notes are
        sentences for reports.

    Raises:
        ImageError: If a label is blank or not a class; names the lines.
    """
    if names is None:
        return None, None, []
    multi_label = findings is not None or any("|" in name for name in names)
    cells = [
        [part for part in name.split("|") if canonical(part) not in NONE] if multi_label else [name] for name in names
    ]
    _reject(source, "without a label", cells, places, lambda c: c in BLANK and not (c == "none" and not written))
    if written:
        no_class = "whose label is no class (a fraction, or a negative number)"
        _reject(source, no_class, cells, places, lambda c: NUMBER.fullmatch(c) and not c.isdigit())
    spellings = {}
    for part in (part for parts in cells for part in parts):
        shown = " ".join(unicodedata.normalize("NFC", part).split())
        spellings.setdefault(canonical(part), Counter())[shown] += 1
    shown = {key: _shown(key, own) for key, own in spellings.items()}
    notes = [
        f"the spellings {', '.join(map(repr, sorted(own)))} are one class, {shown[key]!r}"
        for key, own in spellings.items()
        if len(own) > 1
    ]
    if multi_label:
        if blank := sum(not name for name in names):
            notes.append(f"{blank} blank labels are taken as no finding")
        classes = list(findings or sorted(shown.values()))
        index = {canonical(name): i for i, name in enumerate(classes)}
        targets = np.zeros((len(names), len(classes)), int)
        for row, parts in zip(targets, cells, strict=True):
            row[[index[canonical(part)] for part in parts]] = 1
        return classes, targets, notes
    # The normal class comes first: reports give the sensitivity of the second of two classes.
    classes = sorted(
        shown.values(), key=lambda n: (n.lower() not in NONE, not n.isdigit(), int(n) if n.isdigit() else 0, n)
    )
    index = {canonical(name): i for i, name in enumerate(classes)}
    return classes, np.array([index[canonical(name)] for (name,) in cells]), notes


def _reject(source, what, cells, places, wrong):
    """Raise ImageError if labels are wrong."""
    found = [
        (place, part) for place, parts in zip(places, cells, strict=True) for part in parts if wrong(canonical(part))
    ]
    if found:
        values = ", ".join(sorted({repr(part) for _, part in found})[:5])
        raise ImageError(
            f"{source}: {len(found)} rows {what}, first in {found[0][0]}: {values}. Expected the name of a class or an "
            "integer from 0. Correct them, or remove these rows; a normal image is 'normal' or 'no finding'."
        )


def _shown(key, spellings):
    """Return the most frequent spelling of a class."""
    if len(spellings) > 1 and key.isdigit():
        return key
    return min(spellings, key=lambda name: (-spellings[name], name))


def integer_labels(source: str | Path, key: str, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the labels of an array as integers.

    Args:
        source: Path of the file, for messages.
        key: str. Name of the array, for messages.
        labels: Array `(N,)`, `(N, 1)` or `(N, K)`.
        count: int. Number of images.

    Raises:
        ImageError: If the labels are not classes, or not one per image.
    """
    found = f"{source}: {key} is {labels.dtype} {labels.shape}"
    if labels.ndim == 0 or labels.ndim > 2 or 0 in labels.shape[1:]:
        raise ImageError(f"{found}; expected one integer per image, (N,) or (N, 1), or 0 and 1 (N, K).")
    if len(labels) != count:
        raise ImageError(
            f"{found}; expected one label for each of {count} images. Store one label per image, in order."
        )
    if labels.dtype.kind not in "biuf":
        raise ImageError(f"{found}; expected integers from 0. Put the names of the classes into class_names.")
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.round(labels)):
        raise ImageError(f"{found} with fractions or NaN; expected integers from 0. Scores are not classes.")
    if labels.size and labels.min() < 0:
        raise ImageError(
            f"{found} with values down to {labels.min():g}; expected integers from 0. Leave out images whose label is "
            "uncertain or missing."
        )
    top = labels.size and labels.dtype.kind == "u" and np.iinfo(labels.dtype).max
    if top and top in labels and top - 1 not in labels:
        raise ImageError(f"{found} with the value {top}, which -1 becomes without sign; expected integers from 0.")
    if labels.ndim == 2 and labels.shape[1] > 1:
        if labels.size and labels.max() > 1:
            raise ImageError(f"{found} with values up to {labels.max():g}; expected 0 and 1 for each of K findings.")
        return labels.astype("int64")
    return labels.reshape(len(labels)).astype("int64")


def array_classes(source: str | Path, labels: np.ndarray, names: np.ndarray | None) -> tuple[list[str], list[str]]:
    """Return class names and notes for the integer labels of an NPZ file.

    Args:
        source: Path of the file, for messages.
        labels: int array `(N,)`, or 0 and 1 `(N, K)` for multi-label data.
        names: Array of the file's class names, or `None`.

    Returns:
        Tuple of the class names and of notes, which are sentences for reports.

    Raises:
        ImageError: If names and labels do not agree.
    """
    multi_label = labels.ndim == 2
    count = labels.shape[1] if multi_label else int(labels.max(initial=-1)) + 1
    notes = []
    if multi_label and len(labels) and (labels.sum(axis=1) == 1).all():
        notes = [
            f"every image has exactly one of {count} findings; they are read as {count} separate findings. If they are "
            f"classes that exclude each other, store the number of the class, (N, 1)"
        ]
    if not multi_label and names is None and (none := count - len(np.unique(labels))):
        notes.append(f"{none} of the classes 0 to {count - 1} have no image")
    if names is None:
        if count > MOST_CLASSES:
            raise ImageError(f"{source}: labels up to {count - 1}; expected classes. Identifiers are not classes.")
        return [str(i) for i in range(count)], notes
    if np.ndim(names) != 1 or np.asarray(names).dtype.kind not in "US":
        raise ImageError(f"{source}: class_names is not a list of names; expected one text for each class.")
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in names]
    if len(names) < count or (multi_label and len(names) != count):
        raise ImageError(f"{source}: class_names contains {len(names)} names, the labels {count} classes.")
    if double := [name for name, n in Counter(map(canonical, names)).items() if n > 1]:
        raise ImageError(f"{source}: class_names has {double[0]!r} more than once; expected one name for each class.")
    return names, notes
