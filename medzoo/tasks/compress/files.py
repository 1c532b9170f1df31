"""Images to bytes by a `Codec` and back; without loss by JPEG XL or JPEG-LS.

    data = compress([film], quality=50)     # bytes
    films = decompress(data)                # list of arrays

Lossy: a film's latents are coded by the codec's prior. The range coder is constriction's (Bamler 2022,
arXiv:2201.01741); all it is told is computed in whole numbers (`medzoo.tasks.compress.integer_codec`), so a file can be read on
any machine. With `max_error`: see `medzoo.tasks.compress.lossless`.

File: `MZC`, version, name of the preset (a dot for `DEFAULT`) and the first bytes of the sha256 of the weights that
decode (no name and no bytes where none are needed); for each film what its `Head` holds and the coded bytes; at the end
a checksum of all.
"""

import hashlib
import struct
import zlib

import numpy as np

from medzoo.errors import CompressedFileError
from medzoo.models import Codec
from medzoo.models.codec import BEST
from medzoo.tasks.compress import lossless as streams
from medzoo.tasks.compress.header import LATENTS, SIGN, SIGNED, TYPES, Head, Reader, varint
from medzoo.tasks.compress.integer_codec import IntegerCodec
from medzoo.tasks.compress.range_coding import RangeDecoder, RangeEncoder, code_latents
from medzoo.utils.parallel import in_order, one_thread_a_product
from medzoo.zoo.presets import loaded

MAGIC, VERSION = b"MZC", 4
DIGEST = 4  # bytes of the sha256
_exact_codecs = {}  # the last one used, by digest of its weights
DEFAULT, SHORT = "codec-chestxray", "."  # its name in a file, where every byte counts


def compress(images, model=DEFAULT, quality=None, max_error=None, names=None, tags=None):
    """Images to one compressed file's bytes.

    Args:
        images: list of uint8, uint16 or int16 arrays `(H, W)` or `(H, W, 1)`, of any sizes.
        model: name or folder of a preset of the family `Codec`, or a `Codec`; not needed with `max_error`.
        quality: of the lossy codec, a whole number from 0 (smallest) to 100; by default the codec's own.
        max_error: `None`: lossy; 0: lossless; n: no grey value is off by more than n.
        names: one for each image, to be kept in the file; by default none.
        tags: one dict for each image, JSON-ready, to be kept too, see `medzoo.io.dicom_secondary_capture`; by default none.

    Raises:
        ValueError: images of another type or shape, an unknown quality, a quality beside `max_error`.
    """
    head, films = _coded(images, model, quality, max_error, names, tags)
    return _file(head, list(films))


def compress_singly(images, model=DEFAULT, quality=None, max_error=None, names=None, tags=None):
    """As `compress`, but yields the bytes of a file for each image."""
    head, films = _coded(images, model, quality, max_error, names, tags)
    return (_file(head, [film]) for film in films)


def _coded(images, model, quality, max_error, names, tags):
    """`(bytes before the number of images, iterator over the bytes of each)`; arguments as those of `compress`."""
    names = [""] * len(images) if names is None else list(names)
    tags = [{}] * len(images) if tags is None else list(tags)
    if not len(names) == len(tags) == len(images):
        raise ValueError(f"compress: {len(names)} names and {len(tags)} tags for {len(images)} images.")
    checked = ((*_unsigned(image), title, own) for image, title, own in zip(images, names, tags, strict=True))
    if max_error is None:
        model, exact, digest = _codec(model)
        quality = model.quality if quality is None else quality
        if quality not in range(BEST + 1):
            raise ValueError(f"compress: quality={quality}; expected a whole number from 0 to {BEST}.")
        quality = int(quality)  # 50.0 is one too
        name = (SHORT if model.name == DEFAULT else model.name).encode()
        films = _lossy(model, exact, quality, checked)
    else:
        if max_error < 0:
            raise ValueError(f"compress: max_error={max_error}; expected 0 (lossless) or more, or None.")
        if quality is not None:
            raise ValueError(f"compress: quality={quality} and max_error={max_error} exclude each other.")
        name, digest = b"", b""
        films = in_order(lambda item: _stream(max_error, *item), checked)
    return MAGIC + bytes([VERSION, len(name)]) + name + digest, films


def _file(head, films):
    data = head + varint(len(films)) + b"".join(films)
    return data + struct.pack("<I", zlib.crc32(data))


def _lossy(model, exact, quality, checked):
    """Yields the bytes of each image; the model runs on this thread only, the whole numbers on all cores."""
    encoded = ((bits, image, *kept, _encoded(model, exact, image, quality)) for bits, image, *kept in checked)
    with one_thread_a_product():
        yield from in_order(lambda item: _learned(exact, quality, *item), encoded)


def decompress(data, model=None, with_names=False):
    """Compressed bytes to a list of arrays `(H, W)` of the types that they had.

    Args:
        data: what `compress` gave.
        model: the preset, where it is not one that `medzoo.load` finds by the name in the file.
        with_names: return `(arrays, names)`.

    Raises:
        CompressedFileError: not such a file, damaged, or made with other weights.
    """
    found = decoded(data, model)
    images = [image for image, _ in found]
    return (images, [head.title for _, head in found]) if with_names else images


def decoded(data, model=None):
    """`(array, Head)` of each image; arguments and errors as those of `decompress`."""
    reader, name, found = _opened(data)
    exact = None
    if name:
        _, exact, digest = _codec(model or name)
        if found != digest:
            raise CompressedFileError(f"made with weights {found.hex()} of {name}; those at hand are {digest.hex()}.")
    parts = (_next(reader) for _ in range(reader.varint()))
    with one_thread_a_product():
        return list(in_order(lambda part: _read_one(*part, exact), parts))


def contents(data):
    """What compressed bytes hold, read without decoding a pixel; JSON-ready.

    Returns: dict of the `preset` and the first bytes of its `weights`' digest (both empty where nothing is lossy),
        `bytes`, and of each of the `images` name, height, width, type, how it is coded, quality (`None`: not lossy),
        largest error (`None`: lossy) and bytes.

    Raises:
        CompressedFileError: not such a file, or damaged.
    """
    reader, name, digest = _opened(data)
    images = []
    for _ in range(reader.varint()):
        start, head = reader.at, Head.read(reader)
        reader.take(head.length)
        lossy = head.kind == LATENTS
        facts = {"name": head.title, "height": head.height, "width": head.width, "type": TYPES[head.bits]}
        facts |= {"coded": "latents" if lossy else streams.KINDS[head.kind].name}
        facts |= {"quality": head.setting if lossy else None, "max_error": None if lossy else head.setting}
        images.append({**facts, **({"tags": head.tags} if head.tags else {}), "bytes": reader.at - start})
    return {"format": "MZC", "bytes": len(data), "preset": name, "weights": digest.hex(), "images": images}


def _opened(data):
    """`(reader, name of the preset, digest)`, standing before the number of images."""
    reader = Reader(data)
    if reader.take(3) != MAGIC:
        raise CompressedFileError("not a compressed file of medzoo (it does not begin with MZC).")
    if (version := reader.take(1)[0]) != VERSION:
        raise CompressedFileError(f"version {version} of the format; this medzoo reads {VERSION}: take another one.")
    if len(data) < 10 or zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise CompressedFileError("the checksum does not match: the file is damaged or cut short.")
    name = reader.take(reader.take(1)[0]).decode()
    return reader, DEFAULT if name == SHORT else name, reader.take(DIGEST if name else 0)


def _codec(model):
    model = loaded(model)
    if not isinstance(model, Codec):
        raise ValueError(f"{model.name} is a {type(model).__name__}; expected a preset of the family Codec.")
    weights = [np.asarray(w, "<f4").tobytes() for part in (model.decoder, model.prior) for w in part.get_weights()]
    digest = hashlib.sha256(b"".join([*weights, np.asarray(model.log_gain, "<f4").tobytes()])).digest()[:DIGEST]
    if digest not in _exact_codecs:
        _exact_codecs.clear()
        _exact_codecs[digest] = IntegerCodec(model)
    return model, _exact_codecs[digest], digest


def _unsigned(image):
    """`(bits, image)` as a `Head` and the coders have them."""
    image = np.asarray(image)
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    bits = next((bits for bits, name in TYPES.items() if name == image.dtype), None)
    if bits is None or image.ndim != 2 or 0 in image.shape:
        raise ValueError(f"compress: {image.dtype} of shape {image.shape}; expected uint8, uint16 or int16 (H, W).")
    return bits, (image.astype("int32") + SIGN).astype("uint16") if bits == SIGNED else image


# --- one image ------------------------------------------------------------------------------------------------------


def _range(image):
    """8 bits keep the range that the codec was trained on; 16 bits are stretched to what the image uses."""
    if image.dtype == np.uint8:
        return 0, 255
    low = int(image.min())
    return low, max(int(image.max()), low + 1)


def _encoded(model, exact, image, quality):
    (height, width), (low, high) = image.shape, _range(image)
    padded = np.pad(image, ((0, -height % exact.f), (0, -width % exact.f)), mode="edge")
    scaled = ((padded.astype("float64") - low) / (high - low)).astype("float32")
    return model.encode(scaled[None, ..., None], quality)[0].astype("float64")


def _learned(exact, quality, bits, image, title, tags, latents):
    (height, width), (low, high) = image.shape, _range(image)
    coder = RangeEncoder()
    code_latents(coder, exact, latents, quality)
    words = coder.words().astype("<u4").tobytes()  # raises now, while the original is there
    picture = exact.picture(latents, quality, low, high)[:height, :width]
    head = Head(LATENTS, *image.shape, bits, low, high, quality, len(words), title, tags, _checksum(picture))
    return head.pack() + words


def _latents(words, exact, shape, quality):
    """The latents that a film's coded bytes hold."""
    coder = RangeDecoder(np.frombuffer(words, "<u4").astype("uint32"))
    latents = np.zeros((*(-(-side // exact.f) for side in shape), sum(exact.groups)))
    code_latents(coder, exact, latents, quality)
    return latents


def _stream(max_error, bits, image, title, tags):
    kind, coded, picture = streams.encode(image, max_error)
    head = Head(kind, *image.shape, bits, 0, 0, max_error, len(coded), title, tags, _checksum(picture))
    data = head.pack() + coded
    _read_one(*_next(Reader(data)), None)  # what cannot be read back raises now, while the original is there
    return data


def _checksum(picture):
    return zlib.crc32(picture.astype("<u2").tobytes())


def _next(reader):
    """Head and coded bytes of the next image."""
    head = Head.read(reader)
    return head, reader.take(head.length)


def _read_one(head, coded, exact):
    if head.kind == LATENTS:
        if exact is None or head.length % 4:
            raise CompressedFileError("latents without the name of a preset, or cut short.")
        if head.setting > BEST:
            raise CompressedFileError(f"quality {head.setting}; expected at most {BEST}.")
        latents = _latents(coded, exact, (head.height, head.width), head.setting)
        picture = exact.picture(latents, head.setting, head.low, head.high)[: head.height, : head.width]
    else:
        picture = streams.decode(head.kind, coded, head.setting, "uint8" if head.bits == 8 else "uint16")
    if picture.shape != (head.height, head.width) or _checksum(picture) != head.checksum:
        raise CompressedFileError("decoded to other pixels than were stored; the weights or medzoo are not the same.")
    return (picture.astype("int64") - (SIGN if head.bits == SIGNED else 0)).astype(TYPES[head.bits]), head
