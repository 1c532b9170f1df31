"""DICOM series as volumes: slices found, sorted and placed in space. What would have to be guessed is refused."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.images.dicom import parse, read_values
from medzoo.images.listing import holds_dicom, read_all
from medzoo.images.nifti import which
from medzoo.images.volume import MOST, Volume
from medzoo.images.walk import files_below

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM counts x to the left and y to the back
ALIKE = 1e-3  # cosines of directions that count as one
TILT = 0.005  # largest sideways step of the slices, for each step along their normal
UNEVEN = 0.02  # largest relative difference between steps
SHARED = ("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence", "FrameContentSequence")
# What sets several images of one place apart, to be named in the error.
TELLING = (
    *("EchoTime", "TemporalPositionIdentifier", "TemporalPositionIndex", "AcquisitionNumber", "TriggerTime"),
    *("DiffusionBValue", "FlipAngle", "InversionTime", "ImageType", "AcquisitionTime"),
)


@dataclass(frozen=True)
class Slice:
    """One image of a series: where it is, and in which order it came.

    Fields: `path`, `frame`; `position` of its first pixel and `rows`, `columns`, the unit vectors along its rows and
        columns, in DICOM's coordinates (mm); `spacing` between rows and between columns; `shape` in pixels; `order`,
        and `facts`, what sets images of one place apart.
    """

    path: Path
    frame: int | None
    position: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    spacing: np.ndarray
    shape: tuple
    order: tuple
    facts: dict


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
    headers = _one_series(name, {file: parse(file, stop_before_pixels=True) for file in files}, series)
    try:
        _check_kind(name, headers)
        if any("MOSAIC" in _image_type(header) for header in headers.values()):
            return _of_mosaics(name, headers, time)
        slices = [piece for file, header in headers.items() for piece in _slices(file, header)]
        slices, step = _sorted(name, slices, time)
    except ImageError:
        raise
    except Exception as error:  # a damaged element shows only when it is looked at
        raise ImageError(f"{name}: tags that cannot be used ({type(error).__name__}: {error}).") from error
    first = slices[0]
    shape = (first.shape[1], first.shape[0], len(slices))
    if np.prod(shape, dtype="float64") > MOST:
        raise ImageError(f"{name}: {shape} voxels; that is too many.")
    values = np.empty(shape, "float32")

    def read(index):
        return read_values(slices[index].path, slices[index].frame, units)

    def keep(index, pixels):
        values[:, :, index] = pixels.T

    _, errors = read_all([(i,) for i in range(len(slices))], read, keep)
    if errors:
        raise ImageError(
            f"{name}: {len(errors)} of {len(slices)} slices cannot be read.\n{next(iter(errors.values()))}"
        )
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = first.rows * first.spacing[1], first.columns * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = step, first.position
    affine = TO_RAS @ affine
    return Volume(values, affine, name, (values.shape, affine))


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


def _slices(file, header):
    """The `Slice`s of a file: itself, or its frames."""
    frames = int(header.get("NumberOfFrames", 1) or 1)
    if frames == 1 and "PerFrameFunctionalGroupsSequence" not in header:
        return [_slice(file, None, header, [header])]
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if not groups or len(groups) != frames:
        raise ImageError(f"{file}: {frames} frames that do not say where they are (no functional groups).")
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])
    pieces = []
    for i, group in enumerate(groups):
        places = [item for g in (group, *shared) for tag in SHARED for item in g.get(tag) or []]
        pieces.append(_slice(file, i if frames > 1 else None, header, [*places, header]))
    return pieces


def _slice(file, frame, header, places):
    """A `Slice` from the first of some data sets that knows each tag."""

    def known(name):
        return next((place[name].value for place in places if place.get(name) is not None), None)

    def tag(name, count):
        value = np.array(known(name), "float64")
        if value.shape != (count,) or not np.isfinite(value).all():
            raise ImageError(f"{file}: no usable {name}; without it the slice has no place in space.")
        return value

    directions = tag("ImageOrientationPatient", 6).reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1)
    if (abs(lengths - 1) > 0.01).any() or abs(directions[0] @ directions[1]) > 0.01:
        raise ImageError(f"{file}: ImageOrientationPatient {directions.ravel().tolist()} holds no two directions.")
    spacing = tag("PixelSpacing", 2)
    if not (spacing > 0).all():
        raise ImageError(f"{file}: PixelSpacing {spacing.tolist()}; expected millimetres above 0.")
    facts = {name: str(known(name)) for name in TELLING if known(name) is not None}
    order = tuple(float(header.get(name) or 0) for name in ("AcquisitionNumber", "InstanceNumber"))
    return Slice(
        file,
        frame,
        tag("ImagePositionPatient", 3),
        *(directions / lengths[:, None]),
        spacing,
        (int(header.Rows), int(header.Columns)),
        (*order, frame or 0),
        {**facts, "SliceThickness": known("SliceThickness")},
    )


def _sorted(name, slices, time):
    """The slices of one volume from first to last along their normal, and the step from one to the next (mm)."""
    first = slices[0]
    for other in slices:
        if other.shape != first.shape or not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            raise ImageError(
                f"{name}: slices of unlike size: {other.path.name} has {other.shape} pixels of "
                f"{other.spacing.tolist()} mm, {first.path.name} {first.shape} of {first.spacing.tolist()}."
            )
        if not np.allclose([other.rows, other.columns], [first.rows, first.columns], atol=ALIKE):
            raise ImageError(f"{name}: slices of unlike orientation: {other.path.name} and {first.path.name}.")
    normal = np.cross(first.rows, first.columns)
    heights = np.array([piece.position @ normal for piece in slices])
    order = np.argsort(heights, kind="stable")
    places = np.split(order, np.flatnonzero(np.diff(heights[order]) > 0.01) + 1)
    counts = Counter(len(place) for place in places)
    if len(counts) > 1:
        usual = counts.most_common(1)[0][0]
        odd = next(place for place in places if len(place) != usual)
        raise ImageError(
            f"{name}: slices missing or doubled: {len(odd)} at {heights[odd[0]]:.2f} mm along the normal "
            f"({slices[odd[0]].path.name}), {usual} elsewhere."
        )
    count = len(places[0])
    if count > 1:
        pair = [slices[i].facts for i in places[0][:2]]
        unlike = [tag for tag in TELLING if pair[0].get(tag) != pair[1].get(tag)]
        differing = f" at each place, which differ in {', '.join(unlike)}" if unlike else " at each place"
        time = which(name, count, time, differing)
    else:
        time = which(name, 1, time)
    chosen = [sorted(place, key=lambda i: slices[i].order)[time] for place in places]
    found = [slices[i] for i in chosen]
    if len(found) == 1:
        thickness = found[0].facts["SliceThickness"]
        if not thickness or not float(thickness) > 0:
            raise ImageError(f"{name}: one slice, and no SliceThickness; expected a volume.")
        return found, normal * float(thickness)
    steps = np.diff(heights[chosen])
    usual = np.sort(steps)[(len(steps) - 1) // 2]
    worst = int(np.argmax(abs(steps - usual)))
    if abs(steps[worst] - usual) > UNEVEN * usual:
        raise ImageError(
            f"{name}: slices missing or unevenly spaced: {steps[worst]:.3f} mm from {found[worst].path.name} to "
            f"{found[worst + 1].path.name}, {usual:.3f} mm elsewhere."
        )
    step = (found[-1].position - found[0].position) / (len(found) - 1)
    aside = np.linalg.norm(step - (step @ normal) * normal) / (step @ normal)
    if aside > TILT:
        raise ImageError(
            f"{name}: a tilted gantry: the slices move {np.degrees(np.arctan(aside)):.1f} degrees off their normal, so "
            "their voxels are no boxes. Straighten it first, e.g. with dcm2niix, and read the NIfTI file."
        )
    return found, step


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
