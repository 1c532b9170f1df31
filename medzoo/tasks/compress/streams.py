"""Without loss, or with a largest error: JPEG XL or JPEG-LS, whichever is smaller.

A well-kept library does this better than what we learned: coding the residual of our codec's picture took a fifth more
bits than JPEG XL on films of two hospitals, and seconds a film.
"""

from typing import NamedTuple

import numpy as np

from medzoo.errors import CompressedFileError

EFFORT = {2**20: 9, 2**40: 7}  # of JPEG XL, for images up to so many pixels: beyond a megapixel 9 takes minutes


class Kind(NamedTuple):
    """A format: its name, and the functions of imagecodecs that encode an array and decode bytes."""

    name: str
    encode: object
    decode: object


KINDS = {
    1: Kind(
        "JPEG XL",
        lambda image: _codecs().jpegxl_encode(image, lossless=True, effort=_effort(image)),
        lambda data: _codecs().jpegxl_decode(data),
    ),
    2: Kind("JPEG-LS", lambda image: _codecs().jpegls_encode(image), lambda data: _codecs().jpegls_decode(data)),
}


def encode(image, max_error=0):
    """`(kind, bytes)` of a uint8 or uint16 image `(H, W)`; with `max_error` n its values are rounded to multiples of
    2 n + 1 before."""
    rounded = ((image.astype("int64") + max_error) // (2 * max_error + 1)).astype(image.dtype)
    return min(((kind, own.encode(rounded)) for kind, own in KINDS.items()), key=lambda found: len(found[1]))


def decode(kind, data, max_error, dtype):
    """What `encode` stored, off by `max_error` at most.

    Raises:
        CompressedFileError: no such picture.
    """
    try:
        rounded = KINDS[kind].decode(data)
    except (RuntimeError, ValueError) as error:
        raise CompressedFileError(f"not readable as {KINDS[kind].name} ({error}).") from error
    if rounded.dtype != dtype:
        raise CompressedFileError(f"{rounded.dtype} as {KINDS[kind].name}; expected {dtype}.")
    largest = np.iinfo(dtype).max
    return np.minimum(rounded.astype("int64") * (2 * max_error + 1), largest).astype(dtype)


def _effort(image):
    return next(effort for size, effort in EFFORT.items() if image.size <= size)


def _codecs():
    try:
        import imagecodecs
    except ImportError as error:
        raise ImportError('lossless files need JPEG XL: pip install "medzoo[compress]" (or imagecodecs).') from error
    return imagecodecs
