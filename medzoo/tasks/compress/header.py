"""The bytes of a compressed file: numbers, and what stands before each image."""

import json
import struct
import zlib
from dataclasses import dataclass

from medzoo.errors import CompressedFileError
from medzoo.tasks.compress import lossless as streams

LATENTS = 0  # kind of a film; those of `streams` follow
SIGNED, SIGN = 17, 2**15  # numbers with a sign are coded as 16 bits, this added
TYPES = {8: "uint8", 16: "uint16", SIGNED: "int16"}


@dataclass
class Head:
    """What stands before an image's bytes: numbers of seven bits a byte, its title, its tags (JSON, deflated; no bytes
    for none), the checksum of its pixels."""

    kind: int  # LATENTS, or one of `streams.KINDS`
    height: int
    width: int
    bits: int  # one of TYPES
    low: int  # of the latents' picture: the values that are 0 ...
    high: int  # ... and 1
    setting: int  # of latents the quality, of a stream the largest error
    length: int  # bytes that follow
    title: str
    tags: dict
    checksum: int

    def pack(self):
        title, tags = self.title.encode(), zlib.compress(json.dumps(self.tags).encode(), 9) if self.tags else b""
        numbers = (self.kind, self.height, self.width, self.bits, self.low, self.high - self.low, self.setting)
        counts = b"".join(map(varint, (*numbers, self.length, len(title), len(tags))))
        return counts + title + tags + struct.pack("<I", self.checksum)

    @classmethod
    def read(cls, reader):
        kind, height, width, bits, low, span, setting, length, letters, more = (reader.varint() for _ in range(10))
        if kind != LATENTS and kind not in streams.KINDS:
            raise CompressedFileError(f"an image of kind {kind}; this medzoo knows {LATENTS} to {max(streams.KINDS)}.")
        if bits not in TYPES:
            raise CompressedFileError(f"an image of {bits} bits; this medzoo knows {', '.join(map(str, TYPES))}.")
        title, tags = reader.take(letters).decode(), _tags(reader.take(more))
        return cls(kind, height, width, bits, low, low + span, setting, length, title, tags, reader.checksum())


def _tags(data):
    """The dict of deflated JSON; a megabyte at most."""
    if not data:
        return {}
    try:
        unpacked = zlib.decompressobj()
        tags = json.loads(unpacked.decompress(data, 2**20))
        if unpacked.unconsumed_tail or not isinstance(tags, dict):
            raise ValueError("no dict, or too long")
    except (zlib.error, ValueError, RecursionError) as error:
        raise CompressedFileError(f"tags that cannot be read ({error}).") from error
    return tags


def varint(number):
    """Seven bits a byte, the last byte without the eighth."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise CompressedFileError(f"ends after {len(self.data)} bytes, {self.at + count} were announced.")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self):
        number = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise CompressedFileError("a number of more than 64 bits; the file is damaged.")

    def checksum(self):
        return struct.unpack("<I", self.take(4))[0]
