"""Images with labels, splits and patients as they lie on disk: folders and tables."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medzoo.data.patients import match_groups
from medzoo.data.table import column_of, locate, read_table
from medzoo.errors import ImageError
from medzoo.io.image import split_frame
from medzoo.io.listing import list_sources, owners_of
from medzoo.io.nifti import list_nifti
from medzoo.io.walk import files_below
from medzoo.utils.labels import canonical, is_unknown

SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLIT_NAMES |= {"test": "test", "testing": "test"}
COLUMNS = {  # what a table's columns are usually called; case, spaces, `_` and `-` do not count
    "path": ("path", "file", "filename", "image", "image index", "image path", "file path", "image id", "image name"),
    "label": ("label", "labels", "class", "diagnosis", "finding", "findings", "finding labels"),
    "split": ("split", "fold", "set"),
    "group": ("group", "patient", "patient id", "subject", "subject id", "participant", "participant id", "person id"),
}
SUBGROUPS = ("sex", "gender", "age", "view", "race", "ethnicity", "site", "hospital", "scanner", "manufacturer")


@dataclass
class DatasetIndex:
    """What a folder or a table says.

    Fields:
        root: folder that paths are relative to.
        sources: `(path, frame)` of each image.
        where: split of each, array of str, or `None`.
        names: label of each as it is written, or `None`.
        groups: whose each is, str with `""` where nobody knows, or `None`.
        subgroups: of a table `{column: what it says of each image}`, those that results are to be told apart by.
        places: where each is named, for messages: `line 3` of a table, or the path.
        studies: which study each is of, as `groups`, or `None`.
        findings: all findings that there are, of a table with a column for each; else `None`.
        written: whether labels are cells of a table, not names of folders.
        notes: sentences for reports.
    """

    root: Path
    sources: list
    where: np.ndarray | None
    names: list | None
    groups: list | None
    subgroups: dict = field(default_factory=dict)
    places: list = field(default_factory=list)
    studies: list | None = None
    findings: list | None = None
    written: bool = False
    notes: list = field(default_factory=list)


def index_folder(root, group):
    """`Found` in a folder with a subfolder a class; `group` as in `open_dataset`."""
    sources = list_sources(root)
    parts = [Path(path).parts for path, _ in sources]
    tops = {p[0] for p in parts if len(p) > 1}
    given = {t: SPLIT_NAMES[t.lower()] for t in tops if t.lower() in SPLIT_NAMES}
    where = None
    if "train" in given.values() or (given and set(given) == {p[0] for p in parts}):
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
    names = None if None in classes else classes
    patients, studies, notes = None, None, []
    if group is not None:
        patients = match_groups(group, root, [str(path) for path, _ in sources])
    else:
        patients, studies = owners_of(root, sources)
        by_folder = names and _folders_of_patients(names, patients)
        if by_folder:  # a folder a patient, not a folder a class
            patients, names = [by_folder[name] for name in names], None
    if names:
        places = {p.relative_to(root).parts for p in files_below(root)}
        depth = 0 if where is None else 1
        empty = {p[depth] for p in places if len(p) > depth + 1} - set(names)
        notes = [f"folders without images: {', '.join(sorted(empty))}"] if empty else []
    return DatasetIndex(root, sources, where, names, patients, {}, [str(p) for p, _ in sources], studies, notes=notes)


def _folders_of_patients(names, patients):
    """`{folder: patient}` if each folder holds the images of one patient, and there are several; else `None`."""
    known = {(name, patient) for name, patient in zip(names, patients, strict=True) if patient}
    several = len({patient for _, patient in known}) > 1
    most = sum(map(bool, patients)) * 2 >= len(patients)
    return dict(known) if several and most and len(known) == len(set(names)) == len(dict(known)) else None


def index_volumes(root, group):
    """`Found` among the NIfTI files below a folder: below its `images/` if there is one, with the splits that a table
    `split.csv` beside it (columns of files and splits, maybe of patients) gives to their names."""
    images = root / "images" if (root / "images").is_dir() else root
    files = [images.relative_to(root) / file for file in list_nifti(images)]
    sources, where, table = [(path, None) for path in files], None, root / "split.csv"
    patients = None if group is None else match_groups(group, root, [str(path) for path, _ in sources])
    if table.is_file():
        rows, header, lines = read_table(table)
        name, split, patient = (column_of(table, header, COLUMNS[kind]) for kind in ("path", "split", "group"))
        if name is None or split is None:
            raise ImageError(f"{table}: columns {', '.join(header)}; expected one of files and one of splits.")
        given = {}
        for row, line in zip(rows, lines, strict=True):
            said = _split_name(table, row[split], line), "" if patient is None else row[patient]
            key = Path(row[name].replace("\\", "/"))
            for own in {key.as_posix(), key.name}:
                given.setdefault(own, {})[said] = line
        below = [(root / path).relative_to(images).as_posix() for path in files]
        said = [
            given.get(path.as_posix()) or given.get(inside) or given.get(path.name)
            for path, inside in zip(files, below, strict=True)
        ]
        if missing := [path.name for path, own in zip(files, said, strict=True) if not own]:
            raise ImageError(f"{table}: no split for {len(missing)} of {len(files)} files, e.g. {missing[0]}.")
        if double := [(path, own) for path, own in zip(files, said, strict=True) if len(own) > 1]:
            path, own = double[0]
            raise ImageError(
                f"{table}: {path} is named in lines {', '.join(map(str, own.values()))} with different splits or "
                "patients; expected one row for each file."
            )
        where = np.array([next(iter(own))[0] for own in said])
        if patient is not None and patients is None:
            patients = [next(iter(own))[1] for own in said]
    return DatasetIndex(root, sources, where, None, patients, {}, [str(path) for path in files])


def index_csv(path, group, columns):
    """`Found` in a CSV file; `group` and `columns` as in `open_dataset`."""
    rows, header, lines = read_table(path)
    if unknown := set(columns) - {*COLUMNS, "subgroups"}:
        raise ImageError(f"{path}: columns {sorted(unknown)}; expected some of {', '.join(COLUMNS)}, subgroups.")
    in_paths = group if group and group.strip() not in header else None
    wanted = {**columns, **({"group": group} if group and not in_paths else {})}
    findings = None
    if "|" in wanted.get("label", "") and wanted["label"].strip() not in header:
        findings = [column_of(path, header, (), name) for name in wanted.pop("label").split("|")]
    found = {kind: column_of(path, header, usual, wanted.get(kind)) for kind, usual in COLUMNS.items()}
    if found["path"] is None:
        raise ImageError(
            f"{path}: no column of paths among {', '.join(header)}; say which with columns={{'path': ...}}."
        )
    values = {kind: None if name is None else [row[name] for row in rows] for kind, name in found.items()}
    if findings:
        values["label"] = _joined(path, rows, lines, findings)
    sources, notes = locate(path, [_framed(path.parent, value) for value in values["path"]], lines)
    where = values["split"] and np.array([_split_name(path, v, n) for v, n in zip(values["split"], lines, strict=True)])
    groups, studies, more = _owners(path, sources, values["group"], found["group"], in_paths, header)
    if more and "group" in wanted:
        raise ImageError(f"{path}: {more[0]}; expected patients.")
    asked = columns["subgroups"].split("|") if "subgroups" in columns else _subgroups(header, found)
    asked = [column_of(path, header, (), name) for name in asked]
    subgroups = {name: [row[name] for row in rows] for name in asked}
    places = [f"line {line}" for line in lines]
    return DatasetIndex(
        path.parent,
        sources,
        where,
        values["label"],
        groups,
        subgroups,
        places,
        studies,
        findings,
        True,
        [*notes, *more],
    )


def _owners(path, sources, groups, column, pattern, header):
    """`(patients, studies, notes)` of a table's images: by a column, by the paths, or as their DICOM tags say."""
    if pattern is not None:
        try:
            return match_groups(pattern, path, [str(name) for name, _ in sources]), None, []
        except ImageError as error:
            raise ImageError(
                f"{path}: no column {pattern!r}; found {', '.join(header)}. Nor in paths: {error}"
            ) from error
    if groups is not None and not any(map(is_unknown, groups)):
        return groups, None, []
    patients, studies = owners_of(path.parent, sources)
    if groups is None:
        return patients, studies, []
    if all(map(is_unknown, groups)):
        return patients, studies, [f"the column {column!r} names no patient"]
    # What the tags say joins rows without a patient to those with one.
    return groups, [own or study for own, study in zip(patients, studies, strict=True)], []


def _framed(folder, value):
    """`(path, frame)` of `scan.dcm#3`, unless a file is really called so."""
    return (value, None) if not value or (folder / value).is_file() else split_frame(value)


def _joined(path, rows, lines, findings):
    """The findings of each row, joined by `|`, of a table with a column of 0 and 1 for each finding.

    Raises:
        ImageError: If a cell says something else, such as -1 for uncertain.
    """
    known = {"0": False, "1": True, "false": False, "true": True}
    wrong = [
        (line, name, row[name])
        for row, line in zip(rows, lines, strict=True)
        for name in findings
        if canonical(row[name]) not in known
    ]
    if wrong:
        line, name, value = wrong[0]
        raise ImageError(
            f"{path}: {len(wrong)} cells of findings are neither 0 nor 1, first in line {line}: {name} is {value!r}. "
            "Decide what is uncertain (-1) or blank: write 0 or 1, or remove these rows."
        )
    return ["|".join(name for name in findings if known[canonical(row[name])]) or "no finding" for row in rows]


def _subgroups(header, known):
    """The columns that are called as those are which results are usually told apart by, e.g. `Patient Gender`."""
    words = {name: name.lower().replace("_", " ").removeprefix("patient ").split(" ")[0] for name in header}
    return [name for name, word in words.items() if word in SUBGROUPS and name not in known.values()]


def _split_name(path, value, line):
    if value.lower() not in SPLIT_NAMES:
        raise ImageError(f"{path}: split {value!r}; expected train, val or test (line {line}).")
    return SPLIT_NAMES[value.lower()]
