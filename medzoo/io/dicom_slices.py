"""Geometry of DICOM slices: sorting, and selection of the slices of one volume; ambiguous geometry is an error."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.nifti import select_time

if TYPE_CHECKING:
    import pydicom

ORIENTATION_TOLERANCE = 1e-3  # largest difference between direction cosines
MAX_SHEAR = 0.005  # largest in-plane shift per step along the normal
SPACING_TOLERANCE = 0.02  # largest relative difference between slice distances
MAX_OFFSET = 0.2  # largest distance of a slice from the line through the first and last, in pixels
ROUNDING = 0.01  # largest rounding error of a slice position in millimeters
SHARED = ("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence", "FrameContentSequence")
SHARED += ("MREchoSequence", "MRDiffusionSequence", "MRImageFrameTypeSequence")
# Tags that distinguish several images of one position.
DISTINGUISHING = (
    *("EchoTime", "EffectiveEchoTime", "TemporalPositionIdentifier", "TemporalPositionIndex", "AcquisitionNumber"),
    *("TriggerTime", "DiffusionBValue", "SequenceName", "FlipAngle", "InversionTime", "ComplexImageComponent"),
    *("ImageType", "FrameType", "AcquisitionTime"),
)


@dataclass(frozen=True)
class Slice:
    """Position and acquisition of one image of a series.

    Attributes:
        path: path of the file.
        frame: int. Index of the frame, `None` for a single-frame file.
        position: array `(3,)`, position of the first pixel in millimeters (DICOM coordinates, LPS+).
        rows: array `(3,)`, unit vector along the rows.
        columns: array `(3,)`, unit vector along the columns.
        spacing: array `(2,)`, distance between rows and between columns in millimeters.
        shape: `(rows, columns)` in pixels.
        order: sort key of images at the same position.
        tags: values of the tags that distinguish images at the same position.
    """

    path: Path
    frame: int | None
    position: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    spacing: np.ndarray
    shape: tuple
    order: tuple
    tags: dict


def slices_of(file: Path, header: "pydicom.Dataset") -> list[Slice]:
    """Return the slices of a file: one, or one per frame.

    Args:
        file: path of the file.
        header: pydicom dataset.

    Raises:
        ImageError: If the position, orientation or spacing of a slice is missing or invalid.
    """
    frames = int(header.get("NumberOfFrames", 1) or 1)
    if frames == 1 and "PerFrameFunctionalGroupsSequence" not in header:
        return [_slice(file, None, header, [header])]
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if not groups or len(groups) != frames:
        raise ImageError(
            f"{file}: {frames} frames without positions (no functional groups). Convert "
            "it, e.g. with dcm2niix, and read the NIfTI file."
        )
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])
    slices = []
    for i, group in enumerate(groups):
        items = [item for g in (group, *shared) for tag in SHARED for item in g.get(tag) or []]
        slices.append(_slice(file, i if frames > 1 else None, header, [*items, header]))
    return slices


def _slice(file, frame, header, datasets):
    """Create a `Slice`; each tag is taken from the first dataset that contains it."""

    def known(name):
        return next((dataset[name].value for dataset in datasets if dataset.get(name) is not None), None)

    def tag(name, count):
        value = np.array(known(name), "float64")
        if value.shape != (count,) or not np.isfinite(value).all():
            raise ImageError(f"{file}: missing or invalid {name}; the position of the slice is unknown.")
        return value

    directions = tag("ImageOrientationPatient", 6).reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1)
    if (abs(lengths - 1) > 0.01).any() or abs(directions[0] @ directions[1]) > 0.01:
        raise ImageError(
            f"{file}: ImageOrientationPatient {directions.ravel().tolist()}; expected two orthogonal unit vectors."
        )
    spacing = tag("PixelSpacing", 2)
    if not (spacing > 0).all():
        raise ImageError(f"{file}: PixelSpacing {spacing.tolist()}; expected positive millimeters.")
    tags = {name: str(known(name)) for name in DISTINGUISHING if known(name) is not None}
    order = tuple(float(header.get(name) or 0) for name in ("AcquisitionNumber", "InstanceNumber"))
    return Slice(
        file,
        frame,
        tag("ImagePositionPatient", 3),
        *(directions / lengths[:, None]),
        spacing,
        (int(header.Rows), int(header.Columns)),
        (*order, frame or 0),
        {**tags, "SliceThickness": known("SliceThickness")},
    )


def sorted_slices(name: Path, slices: list[Slice], time: int | None) -> tuple[list[Slice], np.ndarray]:
    """Sort the slices of one volume along their normal.

    Args:
        name: path of the series, for error messages.
        slices: list of `Slice`.
        time: int. Index of the volume if there are several images per position, else `None`.

    Returns:
        `(slices, step)`: sorted list of `Slice`, and array `(3,)`, the vector between adjacent slices in millimeters.

    Raises:
        ImageError: If slices are missing, duplicated, unevenly spaced, not parallel or not aligned, or differ in size.
    """
    first = slices[0]
    for other in slices:
        if other.shape != first.shape or not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            raise ImageError(
                f"{name}: slices of different size: {other.path.name} has {other.shape} pixels of "
                f"{other.spacing.tolist()} mm, {first.path.name} {first.shape} of {first.spacing.tolist()}."
            )
        if not np.allclose([other.rows, other.columns], [first.rows, first.columns], atol=ORIENTATION_TOLERANCE):
            raise ImageError(f"{name}: slices of different orientation: {other.path.name} and {first.path.name}.")
    normal = np.cross(first.rows, first.columns)
    heights = np.array([piece.position @ normal for piece in slices])
    chosen = _one_volume(name, slices, heights, time)
    ordered = [slices[i] for i in chosen]
    if len(ordered) == 1:
        thickness = ordered[0].tags["SliceThickness"]
        if not thickness or not 0 < float(thickness) < np.inf:
            raise ImageError(f"{name}: one slice without SliceThickness; expected a volume.")
        return ordered, normal * float(thickness)
    steps = np.diff(heights[chosen])
    median = np.sort(steps)[(len(steps) - 1) // 2]
    worst = int(np.argmax(abs(steps - median)))
    if abs(steps[worst] - median) > SPACING_TOLERANCE * median:
        raise ImageError(
            f"{name}: slices missing or unevenly spaced: {_mm(steps[worst])} from {ordered[worst].path.name} to "
            f"{ordered[worst + 1].path.name}, {_mm(median)} elsewhere."
        )
    step = (ordered[-1].position - ordered[0].position) / (len(ordered) - 1)
    shear = np.linalg.norm(step - (step @ normal) * normal) / (step @ normal)
    if shear > MAX_SHEAR:
        raise ImageError(
            f"{name}: a tilted gantry: the slices shift {np.degrees(np.arctan(shear)):.1f} degrees off their normal, "
            "so that voxels are sheared. Correct the tilt, e.g. with dcm2niix, and read the NIfTI file."
        )
    offsets = [piece.position - ordered[0].position - i * step for i, piece in enumerate(ordered)]
    offsets = [np.linalg.norm(offset - (offset @ normal) * normal) for offset in offsets]
    worst = int(np.argmax(offsets))
    if offsets[worst] > MAX_OFFSET * first.spacing.min():
        raise ImageError(
            f"{name}: slices that are not aligned: {ordered[worst].path.name} is {_mm(offsets[worst])} off the line "
            "through the first and the last; expected a stack of slices."
        )
    return ordered, step


def _mm(length):
    """Format a length in millimeters."""
    return f"{length:.3f} mm" if abs(length) >= 0.1 else f"{length:.3g} mm"


def _group_by_position(slices, heights):
    """Indices of the slices at each position along the normal, in ascending order.

    Slices at one position differ by rounding errors of at most 0.01 mm. Microscopy slices can be closer than that, so
    that the tolerance is also small relative to pixel spacing, slice thickness and slice distance.
    """
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order])
    exact = 1e-9 * abs(heights).max()  # floating-point error of equal positions
    known = np.sort(steps[steps > exact])
    small = min(ROUNDING, 0.02 * slices[0].spacing.min())
    jumps = [low for low, high in pairwise(known) if high >= 20 * low and low <= small]
    if jumps:
        limit = jumps[-1]  # smaller differences are rounding errors, larger ones are slice distances
    else:
        thickness = float(slices[0].tags["SliceThickness"] or 0)
        limit = min(ROUNDING, 0.01 * thickness)
    return np.split(order, np.flatnonzero(steps > max(limit, exact)) + 1)


def _one_volume(name, slices, heights, time):
    """Indices of the slices of the selected volume in ascending order of their position."""
    positions = _group_by_position(slices, heights)
    counts = Counter(len(group) for group in positions)
    if len(counts) > 1:
        expected = counts.most_common(1)[0][0]
        odd = next(group for group in positions if len(group) != expected)
        raise ImageError(
            f"{name}: slices missing or duplicated: {len(odd)} at {_mm(heights[odd[0]])} along the normal "
            f"({slices[odd[0]].path.name}), {expected} elsewhere."
        )
    count = len(positions[0])
    if count == 1:
        select_time(name, 1, time)
        return [group[0] for group in positions]
    pair = [slices[i].tags for i in positions[0][:2]]
    different = [tag for tag in DISTINGUISHING if pair[0].get(tag) != pair[1].get(tag)]
    time = select_time(
        name, count, time, f" at each position{', which differ in ' if different else ''}{', '.join(different)}"
    )
    common = [tag for tag in DISTINGUISHING if _varies_equally(slices, positions, tag)]

    def tag_values(i):
        return tuple(slices[i].tags.get(tag) or "" for tag in common)

    if any(len({(tag_values(i), slices[i].order) for i in group}) < count for group in positions):
        raise ImageError(
            f"{name}: {count} images at each position, and no tag that assigns them to volumes "
            "(AcquisitionNumber, InstanceNumber, EchoTime ...). Pass the list of files of one volume."
        )
    chosen = [sorted(group, key=lambda i: slices[i].order)[time] for group in positions]
    if len({tag_values(i) for i in chosen}) > 1:  # the order of the echoes or b-values varies between positions
        keys = {i: (*map(_sort_key, tag_values(i)), slices[i].order) for group in positions for i in group}
        chosen = [sorted(group, key=keys.get)[time] for group in positions]
    return chosen


def _varies_equally(slices, positions, tag):
    """Return whether a tag has several values at each position, and the same values at all positions."""
    values = {tuple(sorted(slices[i].tags.get(tag) or "" for i in group)) for group in positions}
    return len(values) == 1 and len(set(next(iter(values)))) > 1


def _sort_key(text):
    """Sort key: numbers by value, before other texts."""
    try:
        return 0, float(text), ""
    except ValueError:
        return 1, 0.0, text
