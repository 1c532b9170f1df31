"""One function that reads an image file of any of the supported kinds."""

from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.images.dicom import is_dicom, read_dicom, stored_gray
from medzoo.images.intensity import apply_window, luminance, resize, window_of
from medzoo.images.nifti import is_nifti, read_nifti

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
SUFFIXES = (*PICTURES, ".npy", ".dcm", ".dicom")


def split_frame(name):
    """`(path, frame)` of `film.dcm#3`; frame is `None` where there is no number, or a file is really called so."""
    path, mark, frame = str(name).rpartition("#")
    if mark and frame.isdigit() and not Path(name).exists():
        return Path(path), int(frame)
    return Path(name), None


def read_image(path, size=None, window=None, frame=None, axis="axial"):
    """Reads a grey image as float32 `(H, W, 1)` in [0, 1], brighter meaning more of what the modality measures.

    PNG, JPEG and TIFF: 8 bits are divided by 255, 16 bits by 65535 (data of 12 bits or fewer in 16 need `window`),
    colour becomes luminance. npy: uint8 and uint16 likewise, floats must be in [0, 1] already. DICOM (by content,
    whatever the name): see `read_dicom`. NIfTI: one slice of a volume, see `read_volume`.

    Args:
        path: the file; `film.dcm#3` is its frame 3.
        size: `None` for the file's own size, or `(height, width)` or one number: the middle of those proportions is
            cut out and resized with antialiasing (see `resize`).
        window: `(center, width)`: for DICOM and NIfTI in units after rescaling (Hounsfield units for CT), else in the
            file's own values. Values outside become 0 and 1. For CT also `"lung"` (-600, 1500), `"bone"` (400, 1800),
            `"soft_tissue"` (40, 400) or `"brain"` (40, 80).
        frame: index of the frame of a multi-frame DICOM or TIFF file, or of a NIfTI volume's slice.
        axis: along which a volume is cut: `"axial"`, `"coronal"` or `"sagittal"`.

    Raises:
        FileNotFoundError: no such file.
        ImageError: anything in the file that would give a wrong picture; names the file.
    """
    path, named = split_frame(path)
    frame = named if frame is None else frame
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    suffix = path.suffix.lower()
    if is_dicom(path):
        image = read_dicom(path, window, frame)
    elif is_nifti(path):
        volume = read_nifti(path).oriented("RAS")
        if frame is None:
            raise ImageError(f"{path}: a volume of {volume.values.shape}; say which slice with frame= and axis=.")
        image = volume.grey(volume.slice(frame, axis), window)
    elif isinstance(window, str):
        raise ImageError(
            f"{path}: window={window!r} is in Hounsfield units, which {suffix or 'this file'} does not hold."
        )
    elif suffix in (".tif", ".tiff"):
        image = _scale(path, _read_picture(path, frame=frame), window)
    elif frame is not None:
        raise ImageError(
            f"{path}: frame={frame} is for multi-frame DICOM; this is {suffix or 'a file without suffix'}."
        )
    elif suffix in PICTURES:
        image = _scale(path, _read_picture(path), window)
    elif suffix == ".npy":
        image = _scale(path, _read_npy(path), window)
    else:
        raise ImageError(f"{path}: {suffix or 'no suffix'} and no DICOM header; expected one of {', '.join(SUFFIXES)}.")
    if image.ndim != 2 or 0 in image.shape:
        raise ImageError(f"{path}: array of shape {image.shape}; expected one grey image (H, W).")
    image = np.ascontiguousarray(image, "float32")[..., None]
    return image if size is None else resize(image, size)


def read_stored(path):
    """Grey values as a file stores them, uint8, uint16 or int16 `(H, W)`: what lossless compression keeps.

    PNG and JPEG (grey, or three equal channels), npy, and DICOM of grey values (of several frames `film.dcm#3`);
    windows and rescaling are left out.

    Raises:
        FileNotFoundError: no such file.
        ImageError: colour, several frames, other values; names the file.
    """
    path, frame = split_frame(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    suffix = path.suffix.lower()
    if is_dicom(path):
        values = stored_gray(path)
        if frame is not None:
            if values.ndim != 3 or not frame < len(values):
                raise ImageError(f"{path}: frame={frame}; the file holds {values.shape[:-2] or (1,)} frames.")
            values = values[frame]
    elif suffix == ".npy":
        values = _read_npy(path)
    elif suffix in PICTURES:
        values = _read_picture(path, colour=False)
    else:
        raise ImageError(f"{path}: {suffix or 'no suffix'} and no DICOM header; expected one of {', '.join(SUFFIXES)}.")
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype not in (np.uint8, np.uint16, np.int16) or values.ndim != 2 or 0 in values.shape:
        raise ImageError(
            f"{path}: {values.dtype} of shape {values.shape}; expected one grey image of uint8, uint16 or int16."
        )
    return values


def _read_picture(path, colour=True, frame=None):
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as picture:
            frames = getattr(picture, "n_frames", 1)
            if frames > 1 and not 0 <= (-1 if frame is None else frame) < frames:
                raise ImageError(f"{path}: holds {frames} frames; say which with frame=0 to {frames - 1}.")
            picture.seek(frame or 0)
            picture.load()
    except ImageError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, DecompressionBombError ...
        raise ImageError(f"{path}: not readable as PNG, JPEG or TIFF ({type(error).__name__}: {error}).") from error
    if picture.mode == "F":
        return np.asarray(picture)
    if picture.mode in ("I;16", "I;16B", "I"):
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(f"{path}: values from {values.min()} to {values.max()}; expected 16 bits, 0 to 65535.")
        return values.astype("uint16")
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))
    if picture.mode in ("LA", "RGBA", "PA") and np.asarray(picture.getchannel("A")).min() < 255:
        raise ImageError(f"{path}: has transparent pixels; expected an opaque image.")
    rgb = np.asarray(picture.convert("RGB"))
    if (rgb == rgb[..., :1]).all():  # grey, as most archives of JPEG files store it
        return rgb[..., 0]
    if not colour:
        raise ImageError(f"{path}: mode {picture.mode}, in colour; expected a grey image (convert it first).")
    return luminance(rgb.astype("float32")).round().astype("uint8")


def _read_npy(path):
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:
        raise ImageError(f"{path}: not readable as npy ({type(error).__name__}: {error}).") from error
    return values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values


def _scale(path, values, window):
    if values.dtype.kind not in "uif" or values.size == 0:
        raise ImageError(f"{path}: array of {values.dtype}, shape {values.shape}; expected numbers.")
    if not np.isfinite(values).all():
        raise ImageError(f"{path}: holds NaN or infinity.")
    if window is not None:
        return apply_window(values, *window_of(window))
    if values.dtype == np.uint16 and 0 < values.max() < 2**13:
        raise ImageError(
            f"{path}: 16-bit values up to {values.max()} only, which would be nearly black; 12-bit data? Say what is "
            "black and white with window=(center, width), e.g. window=(2048, 4096)."
        )
    if values.dtype in (np.uint8, np.uint16):
        return values.astype("float32") / np.iinfo(values.dtype).max
    if values.min() < 0 or values.max() > 1:
        raise ImageError(
            f"{path}: {values.dtype} values from {values.min():g} to {values.max():g}; expected uint8, uint16, or "
            "floats from 0 to 1. Say what is black and white with window=(center, width)."
        )
    return values.astype("float32")
