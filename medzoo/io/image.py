"""One function that reads an image file of any of the supported kinds."""

from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.dicom import is_dicom, read_dicom, stored_gray
from medzoo.io.intensity import apply_window, center_crop_resize, resolve_window, rgb_to_gray
from medzoo.io.nifti import is_nifti, read_nifti
from medzoo.io.pictures import read_picture

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
SUFFIXES = (*PICTURES, ".npy", ".dcm", ".dicom")


def split_frame(name):
    """`(path, frame)` of `film.dcm#3`; frame is `None` where there is no number, or a file is really called so."""
    path, mark, frame = str(name).rpartition("#")
    if mark and frame.isdigit() and not Path(name).exists():
        return Path(path), int(frame)
    return Path(name), None


def title_of(file):
    """The name of a file without its ending, for what is written of it; `scan-3` for `scan.dcm#3`, `scan` for
    `scan.nii.gz`."""
    path, frame = split_frame(file)
    stem = path.stem.removesuffix(".nii")
    return stem if frame is None else f"{stem}-{frame}"


def read_image(path, size=None, window=None, frame=None, axis="axial", nan=None):
    """Reads a grey image as float32 `(H, W, 1)` in [0, 1], brighter meaning more of what the modality measures.

    PNG, JPEG and TIFF: 8 bits are divided by 255, 16 bits by 65535 (data of 12 bits or fewer in 16 need `window`, as do
    signed and 32-bit integers), colour becomes luminance. They are turned as EXIF says, and TIFF whose
    smallest value is white is inverted. npy: uint8 and uint16 likewise, floats must be in [0, 1] already. DICOM (by
    content, whatever the name): see `read_dicom`. NIfTI: one slice of a volume, see `read_volume`.

    Args:
        path: the file; `film.dcm#3` is its frame 3.
        size: `None` for the file's own size, or `(height, width)` or one number: the middle of those proportions is
            cut out and resized with antialiasing (see `resize`).
        window: `(center, width)`: for DICOM and NIfTI in units after rescaling (Hounsfield units for CT), else in the
            file's own values. Values outside become 0 and 1. For CT also `"lung"` (-600, 1500), `"bone"` (400, 1800),
            `"soft_tissue"` (40, 400) or `"brain"` (40, 80).
        frame: index of the frame of a multi-frame DICOM or TIFF file, of a JPEG or PNG file with several images (MPO,
            APNG), or of a NIfTI volume's slice.
        axis: along which a volume is cut: `"axial"`, `"coronal"` or `"sagittal"`.
        nan: value, in the file's own units, that NaN pixels of npy and TIFF files take. `None`: NaN is refused.

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
        volume = read_nifti(path).reorient("RAS")
        if frame is None:
            raise ImageError(f"{path}: a volume of {volume.values.shape}; say which slice with frame= and axis=.")
        image = volume.normalize(volume.slice(frame, axis), window)
    elif isinstance(window, str):
        raise ImageError(
            f"{path}: window={window!r} is in Hounsfield units, which {suffix or 'this file'} does not hold."
        )
    elif suffix in PICTURES:
        picture = read_picture(path, frame)
        image = _scale(path, _grey(path, picture), window, nan)
        image = 1 - image if picture.white_is_zero else image
    elif suffix == ".npy":
        _one_frame(path, frame)
        image = _scale(path, read_npy(path), window, nan)
    else:
        raise ImageError(f"{path}: {suffix or 'no suffix'} and no DICOM header; expected one of {', '.join(SUFFIXES)}.")
    if image.ndim != 2 or 0 in image.shape:
        raise ImageError(f"{path}: array of shape {image.shape}; expected one grey image (H, W).")
    image = np.ascontiguousarray(image, "float32")[..., None]
    return image if size is None else center_crop_resize(image, size)


def read_stored(path):
    """Grey values of a file, uint8, uint16 or int16 `(H, W)`: what lossless compression keeps.

    PNG, JPEG and TIFF (grey, or three equal channels; of several frames `film.tif#3`), npy, and DICOM of grey values
    (`film.dcm#3`); windows and rescaling are left out. Pictures are turned upright and TIFF whose smallest value is
    white is inverted: both lose nothing, and the PNG file that comes back is shown as the file was.

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
        _one_frame(path, frame)
        values = read_npy(path)
    elif suffix in PICTURES:
        picture = read_picture(path, frame)
        values = _grey(path, picture, colour=False)
        if picture.white_is_zero and values.dtype.kind == "u":
            values = np.iinfo(values.dtype).max - values
    else:
        raise ImageError(f"{path}: {suffix or 'no suffix'} and no DICOM header; expected one of {', '.join(SUFFIXES)}.")
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype not in (np.uint8, np.uint16, np.int16) or values.ndim != 2 or 0 in values.shape:
        raise ImageError(
            f"{path}: {values.dtype} of shape {values.shape}; expected one grey image of uint8, uint16 or int16."
        )
    return values


def read_npy(path):
    """The array of an npy file, in the byte order of this machine; a last axis of length 1 is dropped.

    Raises:
        ImageError: a damaged file, or one that is not an array.
    """
    try:
        values = np.load(path, allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise ValueError("an archive of several arrays")
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
    except Exception as error:
        raise ImageError(f"{path}: not readable as npy ({type(error).__name__}: {error}).") from error
    return values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values


def _one_frame(path, frame):
    if frame is not None:
        raise ImageError(f"{path}: frame={frame}; an npy file holds one image. Leave frame out.")


def _grey(path, picture, colour=True):
    """Grey values of a picture, in its own type."""
    if picture.transparent:
        raise ImageError(
            f"{path}: has transparent pixels (mode {picture.mode}); expected an opaque image. Save it without "
            "transparency, on the background that is meant."
        )
    values = picture.values if picture.palette is None else picture.palette[picture.values]
    if values.ndim == 2:
        return values
    if (values == values[..., :1]).all():  # grey, as most archives of JPEG files store it
        return values[..., 0]
    if not colour:
        raise ImageError(f"{path}: mode {picture.mode}, in colour; expected a grey image (convert it first).")
    return rgb_to_gray(values.astype("float32")).round().astype(values.dtype)


def _scale(path, values, window, nan=None):
    if values.dtype.kind not in "uif" or values.size == 0:
        raise ImageError(f"{path}: array of {values.dtype}, shape {values.shape}; expected numbers.")
    if values.dtype.kind == "f":
        values = _finite(path, values, nan)
    if window is not None:
        return apply_window(values, *resolve_window(window))
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


def _finite(path, values, nan):
    """Floats with their NaN replaced.

    Raises:
        ImageError: infinity, or NaN and no value for it.
    """
    if np.isinf(values).any():
        raise ImageError(f"{path}: holds infinity; expected finite numbers.")
    missing = np.isnan(values)
    if not missing.any():
        return values
    if nan is None:
        raise ImageError(
            f"{path}: {missing.sum()} of {values.size} pixels are NaN. Say which value they take, in the file's own "
            "units, with read_image(path, nan=...), e.g. nan=0; or save the array after numpy.nan_to_num."
        )
    if not np.isfinite(nan):
        raise ImageError(f"{path}: nan={nan}; expected a finite number that NaN pixels take.")
    return np.where(missing, np.asarray(nan, values.dtype), values)
