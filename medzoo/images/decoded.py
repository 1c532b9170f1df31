"""Files to arrays of pixels, in memory or on disk."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np

from medzoo.files import written_whole
from medzoo.images.listing import read_all, report
from medzoo.images.read import read_image
from medzoo.images.read_volume import read_volume
from medzoo.images.volume import cut_to

MEMORY = 2 * 2**30  # bytes of decoded images that are kept in memory; more go to disk


class Reader:
    """Decodes files of a collection, several at a time, into an array in memory or on disk."""

    def __init__(self, name, root, size, window, cache, on_error):
        self.name, self.root, self.size, self.window = name, root, size, window
        self.cache, self.on_error = cache and Path(cache), on_error

    def __call__(self, sources, skipped):
        kept = self.cache and self.cache / f"{self._digest(sources)}.npy"
        if kept and kept.is_file():
            return np.load(kept, mmap_mode="r"), np.arange(len(sources))
        shape = (len(sources), *self.size, 1)
        if self.cache:
            self.cache.mkdir(parents=True, exist_ok=True)
            with written_whole(kept) as part:
                good, errors = self._fill(np.lib.format.open_memmap(part, "w+", "uint8", shape), sources)
                if errors:
                    self._report(sources, errors, skipped)
                    return np.load(part)[good], good  # not kept: it must be seen again what is broken
            return np.load(kept, mmap_mode="r"), good
        images = np.empty(shape, "uint8") if np.prod(shape) <= MEMORY else _temporary(shape)
        good, errors = self._fill(images, sources)
        self._report(sources, errors, skipped)
        return (images[good] if errors else images), good

    def _fill(self, images, sources):
        def read(path, frame):
            if len(self.size) == 3:
                image = cut_to(read_volume(self.root / path).images(window=self.window), self.size)
            else:
                image = read_image(self.root / path, self.size, self.window, frame)
            return np.round(image * 255).astype("uint8")

        return read_all(sources, read, images.__setitem__)

    def _report(self, sources, errors, skipped):
        report(self.name, len(sources), errors, self.on_error)
        skipped.update({str(path): reason for (path, _), reason in errors.items()})

    def _digest(self, sources):
        """Tells these files, as they are now and read in this way, from all others."""
        facts = [(str(p), f, (self.root / p).stat().st_size, (self.root / p).stat().st_mtime_ns) for p, f in sources]
        return hashlib.sha256(repr((facts, self.size, self.window)).encode()).hexdigest()[:24]


def _temporary(shape):
    """An array in a file that goes when the array does."""
    with tempfile.TemporaryFile(prefix="medzoo-") as file:
        return np.memmap(file, "uint8", "w+", shape=shape)
