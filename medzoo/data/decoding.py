"""Decoding of image files into arrays in memory or on disk."""

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np

import medzoo
from medzoo.io.image import read_image
from medzoo.io.listing import read_all, report
from medzoo.io.volume import center_crop_or_pad
from medzoo.io.volume_reader import read_volume
from medzoo.utils.files import atomic_write, write_json

CACHE_VERSION = 2  # layout of the cached files
MAX_MEMORY = 2 * 2**30  # bytes of decoded images kept in memory; larger arrays are stored on disk


class Reader:
    """Parallel decoder of the files of a dataset into an array in memory or on disk.

    Args:
        name: name of the dataset, for error messages.
        root: folder that paths are relative to.
        size: `(height, width)` of images or `(depth, height, width)` of volumes.
        window: see `read_image`.
        cache: folder for decoded images, or `None`.
        on_error: `"raise"` or `"skip"`.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        size: tuple[int, ...],
        window: tuple[float, float] | str | int | None,
        cache: str | Path | None,
        on_error: str,
    ) -> None:
        self.name, self.root, self.size, self.window = name, root, size, window
        self.cache, self.on_error = cache and Path(cache), on_error

    def __call__(self, sources: list[tuple], skipped: dict) -> tuple[np.ndarray, np.ndarray]:
        """Decode sources.

        Args:
            sources: list of `(path, frame)`.
            skipped: dict to which `{name: reason}` of unreadable files is added.

        Returns:
            `(images, indices)`: uint8 array `(N, H, W, 1)` or `(N, D, H, W, 1)` of the readable sources, and their
            indices in `sources`.

        Raises:
            ImageError: If files are unreadable and `on_error="raise"`, or if all files are unreadable.
        """
        if self.cache:
            file = self.cache / f"{self._digest(sources)}.npy"
            cached = self._load_cache(file)
            if cached is None or self._any_readable([sources[i] for i in cached[2]]):
                self._save_cache(file, sources)
                cached = self._load_cache(file)
            images, indices, errors = cached
            self._report(sources, {sources[i]: reason for i, reason in errors.items()}, skipped)
            return images, indices
        shape = (len(sources), *self.size, 1)
        images = np.empty(shape, "uint8") if np.prod(shape) <= MAX_MEMORY else _temporary_memmap(shape)
        indices, errors = self._fill(images, sources)
        self._report(sources, errors, skipped)
        return (images[indices] if errors else images), indices

    def _save_cache(self, file, sources):
        """Write the readable images, and a JSON file with their indices and the errors of the others."""
        self.cache.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as part:
            images = np.lib.format.open_memmap(part, "w+", "uint8", (len(sources), *self.size, 1))
            indices, errors = self._fill(images, sources)
            self._report(sources, errors, {})
            if errors:  # copy the readable images without loading all of them into memory
                complete = part.rename(part.with_suffix(".complete.npy"))
                readable = np.lib.format.open_memmap(part, "w+", "uint8", (len(indices), *self.size, 1))
                for i, index in enumerate(indices):
                    readable[i] = images[index]
                complete.unlink()
        reasons = {str(i): errors[source] for i, source in enumerate(sources) if source in errors}
        write_json(file.with_suffix(".json"), {"good": indices.tolist(), "errors": reasons})

    def _load_cache(self, file):
        """Return `(images, indices, {index: reason})` from the cache, or `None` if it is missing or invalid."""
        try:
            metadata = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
            images, indices = np.load(file, mmap_mode="r"), np.array(metadata["good"], int)
            errors = {int(i): reason for i, reason in metadata["errors"].items()}
        except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError):
            return None
        valid = images.shape == (len(indices), *self.size, 1) and images.dtype == np.uint8
        return (images, indices, errors) if valid else None

    def _any_readable(self, sources):
        """Return whether any of these previously unreadable sources is readable now."""
        return bool(sources) and len(self._fill(np.empty((len(sources), *self.size, 1), "uint8"), sources)[0]) > 0

    def _fill(self, images, sources):
        """Decode sources into an array; return the indices of readable sources and the errors of the others."""

        def read(path, frame):
            if len(self.size) == 3:
                image = center_crop_or_pad(read_volume(self.root / path).to_images(window=self.window), self.size)
            else:
                image = read_image(self.root / path, self.size, self.window, frame)
            return np.round(image * 255).astype("uint8")

        return read_all(sources, read, images.__setitem__)

    def _report(self, sources, errors, skipped):
        """Raise or record the errors."""
        report(self.name, len(sources), errors, self.on_error)
        skipped.update({name_of(*source): reason for source, reason in errors.items()})

    def _digest(self, sources):
        """Cache key: hash of the files, their size and modification times, and the settings."""

        def state(path):
            try:
                status = (self.root / path).stat()
            except OSError:
                return None
            return status.st_size, status.st_mtime_ns, status.st_ctime_ns

        files = [(str(path), frame, state(path)) for path, frame in sources]
        settings = CACHE_VERSION, medzoo.__version__, str(self.root.resolve()), tuple(map(int, self.size)), self.window
        return hashlib.sha256(repr((files, settings)).encode()).hexdigest()[:24]


def name_of(path: str | Path, frame: int | None) -> str:
    """Return `path`, or `path#frame` if `frame` is not `None`."""
    return str(path) if frame is None else f"{path}#{frame}"


def _temporary_memmap(shape):
    """Memory-mapped array in an unnamed temporary file."""
    with tempfile.TemporaryFile(prefix="medzoo-") as file:
        return np.memmap(file, "uint8", "w+", shape=shape)
