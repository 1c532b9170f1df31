"""DICOM files to grey values in [0, 1], as a viewer would show them."""

import numpy as np

from medzoo.errors import ImageError
from medzoo.images.intensity import apply_window, full_range, luminance, window_of


def has_preamble(path):
    """Does the file begin as DICOM files do?"""
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def is_dicom(path):
    """DICOM by content, whatever the name, or by name."""
    return has_preamble(path) or path.suffix.lower() in (".dcm", ".dicom")


def read_dicom(path, window=None, frame=None):
    """Reads one image of a DICOM file.

    The stored values go through the modality rescale (slope, intercept or LUT), then through `window`, else the
    file's VOI LUT, else its first window, else from the smallest to the largest value; MONOCHROME1 is inverted, so that
    in the result more is always brighter. Colour becomes luminance.

    Args:
        path: the file.
        window: `(center, width)` in the file's units after rescaling (Hounsfield units for CT), the name of one of
            `medzoo.images.intensity.WINDOWS` for CT, or `None`.
        frame: index of the frame; needed where there are several.

    Returns: float32 `(H, W)` in [0, 1].

    Raises:
        ImageError: no DICOM file, no pixels, pixels that no installed decoder reads, or several frames and no `frame`.
    """
    try:
        return _grey(path, *open_dicom(path), window, frame)
    except ImageError:
        raise
    except Exception as error:  # a damaged element shows only when it is looked at
        raise ImageError(f"{path}: tags that cannot be used ({type(error).__name__}: {error}).") from error


def _grey(path, dataset, pixels, window, frame):
    from pydicom.pixels import apply_modality_lut

    colour = dataset.get("SamplesPerPixel", 1) == 3
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames > 1 or pixels.ndim == 3 + colour:
        if frame is None:
            raise ImageError(f"{path}: holds {frames} frames; say which with frame=0 to {frames - 1}.")
        if not 0 <= frame < frames:
            raise ImageError(f"{path}: frame={frame}; the file holds frames 0 to {frames - 1}.")
        pixels = pixels[frame] if pixels.ndim == 3 + colour else pixels
    elif frame not in (None, 0):
        raise ImageError(f"{path}: frame={frame}; the file holds one image.")
    if colour:
        return luminance(pixels.astype("float32")) / (2.0**dataset.BitsStored - 1.0)
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        return _palette(path, dataset, pixels)

    try:
        grey = _voi(dataset, apply_modality_lut(pixels, dataset), window)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise ImageError(f"{path}: rescale or window that cannot be used ({error}).") from error
    if not np.isfinite(grey).all():
        raise ImageError(f"{path}: pixels hold NaN or infinity.")
    return 1.0 - grey if dataset.get("PhotometricInterpretation") == "MONOCHROME1" else grey


def _palette(path, dataset, pixels):
    """Luminance of indices into a palette."""
    from pydicom.pixels import apply_color_lut

    try:
        colours = apply_color_lut(pixels, dataset)[..., :3]
    except Exception as error:
        raise ImageError(f"{path}: palette that cannot be used ({type(error).__name__}: {error}).") from error
    return luminance(colours.astype("float32")) / np.iinfo(colours.dtype).max


def open_dicom(path):
    """The data set of a DICOM file and its stored pixels as an array; raises `ImageError` as `read_dicom`."""
    import pydicom
    from pydicom.pixels import pixel_array

    try:
        dataset = pydicom.dcmread(path)
    except Exception as error:  # pydicom raises many kinds on broken files; ours names the file
        raise ImageError(f"{path}: not readable as DICOM ({type(error).__name__}: {error}).") from error
    if "PixelData" not in dataset and "FloatPixelData" not in dataset and "DoubleFloatPixelData" not in dataset:
        raise ImageError(f"{path}: a DICOM file without pixels (modality {dataset.get('Modality', 'unknown')}).")
    try:
        pixels = pixel_array(dataset)
    except Exception as error:
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        syntax = f"{syntax.name} ({syntax})" if syntax else "unknown transfer syntax"
        raise ImageError(
            f"{path}: pixels in {syntax} could not be decoded: {error} "
            'For compressed DICOM: pip install "medzoo[dicom]".'
        ) from error
    return dataset, pixels


def _voi(dataset, values, window):
    """Grey values in [0, 1] from values after the modality transform."""
    from pydicom.pixels import apply_voi

    if window is not None:
        if isinstance(window, str) and dataset.get("Modality") != "CT":
            raise ValueError(f"window={window!r} is for CT; modality {dataset.get('Modality', 'unknown')}")
        return apply_window(values, *window_of(window))
    if dataset.get("VOILUTSequence"):
        table = apply_voi(values, dataset, index=0)
        bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
        return np.clip(table / (2.0**bits - 1.0), 0.0, 1.0).astype("float32")
    if dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        center, width = (np.ravel(dataset[name].value)[0] for name in ("WindowCenter", "WindowWidth"))
        return apply_window(values, float(center), float(width), dataset.get("VOILUTFunction", "LINEAR") or "LINEAR")
    return full_range(values)
