"""Which image files there are, and reading many of them."""

import logging
import os
from collections import deque
from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.images.dicom import is_dicom, parse
from medzoo.images.nifti import is_nifti
from medzoo.images.read import SUFFIXES
from medzoo.progress import track

log = logging.getLogger("medzoo")
IMAGE_TAGS = ("SOPClassUID", "Rows", "Columns")  # what files without a preamble are known by


def list_images(folder):
    """All image files below a folder, sorted.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder.")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file() and not is_pixelless(p))
    if not paths:
        raise FileNotFoundError(f"{folder}: no images below it ({', '.join(SUFFIXES)}).{_volumes_hint(folder)}")
    return paths


def holds_pixels(header):
    """Whether a DICOM data set is one of an image, as far as its header tells: not a structured report, presentation
    state, structure set, key object note, encapsulated document, spectrum, raw data, or the index of a medium.

    A damaged image counts as an image, so that it is reported and not left out.
    """
    from pydicom.uid import UID

    meta = getattr(header, "file_meta", None) or {}
    kind = UID(str(header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or ""))
    if "Spectroscopy" in kind.name:
        return False
    return not kind or ("Rows" in header and "Columns" in header) or "Image Storage" in kind.name


def is_pixelless(path):
    """Whether a file is a DICOM object of a kind without pixels, which is no image and not a damaged one either."""
    if not is_dicom(path):
        return False
    try:
        return not holds_pixels(parse(path, stop_before_pixels=True, specific_tags=list(IMAGE_TAGS)))
    except ValueError:  # it is reported when it is read
        return False


def _volumes_hint(folder):
    if not any(map(is_nifti, folder.rglob("*"))):
        return ""
    return " Its NIfTI files are volumes: take a preset of volumes, or slices, medzoo.read_volume(path).images()."


def list_frames(folder):
    """`(path, frame)` of every frame of the DICOM files below a folder; frame is `None` where there is one.

    DICOM by content, or by name (.dcm, .dicom). Objects without pixels (reports, presentation states, the index of a
    medium) are left out.

    Raises:
        FileNotFoundError: no such folder, or no DICOM file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder.")
    sources = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.name == "DICOMDIR" or not is_dicom(path) or is_pixelless(path):
            continue
        sources += [(path, frame) for frame in frames_of(path)]
    if not sources:
        raise FileNotFoundError(f"{folder}: no DICOM files below it.")
    return sources


def frames_of(path):
    """`[None]` for a file with one image, else the indices of its frames; a broken file counts as one image."""
    if not is_dicom(path):
        return [None]
    try:
        tags = parse(path, stop_before_pixels=True, specific_tags=["NumberOfFrames", *IMAGE_TAGS])
        count = int(tags.get("NumberOfFrames", 1) or 1)
    except ValueError:  # it is reported when it is read
        return [None]
    return list(range(count)) if count > 1 else [None]


def list_sources(folder):
    """`(path, frame)` of all images below a folder: files that are images by suffix or DICOM by content, every frame of
    a DICOM file by itself; paths are relative to the folder, sorted.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
    """
    return [(path, frame) for path in list_files(folder) for frame in frames_of(Path(folder) / path)]


def list_files(folder):
    """Paths, relative to a folder, of all files below it that are images by suffix or DICOM by content; sorted."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder.")
    found = []
    for root, folders, names in os.walk(folder):
        folders.sort()
        for path in (Path(root) / name for name in names if name != "DICOMDIR"):
            known = path.suffix.lower() in SUFFIXES or (path.is_file() and is_dicom(path))
            if known and not (path.is_file() and is_pixelless(path)):
                found.append(path.relative_to(folder).as_posix())
    if not found:
        raise FileNotFoundError(
            f"{folder}: no images below it ({', '.join(SUFFIXES)}, or DICOM).{_volumes_hint(folder)}"
        )
    return sorted(found)


def patients_of(folder, sources):
    """PatientID of each source `(path, frame)`, or `None` where one is no DICOM file or says nothing.

    They tell patients apart and go no further.
    """
    known = {}
    for path, _ in sources:
        if path not in known:
            if not is_dicom(Path(folder) / path):
                return None
            try:
                dataset = parse(Path(folder) / path, stop_before_pixels=True, specific_tags=["PatientID", *IMAGE_TAGS])
            except ValueError:  # it is reported when it is read
                return None
            known[path] = str(dataset.get("PatientID", "") or "").strip()
            if not known[path]:
                return None
    return np.array([known[path] for path, _ in sources])


SHOWN = 20  # files that an error about many names
AHEAD = 64  # images decoded before they are asked for


def read_all(sources, read, keep=lambda index, image: None):
    """Reads images in parallel, with a progress bar where there are many.

    Args:
        sources: list of arguments of `read`.
        read: function that gives an image, or raises ImageError or OSError.
        keep: function of `(index, image)` that takes each image as it comes.

    Returns: `(indices of the sources that can be read, {source: reason} of the others)`.
    """
    from concurrent.futures import ThreadPoolExecutor

    def attempt(source):
        try:
            return read(*source), None
        except (ImageError, OSError) as error:
            return None, str(error)

    good, errors, waiting = [], {}, deque()
    with ThreadPoolExecutor() as pool:
        for index, source in enumerate(track(sources, "reading images", fewest=500)):
            waiting.append((index, source, pool.submit(attempt, source)))
            # So many at a time: what is decoded and not yet kept takes memory.
            while waiting and (len(waiting) > AHEAD or index == len(sources) - 1):
                number, where, future = waiting.popleft()
                image, error = future.result()
                if error is None:
                    keep(number, image)
                    good.append(number)
                else:
                    errors[where] = error
    return np.array(good, int), errors


def report(where, count, errors, on_error, skipped=None):
    """Raises, or warns, for images that cannot be used.

    Args:
        where: the folder or file that they are from.
        count: how many images there are in all.
        errors: `{source: reason}`.
        on_error: `"raise"` or `"skip"`.
        skipped: file to list the reasons in, or `None`.

    Raises:
        ImageError: with `"raise"`, or if none can be used; names them.
    """
    if not errors:
        return
    lines = list(errors.values())
    if on_error == "raise" or len(errors) == count:
        shown = "\n".join(lines[:SHOWN]) + (f"\n... and {len(lines) - SHOWN} more" if len(lines) > SHOWN else "")
        hint = ' Pass on_error="skip" to leave them out.' if len(errors) < count else ""
        raise ImageError(f"{where}: {len(errors)} of {count} images cannot be used.{hint}\n{shown}")
    if skipped is not None:
        Path(skipped).write_text("\n".join(lines) + "\n", encoding="utf-8")
    log.warning("%s: %d of %d images skipped%s", where, len(errors), count, f"; listed in {skipped}" if skipped else "")
