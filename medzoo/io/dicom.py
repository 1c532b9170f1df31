"""Reading of DICOM files as gray values in [0, 1] or as values in physical units."""

from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medzoo.errors import ImageError
from medzoo.io import jpeg12
from medzoo.io.dicom_codecs import decompress_pixels
from medzoo.io.dicom_lut import apply_palette
from medzoo.io.dicom_pixels import align_stored, check_high_bit
from medzoo.io.dicom_voi import Frame, as_gray, as_units, checked_window
from medzoo.io.intensity import rgb_to_gray
from medzoo.io.notices import warn
from medzoo.io.pixel_aspect import warn_if_not_square

if TYPE_CHECKING:
    import pydicom

GRAY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
FUNCTIONAL_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence")


def has_preamble(path: str | Path) -> bool:
    """Return whether a file begins with a DICOM preamble."""
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by content or by suffix."""
    return has_preamble(path) or path.suffix.lower() in (".dcm", ".dicom")


def parse(path: str | Path, **options) -> "pydicom.Dataset":
    """Parse a DICOM file.

    A file without a preamble is accepted only if it has the tags of an image.

    Args:
        path: path of the file.
        **options: arguments of `pydicom.dcmread`.

    Returns:
        pydicom dataset.

    Raises:
        ImageError: If the file is not readable as DICOM.
    """
    import pydicom

    try:
        dataset = pydicom.dcmread(path, force=True, **options)
        if dataset.preamble is None:
            uid = str(dataset.get("SOPClassUID", ""))
            if not uid.startswith("1.2.840.10008.") or "Rows" not in dataset or "Columns" not in dataset:
                raise ValueError("neither the DICM prefix nor the tags of an image")
    except Exception as error:  # pydicom raises many error types for damaged files
        raise ImageError(f"{path}: not readable as DICOM ({type(error).__name__}: {error}).") from error
    return dataset


def read_dicom(
    path: str | Path, window: tuple[float, float] | str | int | None = None, frame: int | None = None
) -> np.ndarray:
    """Read one image of a DICOM file as gray values.

    The modality rescale (slope and intercept, or LUT; per frame if defined) is applied to the stored values. The result
    is mapped to [0, 1] by `window`, else by the first VOI LUT of the file, else by its first window, else by its
    minimum and maximum. MONOCHROME1 is inverted. Padding (PixelPaddingValue) is excluded from minimum and maximum and
    set to 0. Color is converted to luminance. Non-square pixels are not resampled, and a warning is logged.

    Args:
        path: path of the file.
        window: `(center, width)` in rescaled units (Hounsfield units for CT); a key of `medzoo.io.intensity.WINDOWS`
            for CT; `"suv"` for PET (SUV 0 to 10); the index of a window of the file, from 0; or `None` (default). Must
            be `None` for color images.
        frame: int. Index of the frame; required for multi-frame files.

    Returns:
        float32 array `(H, W)` in [0, 1].

    Raises:
        ImageError: If the file is not DICOM, has no pixel data, or cannot be decoded; if it has several frames and
            `frame` is `None`; if tags required by the window are missing, or tags contradict each other.
    """
    image = _read_frame(_gray, path, checked_window(path, window), frame)
    if image.min() < -1e-5 or image.max() > 1 + 1e-5:
        raise ImageError(f"{path}: pixels use more bits than BitsStored; expected values that fit the tag.")
    return image


def read_values(path: str | Path, frame: int | None = None, units: str | None = None) -> np.ndarray:
    """Read one image of a DICOM file in physical units, after the modality rescale.

    Padding (PixelPaddingValue) is set to -1024 (air) for CT in Hounsfield units. Otherwise its value is clipped to the
    range between 0 and the minimum of all other pixels.

    Args:
        path: path of the file.
        frame: int. Index of the frame; required for multi-frame files.
        units: `"suv"` for body-weight standardized uptake values of PET, see `medzoo.io.suv`; `None` (default) for the
            units of the rescale, Hounsfield units for CT.

    Returns:
        Array `(H, W)`: float32, or integers if the file has no rescale.

    Raises:
        ImageError: As `read_dicom`; or if the image is in color, or the tags for SUV are missing.
    """
    return _read_frame(_values, path, units, frame)


def _read_frame(function, path, how, frame):
    """Decode a frame and apply a function to it."""
    with _named(path):
        dataset = parse(path)
        index = _index(path, dataset, frame)
        values, words = _decode(path, dataset, index)
        dataset = _with_groups(path, dataset, frame or 0)
        return function(Frame(path, dataset, values, words), how)


@contextmanager
def _named(path):
    """Convert the errors of damaged elements to an ImageError that names the file."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{path}: invalid DICOM tags ({type(error).__name__}: {error}).") from error


def _index(path, dataset, frame):
    """Index of the frame to decode; `None` for a single-frame file."""
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames == 1:
        if frame not in (None, 0):
            raise ImageError(f"{path}: frame={frame}; the file contains one image.")
        return None
    if frame is None:
        raise ImageError(f"{path}: contains {frames} frames; select one with frame=0 to {frames - 1}.")
    if not 0 <= frame < frames:
        raise ImageError(f"{path}: frame={frame}; the file contains frames 0 to {frames - 1}.")
    return frame


def _is_color(dataset):
    """Return whether a dataset has 3 samples per pixel."""
    return dataset.get("SamplesPerPixel", 1) == 3


def _with_groups(path, dataset, frame):
    """Dataset with the rescale, windows and spacing of a frame's functional groups at the top level."""
    groups = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if own and frame >= len(own):
        raise ImageError(f"{path}: frame {frame}, but the functional groups describe {len(own)} frames only.")
    for group in groups + own[frame : frame + 1]:
        for name in FUNCTIONAL_GROUPS:
            for item in group.get(name) or []:
                dataset.update(item)
    return dataset


def _gray(frame, window):
    """Gray values of a frame in [0, 1]."""
    path, dataset = frame.path, frame.dataset
    kind = dataset.get("PhotometricInterpretation")
    warn_if_not_square(path, dataset)
    if window is not None and (_is_color(dataset) or kind == PALETTE):
        raise ImageError(
            f"{path}: window={window!r} requires gray values; this is a color image ({kind}). Omit window."
        )
    if _is_color(dataset):
        return rgb_to_gray(frame.values.astype("float32")) / (2.0**dataset.BitsStored - 1.0)
    if kind == PALETTE:
        return _palette(frame)
    _check_shape(path, dataset)
    gray = as_gray(frame, window)
    gray = 1.0 - gray if kind == "MONOCHROME1" else gray
    if frame.padding is not None:
        gray[frame.padding] = 0.0
    return gray


def _check_shape(path, dataset):
    """Raise or warn if PresentationLUTShape contradicts PhotometricInterpretation."""
    shape, kind = str(dataset.get("PresentationLUTShape") or "").strip().upper(), dataset.PhotometricInterpretation
    if shape == "INVERSE" and kind != "MONOCHROME1":
        raise ImageError(
            f"{path}: PresentationLUTShape INVERSE with {kind}, so that the polarity is ambiguous; expected "
            "IDENTITY with MONOCHROME2, or INVERSE with MONOCHROME1. Correct one of the tags."
        )
    if shape == "IDENTITY" and kind == "MONOCHROME1":
        text = "MONOCHROME1 contradicts PresentationLUTShape IDENTITY; the image is treated as MONOCHROME1."
        warn("contradictory photometric interpretation", path, text)


def _values(frame, units):
    """Values of a frame in physical units."""
    if _is_color(frame.dataset) or frame.dataset.get("PhotometricInterpretation") == PALETTE:
        raise ImageError(f"{frame.path}: a color image has no values in physical units.")
    return as_units(frame, units)


def _palette(frame):
    """Luminance of a palette image."""
    try:
        colors, white = apply_palette(frame.path, frame.dataset, frame.values, frame.span, frame.little)
    except Exception as error:
        raise ImageError(f"{frame.path}: invalid palette ({type(error).__name__}: {error}).") from error
    return rgb_to_gray(colors.astype("float32")) / white


def open_dicom(path: str | Path) -> tuple["pydicom.Dataset", np.ndarray]:
    """Return the dataset of a DICOM file and its stored pixels.

    Args:
        path: path of the file.

    Returns:
        `(dataset, values)`; `values` contains all frames.

    Raises:
        ImageError: As `read_dicom`.
    """
    with _named(path):
        dataset = parse(path)
        return dataset, _decode(path, dataset)[0]


def stored_gray(path: str | Path) -> np.ndarray:
    """Return the stored values of a grayscale DICOM file without rescale and window.

    Args:
        path: path of the file.

    Returns:
        Array `(H, W)` or `(frames, H, W)`.

    Raises:
        ImageError: As `read_dicom`; or if the file is a palette image.
    """
    dataset, values = open_dicom(path)
    with _named(path):
        if dataset.get("PhotometricInterpretation") == PALETTE:
            raise ImageError(f"{path}: PALETTE COLOR; expected gray values.")
    return values


def _decode(path, dataset, index=None):
    """Return `(values, words)`: the aligned and signed stored values, and the words of the file."""
    if "PixelData" not in dataset and "FloatPixelData" not in dataset and "DoubleFloatPixelData" not in dataset:
        raise ImageError(f"{path}: a DICOM file without pixel data (modality {dataset.get('Modality', 'unknown')}).")
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    try:
        if syntax is None:
            dataset.file_meta.TransferSyntaxUID = syntax = _assumed_syntax(dataset)
        jpeg12.register()
        return _stored(decompress_pixels(dataset, syntax), index)
    except Exception as error:
        syntax = f"{syntax.name} ({syntax})" if syntax else "unknown transfer syntax"
        reason = " ".join(str(error).split())  # in one line
        raise ImageError(f"{path}: pixels in {syntax} could not be decoded.{_install()} ({reason})") from error


def _stored(dataset, index):
    """`_decode` for transfer syntaxes supported by pydicom."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import RLELossless

    syntax, colors = dataset.file_meta.TransferSyntaxUID, _is_color(dataset)
    kind = str(dataset.get("PhotometricInterpretation"))
    # Unused bits are handled here for native and RLE pixels; for other codecs and YBR colors, by pydicom.
    native = (not syntax.is_encapsulated or syntax == RLELossless) and not kind.startswith("YBR")
    options = {"correct_unused_bits": False} if native else {}
    words, properties = get_decoder(syntax).as_array(dataset, index=index, **options)
    if colors == (kind in (*GRAY, PALETTE)):
        raise ValueError(f"{kind} with SamplesPerPixel {dataset.get('SamplesPerPixel')}")
    if colors and properties["photometric_interpretation"] != "RGB":
        raise ValueError(
            f"colors in {properties['photometric_interpretation']}; expected RGB, YBR_FULL or YBR_FULL_422"
        )
    if native and "PixelData" in dataset:
        return align_stored(dataset, words), words
    check_high_bit(dataset)
    return words, words


def _assumed_syntax(dataset):
    """Transfer syntax of a file without TransferSyntaxUID, derived from the encoding of its tags."""
    from pydicom import uid

    if "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
        raise ValueError("compressed pixels without a TransferSyntaxUID")
    implicit, little = dataset.original_encoding
    return uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian


def _install():
    """Installation hint if a decoder is missing."""
    missing = [name for name in ("openjpeg", "jpeg_ls", "gdcm", "imagecodecs") if find_spec(name) is None]
    return ' For compressed DICOM: pip install "medzoo[dicom]".' if missing else ""
