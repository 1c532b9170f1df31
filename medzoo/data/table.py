"""Parsing of CSV files, and resolution of the image paths that they list."""

import csv
import io
import itertools
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import cast

from medzoo.errors import ImageError
from medzoo.io.image import SUFFIXES
from medzoo.io.nifti import SUFFIXES as VOLUMES
from medzoo.io.walk import files_below
from medzoo.utils.labels import canonical


def read_table(path: str | Path) -> tuple[list[dict[str, str]], list[str], list[int]]:
    """Read a CSV file separated by commas, semicolons or tabs, in UTF-8 or UTF-16.

    Args:
        path: path of the file.

    Returns:
        `(rows, header, lines)`: list of dicts of str, list of column names, and the number of the last line of each
        row.

    Raises:
        ImageError: If the file is unreadable or empty, or a row has another number of columns than the header.
    """
    text, first = _text(path), 0
    head, _, rest = text.partition("\n")
    separator = re.fullmatch(r'"?sep= *(.)"?[,;\t\r]*', head, re.IGNORECASE)
    if separator:  # separator line of Excel above the header
        text, first, delimiter = rest, 1, separator[1]
    else:
        bare = re.sub(r'"[^"]*"', "", head)
        delimiter = max(",;\t", key=bare.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        records = [(record, first + reader.line_num) for record in reader]
    except csv.Error as error:
        raise ImageError(f"{path}: not readable as CSV ({error}). Check for a missing quotation mark.") from error
    records = [([cell.strip() for cell in record], line) for record, line in records if any(c.strip() for c in record)]
    if len(records) < 2:
        raise ImageError(f"{path}: no rows.")
    header = records[0][0]
    named = [i for i, name in enumerate(header) if name]
    if not named:
        raise ImageError(f"{path}: no column names in the first line.")
    width = named[-1] + 1  # spreadsheets write trailing columns without a name
    for record, line in records[1:]:
        if len(record) < width or any(record[len(header) :]):
            raise ImageError(f"{path}: line {line} does not have {len(header)} columns like the first line.")
    rows = [{header[i]: record[i] for i in named} for record, _ in records[1:]]
    return rows, [header[i] for i in named], [line for _, line in records[1:]]


def _text(path):
    """Decoded text of a CSV file with `\\n` line breaks."""
    data = Path(path).read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ImageError(
            f"{path}: not readable as CSV in UTF-8 (line {line}: {error.reason}). If it is Windows-1252 or Latin-1, "
            "save it from the spreadsheet as 'CSV UTF-8', or run iconv -f WINDOWS-1252 -t UTF-8."
        ) from error
    if "\0" in text:
        raise ImageError(
            f"{path}: contains zero bytes; expected text in UTF-8. Possibly UTF-16 without a byte order mark."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def find_column(path: str | Path, header: Sequence[str], common: Sequence[str], name: str | None = None) -> str | None:
    """Return the name of a column, given by name or recognized by a common name.

    Args:
        path: path of the CSV file, for error messages.
        header: names of all columns.
        common: common names of the column, in order of preference.
        name: name of the column, or `None` to search for the common names.

    Returns:
        The name, or `None` if no column has a common name.

    Raises:
        ImageError: If there is no column with the given name, or the match is ambiguous.
    """
    if name is not None and name.strip() not in header:
        raise ImageError(f"{path}: no column {name!r}; found {', '.join(header)}.")
    if name is not None:
        found = [column for column in header if canonical(column) == canonical(name)]
        found = found if found.count(name.strip()) > 1 else [name.strip()]
    else:
        matches = ([column for column in header if _normalized(column) == _normalized(word)] for word in common)
        found = next(filter(None, matches), [])
    if len(found) > 1:
        raise ImageError(
            f"{path}: several columns with the same name, {', '.join(map(repr, found))}; expected one. Rename or "
            "remove the others."
        )
    return found[0] if found else None


def _normalized(name):
    """Column name without case, spaces, `_` and `-`."""
    return re.sub(r"[\s_-]+", "", canonical(name))


def locate_files(
    table: Path, sources: Sequence[tuple], lines: Sequence[int]
) -> tuple[list[tuple[Path, int | None]], list[str]]:
    """Resolve the image paths of a CSV file.

    Paths are relative to the folder of the file or absolute, with slashes or backslashes. If a path does not exist, a
    file name without folder is searched for recursively, the suffix may be missing, and the path may begin above the
    folder of the CSV file.

    Args:
        table: path of the CSV file.
        sources: list of `(path, frame)` as written.
        lines: line numbers of the sources.

    Returns:
        `(sources, notes)`: list of `(path, frame)` with paths relative to the folder, and remarks for reports.

    Raises:
        FileNotFoundError: If files are missing or ambiguous; the message names them.
    """
    folder, below = table.parent, None
    result, missing, unresolved = [], {}, []
    for i, (path, frame) in enumerate(sources):
        text = str(path)
        found = next((t for t in (text, text.replace("\\", "/")) if text and _is_there(folder / t)), None)
        if found is None:
            below = below or _Below(folder)
            found, why = below.find(text.replace("\\", "/"))
            if found is None:
                missing[i] = f"{text or 'an empty cell'} ({why}), line {lines[i]}"
                unresolved.append(i)
        result.append((found and Path(found), frame))
    notes = []
    if unresolved:
        texts = {i: str(sources[i][0]).replace("\\", "/") for i in unresolved}
        for i, found in _from_above(folder, below, texts).items():
            result[i] = found, sources[i][1]
            del missing[i]
            notes = ["paths that begin above the folder of the table were resolved below or next to it"]
    if missing:
        raise FileNotFoundError(
            f"{table}: {len(missing)} of {len(sources)} images were not found: {', '.join(list(missing.values())[:5])}."
        )
    return cast("list[tuple[Path, int | None]]", result), notes


def _is_there(path):
    """Return whether a path is a file or a broken link, which is reported when it is read."""
    try:
        return path.is_file() or path.is_symlink()
    except (OSError, ValueError):
        return False


def _normal(path):
    """Normalized path with `/` as separator and NFC characters."""
    return unicodedata.normalize("NFC", os.path.normpath(path).replace("\\", "/"))


class _Below:
    """Index of the files below a folder by path and by name, with and without suffix and case."""

    def __init__(self, folder):
        self.paths, self.names = {}, {}
        for file in files_below(folder):
            path = file.relative_to(folder)
            key = _normal(path.as_posix())
            suffix = next((s for s in (*VOLUMES, *SUFFIXES) if key.lower().endswith(s)), "")
            stem = key[: len(key) - len(suffix)]
            for own in {key, stem, key.casefold(), stem.casefold()}:
                self.paths.setdefault(own, []).append(path)
                self.names.setdefault(own.rpartition("/")[2], []).append(path)

    def find(self, text, anywhere=True):
        """Return `(path, None)`, or `(None, reason)`."""
        key = _normal(text)
        matches = self.paths.get(key) or self.paths.get(key.casefold(), [])
        exact = [match for match in matches if _normal(match.as_posix()) == key]
        if not matches and anywhere and "/" not in key:
            matches = self.names.get(key) or self.names.get(key.casefold(), [])
            exact = [match for match in matches if _normal(match.name) == key]
        matches = exact or matches
        if len(matches) == 1:
            return matches[0], None
        if not matches:
            return None, "not found"
        problem = "in several folders" if len({match.parent for match in matches}) > 1 else "ambiguous"
        return None, f"{problem}: {', '.join(map(str, matches[:3]))}"


def _from_above(folder, below, texts):
    """`{index: path}` of the paths that begin above the folder of the table, or at a former location of the images."""
    found = {}
    for i, text in texts.items():
        parts = [part for part in PurePosixPath(text).parts if part not in ("/", ".", "")]
        known = {
            below.find("/".join(parts[k + 1 :]), False)[0] for k in range(len(parts) - 1) if parts[k] == folder.name
        }
        known.discard(None)
        up = [parent / text for parent in (folder.absolute().parent, folder.absolute().parent.parent)]
        if len(known) == 1:
            found[i] = known.pop()
        elif not known and text and not text.startswith("/") and any(map(_is_there, up)):
            found[i] = Path(os.path.relpath(next(filter(_is_there, up)), folder))
    rest = {i: PurePosixPath(text).parts for i, text in texts.items() if i not in found}
    if not rest:
        return found
    columns = zip(*(parts[:-1] for parts in rest.values()), strict=False)
    common = list(itertools.takewhile(lambda parts: len(set(parts)) == 1, columns))
    for k in range(1, len(common) + 1):  # remove a common prefix of all paths
        shortened = {i: "/".join(parts[k:]) for i, parts in rest.items()}
        if not all("/" in text for text in shortened.values()):
            break
        paths = {i: below.find(text, False)[0] for i, text in shortened.items()}
        if None not in paths.values():
            return {**found, **paths}
    return found
