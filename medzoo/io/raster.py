"""Reading of PNG, JPEG and TIFF files at their stored bit depth, with the orientation applied.

Pillow decodes the files. Where its result differs from the stored values (16-bit colors, signed and unsigned integers,
white-is-zero, byte order), the result is corrected here, or an error is raised.
"""

import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medzoo.errors import ImageError

if TYPE_CHECKING:
    import PIL.Image

FORMATS = ("PNG", "JPEG", "TIFF")  # MPO is opened as JPEG, APNG as PNG
ALPHA = ("LA", "PA", "RGBA")
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# TIFF tags, named as in the specification.
BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, DESCRIPTION = 258, 259, 262, 270
SAMPLES_PER_PIXEL, PLANAR_CONFIGURATION, COLOR_MAP, SAMPLE_FORMAT, IMAGE_DEPTH = 277, 284, 320, 339, 32997
YCBCR, OLD_JPEG, JPEG = 6, 6, 7
ORIENTATION = 274  # EXIF and TIFF tag


class RasterImage(NamedTuple):
    """One frame of a PNG, JPEG or TIFF file.

    Attributes:
        values: array `(H, W)` or `(H, W, 3)` with the stored values and data type; indices for a palette image.
        palette: uint8 array `(256, 3)` of RGB colors, or `None`.
        mode: Pillow mode of the pixels.
        scale: factor that Pillow applied to gray values of 1, 2 and 4 bits (255, 85 and 17), else 1.
        transparent: whether any pixel is transparent.
        white_is_zero: whether 0 is white (TIFF, photometric interpretation 0).
        lossy: whether the pixels were compressed lossily.
    """

    values: np.ndarray
    palette: np.ndarray | None
    mode: str
    scale: int
    transparent: bool
    white_is_zero: bool
    lossy: bool


def read_raster(path: str | Path, frame: int | None = None) -> RasterImage:
    """Read one frame of a PNG, JPEG or TIFF file.

    Args:
        path: path of the file; the format is identified by content.
        frame: int. Index of the frame of a file with several frames (MPO, APNG, multi-page TIFF).

    Returns:
        A `RasterImage` with the EXIF or TIFF orientation applied.

    Raises:
        ImageError: If the file is damaged, has several frames and `frame` is `None`, or cannot be decoded correctly.
    """
    with opened(path, frame) as image:
        white_is_zero = image.format == "TIFF" and _checked_tiff(path, image)
        lossy = image.format in ("JPEG", "MPO") or "jpeg" in str(image.info.get("compression", "")).lower()
        raw = _rawmode(image)
        deep = image.mode in ("LA", "RGB", "RGBA") and ";16" in raw
        if "16" in raw and image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
            raise ImageError(f"{path}: an animated 16-bit PNG; expected 8 bits, or a single image.")
        if not deep:
            _set_rawmode(image, _in_native_order(image, raw))
        image.load()
        values, palette, transparent = (_deep if deep else _shallow)(path, image, frame, raw)
        if white_is_zero and values.dtype == np.uint8:
            values = 255 - values  # Pillow inverts 8-bit values only; undo this
        values = reorient(values, orientation_of(image))
        return RasterImage(values, palette, image.mode, _scale(raw), transparent, white_is_zero, lossy)


def pages_of(path: str | Path) -> tuple[str, int]:
    """Return `(format, number of frames)` of a PNG, JPEG or TIFF file."""
    with opened(path, 0) as image:
        return image.format, getattr(image, "n_frames", 1)


@contextmanager
def opened(path: str | Path, frame: int | None = None) -> Iterator["PIL.Image.Image"]:
    """Open one frame of a file with Pillow without decoding it.

    Args:
        path: path of the file.
        frame: int. Index of the frame, see `read_raster`.

    Yields:
        The Pillow image.

    Raises:
        ImageError: If the file is unreadable, or the frame is missing or ambiguous.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        # Pass a file object: Pillow 12.3 decodes rotated TIFF pages incorrectly when it memory-maps a path.
        with _truncated_refused(), open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and frame is None:
                raise ImageError(
                    f"{path}: contains {frames} frames; select one with frame=0 to {frames - 1}, or as {path}#0."
                )
            if not 0 <= (frame or 0) < frames:
                raise ImageError(f"{path}: frame={frame}; expected 0 to {frames - 1}.")
            if frame:
                image.seek(frame)
            yield image
    except ImageError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, DecompressionBombError ...
        what = f"{type(error).__name__}: {error}"
        if isinstance(error, UnidentifiedImageError):
            what = _unknown(path)
        raise ImageError(f"{path}: not readable as PNG, JPEG or TIFF ({what}).") from error


def _unknown(path):
    """Describe a file that Pillow cannot identify."""
    with open(path, "rb") as file:
        magic = file.read(4)
    if magic in TIFF_MAGIC:
        return "an unsupported or damaged TIFF; convert it to 8-bit or 16-bit grayscale, or to NPY"
    return f"begins with {magic!r}; another format, or damaged" if magic else "an empty file"


class _truncated_refused:
    """Context manager that makes Pillow reject truncated files, even if a program has enabled filling them."""

    lock, inside, setting = threading.Lock(), 0, False

    def __enter__(self):
        from PIL import ImageFile

        kind = type(self)
        with kind.lock:
            if kind.inside == 0:
                kind.setting, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
            kind.inside += 1

    def __exit__(self, *_):
        from PIL import ImageFile

        kind = type(self)
        with kind.lock:
            kind.inside -= 1
            if kind.inside == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = kind.setting


def orientation_of(image: "PIL.Image.Image") -> int:
    """Return the EXIF orientation, 1 to 8, of a Pillow image.

    Pillow applies the orientation of TIFF files when it decodes them; it is then 1.

    Args:
        image: Pillow image.
    """
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):  # viewers ignore damaged EXIF data
        return 1
    return value if value in range(1, 9) else 1


def reorient(values: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation to an array.

    Args:
        values: array `(H, W, ...)`.
        orientation: int, 1 to 8.

    Returns:
        Array `(H, W, ...)` or `(W, H, ...)`.
    """
    if orientation in (5, 6, 7, 8):
        values = np.swapaxes(values, 0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return np.ascontiguousarray(values)


def _checked_tiff(path, image):
    """Return whether 0 is white in a TIFF page; raise ImageError for pages that Pillow decodes incorrectly."""
    tags = image.tag_v2
    photometric, bits = tags.get(PHOTOMETRIC), tags.get(BITS_PER_SAMPLE, (1,))
    colors = photometric not in (0, 1, 3)
    wrong = None
    if photometric is None:
        wrong = "no photometric interpretation, so that black and white are undefined"
    elif photometric == YCBCR and tags.get(COMPRESSION, 1) not in (OLD_JPEG, JPEG):
        wrong = "YCbCr colors without JPEG compression"
    elif tags.get(PLANAR_CONFIGURATION, 1) != 1 and (max(bits) > 8 or photometric == YCBCR):
        wrong = f"{max(bits)}-bit colors in separate planes"
    elif colors and max(bits) > 8 and photometric != 2:
        wrong = f"{max(bits)}-bit colors that are not RGB"
    elif photometric == 3 and 0 < max(tags.get(COLOR_MAP, (0,))) < 256:
        wrong = "a palette of 8-bit colors; TIFF stores 16 bits"
    elif tags.get(IMAGE_DEPTH, 1) != 1:
        wrong = f"{tags[IMAGE_DEPTH]} slices in one page"
    elif (pages := _imagej_pages(tags)) > getattr(image, "n_frames", 1):
        wrong = f"{pages} ImageJ images in {image.n_frames} page"
    if wrong:
        raise ImageError(f"{path}: TIFF with {wrong}. Convert it to 8-bit or 16-bit grayscale or RGB, or to NPY.")
    return photometric == 0 and len(bits) == 1 and bits[0] >= 8


def _imagej_pages(tags):
    """Number of images in the ImageJ description; ImageJ stores large stacks behind a single page."""
    lines = str(tags.get(DESCRIPTION, "")).splitlines()
    if not lines or not lines[0].startswith("ImageJ="):
        return 1
    count = next((line[7:] for line in lines if line.startswith("images=")), "1")
    return int(count) if count.isdigit() else 1


def _rawmode(image):
    """Raw mode with which Pillow unpacks the bytes of an image that is not decoded yet."""
    arguments = image.tile[0][3] if image.tile else ""
    return str(arguments if isinstance(arguments, (str, type(None))) else arguments[0])


def _scale(raw):
    """Factor that Pillow applies to gray values of fewer than 8 bits."""
    return {"1": 255, "L;2": 85, "L;4": 17}.get(raw[:1] if raw[:1] == "1" else raw[:3], 1)


def _set_rawmode(image, raw):
    """Change the raw mode of an image that is not decoded yet."""
    if raw == _rawmode(image):
        return
    changed = []
    for tile in image.tile:
        arguments = raw if isinstance(tile[3], str) else (raw, *tile[3][1:])
        changed.append(tile._make((*tile[:3], arguments)) if hasattr(tile, "_make") else (*tile[:3], arguments))
    image.tile = changed


def _in_native_order(image, raw):
    """Raw mode in native byte order for signed integers and floats from libtiff; Pillow assumes that of the file."""
    if not image.tile or image.tile[0][0] != "libtiff":
        return raw
    for big, little in (("F;32BF", "F;32F"), ("I;16BS", "I;16S"), ("I;32BS", "I;32S")):
        if raw in (big, little):
            return little if sys.byteorder == "little" else big
    return raw


def _deep(path, image, frame, raw):
    """Return `(values, None, transparent)` of 16-bit color or gray with alpha; Pillow keeps only the upper 8 bits."""
    if raw == "LA;16B":  # its 4 bytes per pixel are unpacked as RGBA
        parts = _bytes(path, frame, "RGBA").astype("uint16")
        gray, alpha = parts[..., 0] << 8 | parts[..., 1], parts[..., 2] << 8 | parts[..., 3]
        return gray, None, bool(alpha.min() < 65535)
    order = raw[-1] if raw[-1] in "LB" else {"little": "L", "big": "B"}[sys.byteorder]
    upper = np.asarray(image).astype("uint16")
    lower = _bytes(path, frame, raw[:-1] + {"L": "B", "B": "L"}[order])
    values = upper << 8 | lower
    transparent = values.shape[-1] == 4 and bool(values[..., 3].min() < 65535)
    key = image.info.get("transparency")
    if isinstance(key, tuple):
        transparent = bool((values[..., :3] == key).all(axis=-1).any())
    return values[..., :3], None, transparent


def _bytes(path, frame, raw):
    """Pixels of an image, unpacked with the given raw mode."""
    with opened(path, frame) as image:
        _set_rawmode(image, raw)
        image.load()
        return np.asarray(image)


def _shallow(path, image, frame, raw):
    """Return `(values, palette, transparent)` of all other images."""
    mode, key = image.mode, image.info.get("transparency")
    transparent = mode in ALPHA and np.asarray(image.getchannel("A")).min() < 255
    if mode == "P":
        palette = np.zeros((256, 3), "uint8")
        colors = np.array(image.getpalette("RGB"), "uint8").reshape(-1, 3)
        palette[: len(colors)] = colors
        transparent = key is not None and np.asarray(image.convert("RGBA"))[..., 3].min() < 255
        return np.asarray(image), palette, bool(transparent)
    if mode in ("1", "L"):
        values = np.asarray(image.convert("L"))
    elif mode == "LA":
        values = np.asarray(image.getchannel("L"))
    elif mode in ("I", "F") or mode.startswith("I;16"):
        values = np.asarray(image)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
    elif mode in ("RGB", "RGBA", "PA") or (mode == "CMYK" and (image.format == "TIFF" or "adobe" in image.info)):
        values = np.asarray(image.convert("RGB"))
    else:  # LAB; CMYK without a marker for inversion
        raise ImageError(f"{path}: unsupported color mode {mode}; expected grayscale or RGB. Convert it first.")
    values = _with_stored_type(path, image, values)
    if key is not None and values.ndim == 2:
        transparent = bool((values == key * _scale(raw)).any())  # the key is a stored value
    elif key is not None and mode == "RGB":
        transparent = bool((values == [k & 255 for k in key]).all(axis=-1).any())
    return values, None, bool(transparent)


def _with_stored_type(path, image, values):
    """Gray values in the data type of the file; Pillow does not support int8 and uint32."""
    if image.format != "TIFF" or values.ndim != 2:
        return values.astype("uint16") if image.mode == "I" else values
    bits, kind = (image.tag_v2.get(tag, (1,))[0] for tag in (BITS_PER_SAMPLE, SAMPLE_FORMAT))
    if kind == 2 and bits == 8:
        return values.view("int8")
    if image.mode == "I":
        return values.astype("int16") if bits == 16 else values.view("int32" if kind == 2 else "uint32")
    return values
