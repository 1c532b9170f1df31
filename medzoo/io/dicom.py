"""DICOM files to grey values in [0, 1], as a viewer would show them."""

from contextlib import contextmanager
from importlib.util import find_spec

from medzoo.errors import ImageError
from medzoo.io import jpeg12
from medzoo.io.dicom_codecs import unpacked
from medzoo.io.dicom_lut import apply_palette
from medzoo.io.dicom_pixels import align_stored, check_high_bit
from medzoo.io.dicom_voi import Frame, as_gray, as_units, checked_window
from medzoo.io.intensity import rgb_to_gray
from medzoo.io.notices import warn
from medzoo.io.pixel_aspect import warn_if_not_square

GRAY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence")


def has_preamble(path):
    """Does the file begin as DICOM files do?"""
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def is_dicom(path):
    """DICOM by content, whatever the name, or by name."""
    return has_preamble(path) or path.suffix.lower() in (".dcm", ".dicom")


def parse(path, **options):
    """The data set of a DICOM file; `options` go to `pydicom.dcmread`.

    A file without the preamble, as old ones are, is taken only if it has what every image has.

    Raises:
        ImageError: not readable as DICOM.
    """
    import pydicom

    try:
        dataset = pydicom.dcmread(path, force=True, **options)
        if dataset.preamble is None:
            uid = str(dataset.get("SOPClassUID", ""))
            if not uid.startswith("1.2.840.10008.") or "Rows" not in dataset or "Columns" not in dataset:
                raise ValueError("neither the DICM prefix nor the tags of an image")
    except Exception as error:  # pydicom raises many kinds on broken files; ours names the file
        raise ImageError(f"{path}: not readable as DICOM ({type(error).__name__}: {error}).") from error
    return dataset


def read_dicom(path, window=None, frame=None):
    """Reads one image of a DICOM file.

    The stored values go through the modality rescale (slope, intercept or LUT, of the frame where each has its own),
    then through `window`, else the file's first VOI LUT, else its first window, else from the smallest to the largest
    value; MONOCHROME1 is inverted, so that in the result more is always brighter. Padding (PixelPaddingValue) is no
    gray value: it does not count for the smallest and the largest value, and is 0. Colour becomes luminance. Pixels
    that are not square stay as they are, with a warning in the log.

    Args:
        path: the file.
        window: `(center, width)` in the file's units after rescaling (Hounsfield units for CT); the name of one of
            `medzoo.io.intensity.WINDOWS` for CT; `"suv"` for PET, standardised uptake from 0 to 10; the number of
            one of the file's own windows, from 0; or `None`. Color images take `None` only.
        frame: index of the frame; needed where there are several.

    Returns: float32 `(H, W)` in [0, 1].

    Raises:
        ImageError: no DICOM file, no pixels, pixels that no installed decoder reads, several frames and no `frame`, a
            window for which the tags are missing, or tags that contradict each other.
    """
    image = _guarded(_gray, path, checked_window(path, window), frame)
    if image.min() < -1e-5 or image.max() > 1 + 1e-5:
        raise ImageError(f"{path}: pixels use more bits than BitsStored; expected values that fit the tag.")
    return image


def read_values(path, frame=None, units=None):
    """Values of one image of a DICOM file after the modality rescale: Hounsfield units for CT.

    Padding (PixelPaddingValue) has no value in these units: in CT in Hounsfield units it becomes -1024 (air), else its
    own value is cut off to the range from 0 to the smallest value outside the padding.

    Args:
        path, frame: see `read_dicom`.
        units: `"suv"`: body-weight standardised uptake values of a PET image, see `medzoo.io.suv`.

    Returns: float32 `(H, W)`.

    Raises:
        ImageError: as `read_dicom`; colour; tags from which there is no SUV.
    """
    return _guarded(_values, path, units, frame)


def _guarded(function, path, how, frame):
    with _named(path):
        dataset = parse(path)
        index = _index(path, dataset, frame)
        values, words = _decode(path, dataset, index)
        dataset = _with_groups(path, dataset, frame or 0)
        return function(Frame(path, dataset, values, words), how)


@contextmanager
def _named(path):
    """Turns the many kinds of errors that a damaged element raises when it is read into one that names the file."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{path}: tags that cannot be used ({type(error).__name__}: {error}).") from error


def _index(path, dataset, frame):
    """Which frame to decode; None for the only one."""
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames == 1:
        if frame not in (None, 0):
            raise ImageError(f"{path}: frame={frame}; the file holds one image.")
        return None
    if frame is None:
        raise ImageError(f"{path}: holds {frames} frames; say which with frame=0 to {frames - 1}.")
    if not 0 <= frame < frames:
        raise ImageError(f"{path}: frame={frame}; the file holds frames 0 to {frames - 1}.")
    return frame


def _colour(dataset):
    return dataset.get("SamplesPerPixel", 1) == 3


def _with_groups(path, dataset, frame):
    """The data set with the rescale, windows and spacing that functional groups hold for one frame at the top."""
    groups = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if own and frame >= len(own):
        raise ImageError(f"{path}: frame {frame}, but the file describes {len(own)} frames only (functional groups).")
    for group in groups + own[frame : frame + 1]:
        for name in GROUPS:
            for item in group.get(name) or []:
                dataset.update(item)
    return dataset


def _gray(frame, window):
    """Gray values in [0, 1] of a frame, as a viewer shows it."""
    path, dataset = frame.path, frame.dataset
    kind = dataset.get("PhotometricInterpretation")
    warn_if_not_square(path, dataset)
    if window is not None and (_colour(dataset) or kind == PALETTE):
        raise ImageError(
            f"{path}: window={window!r} is for gray values; this is a color image ({kind}). Read it without window."
        )
    if _colour(dataset):
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
    """Refuses or names a PresentationLUTShape that contradicts the PhotometricInterpretation."""
    shape, kind = str(dataset.get("PresentationLUTShape") or "").strip().upper(), dataset.PhotometricInterpretation
    if shape == "INVERSE" and kind != "MONOCHROME1":
        raise ImageError(
            f"{path}: PresentationLUTShape INVERSE with {kind}, so that it is unknown what is bright; expected "
            "IDENTITY with MONOCHROME2, or INVERSE with MONOCHROME1. Correct one of the tags."
        )
    if shape == "IDENTITY" and kind == "MONOCHROME1":
        text = "MONOCHROME1 with PresentationLUTShape IDENTITY, which contradict each other; taken as MONOCHROME1."
        warn("photometric interpretations that contradict", path, text)


def _values(frame, units):
    if _colour(frame.dataset) or frame.dataset.get("PhotometricInterpretation") == PALETTE:
        raise ImageError(f"{frame.path}: a colour image, which has no values in units.")
    return as_units(frame, units)


def _palette(frame):
    """Luminance of indices into a palette."""
    try:
        colors, white = apply_palette(frame.path, frame.dataset, frame.values, frame.span, frame.little)
    except Exception as error:
        raise ImageError(f"{frame.path}: palette that cannot be used ({type(error).__name__}: {error}).") from error
    return rgb_to_gray(colors.astype("float32")) / white


def open_dicom(path):
    """The data set of a DICOM file and its stored pixels, all frames, as an array; raises as `read_dicom`."""
    with _named(path):
        dataset = parse(path)
        return dataset, _decode(path, dataset)[0]


def stored_gray(path):
    """Return the stored values of a DICOM file of gray values, all frames; windows and rescaling are left out.

    Raises:
        ImageError: As `read_dicom`; or the values are indices into a palette of colors.
    """
    dataset, values = open_dicom(path)
    with _named(path):
        if dataset.get("PhotometricInterpretation") == PALETTE:
            raise ImageError(f"{path}: PALETTE COLOR, indices into a palette; expected gray values.")
    return values


def _decode(path, dataset, index=None):
    """The stored values, right-aligned and with their sign, and the same as they lie in the file."""
    if "PixelData" not in dataset and "FloatPixelData" not in dataset and "DoubleFloatPixelData" not in dataset:
        raise ImageError(f"{path}: a DICOM file without pixels (modality {dataset.get('Modality', 'unknown')}).")
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    try:
        if syntax is None:
            dataset.file_meta.TransferSyntaxUID = syntax = _assumed_syntax(dataset)
        jpeg12.register()
        return _stored(unpacked(dataset, syntax), index)
    except Exception as error:
        syntax = f"{syntax.name} ({syntax})" if syntax else "unknown transfer syntax"
        reason = " ".join(str(error).split())  # in one line
        raise ImageError(f"{path}: pixels in {syntax} could not be decoded.{_install()} ({reason})") from error


def _stored(dataset, index):
    """`_decode` of a data set whose transfer syntax pydicom knows."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import RLELossless

    syntax, colors = dataset.file_meta.TransferSyntaxUID, _colour(dataset)
    kind = str(dataset.get("PhotometricInterpretation"))
    # Values that a codec or pydicom's conversion of colors takes apart are left to pydicom.
    plain = (not syntax.is_encapsulated or syntax == RLELossless) and not kind.startswith("YBR")
    options = {"correct_unused_bits": False} if plain else {}
    words, found = get_decoder(syntax).as_array(dataset, index=index, **options)
    if colors == (kind in (*GRAY, PALETTE)):
        raise ValueError(f"{kind} with SamplesPerPixel {dataset.get('SamplesPerPixel')}")
    if colors and found["photometric_interpretation"] != "RGB":
        raise ValueError(f"colors in {found['photometric_interpretation']}; expected RGB, YBR_FULL or YBR_FULL_422")
    if plain and "PixelData" in dataset:
        return align_stored(dataset, words), words
    check_high_bit(dataset)
    return words, words


def _assumed_syntax(dataset):
    """The transfer syntax of a file that does not say it, from how its tags are written; pixels must be plain then."""
    from pydicom import uid

    if "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
        raise ValueError("compressed, and the file does not say how")
    implicit, little = dataset.original_encoding
    return uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian


def _install():
    missing = [name for name in ("openjpeg", "jpeg_ls", "gdcm", "imagecodecs") if find_spec(name) is None]
    return ' For compressed DICOM: pip install "medzoo[dicom]".' if missing else ""
