"""Indexing of images with labels, splits and patients in folders and CSV files."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from medzoo.data.patients import match_groups
from medzoo.data.table import find_column, locate_files, read_table
from medzoo.errors import ImageError
from medzoo.io.image import split_frame
from medzoo.io.listing import list_sources, patients_and_studies
from medzoo.io.nifti import list_nifti
from medzoo.io.walk import files_below
from medzoo.utils.labels import canonical, is_unknown

SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLIT_NAMES |= {"test": "test", "testing": "test"}
COLUMNS = {  # common column names; case, spaces, `_` and `-` are ignored
    "path": ("path", "file", "filename", "image", "image index", "image path", "file path", "image id", "image name"),
    "label": ("label", "labels", "class", "diagnosis", "finding", "findings", "finding labels"),
    "split": ("split", "fold", "set"),
    "group": ("group", "patient", "patient id", "subject", "subject id", "participant", "participant id", "person id"),
}
SUBGROUPS = ("sex", "gender", "age", "view", "race", "ethnicity", "site", "hospital", "scanner", "manufacturer")


@dataclass
class DatasetIndex:
    """Images of a folder or CSV file with their labels, splits and patients.

    Attributes:
        root: folder that paths are relative to.
        sources: list of `(path, frame)` of the images.
        splits: array of str `(N,)`, the split of each image, or `None`.
        names: list of the labels as written, or `None`.
        groups: list of the patients, `""` if unknown, or `None`.
        subgroups: `{column: list of str}` of a CSV file, for subgroup analysis.
        locations: list of the positions of the entries for messages, such as `line 3`, or the paths.
        studies: list of the studies, `""` if unknown, or `None`.
        findings: names of all labels of a CSV file with one column per label, else `None`.
        written: whether labels are cells of a CSV file instead of folder names.
        notes: remarks for reports.
    """

    root: Path
    sources: list
    splits: np.ndarray | None
    names: list | None
    groups: list | None
    subgroups: dict = field(default_factory=dict)
    locations: list = field(default_factory=list)
    studies: list | None = None
    findings: list | None = None
    written: bool = False
    notes: list = field(default_factory=list)


def index_folder(root: Path, group: str | None) -> DatasetIndex:
    """Index a folder with one subfolder per class.

    Args:
        root: path of the folder.
        group: see `open_dataset`.

    Raises:
        FileNotFoundError: If the folder contains no images.
        ImageError: If the folder structure is ambiguous, or `group` matches nothing in a path.
    """
    sources = list_sources(root)
    parts = [Path(path).parts for path, _ in sources]
    tops = {p[0] for p in parts if len(p) > 1}
    given = {t: SPLIT_NAMES[t.lower()] for t in tops if t.lower() in SPLIT_NAMES}
    splits = None
    if "train" in given.values() or (given and set(given) == {p[0] for p in parts}):
        outside = sorted({p[0] for p in parts} - set(given))
        if outside:
            raise ImageError(f"{root}: {', '.join(outside[:5])} next to train/; expected train/, val/ and test/ only.")
        splits = np.array([given[p[0]] for p in parts])
        parts = [p[1:] for p in parts]
    classes = [p[0] if len(p) > 1 else None for p in parts]
    if None in classes and any(classes):
        raise ImageError(
            f"{root}: {classes.count(None)} of {len(classes)} images are outside the subfolders; expected one "
            "subfolder per class, or no subfolders."
        )
    names = None if None in classes else classes
    patients, studies, notes = None, None, []
    if group is not None:
        patients = match_groups(group, root, [str(path) for path, _ in sources])
    else:
        patients, studies = patients_and_studies(root, sources)
        by_folder = names and _patient_folders(names, patients)
        if names and by_folder:  # one folder per patient, not per class
            patients, names = [by_folder[name] for name in names], None
    if names:
        paths = {p.relative_to(root).parts for p in files_below(root)}
        depth = 0 if splits is None else 1
        empty = {p[depth] for p in paths if len(p) > depth + 1} - set(names)
        notes = [f"folders without images: {', '.join(sorted(empty))}"] if empty else []
    return DatasetIndex(root, sources, splits, names, patients, {}, [str(p) for p, _ in sources], studies, notes=notes)


def _patient_folders(names, patients):
    """`{folder: patient}` if each folder contains one patient and there are several patients, else `None`."""
    known = {(name, patient) for name, patient in zip(names, patients, strict=True) if patient}
    several = len({patient for _, patient in known}) > 1
    most = sum(map(bool, patients)) * 2 >= len(patients)
    return dict(known) if several and most and len(known) == len(set(names)) == len(dict(known)) else None


def index_volumes(root: Path, group: str | None) -> DatasetIndex:
    """Index the NIfTI files of a folder.

    If the folder contains `images/`, only that subfolder is searched. The splits, and optionally the patients, are read
    from `split.csv` in the folder if it exists.

    Args:
        root: path of the folder.
        group: see `open_dataset`.

    Raises:
        FileNotFoundError: If the folder contains no NIfTI files.
        ImageError: If `split.csv` is invalid or incomplete.
    """
    images = root / "images" if (root / "images").is_dir() else root
    files = [images.relative_to(root) / file for file in list_nifti(images)]
    sources, splits, table = [(path, None) for path in files], None, root / "split.csv"
    patients = None if group is None else match_groups(group, root, [str(path) for path, _ in sources])
    if table.is_file():
        rows, header, lines = read_table(table)
        name, split, patient = (find_column(table, header, COLUMNS[kind]) for kind in ("path", "split", "group"))
        if name is None or split is None:
            raise ImageError(f"{table}: columns {', '.join(header)}; expected columns of files and splits.")
        given = {}
        for row, line in zip(rows, lines, strict=True):
            entry = _split_name(table, row[split], line), "" if patient is None else row[patient]
            key = Path(row[name].replace("\\", "/"))
            for own in {key.as_posix(), key.name}:
                given.setdefault(own, {})[entry] = line
        below = [(root / path).relative_to(images).as_posix() for path in files]
        entries: list[Any] = [
            given.get(path.as_posix()) or given.get(inside) or given.get(path.name)
            for path, inside in zip(files, below, strict=True)
        ]
        if missing := [path.name for path, own in zip(files, entries, strict=True) if not own]:
            raise ImageError(f"{table}: no split for {len(missing)} of {len(files)} files, e.g. {missing[0]}.")
        if conflicts := [(path, own) for path, own in zip(files, entries, strict=True) if len(own) > 1]:
            path, own = conflicts[0]
            raise ImageError(
                f"{table}: {path} is listed in lines {', '.join(map(str, own.values()))} with different splits or "
                "patients; expected one row per file."
            )
        splits = np.array([next(iter(own))[0] for own in entries])
        if patient is not None and patients is None:
            patients = [next(iter(own))[1] for own in entries]
    return DatasetIndex(root, sources, splits, None, patients, {}, [str(path) for path in files])


def index_csv(path: Path, group: str | None, columns: dict[str, str]) -> DatasetIndex:
    """Index the images of a CSV file.

    Args:
        path: path of the file.
        group: see `open_dataset`.
        columns: see `open_dataset`.

    Raises:
        FileNotFoundError: If listed images do not exist.
        ImageError: If the file is invalid, or columns are missing or ambiguous.
    """
    rows, header, lines = read_table(path)
    if unknown := set(columns) - {*COLUMNS, "subgroups"}:
        raise ImageError(f"{path}: columns {sorted(unknown)}; expected some of {', '.join(COLUMNS)}, subgroups.")
    in_paths = group if group and group.strip() not in header else None
    wanted = {**columns, **({"group": group} if group and not in_paths else {})}
    findings = None
    if "|" in wanted.get("label", "") and wanted["label"].strip() not in header:
        findings = [find_column(path, header, (), name) for name in wanted.pop("label").split("|")]
    found = {kind: find_column(path, header, common, wanted.get(kind)) for kind, common in COLUMNS.items()}
    if found["path"] is None:
        raise ImageError(
            f"{path}: no column of image paths found among {', '.join(header)}; set columns={{'path': NAME}}."
        )
    values: dict[str, Any] = {
        kind: None if name is None else [row[name] for row in rows] for kind, name in found.items()
    }
    if findings:
        values["label"] = _joined(path, rows, lines, findings)
    sources, notes = locate_files(path, [_path_and_frame(path.parent, value) for value in values["path"]], lines)
    splits = values["split"] and np.array(
        [_split_name(path, v, n) for v, n in zip(values["split"], lines, strict=True)]
    )
    groups, studies, more = _patients(path, sources, values["group"], found["group"], in_paths, header)
    if more and "group" in wanted:
        raise ImageError(f"{path}: {more[0]}; expected patients.")
    selected = columns["subgroups"].split("|") if "subgroups" in columns else _subgroups(header, found)
    selected = [cast("str", find_column(path, header, (), name)) for name in selected]
    subgroups = {name: [row[name] for row in rows] for name in selected}
    locations = [f"line {line}" for line in lines]
    return DatasetIndex(
        path.parent,
        sources,
        splits,
        values["label"],
        groups,
        subgroups,
        locations,
        studies,
        findings,
        True,
        [*notes, *more],
    )


def _patients(path, sources, groups, column, pattern, header):
    """`(patients, studies, notes)` of the images of a CSV file, from a column, the paths or the DICOM tags."""
    if pattern is not None:
        try:
            return match_groups(pattern, path, [str(name) for name, _ in sources]), None, []
        except ImageError as error:
            raise ImageError(
                f"{path}: no column {pattern!r}; found {', '.join(header)}. As a regular expression of paths: {error}"
            ) from error
    if groups is not None and not any(map(is_unknown, groups)):
        return groups, None, []
    patients, studies = patients_and_studies(path.parent, sources)
    if groups is None:
        return patients, studies, []
    if all(map(is_unknown, groups)):
        return patients, studies, [f"the column {column!r} contains no patient"]
    # The DICOM tags link rows without a patient to rows with one.
    return groups, [own or study for own, study in zip(patients, studies, strict=True)], []


def _path_and_frame(folder, value):
    """`(path, frame)` of `scan.dcm#3`, unless a file of that full name exists."""
    return (value, None) if not value or (folder / value).is_file() else split_frame(value)


def _joined(path, rows, lines, findings):
    """Labels of each row, joined by `|`, from one column of 0 and 1 per label; other values raise ImageError."""
    known = {"0": False, "1": True, "false": False, "true": True}
    invalid = [
        (line, name, row[name])
        for row, line in zip(rows, lines, strict=True)
        for name in findings
        if canonical(row[name]) not in known
    ]
    if invalid:
        line, name, value = invalid[0]
        raise ImageError(
            f"{path}: {len(invalid)} label cells are neither 0 nor 1, the first in line {line}: {name} is {value!r}. "
            "Replace uncertain (-1) and blank labels by 0 or 1, or remove these rows."
        )
    return ["|".join(name for name in findings if known[canonical(row[name])]) or "no finding" for row in rows]


def _subgroups(header, known):
    """Columns with a common name of a subgroup, e.g. `Patient Gender`."""
    words = {name: name.lower().replace("_", " ").removeprefix("patient ").split(" ")[0] for name in header}
    return [name for name, word in words.items() if word in SUBGROUPS and name not in known.values()]


def _split_name(path, value, line):
    """Canonical name of a split."""
    if value.lower() not in SPLIT_NAMES:
        raise ImageError(f"{path}: split {value!r}; expected train, val or test (line {line}).")
    return SPLIT_NAMES[value.lower()]
