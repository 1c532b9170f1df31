"""Lossless and near-lossless compression with JPEG XL or JPEG-LS, whichever is smaller."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from medzoo.errors import CompressedFileError

EFFORT, HIGH_EFFORT = 7, 9  # efforts of JPEG XL; for some images the lower one gives smaller files
LARGE_IMAGE = 2**20  # number of pixels beyond which the high effort takes minutes


class Format(NamedTuple):
    """Image format of lossless compression.

    Attributes:
        name: Name of the format.
        method: Term of DICOM for the compression method (PS3.3 C.7.6.1.1.5).
        encode: Function that encodes an array to bytes.
        decode: Function that decodes bytes to an array.
    """

    name: str
    method: str
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes], np.ndarray]


def _jpegxl(image):
    """Encode an image as JPEG XL, with the effort that gives the smallest file."""
    efforts = (EFFORT,) if image.size > LARGE_IMAGE else (EFFORT, HIGH_EFFORT)
    return min((_codecs().jpegxl_encode(image, lossless=True, effort=effort) for effort in efforts), key=len)


FORMATS = {
    1: Format(
        "JPEG XL",
        "ISO_18181_1",
        _jpegxl,
        lambda data: _codecs().jpegxl_decode(data),
    ),
    2: Format(
        "JPEG-LS",
        "ISO_14495_1",
        lambda image: _codecs().jpegls_encode(image),
        lambda data: _codecs().jpegls_decode(data),
    ),
}


def encode(image: np.ndarray, max_error: int = 0) -> tuple[int, bytes, np.ndarray]:
    """Compress an image with the format that gives the smallest file.

    With a maximum error of n, pixel values are rounded to multiples of 2 n + 1.

    Args:
        image: uint8 or uint16 array of shape `(H, W)`.
        max_error: int. Maximum absolute error in pixel values; 0 is lossless.

    Returns:
        `(kind, data, decoded)`: the key of `FORMATS`, the compressed bytes, and the image that they decode to.
    """
    rounded = ((image.astype("int64") + max_error) // (2 * max_error + 1)).astype(image.dtype)
    kind, data = min(((kind, own.encode(rounded)) for kind, own in FORMATS.items()), key=lambda coded: len(coded[1]))
    return kind, data, _dequantized(rounded, max_error)


def decode(kind: int, data: bytes, max_error: int, dtype: str) -> np.ndarray:
    """Decompress an image that `encode` compressed.

    Args:
        kind: int. Key of `FORMATS`.
        data: Compressed bytes.
        max_error: int. Maximum absolute error that the image was compressed with.
        dtype: Expected type, `"uint8"` or `"uint16"`.

    Returns:
        Array of shape `(H, W)`.

    Raises:
        CompressedFileError: If the bytes cannot be decoded to an image of that type.
    """
    try:
        rounded = FORMATS[kind].decode(data)
    except (RuntimeError, ValueError) as error:
        raise CompressedFileError(f"not readable as {FORMATS[kind].name} ({error}).") from error
    if rounded.dtype != dtype:
        raise CompressedFileError(
            f"unexpected type of {FORMATS[kind].name} data. Expected {dtype}, got {rounded.dtype}."
        )
    return _dequantized(rounded, max_error)


def _dequantized(rounded, max_error):
    """Return pixel values from their quantization indices."""
    values = rounded.astype("int64") * (2 * max_error + 1)
    return np.minimum(values, np.iinfo(rounded.dtype).max).astype(rounded.dtype)


def _codecs():
    """Import imagecodecs."""
    try:
        import imagecodecs
    except ImportError as error:
        raise ImportError('Lossless compression requires imagecodecs: pip install "medzoo[compress]".') from error
    return imagecodecs
