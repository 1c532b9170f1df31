"""Lookup tables of DICOM files: modality and VOI LUT (PS3.3 C.11.1, C.11.2) and color palettes (C.7.6.3, C.7.9).

What pydicom's own functions assume (a first value without sign, entries that fill the announced bits, 16 bits per
word) does not hold for many files, so that the tables are read here from the bytes of their elements.
"""

from typing import NamedTuple

import numpy as np

from medzoo.io import notices

WORD = 2**16
COLORS = ("Red", "Green", "Blue")


class LookupTable(NamedTuple):
    """A lookup table.

    Attributes:
        first: int, the value that the first entry is for.
        entries: uint16 array.
        bits: int, bits per entry as the descriptor announces them.
    """

    first: int
    entries: np.ndarray
    bits: int

    def map(self, values):
        """Return the entries for values; values outside the table get its first or last entry."""
        values = np.asarray(values)
        # Rescaled values are floats; the rounding takes 999.9999999 for 1000.
        index = values.astype("int64") if values.dtype.kind in "iu" else np.floor(np.round(values, 6))
        return self.entries[np.clip(index - self.first, 0, len(self.entries) - 1).astype("int64")]


def read_table(path, container, span, little=True, descriptor="LUTDescriptor", data="LUTData"):
    """Read a lookup table of a data set or of an item of a sequence.

    Args:
        path: the file, for warnings.
        container: pydicom data set with the two elements.
        span: `(lowest, highest)` value that the input of the table can have; it decides whether a first value of 32768
            or more is meant with a sign.
        little: bool, whether the file is little endian.
        descriptor: str, keyword of the descriptor: number of entries, first value, bits per entry.
        data: str, keyword of the entries, or with the prefix `"Segmented"` of the segments of a palette.

    Returns:
        LookupTable.

    Raises:
        ValueError: If an element is missing, or the data holds fewer entries than the descriptor announces.
    """
    if descriptor not in container or data not in container:
        raise ValueError(f"no {descriptor if descriptor not in container else data}")
    shape = np.frombuffer(_words(container, descriptor, little), "<u2")
    if len(shape) != 3:
        raise ValueError(f"{descriptor} of {len(shape)} values; expected 3")
    count, first, bits = int(shape[0]) or WORD, int(shape[1]), int(shape[2])
    if not 8 <= bits <= 16:
        raise ValueError(f"{descriptor} announces {bits} bits per entry; expected 8 to 16")
    words = _words(container, data, little, count)
    if data.startswith("Segmented"):
        entries = expand_segments(words, count, wide=bits > 8)
    else:
        entries = _entries(path, words, count, bits, data)
    return LookupTable(_first_value(first, count, span), entries, bits)


def _words(container, keyword, little, count=None):
    """The bytes of an element as words in little endian, whatever VR and byte order they have in the file."""
    element = container.get_item(keyword)  # raw, as far as pydicom has not taken it apart: some VRs are ambiguous
    if element.value is None:
        return b""
    if not isinstance(element.value, bytes):
        return (np.ravel(element.value).astype("int64") & 0xFFFF).astype("<u2").tobytes()
    bytewise = element.VR == "OB" and not (count and len(element.value) >= 2 * count)
    if getattr(element, "is_little_endian", little) or bytewise:
        return element.value
    return np.frombuffer(element.value[: len(element.value) // 2 * 2], ">u2").astype("<u2").tobytes()


def _entries(path, data, count, bits, keyword):
    """Entries of one word each, or where there are no more bytes than that, of 8 bits each."""
    if len(data) >= 2 * count:
        entries, size = np.frombuffer(data[: 2 * count], "<u2"), 2 * count
    else:
        entries, size = np.frombuffer(data[:count], "u1").astype("uint16"), count
        halved = count > 2 and entries[::2].any() and not entries[1::2].any()  # words, every other byte of which is 0
        if bits > 8 or len(data) < count or halved:
            raise ValueError(
                f"{keyword} holds {len(data)} bytes; the descriptor announces {count} entries of {bits} bits"
            )
    if len(data) > size + 2:  # one entry or a byte to fill the word is common
        notices.warn(
            "lookup tables longer than announced",
            path,
            f"{keyword} holds {len(data)} bytes; only the {count} entries that the descriptor announces are used.",
        )
    return entries


def _first_value(first, count, span):
    """The first value mapped, with the sign with which more of the table lies where the input can be."""
    signed = first - WORD
    if first < WORD // 2:
        return first

    def overlap(start):
        return min(start + count - 1, span[1]) - max(start, span[0])

    return signed if overlap(signed) > overlap(first) else first


def expand_segments(data, count, wide):
    """Expand the segments of a palette (PS3.3 C.7.9.2) to so many entries.

    Raises:
        ValueError: If the segments are damaged or give too few entries.
    """
    units, entries, at = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if wide else "u1").tolist(), [], 0
    while len(entries) < count and at < len(units):
        at = _expand_segment(units, at, entries, count, wide)
    if len(entries) < count:
        raise ValueError(f"segments of {len(entries)} entries; the descriptor announces {count}")
    return np.array(entries[:count], "uint16")


def _expand_segment(units, at, entries, count, wide, copied=False):
    """Append the entries of the segment at a position; return the position of the next segment."""
    kind, length, *rest = [*units[at : at + 3], None, None][:3]
    if kind == 0 and at + 2 + length <= len(units):  # discrete
        entries += units[at + 2 : at + 2 + length]
        return at + 2 + length
    if kind == 1 and entries and rest[0] is not None:  # linear, from the entry before to the one given
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


def find_depth(largest, bits):
    """Return how many bits the entries of a table really use.

    Some systems announce 16 bits per entry and use 12, or announce 8 bits and use 12: scaled by the announced bits the
    image is nearly black, or cut off. An announced depth that fits the largest entry stays.

    Args:
        largest: int, the largest entry.
        bits: int, the announced bits per entry.
    """
    used = max(8, int(largest).bit_length())
    if largest + 1 != 2**used:  # not to the last value: the next of the usual depths, 8, 10, 12, 14 and 16
        used += used % 2
    return used if largest >= 2**bits else min(bits, used)


def scale_table(path, table):
    """Return the entries of a VOI LUT as float64 in [0, 1], by the bits that they really use.

    Raises:
        ValueError: If all entries are equal.
    """
    largest = int(table.entries.max())
    if table.entries.min() == largest:
        raise ValueError(f"all {len(table.entries)} entries are {largest}")
    depth = find_depth(largest, table.bits)
    if depth != table.bits:
        notices.warn(
            "lookup tables of another depth",
            path,
            f"the VOI LUT announces {table.bits} bits per entry and goes to {largest}; taken for {depth} bits.",
        )
    return table.entries / (2.0**depth - 1.0)


def apply_palette(path, dataset, indices, span, little):
    """Return the colors of a palette for indices.

    Returns:
        `(colors, white)`: uint16 array `(..., 3)`, and the value of full brightness, 255 or 65535.

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
        raise ValueError("all entries of the palette are one color")
    depth = 8 if largest < 256 else 16  # the only two that palettes have; the announced one is often the other
    return np.stack([table.map(indices) for table in tables], axis=-1), 2**depth - 1
