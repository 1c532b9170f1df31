"""Stored pixel values of DICOM files: where their bits lie in the words (PS3.5, 8.1.1), and which are padding."""

import numpy as np


def stored_span(dataset):
    """Return `(lowest, highest)` stored value that BitsStored and PixelRepresentation allow."""
    bits = int(dataset.BitsStored)
    if is_signed(dataset):
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1


def is_signed(dataset):
    """Whether the stored values have a sign."""
    return dataset.get("PixelRepresentation") == 1


def is_lossy(dataset):
    """Whether lossy compression changed the stored values, now or before."""
    from pydicom import uid

    lossy = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)
    return dataset.file_meta.TransferSyntaxUID in lossy or str(dataset.get("LossyImageCompression")) == "01"


def check_high_bit(dataset):
    """Check for compressed pixels, where the decoder gives values that begin at bit 0, that the tags agree.

    Raises:
        ValueError: If HighBit places the values higher.
    """
    high, stored = dataset.get("HighBit"), int(dataset.get("BitsStored") or 0)
    if high is not None and stored and high > stored - 1:
        raise ValueError(f"HighBit {high} with BitsStored {stored}; expected HighBit {stored - 1} of compressed pixels")


def align_stored(dataset, words):
    """Return the stored values in words: the bits from HighBit downwards, BitsStored of them, as numbers.

    Bits above and below are no part of the values; old files have overlays there.

    Args:
        dataset: pydicom data set.
        words: integer array as it lies in the file.

    Raises:
        ValueError: If HighBit does not fit BitsStored and BitsAllocated, or the words show that it is wrong.
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
                f"{found}, but all words lie below {2**stored}, as if HighBit were {stored - 1}. Correct the tag"
            )
        return values
    values, fewer = _cut(words, size - stored, size - stored), _cut(words, size - 1 - high, size - 1 - high)
    if not np.array_equal(values, fewer):
        raise ValueError(f"{found}; expected a HighBit of {stored - 1}, for the words use more bits than {high + 1}")
    return values


def _cut(words, left, right):
    """Words shifted left and then right; what has a sign keeps it."""
    return np.right_shift(np.left_shift(words, left), right)


def find_padding(dataset, values, words):
    """Return where an image holds padding (PixelPaddingValue, PS3.3 C.7.5.1.1.2) and no gray values.

    Args:
        dataset: pydicom data set.
        values: stored values.
        words: the same as they lie in the file, or `values` where these are not known.

    Returns:
        Boolean array, or `None` where the file defines no padding or holds none.

    Raises:
        ValueError: If the tags make every gray value padding.
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
    first, last = (values.dtype.type(end) for end in (min(ends), max(ends)))
    return np.isnan(values) if np.isnan([first, last]).any() else (values >= first) & (values <= last)


def _padding(dataset, ends, values, words):
    """The padding is written with the sign of the pixels or, in many files, without: 63536 means -2000."""
    lowest, highest = stored_span(dataset)
    signed = is_signed(dataset)
    given = sorted((int(end) + 2**15) % 2**16 - 2**15 if signed else int(end) % 2**16 for end in ends)
    if lowest <= given[0] and given[-1] <= highest:
        return (values >= given[0]) & (values <= given[-1])
    where = np.zeros(values.shape, bool)
    if words.dtype.itemsize == 2:  # a number that uses bits above the stored ones
        whole = words.astype("<i2" if signed else "<u2")
        where = (whole >= given[0]) & (whole <= given[-1])
    if signed and not where.any() and highest < given[-1] <= 2 * highest + 1 and len(given) == 1:
        where = values == given[0] - 2 * (highest + 1)  # without sign, in the stored bits only
    return where
