"""Without loss, or with a largest error: JPEG XL or JPEG-LS, whichever is smaller.

A well-kept library does this better than what we learned: coding the residual of our codec's picture took a fifth more
bits than JPEG XL on films of two hospitals, and seconds a film.
"""

from typing import NamedTuple

import numpy as np

from medzoo.errors import CompressedFileError

USUAL, GREAT = 7, 9  # efforts of JPEG XL; on some films the usual one is smaller
LARGE = 2**20  # pixels, beyond which the great one takes minutes


class Kind(NamedTuple):
    """A format: its name, what DICOM calls it (PS3.3 C.7.6.1.1.5), and the functions of imagecodecs that encode an
    array and decode bytes."""

    name: str
    method: str
    encode: object
    decode: object


def _jpegxl(image):
    efforts = (USUAL,) if image.size > LARGE else (USUAL, GREAT)
    return min((_codecs().jpegxl_encode(image, lossless=True, effort=effort) for effort in efforts), key=len)


KINDS = {
    1: Kind(
        "JPEG XL",
        "ISO_18181_1",
        _jpegxl,
        lambda data: _codecs().jpegxl_decode(data),
    ),
    2: Kind(
        "JPEG-LS",
        "ISO_14495_1",
        lambda image: _codecs().jpegls_encode(image),
        lambda data: _codecs().jpegls_decode(data),
    ),
}


def encode(image, max_error=0):
    """`(kind, bytes, picture)` of a uint8 or uint16 image `(H, W)`: the picture is what the bytes must decode to; with
    `max_error` n its values are rounded to multiples of 2 n + 1."""
    rounded = ((image.astype("int64") + max_error) // (2 * max_error + 1)).astype(image.dtype)
    kind, data = min(((kind, own.encode(rounded)) for kind, own in KINDS.items()), key=lambda found: len(found[1]))
    return kind, data, _spread(rounded, max_error)


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
    return _spread(rounded, max_error)


def _spread(rounded, max_error):
    spread = rounded.astype("int64") * (2 * max_error + 1)
    return np.minimum(spread, np.iinfo(rounded.dtype).max).astype(rounded.dtype)


def _codecs():
    try:
        import imagecodecs
    except ImportError as error:
        raise ImportError('lossless files need JPEG XL: pip install "medzoo[compress]" (or imagecodecs).') from error
    return imagecodecs
