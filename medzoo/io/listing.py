"""Listing of image files below a folder, and parallel reading."""

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.dicom import is_dicom, parse
from medzoo.io.image import SUFFIXES
from medzoo.io.nifti import is_nifti
from medzoo.io.walk import files_below
from medzoo.utils.labels import is_unknown
from medzoo.utils.progress import track

if TYPE_CHECKING:
    import pydicom

log = logging.getLogger("medzoo")
IMAGE_TAGS = ("SOPClassUID", "Rows", "Columns")  # identify image files without a DICOM preamble


def list_images(folder: str | os.PathLike) -> list[Path]:
    """List all image files below a folder, by suffix or, for DICOM, by content.

    Hidden files are skipped, and links to folders are followed, see `medzoo.io.walk.files_below`.

    Args:
        folder: folder that is searched recursively.

    Returns:
        Sorted list of paths.

    Raises:
        FileNotFoundError: If the folder does not exist or contains no images.
    """
    return sorted(Path(folder) / path for path in list_files(folder))


def holds_pixels(header: "pydicom.Dataset") -> bool:
    """Return whether a DICOM dataset is an image according to its header.

    Structured reports, presentation states, structure sets, key object notes, encapsulated documents, spectra, raw data
    and DICOMDIR are not images. A damaged image counts as an image, so that it is reported and not ignored.

    Args:
        header: pydicom dataset.
    """
    from pydicom.uid import UID

    meta = getattr(header, "file_meta", None) or {}
    kind = UID(str(header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or ""))
    if "Spectroscopy" in kind.name:
        return False
    return not kind or ("Rows" in header and "Columns" in header) or "Image Storage" in kind.name


def is_pixelless(path: Path) -> bool:
    """Return whether a file is a DICOM object of a kind without pixel data."""
    if not is_dicom(path):
        return False
    try:
        return not holds_pixels(parse(path, stop_before_pixels=True, specific_tags=list(IMAGE_TAGS)))
    except ValueError:  # it is reported when it is read
        return False


def _volumes_hint(files):
    """Hint for folders that contain NIfTI files."""
    if not any(map(is_nifti, files)):
        return ""
    return " Its NIfTI files are volumes: use a 3D preset, or slices with medzoo.read_volume(path).to_images()."


def holds_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by content or name.

    Files that cannot be opened count if their suffix is compatible with DICOM, so that they are reported when read.
    """
    try:
        return path.name != "DICOMDIR" and is_dicom(path)
    except OSError:
        return path.suffix.lower() in ("", ".dcm", ".dicom")


def list_frames(folder: str | Path) -> list[tuple[Path, int | None]]:
    """List every frame of the DICOM files below a folder.

    DICOM files are identified by content or by suffix (.dcm, .dicom). Objects without pixel data (structured reports,
    presentation states, DICOMDIR) are ignored.

    Args:
        folder: folder that is searched recursively.

    Returns:
        List of `(path, frame)`; `frame` is `None` for single-frame files.

    Raises:
        FileNotFoundError: If the folder does not exist or contains no DICOM images.
    """
    files = [path for path in files_below(folder) if holds_dicom(path) and not is_pixelless(path)]
    sources = [(path, frame) for path in files for frame in frames_of(path)]
    if not sources:
        raise FileNotFoundError(f"{folder}: no DICOM files below it.")
    return sources


def frames_of(path: Path) -> list[int | None]:
    """Return the frame indices of a file.

    Args:
        path: path of the file.

    Returns:
        `[0, 1, ...]` for a multi-frame DICOM file, `[None]` for all other and for unreadable files.
    """
    if not path.is_file() or not holds_dicom(path):
        return [None]
    try:
        tags = parse(path, stop_before_pixels=True, specific_tags=["NumberOfFrames", *IMAGE_TAGS])
        count = int(tags.get("NumberOfFrames", 1) or 1)
    except ValueError:  # it is reported when it is read
        return [None]
    return list(range(count)) if count > 1 else [None]


def list_sources(folder: str | Path) -> list[tuple[str, int | None]]:
    """List all images below a folder, with every frame of a DICOM file as an image.

    Args:
        folder: folder that is searched recursively.

    Returns:
        List of `(path, frame)`, sorted; paths are relative to the folder.

    Raises:
        FileNotFoundError: If the folder does not exist or contains no images.
    """
    return [(path, frame) for path in list_files(folder) for frame in frames_of(Path(folder) / path)]


def list_files(folder: str | os.PathLike) -> list[str]:
    """List all image files below a folder as relative paths.

    Args:
        folder: folder that is searched recursively.

    Returns:
        Sorted list of paths relative to the folder, with `/` as separator.

    Raises:
        FileNotFoundError: If the folder does not exist or contains no images.
    """
    files = files_below(folder)
    known = [path for path in files if path.suffix.lower() in SUFFIXES or holds_dicom(path)]
    found = [path for path in known if not (path.is_file() and is_pixelless(path))]
    if not found:
        raise FileNotFoundError(
            f"{folder}: no images below it ({', '.join(SUFFIXES)}, or DICOM).{_volumes_hint(files)}"
        )
    return sorted(path.relative_to(folder).as_posix() for path in found)


def patients_of(folder: str | Path, sources: Sequence[tuple]) -> np.ndarray | None:
    """Return the PatientID of each DICOM source, or the PatientName if the ID is blank.

    The values are used to group images by patient only and are not stored.

    Args:
        folder: folder that the paths are relative to.
        sources: list of `(path, frame)`.

    Returns:
        Array of str `(N,)` with `""` for unknown patients, or `None` if all are unknown.
    """
    patients = patients_and_studies(folder, sources)[0]
    return np.array(patients) if any(patients) else None


def patients_and_studies(folder: str | Path, sources: Sequence[tuple]) -> tuple[list[str], list[str]]:
    """Return the patient and the study of each DICOM source.

    A study is identified by its StudyInstanceUID, or if missing by the SeriesInstanceUID.

    Args:
        folder: folder that the paths are relative to.
        sources: list of `(path, frame)`.

    Returns:
        `(patients, studies)`: lists of str with `""` for unknown values.
    """
    known, identified, names = {}, {}, ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID")
    for path, _ in sources:
        if path not in known:
            known[path] = "", ""
            file = Path(folder) / path
            if file.is_file() and holds_dicom(file):
                try:
                    tags = parse(file, stop_before_pixels=True, specific_tags=[*names, *IMAGE_TAGS])
                    values = [str(tags.get(name, "") or "").strip() for name in names]
                except Exception:  # damaged tags raise many error types and are reported when the file is read
                    continue
                identified[path] = not is_unknown(values[0])
                patient = next((value for value in values[:2] if not is_unknown(value)), "")
                known[path] = patient, values[2] or values[3]
    if len({patient for patient, _ in known.values()}) == 1 and len(known) > 1 and not any(identified.values()):
        known = {
            path: ("", study) for path, (_, study) in known.items()
        }  # one name for all files identifies no patient
    return [known[path][0] for path, _ in sources], [known[path][1] for path, _ in sources]


MAX_SHOWN = 20  # files listed in an error message
PREFETCH = 64  # images decoded in advance


def read_all(
    sources: Sequence[tuple], read: Callable, keep: Callable = lambda index, image: None
) -> tuple[np.ndarray, dict]:
    """Read images in parallel, with a progress bar for 500 images or more.

    Args:
        sources: list of argument tuples of `read`.
        read: function that returns an image, or raises ImageError or OSError.
        keep: function of `(index, image)` that is called for each image in order.

    Returns:
        `(indices, errors)`: integer array of the indices of readable sources, and `{source: reason}` for the others.
    """
    from concurrent.futures import ThreadPoolExecutor

    def attempt(source):
        try:
            return read(*source), None
        except (ImageError, OSError) as error:
            return None, str(error)

    readable, errors, waiting = [], {}, deque()
    with ThreadPoolExecutor() as pool:
        for index, source in enumerate(track(sources, "reading images", fewest=500)):
            waiting.append((index, source, pool.submit(attempt, source)))
            # The number of decoded images in flight is bounded to limit memory.
            while waiting and (len(waiting) > PREFETCH or index == len(sources) - 1):
                number, where, future = waiting.popleft()
                image, error = future.result()
                if error is None:
                    keep(number, image)
                    readable.append(number)
                else:
                    errors[where] = error
    return np.array(readable, int), errors


def report(where: str | Path, count: int, errors: dict, on_error: str, skipped: str | Path | None = None) -> None:
    """Raise an error or log a warning for unreadable images.

    Args:
        where: folder or file that contains the images.
        count: int. Total number of images.
        errors: `{source: reason}` of unreadable images.
        on_error: `"raise"` or `"skip"`.
        skipped: path of a text file to list the reasons in, or `None` (default).

    Raises:
        ImageError: With `"raise"`, or if all images are unreadable; the message lists the reasons.
    """
    if not errors:
        return
    lines = list(errors.values())
    if on_error == "raise" or len(errors) == count:
        more = f"\n... and {len(lines) - MAX_SHOWN} more" if len(lines) > MAX_SHOWN else ""
        shown = "\n".join(lines[:MAX_SHOWN]) + more
        hint = ' Pass on_error="skip" to skip them.' if len(errors) < count else ""
        raise ImageError(f"{where}: {len(errors)} of {count} images cannot be read.{hint}\n{shown}")
    if skipped is not None:
        Path(skipped).write_text("\n".join(lines) + "\n", encoding="utf-8")
    log.warning("%s: %d of %d images skipped%s", where, len(errors), count, f"; listed in {skipped}" if skipped else "")
