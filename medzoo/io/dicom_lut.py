"""Lookup tables of DICOM files: modality and VOI LUT (PS3.3 C.11.1, C.11.2) and color palettes (C.7.6.3, C.7.9).

The assumptions of pydicom (unsigned first value, entries that use all bits of the descriptor, 16-bit words) do not hold
for many files. The tables are therefore decoded here from the bytes of their elements.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medzoo.io import notices

if TYPE_CHECKING:
    import pydicom

WORD = 2**16
COLORS = ("Red", "Green", "Blue")


class LookupTable(NamedTuple):
    """DICOM lookup table.

    Attributes:
        first: int. Input value of the first entry.
        entries: uint16 array of the output values.
        bits: int. Bits per entry according to the descriptor.
    """

    first: int
    entries: np.ndarray
    bits: int

    def map(self, values: np.ndarray) -> np.ndarray:
        """Return the entries for input values.

        Args:
            values: array of any shape. Values outside the table are mapped to its first or last entry.

        Returns:
            Array of the same shape with the type of `entries`.
        """
        values = np.asarray(values)
        # Rescaled values are floats; rounding maps 999.9999999 to 1000.
        index = values.astype("int64") if values.dtype.kind in "iu" else np.floor(np.round(values, 6))
        return self.entries[np.clip(index - self.first, 0, len(self.entries) - 1).astype("int64")]


def read_table(
    path: str | Path,
    container: "pydicom.Dataset",
    span: tuple[float, float],
    little: bool = True,
    descriptor: str = "LUTDescriptor",
    data: str = "LUTData",
) -> LookupTable:
    """Read a lookup table from a dataset or a sequence item.

    Args:
        path: path of the file, for warnings.
        container: pydicom dataset with the two elements.
        span: `(minimum, maximum)` possible input value; it determines whether a first value of 32768 or more is signed.
        little: bool. Whether the file is little endian, default `True`.
        descriptor: str. Keyword of the descriptor: number of entries, first value, bits per entry.
        data: str. Keyword of the entries; with the prefix `"Segmented"`, of the segments of a palette.

    Returns:
        A `LookupTable`.

    Raises:
        ValueError: If an element is missing, or contains fewer entries than the descriptor specifies.
    """
    if descriptor not in container or data not in container:
        raise ValueError(f"no {descriptor if descriptor not in container else data}")
    shape = np.frombuffer(_words(container, descriptor, little), "<u2")
    if len(shape) != 3:
        raise ValueError(f"{descriptor} of {len(shape)} values; expected 3")
    count, first, bits = int(shape[0]) or WORD, int(shape[1]), int(shape[2])
    if not 8 <= bits <= 16:
        raise ValueError(f"{descriptor} specifies {bits} bits per entry; expected 8 to 16")
    words = _words(container, data, little, count)
    if data.startswith("Segmented"):
        entries = expand_segments(words, count, wide=bits > 8)
    else:
        entries = _entries(path, words, count, bits, data)
    return LookupTable(_first_value(first, count, span), entries, bits)


def _words(container, keyword, little, count=None):
    """Bytes of an element as little-endian words, independent of its VR and byte order in the file."""
    element = container.get_item(keyword)  # raw if pydicom has not decoded it: some VRs are ambiguous
    if element.value is None:
        return b""
    if not isinstance(element.value, bytes):
        return (np.ravel(element.value).astype("int64") & 0xFFFF).astype("<u2").tobytes()
    bytewise = element.VR == "OB" and not (count and len(element.value) >= 2 * count)
    if getattr(element, "is_little_endian", little) or bytewise:
        return element.value
    return np.frombuffer(element.value[: len(element.value) // 2 * 2], ">u2").astype("<u2").tobytes()


def _entries(path, data, count, bits, keyword):
    """Entries stored as 16-bit words, or as bytes if there are too few bytes for words."""
    if len(data) >= 2 * count:
        entries, size = np.frombuffer(data[: 2 * count], "<u2"), 2 * count
    else:
        entries, size = np.frombuffer(data[:count], "u1").astype("uint16"), count
        halved = count > 2 and entries[::2].any() and not entries[1::2].any()  # truncated words: odd bytes are 0
        if bits > 8 or len(data) < count or halved:
            raise ValueError(
                f"{keyword} contains {len(data)} bytes; the descriptor specifies {count} entries of {bits} bits"
            )
    if len(data) > size + 2:  # one extra entry or a padding byte is common
        notices.warn(
            "lookup tables longer than their descriptor",
            path,
            f"{keyword} contains {len(data)} bytes; only the {count} entries of the descriptor are used.",
        )
    return entries


def _first_value(first, count, span):
    """First input value, signed or unsigned, whichever overlaps more with the possible input values."""
    signed = first - WORD
    if first < WORD // 2:
        return first

    def overlap(start):
        return min(start + count - 1, span[1]) - max(start, span[0])

    return signed if overlap(signed) > overlap(first) else first


def expand_segments(data: bytes, count: int, wide: bool) -> np.ndarray:
    """Expand a segmented palette (PS3.3 C.7.9.2).

    Args:
        data: bytes of the segments.
        count: int. Number of entries.
        wide: bool. Whether entries have 16 bits, else 8.

    Returns:
        uint16 array `(count,)`.

    Raises:
        ValueError: If the segments are damaged or contain too few entries.
    """
    units, entries, at = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if wide else "u1").tolist(), [], 0
    while len(entries) < count and at < len(units):
        at = _expand_segment(units, at, entries, count, wide)
    if len(entries) < count:
        raise ValueError(f"segments of {len(entries)} entries; the descriptor specifies {count}")
    return np.array(entries[:count], "uint16")


def _expand_segment(units, at, entries, count, wide, copied=False):
    """Append the entries of a segment and return the position of the next segment."""
    kind, length, *rest = [*units[at : at + 3], None, None][:3]
    if kind == 0 and at + 2 + length <= len(units):  # discrete
        entries += units[at + 2 : at + 2 + length]
        return at + 2 + length
    if kind == 1 and entries and rest[0] is not None:  # linear, from the previous entry to the given one
        entries += np.rint(np.linspace(entries[-1], rest[0], length + 1)[1:]).astype(int).tolist()
        return at + 3
    size = 2 if wide else 4
    if kind == 2 and not copied and at + 2 + size <= len(units):  # indirect: a copy of segments at an offset in bytes
        parts = units[at + 2 : at + 2 + size]
        offset = sum(part << (16 if wide else 8) * i for i, part in enumerate(parts)) // (2 if wide else 1)
        for _ in range(length):
            if len(entries) < count:
                offset = _expand_segment(units, offset, entries, count, wide, copied=True)
        return at + 2 + size
    raise ValueError(f"a damaged segment (type {kind}) at position {at} of {len(units)}")


def find_depth(largest: int, bits: int) -> int:
    """Return the number of bits that the entries of a table use.

    Some systems specify 16 bits per entry and use 12, or specify 8 bits and use 12: scaled by the specified depth, the
    image would be nearly black or clipped. A specified depth that fits the largest entry is kept.

    Args:
        largest: int. Largest entry.
        bits: int. Bits per entry according to the descriptor.

    Returns:
        int, 8 to 16.
    """
    used = max(8, int(largest).bit_length())
    if largest + 1 != 2**used:  # not the full range: round up to a common depth (8, 10, 12, 14 or 16)
        used += used % 2
    return used if largest >= 2**bits else min(bits, used)


def scale_table(path: str | Path, table: LookupTable) -> np.ndarray:
    """Scale the entries of a VOI LUT to [0, 1] by the number of bits that they use.

    Args:
        path: path of the file, for warnings.
        table: VOI LUT.

    Returns:
        float64 array of the entries.

    Raises:
        ValueError: If all entries are equal.
    """
    largest = int(table.entries.max())
    if table.entries.min() == largest:
        raise ValueError(f"all {len(table.entries)} entries are {largest}")
    depth = find_depth(largest, table.bits)
    if depth != table.bits:
        notices.warn(
            "lookup tables with an inconsistent depth",
            path,
            f"the VOI LUT specifies {table.bits} bits per entry, its maximum is {largest}; {depth} bits are assumed.",
        )
    return table.entries / (2.0**depth - 1.0)


def apply_palette(
    path: str | Path, dataset: "pydicom.Dataset", indices: np.ndarray, span: tuple[float, float], little: bool
) -> tuple[np.ndarray, int]:
    """Return the palette colors of indices.

    Args:
        path: path of the file, for warnings.
        dataset: pydicom dataset with the palette.
        indices: integer array of any shape.
        span: `(minimum, maximum)` possible index.
        little: bool. Whether the file is little endian.

    Returns:
        `(colors, white)`: uint16 array `(..., 3)`, and the maximum intensity, 255 or 65535.

    Raises:
        ValueError: If the tables are missing or damaged.
    """
    tables = []
    for color in COLORS:
        data = f"{color}PaletteColorLookupTableData"
        data = data if data in dataset else f"Segmented{data}"
        tables.append(read_table(path, dataset, span, little, f"{color}PaletteColorLookupTableDescriptor", data))
    largest = max(int(table.entries.max()) for table in tables)
    if all(table.entries.min() == table.entries.max() for table in tables):
        raise ValueError("all entries of the palette have the same color")
    depth = 8 if largest < 256 else 16  # palettes have one of these depths; the specified depth is often wrong
    return np.stack([table.map(indices) for table in tables], axis=-1), 2**depth - 1
