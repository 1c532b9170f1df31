"""Stored pixel values of DICOM files: bit alignment within the words (PS3.5, 8.1.1) and padding."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pydicom


def stored_span(dataset: "pydicom.Dataset") -> tuple[int, int]:
    """Return the `(minimum, maximum)` stored value that the tags allow."""
    bits = int(dataset.BitsStored)
    if is_signed(dataset):
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1


def is_signed(dataset: "pydicom.Dataset") -> bool:
    """Return whether the stored values are signed."""
    return dataset.get("PixelRepresentation") == 1


def is_lossy(dataset: "pydicom.Dataset") -> bool:
    """Return whether the stored values were lossily compressed, now or previously."""
    from pydicom import uid

    lossy = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)
    return dataset.file_meta.TransferSyntaxUID in lossy or str(dataset.get("LossyImageCompression")) == "01"


def check_high_bit(dataset: "pydicom.Dataset") -> None:
    """Check that HighBit is consistent with compressed pixels, which decoders align to bit 0.

    Args:
        dataset: pydicom dataset.

    Raises:
        ValueError: If HighBit is larger than BitsStored - 1.
    """
    high, stored = dataset.get("HighBit"), int(dataset.get("BitsStored") or 0)
    if high is not None and stored and high > stored - 1:
        raise ValueError(f"HighBit {high} with BitsStored {stored}; expected HighBit {stored - 1} of compressed pixels")


def align_stored(dataset: "pydicom.Dataset", words: np.ndarray) -> np.ndarray:
    """Extract the stored values from words: BitsStored bits, from HighBit downwards.

    All other bits are ignored; old files store overlays there.

    Args:
        dataset: pydicom dataset.
        words: array of the words as stored in the file.

    Returns:
        Array of the same shape and type.

    Raises:
        ValueError: If HighBit contradicts BitsStored, BitsAllocated or the words.
    """
    size, stored = 8 * words.dtype.itemsize, int(dataset.BitsStored)
    high = dataset.get("HighBit")
    high = stored - 1 if high is None else int(high)
    if words.dtype.kind == "f" or dataset.BitsAllocated == 1 or (stored == size and high == size - 1):
        return words
    found = f"HighBit {high} with BitsStored {stored} and BitsAllocated {size}"
    if not 0 <= high < size:
        raise ValueError(f"{found}; expected a HighBit of {stored - 1}")
    if high >= stored - 1:
        values = _cut(words, size - 1 - high, size - stored)
        below = high + 1 - stored
        unsigned = words.view(words.dtype.str.replace("i", "u")) if below else words
        if below and unsigned.max() < 2**stored and (unsigned & (2**below - 1)).any():
            raise ValueError(
                f"{found}, but all words are below {2**stored}, which suggests HighBit {stored - 1}. Correct the tag"
            )
        return values
    values, fewer = _cut(words, size - stored, size - stored), _cut(words, size - 1 - high, size - 1 - high)
    if not np.array_equal(values, fewer):
        raise ValueError(f"{found}; expected a HighBit of {stored - 1} because the words use more than {high + 1} bits")
    return values


def _cut(words, left, right):
    """Shift words left and then right, with sign extension for signed types."""
    return np.right_shift(np.left_shift(words, left), right)


def find_padding(dataset: "pydicom.Dataset", values: np.ndarray, words: np.ndarray) -> np.ndarray | None:
    """Return the mask of padding pixels (PixelPaddingValue, PS3.3 C.7.5.1.1.2).

    Args:
        dataset: pydicom dataset.
        values: array of stored values.
        words: array of the words as stored in the file, or `values` if unknown.

    Returns:
        Boolean array, or `None` if the image has no padding.

    Raises:
        ValueError: If the padding range covers every pixel of a non-constant image.
    """
    tag = {"PixelData": "Pixel", "FloatPixelData": "FloatPixel", "DoubleFloatPixelData": "DoubleFloatPixel"}
    kind = next(prefix for name, prefix in tag.items() if name in dataset)
    ends = [dataset.get(f"{kind}Padding{end}") for end in ("Value", "RangeLimit")]
    if ends[0] is None:
        return None
    ends = [end for end in ends if end is not None]
    where = _float_padding(ends, values) if values.dtype.kind == "f" else _padding(dataset, ends, values, words)
    if not where.any():
        return None
    if where.all() and values.dtype.kind != "f" and values.min() < values.max():
        raise ValueError(f"{kind}PaddingValue {ends[0]} to {ends[-1]} covers every pixel; expected some gray values")
    return where


def _float_padding(ends, values):
    """Mask of padding in float pixels."""
    first, last = (values.dtype.type(end) for end in (min(ends), max(ends)))
    return np.isnan(values) if np.isnan([first, last]).any() else (values >= first) & (values <= last)


def _padding(dataset, ends, values, words):
    """Mask of padding; many files store a signed padding value as unsigned, e.g. 63536 for -2000."""
    lowest, highest = stored_span(dataset)
    signed = is_signed(dataset)
    given = sorted((int(end) + 2**15) % 2**16 - 2**15 if signed else int(end) % 2**16 for end in ends)
    if lowest <= given[0] and given[-1] <= highest:
        return (values >= given[0]) & (values <= given[-1])
    where = np.zeros(values.shape, bool)
    if words.dtype.itemsize == 2:  # a padding value that uses bits above BitsStored
        whole = words.astype("<i2" if signed else "<u2")
        where = (whole >= given[0]) & (whole <= given[-1])
    if signed and not where.any() and highest < given[-1] <= 2 * highest + 1 and len(given) == 1:
        where = values == given[0] - 2 * (highest + 1)  # unsigned, within BitsStored
    return where
