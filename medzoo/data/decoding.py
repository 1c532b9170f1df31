"""Files to arrays of pixels, in memory or on disk."""

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
from medzoo.utils.files import write_json, written_whole

LAYOUT = 2  # of the kept files
MEMORY = 2 * 2**30  # bytes of decoded images that are kept in memory; more go to disk


class Reader:
    """Decodes files of a collection, several at a time, into an array in memory or on disk."""

    def __init__(self, name, root, size, window, cache, on_error):
        self.name, self.root, self.size, self.window = name, root, size, window
        self.cache, self.on_error = cache and Path(cache), on_error

    def __call__(self, sources, skipped):
        if self.cache:
            kept = self.cache / f"{self._digest(sources)}.npy"
            read = self._kept(kept)
            if read is None or self._readable([sources[i] for i in read[2]]):
                self._keep(kept, sources)
                read = self._kept(kept)
            images, good, errors = read
            self._report(sources, {sources[i]: reason for i, reason in errors.items()}, skipped)
            return images, good
        shape = (len(sources), *self.size, 1)
        images = np.empty(shape, "uint8") if np.prod(shape) <= MEMORY else _temporary(shape)
        good, errors = self._fill(images, sources)
        self._report(sources, errors, skipped)
        return (images[good] if errors else images), good

    def _keep(self, kept, sources):
        """Writes the images that can be read, and beside them, as JSON, which they are and why the others are not."""
        self.cache.mkdir(parents=True, exist_ok=True)
        with written_whole(kept) as part:
            images = np.lib.format.open_memmap(part, "w+", "uint8", (len(sources), *self.size, 1))
            good, errors = self._fill(images, sources)
            self._report(sources, errors, {})
            if errors:  # only those that can be read, without having all in memory
                every = part.rename(part.with_suffix(".every.npy"))
                some = np.lib.format.open_memmap(part, "w+", "uint8", (len(good), *self.size, 1))
                for i, index in enumerate(good):
                    some[i] = images[index]
                every.unlink()
        reasons = {str(i): errors[source] for i, source in enumerate(sources) if source in errors}
        write_json(kept.with_suffix(".json"), {"good": good.tolist(), "errors": reasons})

    def _kept(self, kept):
        """`(images, their indices, {index: reason} of the others)` as `_keep` wrote them, or `None`."""
        try:
            said = json.loads(kept.with_suffix(".json").read_text(encoding="utf-8"))
            images, good = np.load(kept, mmap_mode="r"), np.array(said["good"], int)
            errors = {int(i): reason for i, reason in said["errors"].items()}
        except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError):
            return None  # not there, or not whole
        whole = images.shape == (len(good), *self.size, 1) and images.dtype == np.uint8
        return (images, good, errors) if whole else None

    def _readable(self, sources):
        """Whether any of these, which could not be read before, can be read now."""
        return bool(sources) and len(self._fill(np.empty((len(sources), *self.size, 1), "uint8"), sources)[0]) > 0

    def _fill(self, images, sources):
        def read(path, frame):
            if len(self.size) == 3:
                image = center_crop_or_pad(read_volume(self.root / path).images(window=self.window), self.size)
            else:
                image = read_image(self.root / path, self.size, self.window, frame)
            return np.round(image * 255).astype("uint8")

        return read_all(sources, read, images.__setitem__)

    def _report(self, sources, errors, skipped):
        report(self.name, len(sources), errors, self.on_error)
        skipped.update({name_of(*source): reason for source, reason in errors.items()})

    def _digest(self, sources):
        """Tells these files, as they are now and read in this way, from all others."""

        def state(path):
            try:
                status = (self.root / path).stat()
            except OSError:
                return None
            return status.st_size, status.st_mtime_ns, status.st_ctime_ns

        files = [(str(path), frame, state(path)) for path, frame in sources]
        how = LAYOUT, medzoo.__version__, str(self.root.resolve()), tuple(map(int, self.size)), self.window
        return hashlib.sha256(repr((files, how)).encode()).hexdigest()[:24]


def name_of(path, frame):
    """`path`, or `path#frame` of a file with several images."""
    return str(path) if frame is None else f"{path}#{frame}"


def _temporary(shape):
    """An array in a file that goes when the array does."""
    with tempfile.TemporaryFile(prefix="medzoo-") as file:
        return np.memmap(file, "uint8", "w+", shape=shape)
