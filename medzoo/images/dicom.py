"""DICOM files to grey values in [0, 1], as a viewer would show them."""

from importlib.util import find_spec

import numpy as np

from medzoo.errors import ImageError
from medzoo.images import jpeg12
from medzoo.images.intensity import apply_window, full_range, luminance, window_of
from medzoo.images.packed import unpacked
from medzoo.images.pet import SUV_WINDOW, suv_factor


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
    then through `window`, else the file's VOI LUT, else its first window, else from the smallest to the largest value;
    MONOCHROME1 is inverted, so that in the result more is always brighter. Colour becomes luminance.

    Args:
        path: the file.
        window: `(center, width)` in the file's units after rescaling (Hounsfield units for CT); the name of one of
            `medzoo.images.intensity.WINDOWS` for CT; `"suv"` for PET, standardised uptake from 0 to 10; the number of
            one of the file's own windows, from 0; or `None`.
        frame: index of the frame; needed where there are several.

    Returns: float32 `(H, W)` in [0, 1].

    Raises:
        ImageError: no DICOM file, no pixels, pixels that no installed decoder reads, several frames and no `frame`, or
            a window for which the tags are missing.
    """
    return _guarded(_grey, path, window, frame)


def read_values(path, frame=None, units=None):
    """Values of one image of a DICOM file after the modality rescale: Hounsfield units for CT.

    Args:
        path, frame: see `read_dicom`.
        units: `"suv"`: body-weight standardised uptake values of a PET image, see `medzoo.images.pet`.

    Returns: float32 `(H, W)`.

    Raises:
        ImageError: as `read_dicom`; colour; tags from which there is no SUV.
    """
    return _guarded(_units, path, units, frame)


def _guarded(function, path, how, frame):
    try:
        dataset = parse(path)
        pixels = _decode(path, dataset, _index(path, dataset, frame))
        result = function(path, _with_groups(dataset, frame or 0), pixels, how)
    except ImageError:
        raise
    except Exception as error:  # a damaged element shows only when it is looked at
        raise ImageError(f"{path}: tags that cannot be used ({type(error).__name__}: {error}).") from error
    if not np.isfinite(result).all():
        raise ImageError(f"{path}: pixels hold NaN or infinity.")
    return result


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


def _with_groups(dataset, frame):
    """The data set with the rescale and the windows of one frame, where functional groups hold them, at the top."""
    groups = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    groups += list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
    for group in groups:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in group.get(name) or []:
                dataset.update(item)
    return dataset


def _grey(path, dataset, pixels, window):
    if _colour(dataset):
        return luminance(pixels.astype("float32")) / (2.0**dataset.BitsStored - 1.0)
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        return _palette(path, dataset, pixels)
    units = "suv" if window == "suv" else None
    grey = _voi(path, dataset, _units(path, dataset, pixels, units), window)
    return 1.0 - grey if dataset.get("PhotometricInterpretation") == "MONOCHROME1" else grey


def _units(path, dataset, pixels, units):
    from pydicom.pixels import apply_modality_lut

    if _colour(dataset) or dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise ImageError(f"{path}: a colour image, which has no values in units.")
    if units not in (None, "suv"):
        raise ValueError(f"units={units!r}; expected None or 'suv'.")
    try:
        values = apply_modality_lut(pixels, dataset)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise ImageError(f"{path}: rescale that cannot be used ({error}).") from error
    if units == "suv":
        values = values * suv_factor(path, dataset)
    return values.astype("float32") if values.dtype.kind == "f" else values


def _palette(path, dataset, pixels):
    """Luminance of indices into a palette."""
    from pydicom.pixels import apply_color_lut

    try:
        colours = apply_color_lut(pixels, dataset)[..., :3]
    except Exception as error:
        raise ImageError(f"{path}: palette that cannot be used ({type(error).__name__}: {error}).") from error
    return luminance(colours.astype("float32")) / np.iinfo(colours.dtype).max


def open_dicom(path):
    """The data set of a DICOM file and its stored pixels, all frames, as an array; raises as `read_dicom`."""
    dataset = parse(path)
    return dataset, _decode(path, dataset)


def _decode(path, dataset, index=None):
    from pydicom.pixels import pixel_array

    if "PixelData" not in dataset and "FloatPixelData" not in dataset and "DoubleFloatPixelData" not in dataset:
        raise ImageError(f"{path}: a DICOM file without pixels (modality {dataset.get('Modality', 'unknown')}).")
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    try:
        if syntax is None:
            dataset.file_meta.TransferSyntaxUID = syntax = _assumed_syntax(dataset)
        jpeg12.register()
        return pixel_array(unpacked(dataset, syntax), index=index)
    except Exception as error:
        syntax = f"{syntax.name} ({syntax})" if syntax else "unknown transfer syntax"
        reason = " ".join(str(error).split())  # in one line
        raise ImageError(f"{path}: pixels in {syntax} could not be decoded.{_install()} ({reason})") from error


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


def _voi(path, dataset, values, window):
    """Grey values in [0, 1] from values after the modality transform."""
    from pydicom.pixels import apply_voi

    if window == "suv":
        return apply_window(values, *SUV_WINDOW, "LINEAR_EXACT")
    if isinstance(window, str):
        _check_hounsfield(path, dataset, window)
    if window is not None and not isinstance(window, int):
        return apply_window(values, *window_of(window))
    try:
        if dataset.get("VOILUTSequence") and window is None:
            table = apply_voi(values, dataset, index=0)
            bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
            return np.clip(table / (2.0**bits - 1.0), 0.0, 1.0).astype("float32")
        if dataset.get("WindowCenter") is None or dataset.get("WindowWidth") is None:
            centers = widths = ()
        else:
            centers, widths = (np.ravel(dataset[name].value) for name in ("WindowCenter", "WindowWidth"))
        if window is not None and not 0 <= window < min(len(centers), len(widths)):
            raise ImageError(f"{path}: window={window}; the file has {min(len(centers), len(widths))} windows, from 0.")
        if len(centers) == 0:
            return full_range(values)
        center, width = float(centers[window or 0]), float(widths[window or 0])
        return apply_window(values, center, width, dataset.get("VOILUTFunction", "LINEAR") or "LINEAR")
    except ImageError:
        raise
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise ImageError(f"{path}: a window that cannot be used ({error}).") from error


def _check_hounsfield(path, dataset, window):
    window_of(window)  # says which names there are
    if dataset.get("Modality") != "CT":
        raise ImageError(f"{path}: window={window!r} is for CT; modality {dataset.get('Modality', 'unknown')}.")
    kind = dataset.get("RescaleType") or "HU"
    known = "RescaleIntercept" in dataset or dataset.get("ModalityLUTSequence")
    if not known or kind not in ("HU", "HU_MOD"):
        raise ImageError(
            f"{path}: window={window!r} needs Hounsfield units; the file has "
            + (f"values of type {kind}." if known else "no rescale slope and intercept.")
        )
