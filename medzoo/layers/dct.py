"""Volumes by their low spatial frequencies."""

import math
from functools import lru_cache

import numpy as np
from keras import ops

SHARE = 0.4  # of the frequencies along each axis: 6% of a volume's numbers


class LowFrequencies:
    """The discrete cosine transform (Ahmed, Natarajan & Rao 1974) of volumes, the lowest frequencies of each axis.

    A linear layer on whole volumes is large, and of what a PCA finds in them nearly nothing is finer than this: 256
    components of volumes of the hippocampus give 18.75 dB of 6% of the frequencies, and 18.74 of all voxels.

    Args:
        sides: `(depth, height, width)`.
        channels: of the volumes.

    Attributes: `numbers`, how many there are for a volume.
    """

    def __init__(self, sides, channels):
        self.kept, self.channels = tuple(math.ceil(SHARE * side) for side in sides), channels
        self.numbers = math.prod(self.kept) * channels
        self.sides = tuple(sides)

    @property
    def bases(self):
        # Not with the model: a preset from elsewhere may announce any sides.
        return [_cosines(side, kept) for side, kept in zip(self.sides, self.kept, strict=True)]

    def of(self, volumes):
        """`(batch, depth, height, width, channels)` to `(batch, numbers)`."""
        for basis in self.bases:  # the first axis is taken away and comes back as the last one
            volumes = ops.tensordot(volumes, basis, axes=((1,), (0,)))
        return ops.reshape(volumes, (-1, self.numbers))

    def back(self, numbers):
        """The transpose: volumes without any higher frequencies."""
        volumes = ops.reshape(numbers, (-1, self.channels, *self.kept))
        for basis in self.bases:
            volumes = ops.tensordot(volumes, basis.T, axes=((2,), (0,)))
        return ops.moveaxis(volumes, 1, -1)


@lru_cache(maxsize=16)
def _cosines(side, kept):
    """`(side, kept)`, orthonormal columns: constant, half a wave, a whole one ..."""
    waves = np.cos(np.pi / side * (np.arange(side)[:, None] + 0.5) * np.arange(kept))
    return (waves / np.linalg.norm(waves, axis=0)).astype("float32")
