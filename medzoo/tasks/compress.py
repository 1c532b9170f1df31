"""Compress images with a `Codec`: lossy, with a guaranteed largest error, or bit for bit.

    data = compress([film], quality=2)      # bytes
    films = decompress(data)                # list of arrays

A film's latents are coded by the codec's prior; with `max_error` the residual of every pixel follows, under
distributions fitted to the film itself. The range coder is constriction's (Bamler 2022, arXiv:2201.01741); all it
is told is computed in whole numbers (`medzoo.tasks.exact`), so a file can be read on any machine.

File: `MZC`, version, name of the preset and the first bytes of the sha256 of the weights that decode; for each film
sizes, range, quality, a checksum of its pixels and the coded words; at the end a checksum of all.
"""

import hashlib
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from medzoo.errors import CompressedFileError
from medzoo.layers.prior import order
from medzoo.tasks.exact import ESCAPE, FRACTIONS, REACH, STEPS, ExactCodec, distributions

MAGIC, VERSION = b"MZC", 1
_exact_codecs = {}  # the last one used, by digest of its weights
DEFAULT = "codec-chestxray-256"
RAW = 2**20  # range of escaped residuals, around zero
ROWS = 20_000  # symbols handed to the range coder at a time: each brings its own table
LEVELS = 5  # grids of the residual, from coarse to fine
WEIGHT_BITS = 6  # of the residual's prediction
ACTIVITY = np.array([0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128])  # between the bins of its spread


def compress(images, model=DEFAULT, quality=2, max_error=None, names=None):
    """Images to one compressed file's bytes.

    Args:
        images: list of uint8 or uint16 arrays `(H, W)` or `(H, W, 1)`, of any sizes.
        model: name or folder of a preset of the family `Codec`, or a `Codec` loaded from one.
        quality: of the lossy part, 0 (smallest) to the codec's best.
        max_error: `None`: lossy; 0: lossless; n: no grey value is off by more than n.
        names: one for each image, to be kept in the file; by default none.

    Raises:
        ValueError: images of another type or shape, an unknown quality.
    """
    model, exact, digest = _codec(model)
    if not 0 <= quality < len(model.tradeoffs):
        raise ValueError(f"compress: quality={quality}; expected 0 to {len(model.tradeoffs) - 1}.")
    if max_error is not None and max_error < 0:
        raise ValueError(f"compress: max_error={max_error}; expected 0 (lossless) or more, or None.")
    names = list(names) if names is not None else [""] * len(images)
    if len(names) != len(images):
        raise ValueError(f"compress: {len(names)} names for {len(images)} images.")
    name = model.name.encode()
    out = [MAGIC, bytes([VERSION, len(name)]), name, digest, _varint(len(images))]
    for image, title in zip(images, names, strict=True):
        out.append(_one(model, exact, _checked(image), quality, max_error, title))
    data = b"".join(out)
    return data + struct.pack("<I", zlib.crc32(data))


def decompress(data, model=None, with_names=False):
    """Compressed bytes to a list of uint8 or uint16 arrays `(H, W)`.

    Args:
        data: what `compress` gave.
        model: the preset, where it is not one that `medzoo.load` finds by the name in the file.
        with_names: return `(arrays, names)`.

    Raises:
        CompressedFileError: not such a file, damaged, or made with other weights.
    """
    reader = _Reader(data)
    if reader.take(3) != MAGIC:
        raise CompressedFileError("not a compressed file of medzoo (it does not begin with MZC).")
    if (version := reader.take(1)[0]) != VERSION:
        raise CompressedFileError(f"version {version} of the format; this medzoo reads {VERSION}. Update medzoo.")
    if len(data) < 12 or zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise CompressedFileError("the checksum does not match: the file is damaged or cut short.")
    name = reader.take(reader.take(1)[0]).decode()
    model, exact, digest = _codec(model or name)
    if (found := reader.take(8)) != digest:
        raise CompressedFileError(f"made with weights {found.hex()} of {name}; those at hand are {digest.hex()}.")
    images, names = zip(*(_read_one(reader, exact) for _ in range(reader.varint())), strict=True)
    return (list(images), list(names)) if with_names else list(images)


def _codec(model):
    from medzoo.models import Codec
    from medzoo.zoo.presets import load

    model = load(model) if not isinstance(model, Codec) else model
    if not isinstance(model, Codec):
        raise ValueError(f"{model.name} is a {type(model).__name__}; expected a preset of the family Codec.")
    weights = [np.asarray(w, "<f4").tobytes() for part in (model.decoder, model.prior) for w in part.get_weights()]
    digest = hashlib.sha256(b"".join([*weights, np.asarray(model.log_gain, "<f4").tobytes()])).digest()[:8]
    if digest not in _exact_codecs:
        _exact_codecs.clear()
        _exact_codecs[digest] = ExactCodec(model)
    return model, _exact_codecs[digest], digest


def _checked(image):
    image = np.asarray(image)
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    if image.dtype not in (np.uint8, np.uint16) or image.ndim != 2 or 0 in image.shape:
        raise ValueError(f"compress: {image.dtype} of shape {image.shape}; expected uint8 or uint16 (H, W).")
    return image


# --- one image ------------------------------------------------------------------------------------------------------


@dataclass
class Head:
    """What stands before an image's words."""

    height: int
    width: int
    bits: int
    low: int
    high: int
    quality: int
    max_error: int  # plus one; 0 for lossy
    words: int
    title: str
    checksum: int

    def pack(self):
        numbers = (self.height, self.width, self.bits, self.low, self.high - self.low)
        numbers += (self.quality, self.max_error, self.words)
        title = self.title.encode()
        return b"".join(map(_varint, (*numbers, len(title)))) + title + struct.pack("<I", self.checksum)

    @classmethod
    def read(cls, reader):
        height, width, bits, low, span, quality, max_error, words, length = (reader.varint() for _ in range(9))
        title = reader.take(length).decode()
        return cls(height, width, bits, low, low + span, quality, max_error, words, title, reader.checksum())


def _one(model, exact, image, quality, max_error, title):

    # 8 bits keep the range that the codec was trained on; 16 bits are stretched to what the image uses.
    low, high = (0, 255) if image.dtype == np.uint8 else (int(image.min()), max(int(image.max()), int(image.min()) + 1))
    height, width = image.shape
    f = exact.f
    padded = np.pad(image, ((0, -height % f), (0, -width % f)), mode="edge")
    scaled = ((padded.astype("float64") - low) / (high - low)).astype("float32")
    latents = model.encode(scaled[None, ..., None], quality)[0].astype("float64")
    coder = Encoder(_constriction().queue.RangeEncoder())
    _latents(coder, exact, latents, quality)
    picture = exact.picture(latents, quality, low, high)[:height, :width]
    if max_error is not None:
        step = 2 * max_error + 1
        residual = np.floor((image.astype("int64") - picture + max_error) / step).astype("int64")
        _residual(coder, residual, picture)
        picture = np.clip(picture + step * residual, low, high)
    words = coder.coder.get_compressed().astype("<u4").tobytes()
    head = Head(
        height,
        width,
        8 * image.itemsize,
        low,
        high,
        quality,
        0 if max_error is None else max_error + 1,
        len(words) // 4,
        title,
        zlib.crc32(picture.astype("<u2").tobytes()),
    )
    return head.pack() + words


def _read_one(reader, exact):

    head = Head.read(reader)
    words = np.frombuffer(reader.take(4 * head.words), "<u4").astype("uint32")
    coder = Decoder(_constriction().queue.RangeDecoder(words))
    shape = (-(-head.height // exact.f), -(-head.width // exact.f), sum(exact.groups))
    latents = np.zeros(shape)
    _latents(coder, exact, latents, head.quality)
    picture = exact.picture(latents, head.quality, head.low, head.high)[: head.height, : head.width]
    if head.max_error:
        residual = np.zeros(picture.shape, "int64")
        _residual(coder, residual, picture)
        picture = np.clip(picture + (2 * head.max_error - 1) * residual, head.low, head.high)
    if zlib.crc32(picture.astype("<u2").tobytes()) != head.checksum:
        raise CompressedFileError("decoded to other pixels than were stored; the weights or medzoo are not the same.")
    return picture.astype(f"uint{head.bits}"), head.title


class Encoder:
    """Writes whole numbers `y` under distributions of given means (in FRACTIONS-ths) and steps of the table."""

    writes = True

    def __init__(self, coder):
        self.coder = coder

    def code(self, y, mean, step):
        for part in _parts(y):
            base, fraction = np.divmod(mean[part], FRACTIONS)
            residual = y[part] - base
            escaped = np.abs(residual) > REACH
            symbols = np.where(escaped, ESCAPE, residual + REACH).astype("int32")
            self.coder.encode(symbols, _categorical(), _tables(step[part], fraction))
            if escaped.any():
                self.uniform(residual[escaped] + RAW // 2, RAW)
        return y

    def uniform(self, y, size):
        if size > 1 and len(y):
            self.coder.encode(np.asarray(y, "int32"), _constriction().model.Uniform(size))
        return y


class Decoder:
    """Reads what `Encoder` wrote; the `y` given are only counted."""

    writes = False

    def __init__(self, coder):
        self.coder = coder

    def code(self, y, mean, step):
        found = np.empty(len(y), "int64")
        for part in _parts(y):
            base, fraction = np.divmod(mean[part], FRACTIONS)
            symbols = self.coder.decode(_categorical(), _tables(step[part], fraction)).astype("int64")
            residual = symbols - REACH
            escaped = symbols == ESCAPE
            if escaped.any():
                residual[escaped] = self.uniform(residual[escaped], RAW) - RAW // 2
            found[part] = base + residual
        return found

    def uniform(self, y, size):
        if size == 1 or not len(y):
            return np.zeros(len(y), "int64")
        return self.coder.decode(_constriction().model.Uniform(size), len(y)).astype("int64")


def _parts(y):
    return (slice(i, i + ROWS) for i in range(0, len(y), ROWS))


def _tables(step, fraction):
    return distributions()[step, fraction] / 2.0**21


def _categorical():
    return _constriction().model.Categorical(perfect=False)


def _constriction():
    try:
        import constriction
    except ImportError as error:
        raise ImportError(
            'compressing needs a range coder: pip install "medzoo[compress]" (or constriction).'
        ) from error
    return constriction.stream


def _steps(shape, levels):
    """`order`, for a grid of that shape: `(level, stride, known, coded)` with masks in place of functions."""
    for level, stride, known, coded in order(levels):
        rows = np.arange(-(-shape[0] // stride))[:, None]
        columns = np.arange(-(-shape[1] // stride))[None]
        known, coded = (f(rows, columns).astype(bool) for f in (known, coded))
        if coded.any():
            yield level, stride, known, coded


def _latents(coder, exact, latents, quality):
    """Codes the latents `(h, w, channels)`, or fills them in."""
    start = 0
    for k, size in enumerate(exact.groups):
        for level, stride, known, coded in _steps(latents.shape, exact.levels):
            grid = latents[::stride, ::stride]
            own = grid[..., start : start + size] * known[..., None]
            context = np.concatenate([grid[..., :start], own, known[..., None]], axis=-1)
            mean, step = exact.parameters(k, context, level, quality)
            y = grid[..., start : start + size][coded].astype("int64")
            found = coder.code(y.ravel(), mean[coded].ravel(), step[coded].ravel())
            grid[..., start : start + size][coded] = found.reshape(-1, size)
        start += size


def _residual(coder, residual, picture):
    """Codes the residual `(H, W)`, or fills it in.

    Each pixel is predicted from known neighbours and the decoded picture by weights that were fitted to the image; its
    spread is that of pixels with as active a neighbourhood. Weights and spreads are sent first.
    """
    spread = int(residual.std()) if coder.writes else 0
    drop = int(coder.uniform([max(0, (spread // 8).bit_length())], 16)[0])  # low bits that are noise, sent as they are
    for _, stride, _, coded in _steps(residual.shape, LEVELS):
        grid = residual[::stride, ::stride]
        features, activity = _surroundings(grid, picture[::stride, ::stride], coded)
        y = grid[coded]
        weights = np.zeros(features.shape[1], "int64")
        if coder.writes and len(y) > 50:
            weights = np.linalg.lstsq(features.astype("float64"), y.astype("float64"), rcond=None)[0]
            weights = np.clip(np.round(weights * 2**WEIGHT_BITS), -128, 127).astype("int64")
        weights = coder.uniform(weights + 128, 256) - 128
        mean = (features @ weights * FRACTIONS) >> (WEIGHT_BITS + drop)
        bins = np.searchsorted(ACTIVITY << drop, activity)
        steps = np.zeros(len(ACTIVITY) + 1, "int64")
        if coder.writes:
            for b in np.unique(bins):
                steps[b] = _best_step((y >> drop)[bins == b], mean[bins == b])
        steps = coder.uniform(steps, STEPS)
        high = coder.code(y >> drop, mean, steps[bins])
        low = coder.uniform(y & ((1 << drop) - 1), 1 << drop)
        grid[coded] = (high << drop) + low


def _surroundings(residual, picture, coded):
    """Of each coded place: known neighbours and what the picture does there, `(N, 5)`, and how active they are, `(N,)`.

    At the middles the known neighbours are the four diagonal ones, between them the four nearest; at the coarsest grid,
    where all is coded, none.
    """
    corner = coded[0, 0]
    diagonal = len(coded) > 1 and not coded[0].any()
    around = ((-1, -1), (-1, 1), (1, -1), (1, 1)) if diagonal else ((-1, 0), (1, 0), (0, -1), (0, 1))
    values, shades = (np.pad(x, 1, mode="reflect" if min(x.shape) > 1 else "edge") for x in (residual, picture))
    height, width = residual.shape

    def moved(x, i, j):
        return x[1 + i : 1 + i + height, 1 + j : 1 + j + width][coded]

    near = [0 * moved(values, i, j) if corner else moved(values, i, j) for i, j in around]
    curve = sum(moved(shades, i, j) for i, j in around) - 4 * picture[coded]
    centre = sum(near) // 4
    activity = sum(np.abs(n - centre) for n in near) + np.abs(curve) // 4
    return np.stack([*near, curve], axis=1), activity


def _best_step(y, mean):
    """The step of the table under which these numbers are shortest."""
    base, fraction = np.divmod(mean, FRACTIONS)
    symbols = y - base
    symbols = np.where(np.abs(symbols) > REACH, ESCAPE, symbols + REACH)
    some = slice(None, None, max(1, len(y) // 2000))
    bits = [np.log2(table[fraction[some], symbols[some]]).sum() for table in distributions()]
    return int(np.argmax(bits))


# --- bytes ----------------------------------------------------------------------------------------------------------


def _varint(number):
    """Seven bits a byte, the last byte without the eighth."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


class _Reader:
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
