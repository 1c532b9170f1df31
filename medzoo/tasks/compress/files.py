"""Compression of images to bytes: lossy with a `Codec`, lossless with JPEG XL or JPEG-LS.

Lossy: the latents of an image are range coded (constriction, Bamler 2022, arXiv:2201.01741) with the probabilities of
the codec's entropy model. All decoding uses integer arithmetic (`medzoo.tasks.compress.integer_codec`), so that a file
decodes to the same pixels on every machine. With `max_error`: see `medzoo.tasks.compress.lossless`.

File format: `MZC`, the version, the name of the preset (a dot for `DEFAULT`) and the first bytes of the SHA-256 of the
decoding weights (neither where no preset is required); the number of images; for each image an `ImageHeader` and the
compressed bytes; a checksum of the whole file.

Examples:
    ```python
    data = compress([image], quality=50)  # bytes
    (decoded,) = decompress(data)
    ```
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import CompressedFileError
from medzoo.models import Codec
from medzoo.models.codec import MAX_QUALITY
from medzoo.tasks.compress import lossless
from medzoo.tasks.compress.header import LATENTS, SIGN, SIGNED, TYPES, ByteReader, ImageHeader, varint
from medzoo.tasks.compress.integer_codec import IntegerCodec
from medzoo.tasks.compress.range_coding import RangeDecoder, RangeEncoder, code_latents
from medzoo.utils.parallel import map_in_order, single_threaded_blas
from medzoo.zoo.presets import loaded

MAGIC, VERSION = b"MZC", 4
DIGEST = 4  # number of bytes of the SHA-256 that are stored
_integer_codecs = {}  # the most recent codec, by digest of its weights
DEFAULT, SHORT = "codec-chestxray", "."  # the default preset, and its short name in a file


def compress(
    images: Sequence[np.ndarray],
    model: Codec | str | Path = DEFAULT,
    quality: int | None = None,
    max_error: int | None = None,
    filenames: Sequence[str] | None = None,
    dicom_tags: Sequence[dict] | None = None,
) -> bytes:
    """Compress images to the bytes of one file.

    Args:
        images: Sequence of uint8, uint16 or int16 arrays of shape `(H, W)` or `(H, W, 1)`, of any sizes.
        model: A `Codec`, or anything `medzoo.load` takes of this family; not used with `max_error`.
        quality: int, 0 (lowest rate) to 100 (highest rate), of lossy compression; by default that of the codec.
        max_error: int. Maximum absolute error in stored pixel values; 0 is lossless. `None` for lossy compression.
        filenames: One file name per image to store in the file, or `None`.
        dicom_tags: One JSON-serializable dict of DICOM tags per image to store in the file, or `None`; see
            `medzoo.io.dicom_secondary_capture`.

    Returns:
        The bytes of the file.

    Raises:
        ValueError: If the type or shape of an image or the quality is invalid, or both `quality` and `max_error` are
            given.
    """
    head, coded = _coded(images, model, quality, max_error, filenames, dicom_tags)
    return _file(head, list(coded))


def compress_singly(
    images: Sequence[np.ndarray],
    model: Codec | str | Path = DEFAULT,
    quality: int | None = None,
    max_error: int | None = None,
    filenames: Sequence[str] | None = None,
    dicom_tags: Sequence[dict] | None = None,
) -> Iterator[bytes]:
    """Compress images to the bytes of one file per image.

    Args:
        images: See `compress`.
        model: See `compress`.
        quality: See `compress`.
        max_error: See `compress`.
        filenames: See `compress`.
        dicom_tags: See `compress`.

    Returns:
        Iterator over the bytes of each file.
    """
    head, coded = _coded(images, model, quality, max_error, filenames, dicom_tags)
    return (_file(head, [image]) for image in coded)


def _coded(images, model, quality, max_error, filenames, dicom_tags):
    """Return the bytes before the number of images, and an iterator over the bytes of each image."""
    names = [""] * len(images) if filenames is None else list(filenames)
    tags = [{}] * len(images) if dicom_tags is None else list(dicom_tags)
    if not len(names) == len(tags) == len(images):
        raise ValueError(
            f"compress: wrong number of file names or tags. Expected one per image ({len(images)}), got {len(names)} "
            f"file names and {len(tags)} sets of tags."
        )
    checked = ((*_unsigned(image), title, own) for image, title, own in zip(images, names, tags, strict=True))
    if max_error is None:
        model, codec, digest = _codec(model)
        quality = model.quality if quality is None else quality
        if quality not in range(MAX_QUALITY + 1):
            raise ValueError(f"compress: invalid quality. Expected an integer from 0 to {MAX_QUALITY}, got {quality}.")
        quality = int(quality)  # also accepts 50.0
        name = (SHORT if model.name == DEFAULT else model.name).encode()
        coded = _lossy(model, codec, quality, checked)
    else:
        if max_error < 0:
            raise ValueError(f"compress: invalid max_error. Expected 0 (lossless) or more, or None, got {max_error}.")
        if quality is not None:
            raise ValueError(
                f"compress: quality and max_error exclude each other. Expected one of them, got quality={quality} and "
                f"max_error={max_error}."
            )
        name, digest = b"", b""
        coded = map_in_order(lambda item: _encode_lossless(max_error, *item), checked)
    return MAGIC + bytes([VERSION, len(name)]) + name + digest, coded


def _file(head, coded):
    """Return the bytes of a file from those of its images."""
    data = head + varint(len(coded)) + b"".join(coded)
    return data + struct.pack("<I", zlib.crc32(data))


def _lossy(model, codec, quality, checked):
    """Yield the bytes of each image; the model runs in this thread, the integer arithmetic on all cores."""
    encoded = ((bits, image, *kept, _encoded(model, codec, image, quality)) for bits, image, *kept in checked)
    with single_threaded_blas():
        yield from map_in_order(lambda item: _encode_lossy(codec, quality, *item), encoded)


def decompress(
    data: bytes, model: Codec | str | Path | None = None, return_filenames: bool = False
) -> list[np.ndarray] | tuple[list[np.ndarray], list[str]]:
    """Decompress the bytes of a file to images.

    Args:
        data: The bytes of a compressed file.
        model: The codec; by default the preset with the name stored in the file.
        return_filenames: bool. Whether to return `(images, filenames)`.

    Returns:
        List of arrays of shape `(H, W)` with their original types, or a tuple of the images and the file names.

    Raises:
        CompressedFileError: If the data is not a compressed file, is damaged, or was made with other weights.
    """
    decoded_images = decoded(data, model)
    images = [image for image, _ in decoded_images]
    return (images, [header.title for _, header in decoded_images]) if return_filenames else images


def decoded(data: bytes, model: Codec | str | Path | None = None) -> list[tuple[np.ndarray, ImageHeader]]:
    """Decompress the bytes of a file to images and their headers.

    Args:
        data: See `decompress`.
        model: See `decompress`.

    Returns:
        List of `(image, header)`.

    Raises:
        CompressedFileError: See `decompress`.
    """
    reader, name, stored = _opened(data)
    codec = None
    if name:
        _, codec, digest = _codec(model or name)
        if stored != digest:
            raise CompressedFileError(
                f"compressed with other weights of {name}. Expected weights {stored.hex()}, got {digest.hex()}."
            )
    parts = (_next(reader) for _ in range(reader.varint()))
    with single_threaded_blas():
        return list(map_in_order(lambda part: _decode_one(part[0], part[1], codec), parts))


def contents(data: bytes) -> dict[str, Any]:
    """Describe the contents of a compressed file without decoding pixels.

    Args:
        data: The bytes of a compressed file.

    Returns:
        JSON-serializable dict with `format`, `bytes`, `preset`, `weights` (the first bytes of the digest; both empty
        where nothing is lossy), and `images`: for each image its name, height, width, type, coding, quality (`None` if
        not lossy), maximum error (`None` if lossy), DICOM tags and bytes.

    Raises:
        CompressedFileError: If the data is not a compressed file, or is damaged.
    """
    reader, name, digest = _opened(data)
    images = []
    for _ in range(reader.varint()):
        start, header = reader.position, ImageHeader.read(reader)
        reader.take(header.length)
        lossy = header.kind == LATENTS
        info = {"name": header.title, "height": header.height, "width": header.width, "type": TYPES[header.bits]}
        info |= {"coded": "latents" if lossy else lossless.FORMATS[header.kind].name}
        info |= {"quality": header.setting if lossy else None, "max_error": None if lossy else header.setting}
        info |= {"tags": header.tags} if header.tags else {}
        images.append({**info, "bytes": reader.position - start})
    return {"format": "MZC", "bytes": len(data), "preset": name, "weights": digest.hex(), "images": images}


def _opened(data):
    """Return `(reader, name of the preset, digest)`, with the reader at the number of images."""
    reader = ByteReader(data)
    if reader.take(3) != MAGIC:
        raise CompressedFileError("not a compressed file of medzoo: it does not start with MZC.")
    if (version := reader.take(1)[0]) != VERSION:
        raise CompressedFileError(
            f"unsupported version of the file format. Expected {VERSION}, got {version}. Use another version of medzoo."
        )
    if len(data) < 10 or zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise CompressedFileError("the checksum does not match: the file is damaged or truncated.")
    name = reader.take(reader.take(1)[0]).decode()
    return reader, DEFAULT if name == SHORT else name, reader.take(DIGEST if name else 0)


def _codec(model):
    """Return the codec, its version in integer arithmetic, and the digest of its weights."""
    model = loaded(model)
    if not isinstance(model, Codec):
        raise ValueError(f"compress: unsuitable model. Expected a Codec, got {model.name}, a {type(model).__name__}.")
    weights = [np.asarray(w, "<f4").tobytes() for part in (model.decoder, model.prior) for w in part.get_weights()]
    digest = hashlib.sha256(b"".join([*weights, np.asarray(model.log_gain, "<f4").tobytes()])).digest()[:DIGEST]
    if digest not in _integer_codecs:
        _integer_codecs.clear()
        _integer_codecs[digest] = IntegerCodec(model)
    return model, _integer_codecs[digest], digest


def _unsigned(image):
    """Return `(bits, image)`: the key of `TYPES`, and the image as uint8 or uint16."""
    image = np.asarray(image)
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    bits = next((bits for bits, name in TYPES.items() if name == image.dtype), None)
    if bits is None or image.ndim != 2 or 0 in image.shape:
        raise ValueError(
            f"compress: unsuitable image. Expected uint8, uint16 or int16 of shape (H, W), got {image.dtype} of shape "
            f"{image.shape}."
        )
    return bits, (image.astype("int32") + SIGN).astype("uint16") if bits == SIGNED else image


# --- single images --------------------------------------------------------------------------------------------------


def _range(image):
    """Return the pixel values that correspond to 0 and 1: fixed for 8 bits, the range of the image for 16 bits."""
    if image.dtype == np.uint8:
        return 0, 255
    low = int(image.min())
    return low, max(int(image.max()), low + 1)


def _encoded(model, codec, image, quality):
    """Return the latents of an image."""
    (height, width), (low, high) = image.shape, _range(image)
    padded = np.pad(image, ((0, -height % codec.f), (0, -width % codec.f)), mode="edge")
    scaled = ((padded.astype("float64") - low) / (high - low)).astype("float32")
    return model.encode(scaled[None, ..., None], quality)[0].astype("float64")


def _encode_lossy(codec, quality, bits, image, title, tags, latents):
    """Return header and bytes of an image that is coded by its latents."""
    (height, width), (low, high) = image.shape, _range(image)
    coder = RangeEncoder()
    code_latents(coder, codec, latents, quality)
    words = coder.words().astype("<u4").tobytes()  # raises an error while the original still exists
    output = codec.decode(latents, quality, low, high)[:height, :width]
    header = ImageHeader(LATENTS, *image.shape, bits, low, high, quality, len(words), title, tags, _checksum(output))
    return header.pack() + words


def _latents(words, codec, shape, quality):
    """Return the latents in the coded bytes of an image."""
    coder = RangeDecoder(np.frombuffer(words, "<u4").astype("uint32"))
    latents = np.zeros((*(-(-side // codec.f) for side in shape), sum(codec.groups)))
    code_latents(coder, codec, latents, quality)
    return latents


def _encode_lossless(max_error, bits, image, title, tags):
    """Return header and bytes of an image that is coded with JPEG XL or JPEG-LS."""
    kind, coded, output = lossless.encode(image, max_error)
    header = ImageHeader(kind, *image.shape, bits, 0, 0, max_error, len(coded), title, tags, _checksum(output))
    data = header.pack() + coded
    _decode_one(*_next(ByteReader(data)), None)  # raises an error while the original still exists
    return data


def _checksum(image):
    """Return the checksum of decoded pixels."""
    return zlib.crc32(image.astype("<u2").tobytes())


def _next(reader):
    """Return header and coded bytes of the next image."""
    header = ImageHeader.read(reader)
    return header, reader.take(header.length)


def _decode_one(header, coded, codec):
    """Return `(image, header)` of the coded bytes of an image."""
    if header.kind == LATENTS:
        if codec is None or header.length % 4:
            raise CompressedFileError("latents without the name of a preset, or truncated latents.")
        if header.setting > MAX_QUALITY:
            raise CompressedFileError(f"invalid quality. Expected at most {MAX_QUALITY}, got {header.setting}.")
        latents = _latents(coded, codec, (header.height, header.width), header.setting)
        image = codec.decode(latents, header.setting, header.low, header.high)[: header.height, : header.width]
    else:
        image = lossless.decode(header.kind, coded, header.setting, "uint8" if header.bits == 8 else "uint16")
    if image.shape != (header.height, header.width) or _checksum(image) != header.checksum:
        raise CompressedFileError(
            "the decoded pixels differ from those at compression: the weights or the version of medzoo differ."
        )
    return (image.astype("int64") - (SIGN if header.bits == SIGNED else 0)).astype(TYPES[header.bits]), header
