"""Files of images to compressed files and back."""

from functools import partial
from pathlib import Path

from medzoo.errors import CompressedFileError
from medzoo.io.dicom import is_dicom
from medzoo.io.dicom_secondary_capture import technical_tags, write_secondary
from medzoo.io.image import read_stored, split_frame
from medzoo.io.listing import read_all, report
from medzoo.io.writers import write_png
from medzoo.tasks.compress import lossless as streams
from medzoo.tasks.compress.files import DEFAULT, compress, compress_singly, contents, decoded
from medzoo.tasks.compress.header import LATENTS
from medzoo.utils.files import unique_names, write_whole
from medzoo.utils.progress import track


def compress_files(
    files, out, model=DEFAULT, quality=None, max_error=None, names=True, tags=False, on_error="raise", skipped=None
):
    """Compresses image files, read one at a time, to one file; see `compress`.

    Args:
        files: paths; of DICOM files the stored pixel values are kept.
        out: file to write, whole or not at all.
        model, quality, max_error: see `compress`.
        names: keep the files' names.
        tags: of DICOM files keep the technical tags too, see `medzoo.io.dicom_secondary_capture.KEPT`.
        on_error: `"raise"`: one error that names every file that cannot be used; `"skip"`: leave these out.
        skipped: with `"skip"`, file that lists them with the reasons, or `None`.

    Returns: `(images, bytes before, bytes after)`.

    Raises:
        ImageError: files that cannot be used, or none that can.
    """
    files = [files[i] for i in _usable(files, on_error, skipped)]
    data = compress(_Reading(files), model, quality, max_error, *_kept(files, names, tags))
    write_whole(out, data)
    return len(files), _size(files), len(data)


def compress_each(
    files, targets, model=DEFAULT, quality=None, max_error=None, names=True, tags=False, on_error="raise", skipped=None
):
    """As `compress_files`, a file for each image: `targets` are as many paths as `files`."""
    after, good = 0, _usable(files, on_error, skipped)
    files, targets = ([them[i] for i in good] for them in (files, targets))
    coded = compress_singly(_Reading(files), model, quality, max_error, *_kept(files, names, tags))
    for target, data in zip(targets, coded, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, data)
        after += len(data)
    return len(files), _size(files), after


def decompress_file(file, out, model=None):
    """The images of a compressed file as `{path to write: function that writes it there}`: PNG, and where an image's
    DICOM tags were kept, or its numbers have a sign, a DICOM file (Secondary Capture, no patient).

    Raises:
        CompressedFileError: see `decompress`; names the file.
    """
    found = _named(file, lambda data: decoded(data, model))
    # A name in a file from elsewhere must not lead out of the folder.
    stems = [Path(head.title.replace("\\", "/")).stem or f"{i:05d}" for i, (_, head) in enumerate(found)]
    targets = {}
    for title, (pixels, head) in zip(unique_names(stems), found, strict=True):
        dicom = head.tags or pixels.dtype == "int16"
        path = Path(out) / (f"{title}.dcm" if dicom else f"{title}.png")
        if dicom:
            targets[path] = partial(write_secondary, path, pixels, head.tags, _loss(pixels, head))
        else:
            targets[path] = partial(write_png, path, pixels)
    return targets


def contents_of(file):
    """`contents` of a compressed file."""
    return _named(file, contents)


def _named(file, function):
    """The function of a file's bytes; what it refuses is said with the name of the file."""
    try:
        return function(Path(file).read_bytes())
    except CompressedFileError as error:
        raise CompressedFileError(f"{file}: {error}") from error


def _usable(files, on_error, skipped):
    """Indices of the files that can be read; see `report` for the others."""
    good, errors = read_all([(file,) for file in files], read_stored)
    report(_place(files[0]).parent, len(files), errors, on_error, skipped)
    return good


def _place(file):
    return split_frame(file)[0]


def _kept(files, names, tags):
    """The names and the technical tags of files as `compress` takes them, each `None` if not asked for."""
    places = [_place(file) for file in files]
    found = [technical_tags(place) if is_dicom(place) else {} for place in places] if tags else None
    return [place.name for place in places] if names else None, found


def _loss(pixels, head):
    """`(ratio, method)` of an image that compression changed, else `None`."""
    if head.kind != LATENTS and head.setting == 0:
        return None
    method = "MEDZOO_MZC" if head.kind == LATENTS else streams.KINDS[head.kind].method
    return pixels.nbytes / max(1, head.length), method


def _size(files):
    return sum(path.stat().st_size for path in set(map(_place, files)))


class _Reading:
    """The stored values of files, read one at a time with a progress bar."""

    def __init__(self, files):
        self.files = files

    def __len__(self):
        return len(self.files)

    def __iter__(self):
        return map(read_stored, track(self.files, "compressing", fewest=4))
