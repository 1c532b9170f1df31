"""Where the slices of a DICOM series lie, and which of them are one volume; nothing is guessed."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.nifti import which

ALIKE = 1e-3  # cosines of directions that count as one
TILT = 0.005  # largest sideways step of the slices, for each step along their normal
UNEVEN = 0.02  # largest relative difference between steps
ASIDE = 0.2  # largest distance of a slice from the line through the first and the last, in pixels
NOISE = 0.01  # millimeters: most that rounding moves slices of one place apart
SHARED = ("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence", "FrameContentSequence")
SHARED += ("MREchoSequence", "MRDiffusionSequence", "MRImageFrameTypeSequence")
# What sets several images of one place apart, to be named in the error.
TELLING = (
    *("EchoTime", "EffectiveEchoTime", "TemporalPositionIdentifier", "TemporalPositionIndex", "AcquisitionNumber"),
    *("TriggerTime", "DiffusionBValue", "SequenceName", "FlipAngle", "InversionTime", "ComplexImageComponent"),
    *("ImageType", "FrameType", "AcquisitionTime"),
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


def slices_of(file, header):
    """The `Slice`s of a file: itself, or its frames."""
    frames = int(header.get("NumberOfFrames", 1) or 1)
    if frames == 1 and "PerFrameFunctionalGroupsSequence" not in header:
        return [_slice(file, None, header, [header])]
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if not groups or len(groups) != frames:
        raise ImageError(
            f"{file}: {frames} frames that do not say where they are (no functional groups). Convert "
            "it, e.g. with dcm2niix, and read the NIfTI file."
        )
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


def sorted_slices(name, slices, time):
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
    chosen = _one_volume(name, slices, heights, time)
    found = [slices[i] for i in chosen]
    if len(found) == 1:
        thickness = found[0].facts["SliceThickness"]
        if not thickness or not 0 < float(thickness) < np.inf:
            raise ImageError(f"{name}: one slice, and no SliceThickness; expected a volume.")
        return found, normal * float(thickness)
    steps = np.diff(heights[chosen])
    usual = np.sort(steps)[(len(steps) - 1) // 2]
    worst = int(np.argmax(abs(steps - usual)))
    if abs(steps[worst] - usual) > UNEVEN * usual:
        raise ImageError(
            f"{name}: slices missing or unevenly spaced: {_mm(steps[worst])} from {found[worst].path.name} to "
            f"{found[worst + 1].path.name}, {_mm(usual)} elsewhere."
        )
    step = (found[-1].position - found[0].position) / (len(found) - 1)
    aside = np.linalg.norm(step - (step @ normal) * normal) / (step @ normal)
    if aside > TILT:
        raise ImageError(
            f"{name}: a tilted gantry: the slices move {np.degrees(np.arctan(aside)):.1f} degrees off their normal, so "
            "their voxels are no boxes. Straighten it first, e.g. with dcm2niix, and read the NIfTI file."
        )
    gaps = [piece.position - found[0].position - i * step for i, piece in enumerate(found)]
    gaps = [np.linalg.norm(gap - (gap @ normal) * normal) for gap in gaps]
    worst = int(np.argmax(gaps))
    if gaps[worst] > ASIDE * first.spacing.min():
        raise ImageError(
            f"{name}: slices that lie side by side: {found[worst].path.name} is {_mm(gaps[worst])} off the line "
            "through the first and the last; expected a stack of slices."
        )
    return found, step


def _mm(length):
    return f"{length:.3f} mm" if abs(length) >= 0.1 else f"{length:.3g} mm"


def _places(slices, heights):
    """Indices of the slices at each place along the normal, from the lowest to the highest.

    Rounding moves slices of one place apart by a hundredth of a millimeter at most, and by little compared with the
    pixels, the thickness and the steps between places: slices of microscopes lie closer together than that.
    """
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order])
    exact = 1e-9 * abs(heights).max()  # what arithmetic alone makes of equal places
    known = np.sort(steps[steps > exact])
    small = min(NOISE, 0.02 * slices[0].spacing.min())
    jumps = [low for low, high in pairwise(known) if high >= 20 * low and low <= small]
    if jumps:
        limit = jumps[-1]  # up to here it is rounding, and beyond steps
    else:
        thickness = float(slices[0].facts["SliceThickness"] or 0)
        limit = min(NOISE, 0.01 * thickness)
    return np.split(order, np.flatnonzero(steps > max(limit, exact)) + 1)


def _one_volume(name, slices, heights, time):
    """Indices of the slices of one volume from the lowest to the highest, of those of several at each place."""
    places = _places(slices, heights)
    counts = Counter(len(place) for place in places)
    if len(counts) > 1:
        usual = counts.most_common(1)[0][0]
        odd = next(place for place in places if len(place) != usual)
        raise ImageError(
            f"{name}: slices missing or doubled: {len(odd)} at {_mm(heights[odd[0]])} along the normal "
            f"({slices[odd[0]].path.name}), {usual} elsewhere."
        )
    count = len(places[0])
    if count == 1:
        which(name, 1, time)
        return [place[0] for place in places]
    pair = [slices[i].facts for i in places[0][:2]]
    unlike = [tag for tag in TELLING if pair[0].get(tag) != pair[1].get(tag)]
    time = which(name, count, time, f" at each place{', which differ in ' if unlike else ''}{', '.join(unlike)}")
    common = [tag for tag in TELLING if _same_at_each(slices, places, tag)]

    def told(i):
        return tuple(slices[i].facts.get(tag) or "" for tag in common)

    if any(len({(told(i), slices[i].order) for i in place}) < count for place in places):
        raise ImageError(
            f"{name}: {count} images at each place, and nothing that tells which of them belong together "
            "(AcquisitionNumber, InstanceNumber, EchoTime ...); list the files of one volume."
        )
    chosen = [sorted(place, key=lambda i: slices[i].order)[time] for place in places]
    if len({told(i) for i in chosen}) > 1:  # the echoes or b-values do not come in one order
        keys = {i: (*map(_number, told(i)), slices[i].order) for place in places for i in place}
        chosen = [sorted(place, key=keys.get)[time] for place in places]
    return chosen


def _same_at_each(slices, places, tag):
    """Whether a tag has several values at each place, and the same ones at all of them."""
    found = {tuple(sorted(slices[i].facts.get(tag) or "" for i in place)) for place in places}
    return len(found) == 1 and len(set(next(iter(found)))) > 1


def _number(text):
    """A key to sort by: numbers by their size, before other texts."""
    try:
        return 0, float(text), ""
    except ValueError:
        return 1, 0.0, text
