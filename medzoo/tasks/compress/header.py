"""Binary encoding of integers and of the header of each image in a compressed file."""

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Self

from medzoo.errors import CompressedFileError
from medzoo.tasks.compress import lossless

LATENTS = 0  # kind of an image coded by a `Codec`; the other kinds are the keys of `lossless.FORMATS`
SIGNED, SIGN = 17, 2**15  # signed values are coded as 16 bits with an offset
TYPES = {8: "uint8", 16: "uint16", SIGNED: "int16"}


@dataclass
class ImageHeader:
    """Header of an image in a compressed file.

    It is stored as variable-length integers, the file name, the DICOM tags (deflated JSON; empty without tags), and the
    checksum of the decoded pixels.

    Attributes:
        kind: int. `LATENTS`, or a key of `lossless.FORMATS`.
        height: int. Height in pixels.
        width: int. Width in pixels.
        bits: int. Key of `TYPES`.
        low: int. With `LATENTS`, the pixel value that corresponds to 0 in the model's range.
        high: int. With `LATENTS`, the pixel value that corresponds to 1.
        setting: int. With `LATENTS` the quality, otherwise the maximum error.
        length: int. Number of bytes of the compressed image, which follow the header.
        title: str. File name, or empty.
        tags: Dict of DICOM tags, or empty.
        checksum: int. CRC-32 of the decoded pixels.
    """

    kind: int
    height: int
    width: int
    bits: int
    low: int
    high: int
    setting: int
    length: int
    title: str
    tags: dict
    checksum: int

    def pack(self) -> bytes:
        """Return the header as bytes."""
        title, tags = self.title.encode(), zlib.compress(json.dumps(self.tags).encode(), 9) if self.tags else b""
        numbers = (self.kind, self.height, self.width, self.bits, self.low, self.high - self.low, self.setting)
        counts = b"".join(map(varint, (*numbers, self.length, len(title), len(tags))))
        return counts + title + tags + struct.pack("<I", self.checksum)

    @classmethod
    def read(cls, reader: "ByteReader") -> Self:
        """Read a header.

        Args:
            reader: Reader at the position of the header.

        Returns:
            The header.

        Raises:
            CompressedFileError: If the header is invalid.
        """
        kind, height, width, bits, low, span, setting, length, title_size, tags_size = (
            reader.varint() for _ in range(10)
        )
        if kind != LATENTS and kind not in lossless.FORMATS:
            raise CompressedFileError(
                f"unknown kind of image. Expected {LATENTS} to {max(lossless.FORMATS)}, got {kind}. Update medzoo."
            )
        if bits not in TYPES:
            expected = ", ".join(map(str, TYPES))
            raise CompressedFileError(f"unknown type of image. Expected {expected}, got {bits} bits. Update medzoo.")
        title, tags = reader.take(title_size).decode(), _tags(reader.take(tags_size))
        return cls(kind, height, width, bits, low, low + span, setting, length, title, tags, reader.checksum())


def _tags(data):
    """Return the dict in deflated JSON of at most 1 MiB."""
    if not data:
        return {}
    try:
        unpacked = zlib.decompressobj()
        tags = json.loads(unpacked.decompress(data, 2**20))
        if unpacked.unconsumed_tail or not isinstance(tags, dict):
            raise ValueError("not a dict, or too large")
    except (zlib.error, ValueError, RecursionError) as error:
        raise CompressedFileError(f"unreadable DICOM tags ({error}).") from error
    return tags


def varint(number: int) -> bytes:
    """Encode a non-negative integer with 7 bits per byte.

    The highest bit is 0 in the last byte and 1 in the others.

    Args:
        number: int. The integer.

    Returns:
        The bytes.
    """
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


class ByteReader:
    """Reader of the parts of a compressed file.

    Args:
        data: The bytes of the file.

    Attributes:
        position: int. Index of the next byte.
    """

    def __init__(self, data: bytes):
        self.data, self.position = data, 0

    def take(self, count: int) -> bytes:
        """Read bytes.

        Args:
            count: int. Number of bytes.

        Returns:
            The bytes.

        Raises:
            CompressedFileError: If the file is too short.
        """
        end = self.position + count
        if end > len(self.data):
            raise CompressedFileError(f"the file is truncated. Expected {end} bytes or more, got {len(self.data)}.")
        self.position = end
        return self.data[end - count : end]

    def varint(self) -> int:
        """Read an integer that `varint` encoded.

        Returns:
            The integer.

        Raises:
            CompressedFileError: If the integer has more than 64 bits, or the file is too short.
        """
        number = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise CompressedFileError("an integer of more than 64 bits: the file is damaged.")

    def checksum(self) -> int:
        """Read a 32-bit checksum."""
        return struct.unpack("<I", self.take(4))[0]
