"""Decompression of two pixel encodings that pydicom does not support: deflated frames and RLE of 1-bit pixels."""

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pydicom

DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"  # Deflated Image Frame Compression, DICOM 2024


def decompress_pixels(dataset: "pydicom.Dataset", syntax: str) -> "pydicom.Dataset":
    """Decompress the pixels of a dataset in place if they use one of the two encodings.

    Args:
        dataset: pydicom dataset.
        syntax: UID of its transfer syntax.

    Returns:
        The dataset; with another encoding it is unchanged.

    Raises:
        ValueError: If the frames contain fewer or more bytes than the tags specify.
    """
    from pydicom import uid
    from pydicom.encaps import generate_frames

    rle = syntax == uid.RLELossless and dataset.get("BitsAllocated") == 1
    if syntax != DEFLATED_FRAMES and not rle:
        return dataset
    bits = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel", 1)) * dataset.BitsAllocated
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    decode, size, parts = (_run_lengths if rle else _deflated), -(-bits // 8), []
    for frame in generate_frames(dataset.PixelData, number_of_frames=count):
        data = decode(frame, size)
        if len(data) < size:
            raise ValueError(f"a frame of {len(data)} bytes; the tags specify {size}")
        parts.append(np.frombuffer(data[:size], "uint8"))
    if len(parts) != count:
        raise ValueError(f"{len(parts)} frames; the tags specify {count}")
    if dataset.BitsAllocated == 1:  # uncompressed 1-bit frames are concatenated bit by bit
        parts = [np.unpackbits(part, bitorder="little", count=bits) for part in parts]
        pixels = np.packbits(np.concatenate(parts), bitorder="little").tobytes()
    else:
        pixels = b"".join(part.tobytes() for part in parts)
    dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
    dataset["PixelData"].is_undefined_length = False
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    return dataset


def _deflated(frame, size):
    """Decompress a deflated frame."""
    try:
        return zlib.decompressobj(-15).decompress(frame, size)
    except zlib.error as error:
        raise ValueError(str(error)) from error


def _run_lengths(frame, size):
    """Decode the single segment of an RLE frame (PS3.5, annex G)."""
    data, out, i = frame[int.from_bytes(frame[4:8], "little") :], bytearray(), 0
    while i < len(data) - 1 and len(out) < size:
        code = data[i]
        if code < 128:
            out += data[i + 1 : i + 2 + code]
            i += code + 2
        else:
            out += data[i + 1 : i + 2] * (257 - code) if code > 128 else b""
            i += 2 if code > 128 else 1
    return bytes(out)
