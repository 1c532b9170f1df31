"""Reading of grayscale images from PNG, JPEG, TIFF, NPY, DICOM and NIfTI files."""

from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.dicom import is_dicom, read_dicom, stored_gray
from medzoo.io.intensity import apply_window, center_crop_resize, resolve_window, rgb_to_gray
from medzoo.io.nifti import is_nifti, read_nifti
from medzoo.io.raster import read_raster

RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
SUFFIXES = (*RASTER_SUFFIXES, ".npy", ".dcm", ".dicom")


def split_frame(name: str | Path) -> tuple[Path, int | None]:
    """Return `(path, frame)` of a name such as `scan.dcm#3`.

    Args:
        name: path with an optional frame index.

    Returns:
        `(path, frame)`; `frame` is `None` without an index, or if a file of that full name exists.
    """
    path, mark, frame = str(name).rpartition("#")
    if mark and frame.isdigit() and not Path(name).exists():
        return Path(path), int(frame)
    return Path(name), None


def title_of(file: str | Path) -> str:
    """Return the file name without suffix, as the name of output files.

    Args:
        file: path with an optional frame index, e.g. `scan.dcm#3`, which gives `scan-3`.
    """
    path, frame = split_frame(file)
    stem = path.stem.removesuffix(".nii")
    return stem if frame is None else f"{stem}-{frame}"


def read_image(
    path: str | Path,
    size: int | tuple[int, int] | None = None,
    window: tuple[float, float] | str | int | None = None,
    frame: int | None = None,
    axis: str = "axial",
    nan: float | None = None,
) -> np.ndarray:
    """Read a grayscale image as float32 `(H, W, 1)` in [0, 1].

    PNG, JPEG and TIFF: 8-bit values are divided by 255, 16-bit values by 65535. Data with 12 bits or fewer stored in 16
    bits, signed and 32-bit integers need `window`. Color is converted to luminance, the EXIF orientation is applied,
    and white-is-zero TIFF is inverted. NPY: uint8 and uint16 likewise; floats must be in [0, 1]. DICOM (identified by
    content): see `read_dicom`. NIfTI: one slice of a volume, see `read_volume`.

    Args:
        path: path of the file; `scan.dcm#3` is its frame 3.
        size: `(height, width)` in pixels or one int for a square, see `center_crop_resize`. `None` (default) keeps the
            size of the file.
        window: `(center, width)`, in rescaled units for DICOM and NIfTI (Hounsfield units for CT), else in stored
            values. Values outside the window are clipped to 0 and 1. For CT also `"lung"` (-600, 1500), `"bone"`
            (400, 1800), `"soft_tissue"` (40, 400) or `"brain"` (40, 80).
        frame: int. Index of the frame of a multi-frame DICOM or TIFF file, of a JPEG or PNG file with several images
            (MPO, APNG), or of the slice of a NIfTI volume.
        axis: slicing axis of a volume, `"axial"` (default), `"coronal"` or `"sagittal"`.
        nan: value in the units of the file that replaces NaN pixels of NPY and TIFF files. With `None` (default), NaN
            raises an error.

    Returns:
        float32 array `(H, W, 1)` in [0, 1]; higher values are brighter.

    Raises:
        FileNotFoundError: If the file does not exist.
        ImageError: If the file is invalid or ambiguous, so that pixel values could be incorrect; the message names it.
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
            raise ImageError(f"{path}: a volume of {volume.values.shape}; select a slice with frame= and axis=.")
        image = volume.normalize(volume.slice(frame, axis), window)  # type: ignore[arg-type]  # no int: DICOM only
    elif isinstance(window, str):
        raise ImageError(
            f"{path}: window={window!r} requires Hounsfield units, which {suffix or 'this file'} does not store."
        )
    elif suffix in RASTER_SUFFIXES:
        raster = read_raster(path, frame)
        image = _scale(path, _to_gray(path, raster), window, nan)
        image = 1 - image if raster.white_is_zero else image
    elif suffix == ".npy":
        _check_no_frame(path, frame)
        image = _scale(path, read_npy(path), window, nan)
    else:
        raise ImageError(f"{path}: {suffix or 'no suffix'} and no DICOM header; expected one of {', '.join(SUFFIXES)}.")
    if image.ndim != 2 or 0 in image.shape:
        raise ImageError(f"{path}: array of shape {image.shape}; expected one grayscale image (H, W).")
    image = np.ascontiguousarray(image, "float32")[..., None]
    return image if size is None else center_crop_resize(image, size)


def read_stored(path: str | Path) -> np.ndarray:
    """Read the stored gray values of a file without rescaling.

    The values are the input of lossless compression. Supported are PNG, JPEG and TIFF (grayscale, or three equal
    channels), NPY, and grayscale DICOM. Windows and rescale are not applied. The EXIF orientation is applied and
    white-is-zero TIFF is inverted; both are lossless, and a PNG file with the result is displayed like the original.

    Args:
        path: path of the file; `scan.dcm#3` is its frame 3.

    Returns:
        uint8, uint16 or int16 array `(H, W)`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ImageError: If the file is in color, contains several frames, or has other values; the message names it.
    """
    path, frame = split_frame(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    suffix = path.suffix.lower()
    if is_dicom(path):
        values = stored_gray(path)
        if frame is not None:
            if values.ndim != 3 or not frame < len(values):
                raise ImageError(f"{path}: frame={frame}; the file contains {values.shape[:-2] or (1,)} frames.")
            values = values[frame]
    elif suffix == ".npy":
        _check_no_frame(path, frame)
        values = read_npy(path)
    elif suffix in RASTER_SUFFIXES:
        raster = read_raster(path, frame)
        values = _to_gray(path, raster, color=False)
        if raster.white_is_zero and values.dtype.kind == "u":
            values = np.iinfo(values.dtype).max - values
    else:
        raise ImageError(f"{path}: {suffix or 'no suffix'} and no DICOM header; expected one of {', '.join(SUFFIXES)}.")
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype not in (np.uint8, np.uint16, np.int16) or values.ndim != 2 or 0 in values.shape:
        raise ImageError(
            f"{path}: {values.dtype} of shape {values.shape}; expected one grayscale image of uint8, uint16 or int16."
        )
    return values


def read_npy(path: str | Path) -> np.ndarray:
    """Read an NPY file in native byte order; a trailing axis of length 1 is dropped.

    Args:
        path: path of the file.

    Returns:
        The array.

    Raises:
        ImageError: If the file is damaged or contains no single array.
    """
    try:
        values = np.load(path, allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise ValueError("an NPZ file with several arrays")
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
    except Exception as error:
        raise ImageError(f"{path}: not readable as npy ({type(error).__name__}: {error}).") from error
    return values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values


def _check_no_frame(path, frame):
    """Check that no frame is selected in an NPY file."""
    if frame is not None:
        raise ImageError(f"{path}: frame={frame}; an NPY file contains one image. Omit frame.")


def _to_gray(path, raster, color=True):
    """Gray values of a raster image in its own data type."""
    if raster.transparent:
        raise ImageError(
            f"{path}: transparent pixels (mode {raster.mode}); expected an opaque image. Save it without "
            "transparency on the intended background."
        )
    values = raster.values if raster.palette is None else raster.palette[raster.values]
    if values.ndim == 2:
        return values
    if (values == values[..., :1]).all():  # grayscale stored as three equal channels
        return values[..., 0]
    if not color:
        raise ImageError(f"{path}: mode {raster.mode}, in color; expected a grayscale image. Convert it first.")
    return rgb_to_gray(values.astype("float32")).round().astype(values.dtype)


def _scale(path, values, window, nan=None):
    """Map values to [0, 1] by a window or by their data type."""
    if values.dtype.kind not in "uif" or values.size == 0:
        raise ImageError(f"{path}: array of {values.dtype}, shape {values.shape}; expected numbers.")
    if values.dtype.kind == "f":
        values = _finite(path, values, nan)
    if window is not None:
        return apply_window(values, *resolve_window(window))
    if values.dtype == np.uint16 and 0 < values.max() < 2**13:
        raise ImageError(
            f"{path}: 16-bit values up to {values.max()} only, which would be nearly black; possibly 12-bit data. "
            "Pass window=(center, width), e.g. window=(2048, 4096)."
        )
    if values.dtype in (np.uint8, np.uint16):
        return values.astype("float32") / np.iinfo(values.dtype).max
    if values.min() < 0 or values.max() > 1:
        raise ImageError(
            f"{path}: {values.dtype} values from {values.min():g} to {values.max():g}; expected uint8, uint16, or "
            "floats from 0 to 1. Pass window=(center, width)."
        )
    return values.astype("float32")


def _finite(path, values, nan):
    """Replace NaN; raise ImageError for infinity, or for NaN without a replacement value."""
    if np.isinf(values).any():
        raise ImageError(f"{path}: contains infinity; expected finite numbers.")
    missing = np.isnan(values)
    if not missing.any():
        return values
    if nan is None:
        raise ImageError(
            f"{path}: {missing.sum()} of {values.size} pixels are NaN. Pass their replacement value in the units "
            "of the file, e.g. read_image(path, nan=0), or save the array after numpy.nan_to_num."
        )
    if not np.isfinite(nan):
        raise ImageError(f"{path}: nan={nan}; expected a finite replacement value for NaN pixels.")
    return np.where(missing, np.asarray(nan, values.dtype), values)
