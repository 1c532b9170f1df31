"""CSV files as spreadsheets and programs write them, and the image files that they name."""

import csv
import io
import itertools
import os
import re
import unicodedata
from pathlib import Path, PurePosixPath

from medzoo.errors import ImageError
from medzoo.io.image import SUFFIXES
from medzoo.io.nifti import SUFFIXES as VOLUMES
from medzoo.io.walk import files_below
from medzoo.utils.labels import canonical


def read_table(path):
    """Rows of a CSV file: separated by commas, semicolons or tabs, in UTF-8 or UTF-16.

    Returns:
        `(rows, header, lines)`: list of dicts of str, names of the columns, number of the line that each row ends in.

    Raises:
        ImageError: If the file is not readable, two columns have one name, or a row has another number of columns.
    """
    text, first = _text(path), 0
    head, _, rest = text.partition("\n")
    separator = re.fullmatch(r'"?sep= *(.)"?[,;\t\r]*', head, re.IGNORECASE)
    if separator:  # as Excel writes it above the header
        text, first, delimiter = rest, 1, separator[1]
    else:
        bare = re.sub(r'"[^"]*"', "", head)
        delimiter = max(",;\t", key=bare.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        records = [(record, first + reader.line_num) for record in reader]
    except csv.Error as error:
        raise ImageError(f"{path}: not readable as CSV ({error}). Is a quotation mark missing?") from error
    records = [([cell.strip() for cell in record], line) for record, line in records if any(c.strip() for c in record)]
    if len(records) < 2:
        raise ImageError(f"{path}: no rows.")
    header = records[0][0]
    named = [i for i, name in enumerate(header) if name]
    if not named:
        raise ImageError(f"{path}: no names of columns in the first line.")
    width = named[-1] + 1  # columns without a name at the end are what a spreadsheet leaves behind
    for record, line in records[1:]:
        if len(record) < width or any(record[len(header) :]):
            raise ImageError(f"{path}: line {line} has not {len(header)} columns as the first line does.")
    rows = [{header[i]: record[i] for i in named} for record, _ in records[1:]]
    return rows, [header[i] for i in named], [line for _, line in records[1:]]


def _text(path):
    """The decoded text of a table."""
    data = Path(path).read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ImageError(
            f"{path}: not readable as CSV in UTF-8 (line {line}: {error.reason}). Is it Windows-1252 or Latin-1? Save "
            "it from the spreadsheet as 'CSV UTF-8', or run iconv -f WINDOWS-1252 -t UTF-8."
        ) from error
    if "\0" in text:
        raise ImageError(f"{path}: holds zero bytes; expected text in UTF-8. Is it UTF-16 without its mark (BOM)?")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def column_of(path, header, usual, name=None):
    """The name of a table's column, as asked for or among the usual ones; or `None`.

    Raises:
        ImageError: If there is no column of the name that was asked for, or several could be meant.
    """
    if name is not None and name.strip() not in header:
        raise ImageError(f"{path}: no column {name!r}; found {', '.join(header)}.")
    if name is not None:
        found = [column for column in header if canonical(column) == canonical(name)]
        found = found if found.count(name.strip()) > 1 else [name.strip()]
    else:
        ways = ([column for column in header if _bare(column) == _bare(word)] for word in usual)
        found = next(filter(None, ways), [])
    if len(found) > 1:
        raise ImageError(
            f"{path}: several columns of one name, {', '.join(map(repr, found))}; which one is meant? Rename or remove "
            "the others."
        )
    return found[0] if found else None


def _bare(name):
    """`Patient_ID`, `patient-id` and `Patient ID` as one."""
    return re.sub(r"[\s_-]+", "", canonical(name))


# --- the files that it names ------------------------------------------------------------------------------------------


def locate(table, sources, lines):
    """Find the files that a table names.

    A path is taken as it is written, relative to the table's folder or absolute, with slashes or backslashes. Else:
    a name alone is looked for everywhere below; a name may lack its suffix; a path may begin above the table's folder.

    Args:
        table: path of the table.
        sources: `(path, frame)` as they are written.
        lines: number of the line of each.

    Returns:
        `(sources, notes)`: paths relative to the table's folder, and sentences for reports.

    Raises:
        FileNotFoundError: If some are missing, or could be several files; names them.
    """
    folder, below = table.parent, None
    result, missing, high = [], {}, []
    for i, (path, frame) in enumerate(sources):
        text = str(path)
        found = next((t for t in (text, text.replace("\\", "/")) if text and _is_there(folder / t)), None)
        if found is None:
            below = below or _Below(folder)
            found, why = below.find(text.replace("\\", "/"))
            if found is None:
                missing[i] = f"{text or 'an empty cell'} ({why}), line {lines[i]}"
                high.append(i)
        result.append((found and Path(found), frame))
    notes = []
    if high:
        for i, found in _from_above(folder, below, {i: str(sources[i][0]).replace("\\", "/") for i in high}).items():
            result[i] = found, sources[i][1]
            del missing[i]
            notes = ["paths of the table that begin above its folder were found below or beside it"]
    if missing:
        raise FileNotFoundError(
            f"{table}: {len(missing)} of {len(sources)} images are not where it says: "
            f"{', '.join(list(missing.values())[:5])}."
        )
    return result, notes


def _is_there(path):
    """A file, or a link to nothing, which is reported when it is read."""
    try:
        return path.is_file() or path.is_symlink()
    except (OSError, ValueError):
        return False


def _normal(path):
    return unicodedata.normalize("NFC", os.path.normpath(path).replace("\\", "/"))


class _Below:
    """The files below a folder, by their paths and by their names, with and without suffix and case."""

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
        """`(path or None, why not)`."""
        key = _normal(text)
        places = self.paths.get(key) or self.paths.get(key.casefold(), [])
        exact = [place for place in places if _normal(place.as_posix()) == key]
        if not places and anywhere and "/" not in key:
            places = self.names.get(key) or self.names.get(key.casefold(), [])
            exact = [place for place in places if _normal(place.name) == key]
        places = exact or places
        if len(places) == 1:
            return places[0], None
        if not places:
            return None, "not found"
        where = "in several folders" if len({place.parent for place in places}) > 1 else "could be"
        return None, f"{where}: {', '.join(map(str, places[:3]))}"


def _from_above(folder, below, texts):
    """`{index: path}` of those paths that begin above the table's folder, or where the images once were."""
    found = {}
    for i, text in texts.items():
        parts = [part for part in PurePosixPath(text).parts if part not in ("/", ".", "")]
        known = {
            below.find("/".join(parts[k + 1 :]), False)[0] for k in range(len(parts) - 1) if parts[k] == folder.name
        }
        known.discard(None)
        up = [place / text for place in (folder.absolute().parent, folder.absolute().parent.parent)]
        if len(known) == 1:
            found[i] = known.pop()
        elif not known and text and not text.startswith("/") and any(map(_is_there, up)):
            found[i] = Path(os.path.relpath(next(filter(_is_there, up)), folder))
    rest = {i: PurePosixPath(text).parts for i, text in texts.items() if i not in found}
    if not rest:
        return found
    columns = zip(*(parts[:-1] for parts in rest.values()), strict=False)
    common = list(itertools.takewhile(lambda parts: len(set(parts)) == 1, columns))
    for k in range(1, len(common) + 1):  # one beginning that all of them lose
        places = {i: "/".join(parts[k:]) for i, parts in rest.items()}
        if not all("/" in place for place in places.values()):
            break
        paths = {i: below.find(place, False)[0] for i, place in places.items()}
        if None not in paths.values():
            return {**found, **paths}
    return found
