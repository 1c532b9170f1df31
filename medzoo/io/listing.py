"""Which image files there are, and reading many of them."""

import logging
from collections import deque
from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.dicom import is_dicom, parse
from medzoo.io.image import SUFFIXES
from medzoo.io.nifti import is_nifti
from medzoo.io.walk import files_below
from medzoo.utils.labels import is_unknown
from medzoo.utils.progress import track

log = logging.getLogger("medzoo")
IMAGE_TAGS = ("SOPClassUID", "Rows", "Columns")  # what files without a preamble are known by


def list_images(folder):
    """All image files below a folder, sorted: by suffix, or DICOM by content. Hidden files are skipped, and links to
    folders followed, see `medzoo.io.walk.files_below`.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
    """
    return sorted(Path(folder) / path for path in list_files(folder))


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


def _volumes_hint(files):
    if not any(map(is_nifti, files)):
        return ""
    return " Its NIfTI files are volumes: take a preset of volumes, or slices, medzoo.read_volume(path).images()."


def holds_dicom(path):
    """DICOM by content or name. What cannot be opened counts if nothing in its name speaks against it, so that it is
    reported when it is read."""
    try:
        return path.name != "DICOMDIR" and is_dicom(path)
    except OSError:
        return path.suffix.lower() in ("", ".dcm", ".dicom")


def list_frames(folder):
    """`(path, frame)` of every frame of the DICOM files below a folder; frame is `None` where there is one.

    DICOM by content, or by name (.dcm, .dicom). Objects without pixels (reports, presentation states, the index of a
    medium) are left out.

    Raises:
        FileNotFoundError: no such folder, or no DICOM file in it.
    """
    files = [path for path in files_below(folder) if holds_dicom(path) and not is_pixelless(path)]
    sources = [(path, frame) for path in files for frame in frames_of(path)]
    if not sources:
        raise FileNotFoundError(f"{folder}: no DICOM files below it.")
    return sources


def frames_of(path):
    """`[None]` for a file with one image, else the indices of its frames; a broken file counts as one image."""
    if not path.is_file() or not holds_dicom(path):
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
    """Paths, relative to a folder, of all files below it that are images by suffix or DICOM by content; sorted.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
    """
    files = files_below(folder)
    known = [path for path in files if path.suffix.lower() in SUFFIXES or holds_dicom(path)]
    found = [path for path in known if not (path.is_file() and is_pixelless(path))]
    if not found:
        raise FileNotFoundError(
            f"{folder}: no images below it ({', '.join(SUFFIXES)}, or DICOM).{_volumes_hint(files)}"
        )
    return sorted(path.relative_to(folder).as_posix() for path in found)


def patients_of(folder, sources):
    """PatientID of each source `(path, frame)`, or where it is blank the PatientName; `""` where a file says neither.

    They tell patients apart and go no further.

    Returns:
        Array of str `(N,)`, or `None` if no file says whose it is.
    """
    patients = owners_of(folder, sources)[0]
    return np.array(patients) if any(patients) else None


def owners_of(folder, sources):
    """`(patients, studies)` of sources `(path, frame)`, each a list of str with `""` where a file says nothing.

    A study is known by its StudyInstanceUID, or else by the SeriesInstanceUID.
    """
    known, identified, names = {}, {}, ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID")
    for path, _ in sources:
        if path not in known:
            known[path] = "", ""
            file = Path(folder) / path
            if file.is_file() and holds_dicom(file):
                try:
                    tags = parse(file, stop_before_pixels=True, specific_tags=[*names, *IMAGE_TAGS])
                    said = [str(tags.get(name, "") or "").strip() for name in names]
                except Exception:  # pydicom raises many kinds on damaged tags; it is reported when the file is read
                    continue
                identified[path] = not is_unknown(said[0])
                patient = next((value for value in said[:2] if not is_unknown(value)), "")
                known[path] = patient, said[2] or said[3]
    if len({patient for patient, _ in known.values()}) == 1 and len(known) > 1 and not any(identified.values()):
        known = {path: ("", study) for path, (_, study) in known.items()}  # one name for all is no name
    return tuple([known[path][k] for path, _ in sources] for k in (0, 1))


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
