"""Images with labels, splits and patients as they lie on disk: folders and tables."""

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.images.listing import list_sources, patients_of
from medzoo.images.nifti import list_nifti
from medzoo.images.read import split_frame

SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLIT_NAMES |= {"test": "test", "testing": "test"}
COLUMNS = {  # what a table's columns are usually called, in lower case
    "path": ("path", "file", "filename", "file_name", "image", "image index", "image_path"),
    "label": ("label", "labels", "class", "diagnosis", "finding", "findings", "finding labels"),
    "split": ("split", "fold", "set"),
    "group": ("group", "patient", "patient_id", "patientid", "patient id", "subject", "subject_id"),
}
SUBGROUPS = ("sex", "gender", "age", "view", "race", "ethnicity", "site", "hospital", "scanner", "manufacturer")
NONE = ("", "no finding", "no_finding", "normal")  # no finding


@dataclass
class Found:
    """What a folder or a table says.

    Fields:
        root: folder that paths are relative to.
        sources: `(path, frame)` of each image.
        where: split of each, array of str, or `None`.
        names: label of each as it is written, or `None`.
        groups: whose each is, array, or `None`.
        subgroups: of a table `{column: what it says of each image}`, those that results are to be told apart by.
    """

    root: Path
    sources: list
    where: np.ndarray | None
    names: list | None
    groups: np.ndarray | None
    subgroups: dict = field(default_factory=dict)


def in_folder(root, group):
    """`Found` in a folder with a subfolder a class; `group` as in `open_collection`."""
    sources = list_sources(root)
    parts = [Path(path).parts for path, _ in sources]
    tops = {p[0] for p in parts if len(p) > 1}
    given = {t: SPLIT_NAMES[t.lower()] for t in tops if t.lower() in SPLIT_NAMES}
    where = None
    if "train" in given.values():
        outside = sorted({p[0] for p in parts} - set(given))
        if outside:
            raise ImageError(f"{root}: {', '.join(outside[:5])} beside train/; expected train/, val/ and test/ only.")
        where = np.array([given[p[0]] for p in parts])
        parts = [p[1:] for p in parts]
    classes = [p[0] if len(p) > 1 else None for p in parts]
    if None in classes and any(classes):
        raise ImageError(
            f"{root}: {classes.count(None)} of {len(classes)} images lie outside the subfolders; expected a subfolder "
            "a class, or none."
        )
    groups = patients_of(root, sources) if group is None else _matches(root, sources, group)
    names = None if None in classes else classes
    if names and group is None and groups is not None and len(set(zip(names, groups, strict=True))) == len(set(names)):
        names = None  # a folder a patient, not a folder a class
    return Found(root, sources, where, names, groups)


def in_volumes(root, group):
    """`Found` among the NIfTI files below a folder: below its `images/` if there is one, with the splits that a table
    `split.csv` beside it (columns of files and splits) gives to their names."""
    images = root / "images" if (root / "images").is_dir() else root
    files = [images.relative_to(root) / file for file in list_nifti(images)]
    sources, where, table = [(path, None) for path in files], None, root / "split.csv"
    if table.is_file():
        rows, header = _rows(table)
        name, split = (_column(table, header, kind, None) for kind in ("path", "split"))
        if name is None or split is None:
            raise ImageError(f"{table}: columns {', '.join(header)}; expected one of files and one of splits.")
        given = {Path(row[name].strip()).name: _split_name(table, row[split].strip()) for row in rows}
        if missing := [path.name for path in files if path.name not in given]:
            raise ImageError(f"{table}: no split for {len(missing)} of {len(files)} files, e.g. {missing[0]}.")
        where = np.array([given[path.name] for path in files])
    return Found(root, sources, where, None, None if group is None else _matches(root, sources, group))


def _matches(root, sources, pattern):
    """What a regular expression finds in each path: its first group, or all that matches."""
    try:
        known = re.compile(pattern)
    except re.error as error:
        raise ImageError(f"{root}: group={pattern!r} is no regular expression ({error}).") from error
    found = [known.search(str(path)) for path, _ in sources]
    if missing := [str(path) for (path, _), match in zip(sources, found, strict=True) if not match]:
        raise ImageError(
            f"{root}: group={pattern!r} matches nothing in {len(missing)} of {len(sources)} paths, e.g. "
            f"{', '.join(missing[:3])}."
        )
    return np.array([match[match.re.groups and 1] for match in found])


def in_table(path, group, columns):
    """`Found` in a CSV file; `group` and `columns` as in `open_collection`."""
    rows, header = _rows(path)
    if unknown := set(columns) - {*COLUMNS, "subgroups"}:
        raise ImageError(f"{path}: columns {sorted(unknown)}; expected some of {', '.join(COLUMNS)}, subgroups.")
    wanted = {**columns, **({"group": group} if group else {})}
    found = {kind: _column(path, header, kind, wanted.get(kind)) for kind in COLUMNS}
    if found["path"] is None:
        raise ImageError(
            f"{path}: no column of paths among {', '.join(header)}; say which with columns={{'path': ...}}."
        )
    values = {kind: None if name is None else [row[name].strip() for row in rows] for kind, name in found.items()}
    sources = _located(path, [split_frame(value) for value in values["path"]])
    where = values["split"] and np.array([_split_name(path, v) for v in values["split"]])
    groups = values["group"] and np.array(values["group"])
    asked = columns["subgroups"].split("|") if "subgroups" in columns else _subgroups(header, found)
    asked = [_column(path, header, None, name) for name in asked]
    subgroups = {name: [row[name].strip() for row in rows] for name in asked}
    return Found(path.parent, sources, where, values["label"], groups, subgroups)


def _subgroups(header, known):
    """The columns that are called as those are which results are usually told apart by, e.g. `Patient Gender`."""
    words = {name: name.strip().lower().replace("_", " ").removeprefix("patient ").split(" ")[0] for name in header}
    return [name for name, word in words.items() if word in SUBGROUPS and name not in known.values()]


def _rows(path):
    """`(rows as dicts, names of the columns)` of a CSV file."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            delimiter = max(",;\t", key=file.readline().count)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter)
            rows, header = list(reader), reader.fieldnames or []
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImageError(f"{path}: not readable as CSV in UTF-8 ({error}).") from error
    if not rows:
        raise ImageError(f"{path}: no rows.")
    if short := [i for i, row in enumerate(rows, 2) if None in row or None in row.values()]:
        raise ImageError(f"{path}: line {short[0]} has not {len(header)} columns as the first line does.")
    return rows, header


def _column(path, header, kind, name):
    """The name of a table's column of that kind, or `None`."""
    if name is not None:
        if name not in header:
            raise ImageError(f"{path}: no column {name!r}; found {', '.join(header)}.")
        return name
    return next((column for usual in COLUMNS[kind] for column in header if column.strip().lower() == usual), None)


def _split_name(path, value):
    if value.lower() not in SPLIT_NAMES:
        raise ImageError(f"{path}: split {value!r}; expected train, val or test.")
    return SPLIT_NAMES[value.lower()]


def _located(table, sources):
    """The sources, each where it is: at its path beside the table, or by its name anywhere below."""
    folder, below = table.parent, None
    result, missing = [], []
    for path, frame in sources:
        if not (folder / path).is_file():
            if below is None:
                below = {}
                for file in folder.rglob("*"):
                    below.setdefault(file.name, []).append(file)
            places = below.get(Path(path).name, []) if Path(path).name == str(path) else []
            if len(places) != 1:
                missing.append(f"{path} ({'in several folders' if places else 'not found'})")
                continue
            path = places[0].relative_to(folder)
        result.append((path, frame))
    if missing:
        raise FileNotFoundError(
            f"{table}: {len(missing)} of {len(sources)} images are not where it says: {', '.join(missing[:5])}."
        )
    return result


def targets_of(path, names):
    """`(class names, integer labels)`; labels are 0 and 1 `(N, K)` where some image has several findings."""
    if names is None:
        return None, None
    if any("|" in name for name in names):
        sets = [{n.strip() for n in name.split("|") if n.strip().lower() not in NONE} for name in names]
        classes = sorted(set().union(*sets))
        return classes, np.array([[int(c in own) for c in classes] for own in sets])
    if empty := [i for i, name in enumerate(names, 2) if not name]:
        raise ImageError(f"{path}: {len(empty)} rows without a label, first in line {empty[0]}.")
    # What is normal comes first: the second of two classes is the finding, whose sensitivity reports give.
    classes = sorted(
        set(names), key=lambda n: (n.lower() not in NONE, not n.isdigit(), int(n) if n.isdigit() else 0, n)
    )
    return classes, np.array([classes.index(name) for name in names])
