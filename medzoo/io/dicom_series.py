"""DICOM series as volumes: slices found, sorted and placed in space. What would have to be guessed is refused."""

import logging
from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.dicom import open_dicom, parse, read_values
from medzoo.io.dicom_slices import slices_of, sorted_slices
from medzoo.io.dicom_voi import AIR
from medzoo.io.intensity import without_loss
from medzoo.io.listing import holds_dicom, holds_pixels, read_all
from medzoo.io.nifti import EXACT, which
from medzoo.io.volume import MOST, Volume
from medzoo.io.walk import files_below

log = logging.getLogger("medzoo")
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM counts x to the left and y to the back
FAR = 0.1  # of the range of all other values: padding farther from them than this is left out of the display range
# What two files of one SOPInstanceUID must share beside their pixels to be one image.
OF_AN_IMAGE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept")
OF_AN_IMAGE += ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def read_series(source, series=None, time=None, units=None):
    """The volume of a DICOM series, on the grid of its slices.

    Args:
        source: folder, list of files, or one multi-frame file.
        series: SeriesInstanceUID, number or description, where there are several.
        time: which volume, from 0, where several images lie at each place.
        units: see `read_values`.

    Raises:
        ImageError: see `medzoo.read_volume`.
    """
    name, files = _files(source)
    headers = {file: parse(file, stop_before_pixels=True) for file in files}
    try:
        headers = _without_copies(_one_series(name, _with_pixels(name, headers), series))
        _check_kind(name, headers)
        if any("MOSAIC" in _image_type(header) for header in headers.values()):
            return _of_mosaics(name, headers, time)
        slices = [piece for file, header in headers.items() for piece in slices_of(file, header)]
        slices, step = sorted_slices(name, slices, time)
        paddings = [None if units else _padding(headers[piece.path]) for piece in slices]
        wide = {file for file, header in headers.items() if int(header.get("BitsAllocated") or 16) > 16}
        integers = {file for file in wide if "PixelRepresentation" in headers[file]}
    except ImageError:
        raise
    except Exception as error:  # a damaged element shows only when it is looked at
        raise ImageError(f"{name}: tags that cannot be used ({type(error).__name__}: {error}).") from error
    first = slices[0]
    shape = (first.shape[1], first.shape[0], len(slices))
    if np.prod(shape, dtype="float64") > MOST:
        raise ImageError(f"{name}: {shape} voxels; that is too many.")
    values = np.empty(shape, "float64" if wide else "float32")
    padding = _fill(values, name, slices, paddings, units, integers)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = first.rows * first.spacing[1], first.columns * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = step, first.position
    affine = TO_RAS @ affine
    return Volume(without_loss(values), affine, name, (shape, affine), padding)


def _fill(values, name, slices, paddings, units, integers):
    """Reads the values of slices into an array `(columns, rows, slices)`; returns `Volume.padding`.

    Args:
        paddings: of each slice what `_padding` gives.
        units: see `read_values`.
        integers: the files of 32-bit integers.
    """
    padded = np.zeros(values.shape, bool) if any(paddings) else None

    def read(index):
        path = slices[index].path
        pixels = read_values(path, slices[index].frame, units)
        if path in integers and pixels.dtype == np.float32 and abs(pixels).max() >= EXACT:
            raise ImageError(
                f"{path}: values up to {abs(pixels).max():.9g} after the rescale of 32-bit integers; expected less "
                f"than {EXACT}, which are read exactly. Save the series as NIfTI of float64."
            )
        return pixels

    def keep(index, pixels):
        values[:, :, index] = pixels.T
        if paddings[index]:
            low, high = np.asarray(paddings[index], pixels.dtype)
            padded[:, :, index] = ((pixels >= low) & (pixels <= high)).T

    _, errors = read_all([(i,) for i in range(len(slices))], read, keep)
    if errors:
        raise ImageError(
            f"{name}: {len(errors)} of {len(slices)} slices cannot be read.\n{next(iter(errors.values()))}"
        )
    return None if padded is None else _far(values, padded)


def _padding(header):
    """The smallest and the largest value that `read_values` gives to padding: air in CT; elsewhere, and where a header
    marks none, `None`: it lies among the other values then."""
    return (AIR, AIR) if header.get("PixelPaddingValue") is not None and header.get("Modality") == "CT" else None


def _far(values, padded):
    """The smallest and the largest value of padding that lies so far from all others that little contrast is left to
    them, else `None`."""
    others, padding = values[~padded], values[padded]
    if not others.size or not padding.size:
        return None
    low, high, least, most = (float(end) for part in (others, padding) for end in (part.min(), part.max()))
    apart = most < low or least > high
    return (least, most) if apart and max(low - least, most - high) > FAR * (high - low) else None


def _with_pixels(name, headers):
    """The headers of images; reports, presentation states and other objects without pixels beside them are left."""
    found = {file: header for file, header in headers.items() if holds_pixels(header)}
    if not found:
        kinds = sorted({str(header.get("Modality") or "no modality") for header in headers.values()})
        raise ImageError(
            f"{name}: no image; {len(headers)} DICOM objects without pixels ({', '.join(kinds)}). Expected the slices "
            "of a series."
        )
    return found


def _without_copies(headers):
    """The headers without those of files that are copies of another, by their SOPInstanceUID and their pixels."""
    first, kept = {}, {}
    for file, header in headers.items():
        uid = str(header.get("SOPInstanceUID") or file)
        if first.setdefault(uid, file) == file:
            kept[file] = header
        elif _one_image(first[uid], file):
            log.warning("%s: a copy of %s (the same SOPInstanceUID); it is left out.", file, first[uid].name)
        else:
            raise ImageError(
                f"{file}: the SOPInstanceUID of {first[uid].name}, but another image. Expected one UID per image; "
                "remove one of the two files, or list those that make the series."
            )
    return kept


def _one_image(file, other):
    if file.read_bytes() == other.read_bytes():
        return True
    (header, pixels), (header_2, pixels_2) = open_dicom(file), open_dicom(other)
    return all(header.get(tag) == header_2.get(tag) for tag in OF_AN_IMAGE) and np.array_equal(pixels, pixels_2)


def _files(source):
    """`(what to call it, the DICOM files)`; other files in a folder are let be."""
    if isinstance(source, (list, tuple)):
        if not source:
            raise ImageError("an empty list of files; expected the files of a DICOM series.")
        files = [Path(file) for file in source]
        for file in files:
            if not file.is_file():
                raise FileNotFoundError(f"{file}: no such file.")
        return files[0].parent, files
    path = Path(source)
    if path.is_file():
        return path, [path]
    files = [file for file in files_below(path) if holds_dicom(file)]
    if not files:
        raise ImageError(f"{path}: no DICOM files in this folder; expected those of a series.")
    return path, files


def _one_series(name, headers, wanted):
    """The headers of the one series that is there, or that was asked for."""
    found = {}
    for file, header in headers.items():
        found.setdefault(str(header.get("SeriesInstanceUID", "")), {})[file] = header
    names = ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription")
    first = {uid: next(iter(own.values())) for uid, own in found.items()}
    chosen = [uid for uid in found if wanted is None or str(wanted) in [str(first[uid].get(tag, "")) for tag in names]]
    if len(chosen) == 1:
        return found[chosen[0]]
    lines = [
        f"  number {first[uid].get('SeriesNumber', 'none')}, {first[uid].get('SeriesDescription', 'no text')!r}, "
        f"{first[uid].get('Modality', 'unknown')}, {len(own)} files, {uid}"
        for uid, own in sorted(found.items(), key=lambda pair: str(first[pair[0]].get("SeriesNumber", "")))
    ]
    asked = "several series" if wanted is None else f"series={wanted!r} is {len(chosen) or 'none'} of these"
    raise ImageError(f"{name}: {asked}; say which with series= its UID, number or description:\n" + "\n".join(lines))


def _image_type(header):
    value = header.get("ImageType") or ()
    return [str(word).upper() for word in ([value] if isinstance(value, str) else value)]


def _check_kind(name, headers):
    scouts = [file for file, header in headers.items() if "LOCALIZER" in _image_type(header)]
    if scouts:
        raise ImageError(f"{name}: {len(scouts)} of {len(headers)} files are localizers ({scouts[0].name}); no volume.")
    for file, header in headers.items():
        if header.get("SamplesPerPixel", 1) != 1:
            raise ImageError(f"{file}: in colour; expected slices with values.")
    for tag in ("FrameOfReferenceUID", "PhotometricInterpretation"):
        found = {str(header.get(tag)): file.name for file, header in headers.items() if header.get(tag)}
        if len(found) > 1:
            which_ones = ", ".join(f"{value} ({file})" for value, file in list(found.items())[:3])
            raise ImageError(f"{name}: slices of unlike {tag}: {which_ones}; expected one.")
    if "MONOCHROME1" in found:
        log.warning("%s: MONOCHROME1; viewers show low values bright, here high values are bright.", name)


def _of_mosaics(name, headers, time):
    """The volume of Siemens mosaics, each file one volume, by nibabel."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that nibabel knows Siemens only; nothing else comes here
        from nibabel.nicom.dicomwrappers import wrapper_from_data

    order = sorted(headers, key=lambda file: float(headers[file].get("InstanceNumber") or 0))
    file = order[which(name, len(order), time, ", one a mosaic")]
    try:
        mosaic = wrapper_from_data(parse(file))
        if not mosaic.is_mosaic:
            raise ValueError("no CSA header of a mosaic")
        values, affine = np.asarray(mosaic.get_data(), "float32"), TO_RAS @ mosaic.affine
    except Exception as error:  # nibabel raises many kinds on headers that it does not know
        raise ImageError(f"{file}: a mosaic that cannot be taken apart ({type(error).__name__}: {error}).") from error
    return Volume(values, affine, name, (values.shape, affine))
