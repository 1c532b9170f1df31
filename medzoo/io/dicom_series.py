"""Reading of DICOM series as volumes: selection, sorting and geometry of the slices; ambiguous series are errors."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.dicom import open_dicom, parse, read_values
from medzoo.io.dicom_slices import slices_of, sorted_slices
from medzoo.io.dicom_voi import AIR
from medzoo.io.intensity import to_lossless_float
from medzoo.io.listing import holds_dicom, holds_pixels, read_all
from medzoo.io.nifti import EXACT, select_time
from medzoo.io.volume import MAX_VOXELS, Volume
from medzoo.io.walk import files_below

log = logging.getLogger("medzoo")
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM coordinates are LPS+: x points to the left, y to posterior
FAR = 0.1  # fraction of the value range: padding farther from all other values is excluded from the display range
# Tags that, besides the pixels, must be equal in two copies of one image (same SOPInstanceUID).
IMAGE_TAGS = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept")
IMAGE_TAGS += ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def read_series(
    source: str | Path | Sequence[str | Path],
    series: str | int | None = None,
    time: int | None = None,
    units: str | None = None,
) -> Volume:
    """Read a DICOM series as a volume on the grid of its slices.

    Args:
        source: folder, list of files, or one multi-frame file.
        series: SeriesInstanceUID, number or description, if there are several series.
        time: int. Index of the volume, from 0, if there are several images per slice position.
        units: see `read_values`.

    Returns:
        A `Volume`.

    Raises:
        FileNotFoundError: If a file of the list does not exist.
        ImageError: If the series is invalid or ambiguous, see `medzoo.read_volume`.
    """
    name, files = _files(source)
    headers = {file: parse(file, stop_before_pixels=True) for file in files}
    try:
        headers = _without_copies(_one_series(name, _with_pixels(name, headers), series))
        _check_kind(name, headers)
        if any("MOSAIC" in _image_type(header) for header in headers.values()):
            return _read_mosaics(name, headers, time)
        slices = [piece for file, header in headers.items() for piece in slices_of(file, header)]
        slices, step = sorted_slices(name, slices, time)
        paddings = [None if units else _padding(headers[piece.path]) for piece in slices]
        wide = {file for file, header in headers.items() if int(header.get("BitsAllocated") or 16) > 16}
        integers = {file for file in wide if "PixelRepresentation" in headers[file]}
    except ImageError:
        raise
    except Exception as error:  # damaged elements raise an error when they are accessed
        raise ImageError(f"{name}: invalid DICOM tags ({type(error).__name__}: {error}).") from error
    first = slices[0]
    shape = (first.shape[1], first.shape[0], len(slices))
    if np.prod(shape, dtype="float64") > MAX_VOXELS:
        raise ImageError(f"{name}: {shape} voxels. Expected at most {MAX_VOXELS}.")
    values = np.empty(shape, "float64" if wide else "float32")
    padding = _fill(values, name, slices, paddings, units, integers)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = first.rows * first.spacing[1], first.columns * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = step, first.position
    affine = TO_RAS @ affine
    return Volume(to_lossless_float(values), affine, name, (shape, affine), padding)


def _fill(values, name, slices, paddings, units, integers):
    """Read the values of all slices into an array `(columns, rows, slices)` and return `Volume.padding`.

    Args:
        values: array to fill.
        name: path of the series, for error messages.
        slices: list of `Slice`.
        paddings: result of `_padding` for each slice.
        units: see `read_values`.
        integers: set of the files with 32-bit integers.
    """
    padded = np.zeros(values.shape, bool) if any(paddings) else None

    def read(index):
        path = slices[index].path
        pixels = read_values(path, slices[index].frame, units)
        if path in integers and pixels.dtype == np.float32 and abs(pixels).max() >= EXACT:
            raise ImageError(
                f"{path}: values up to {abs(pixels).max():.9g} after the rescale of 32-bit integers; expected less "
                f"than {EXACT}, which float32 represents exactly. Save the series as float64 NIfTI."
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
    return None if padded is None else _distant_padding(values, padded)


def _padding(header):
    """`(minimum, maximum)` value of padding returned by `read_values`: air for CT; `None` for all other images."""
    return (AIR, AIR) if header.get("PixelPaddingValue") is not None and header.get("Modality") == "CT" else None


def _distant_padding(values, padded):
    """`(minimum, maximum)` of padding if it is so far from all other values that it reduces contrast, else `None`."""
    others, padding = values[~padded], values[padded]
    if not others.size or not padding.size:
        return None
    low, high, minimum, maximum = (float(end) for part in (others, padding) for end in (part.min(), part.max()))
    separate = maximum < low or minimum > high
    return (minimum, maximum) if separate and max(low - minimum, maximum - high) > FAR * (high - low) else None


def _with_pixels(name, headers):
    """Headers of images, without reports, presentation states and other objects without pixel data."""
    images = {file: header for file, header in headers.items() if holds_pixels(header)}
    if not images:
        kinds = sorted({str(header.get("Modality") or "no modality") for header in headers.values()})
        raise ImageError(
            f"{name}: no image; {len(headers)} DICOM objects without pixel data ({', '.join(kinds)}). Expected the "
            "slices of a series."
        )
    return images


def _without_copies(headers):
    """Headers without duplicates, identified by SOPInstanceUID and pixels."""
    first, kept = {}, {}
    for file, header in headers.items():
        uid = str(header.get("SOPInstanceUID") or file)
        if first.setdefault(uid, file) == file:
            kept[file] = header
        elif _is_same_image(first[uid], file):
            log.warning("%s: a copy of %s (same SOPInstanceUID); it is ignored.", file, first[uid].name)
        else:
            raise ImageError(
                f"{file}: same SOPInstanceUID as {first[uid].name}, but a different image. Expected one UID per "
                "image. Remove one of the two files, or pass the list of files of the series."
            )
    return kept


def _is_same_image(file, other):
    """Return whether two files contain the same image."""
    if file.read_bytes() == other.read_bytes():
        return True
    (header, pixels), (header_2, pixels_2) = open_dicom(file), open_dicom(other)
    return all(header.get(tag) == header_2.get(tag) for tag in IMAGE_TAGS) and np.array_equal(pixels, pixels_2)


def _files(source):
    """Return `(name, DICOM files)`; other files in a folder are ignored."""
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
    """Headers of the only or the selected series."""
    by_series = {}
    for file, header in headers.items():
        by_series.setdefault(str(header.get("SeriesInstanceUID", "")), {})[file] = header
    names = ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription")
    first = {uid: next(iter(own.values())) for uid, own in by_series.items()}
    known = {uid: [str(first[uid].get(tag, "")) for tag in names] for uid in by_series}
    chosen = [uid for uid in by_series if wanted is None or str(wanted) in known[uid]]
    if len(chosen) == 1:
        return by_series[chosen[0]]
    lines = [
        f"  number {first[uid].get('SeriesNumber', 'none')}, {first[uid].get('SeriesDescription', 'no text')!r}, "
        f"{first[uid].get('Modality', 'unknown')}, {len(own)} files, {uid}"
        for uid, own in sorted(by_series.items(), key=lambda pair: str(first[pair[0]].get("SeriesNumber", "")))
    ]
    problem = "several series" if wanted is None else f"series={wanted!r} matches {len(chosen) or 'none'} of these"
    raise ImageError(
        f"{name}: {problem}; select one with series= and its UID, number or description:\n" + "\n".join(lines)
    )


def _image_type(header):
    """Upper-case values of ImageType."""
    value = header.get("ImageType") or ()
    return [str(word).upper() for word in ([value] if isinstance(value, str) else value)]


def _check_kind(name, headers):
    """Check that the files are grayscale slices of one frame of reference and no localizers."""
    localizers = [file for file, header in headers.items() if "LOCALIZER" in _image_type(header)]
    if localizers:
        raise ImageError(
            f"{name}: {len(localizers)} of {len(headers)} files are localizers ({localizers[0].name}); no volume."
        )
    for file, header in headers.items():
        if header.get("SamplesPerPixel", 1) != 1:
            raise ImageError(f"{file}: a color image; expected grayscale slices.")
    for tag in ("FrameOfReferenceUID", "PhotometricInterpretation"):
        values = {str(header.get(tag)): file.name for file, header in headers.items() if header.get(tag)}
        if len(values) > 1:
            examples = ", ".join(f"{value} ({file})" for value, file in list(values.items())[:3])
            raise ImageError(f"{name}: slices with different {tag}: {examples}; expected one value.")
    if "MONOCHROME1" in values:
        log.warning("%s: MONOCHROME1; viewers show low values bright, but here high values are bright.", name)


def _read_mosaics(name, headers, time):
    """Read Siemens mosaics, one volume per file, with nibabel."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # nibabel warns that it supports Siemens only
        from nibabel.nicom.dicomwrappers import wrapper_from_data

    order = sorted(headers, key=lambda file: float(headers[file].get("InstanceNumber") or 0))
    file = order[select_time(name, len(order), time, ", one per mosaic")]
    try:
        mosaic = wrapper_from_data(parse(file))
        if not mosaic.is_mosaic:
            raise ValueError("no CSA header of a mosaic")
        values, affine = np.asarray(mosaic.get_data(), "float32"), TO_RAS @ mosaic.affine
    except Exception as error:  # nibabel raises many error types for unknown headers
        raise ImageError(f"{file}: unreadable mosaic ({type(error).__name__}: {error}).") from error
    return Volume(values, affine, name, (values.shape, affine))
