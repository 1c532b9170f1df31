"""Compression of image files, and decompression to image files."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import CompressedFileError
from medzoo.io.dicom import is_dicom
from medzoo.io.dicom_secondary_capture import technical_tags, write_secondary
from medzoo.io.image import read_stored, split_frame
from medzoo.io.listing import read_all, report
from medzoo.io.writers import write_png
from medzoo.models import Codec
from medzoo.tasks.compress import lossless
from medzoo.tasks.compress.files import DEFAULT, compress, compress_singly, contents, decoded
from medzoo.tasks.compress.header import LATENTS
from medzoo.utils.files import unique_names, write_atomically
from medzoo.utils.progress import track


def compress_files(
    files: Sequence[str | Path],
    out: str | Path,
    model: Codec | str | Path = DEFAULT,
    quality: int | None = None,
    max_error: int | None = None,
    filenames: bool = True,
    dicom_tags: bool = False,
    on_error: str = "raise",
    skipped: str | Path | None = None,
) -> tuple[int, int, int]:
    """Compress image files to one file.

    Images are read one at a time. Of DICOM files, the stored pixel values are compressed.

    Args:
        files: Paths of image files.
        out: File to write; it is written completely or not at all.
        model: See `compress`.
        quality: See `compress`.
        max_error: See `compress`.
        filenames: bool. Whether to store the file names.
        dicom_tags: bool. Whether to store the technical tags of DICOM files, see
            `medzoo.io.dicom_secondary_capture.RETAINED_TAGS`.
        on_error: `"raise"` raises one error that lists all invalid files; `"skip"` excludes them.
        skipped: With `"skip"`, path of the list of excluded files with the reasons, or `None`.

    Returns:
        `(images, bytes_before, bytes_after)`.

    Raises:
        ImageError: If there are invalid files, or no valid ones.
    """
    files = [files[i] for i in _readable(files, on_error, skipped)]
    data = compress(_StoredImages(files), model, quality, max_error, *_metadata(files, filenames, dicom_tags))
    write_atomically(out, data)
    return len(files), _size(files), len(data)


def compress_each(
    files: Sequence[str | Path],
    targets: Sequence[Path],
    model: Codec | str | Path = DEFAULT,
    quality: int | None = None,
    max_error: int | None = None,
    filenames: bool = True,
    dicom_tags: bool = False,
    on_error: str = "raise",
    skipped: str | Path | None = None,
) -> tuple[int, int, int]:
    """Compress image files to one file per image.

    Args:
        files: See `compress_files`.
        targets: One path per image.
        model: See `compress`.
        quality: See `compress`.
        max_error: See `compress`.
        filenames: See `compress_files`.
        dicom_tags: See `compress_files`.
        on_error: See `compress_files`.
        skipped: See `compress_files`.

    Returns:
        `(images, bytes_before, bytes_after)`.

    Raises:
        ImageError: See `compress_files`.
    """
    after, good = 0, _readable(files, on_error, skipped)
    files, targets = ([them[i] for i in good] for them in (files, targets))
    metadata = _metadata(files, filenames, dicom_tags)
    coded = compress_singly(_StoredImages(files), model, quality, max_error, *metadata)
    for target, data in zip(targets, coded, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, data)
        after += len(data)
    return len(files), _size(files), after


def decompress_file(
    file: str | Path, out: str | Path, model: Codec | str | Path | None = None
) -> dict[Path, Callable[[], Any]]:
    """Decompress a file and prepare the writing of its images.

    Images are written as PNG; as DICOM (Secondary Capture without patient information) where their DICOM tags were
    stored, or their pixel values are signed.

    Args:
        file: Path of a compressed file.
        out: Folder to write to.
        model: See `decompress`.

    Returns:
        Dict of the paths to write and the functions that write them.

    Raises:
        CompressedFileError: See `decompress`; the message contains the path.
    """
    images = _with_path(file, lambda data: decoded(data, model))
    # A file name from an untrusted file must not lead out of the folder.
    stems = [Path(header.title.replace("\\", "/")).stem or f"{i:05d}" for i, (_, header) in enumerate(images)]
    targets: dict[Path, Callable[[], Any]] = {}
    for title, (pixels, header) in zip(unique_names(stems), images, strict=True):
        dicom = header.tags or pixels.dtype == "int16"
        path = Path(out) / (f"{title}.dcm" if dicom else f"{title}.png")
        if dicom:
            targets[path] = partial(write_secondary, path, pixels, header.tags, _loss(pixels, header))
        else:
            targets[path] = partial(write_png, path, pixels)
    return targets


def contents_of(file: str | Path) -> dict[str, Any]:
    """Describe the contents of a compressed file, see `contents`.

    Args:
        file: Path of a compressed file.

    Returns:
        See `contents`.

    Raises:
        CompressedFileError: See `contents`; the message contains the path.
    """
    return _with_path(file, contents)


def _with_path(file, function):
    """Return a function of the bytes of a file; its errors are raised with the path."""
    try:
        return function(Path(file).read_bytes())
    except CompressedFileError as error:
        raise CompressedFileError(f"{file}: {error}") from error


def _readable(files, on_error, skipped):
    """Return the indices of the files that can be read; see `report` for the others."""
    good, errors = read_all([(file,) for file in files], read_stored)
    report(_path_of(files[0]).parent, len(files), errors, on_error, skipped)
    return good


def _path_of(file):
    """Return the path of a file without its frame index."""
    return split_frame(file)[0]


def _metadata(files, filenames, dicom_tags):
    """Return the file names and the technical tags of files for `compress`, each `None` if not requested."""
    paths = [_path_of(file) for file in files]
    tags = [technical_tags(path) if is_dicom(path) else {} for path in paths] if dicom_tags else None
    return [path.name for path in paths] if filenames else None, tags


def _loss(pixels, header):
    """Return `(ratio, method)` of an image that compression changed, otherwise `None`."""
    if header.kind != LATENTS and header.setting == 0:
        return None
    method = "MEDZOO_MZC" if header.kind == LATENTS else lossless.FORMATS[header.kind].method
    return pixels.nbytes / max(1, header.length), method


def _size(files):
    """Return the total size of files in bytes."""
    return sum(path.stat().st_size for path in set(map(_path_of, files)))


class _StoredImages(Sequence):
    """Stored pixel values of files, read one at a time with a progress bar."""

    def __init__(self, files):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index) -> Any:
        return read_stored(self.files[index])

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(read_stored, track(self.files, "compressing", fewest=4))
