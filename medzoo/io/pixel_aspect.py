"""Detection of non-square pixels in DICOM files."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from medzoo.io import notices

if TYPE_CHECKING:
    import pydicom

SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")  # between rows, between columns
TOLERANCE = 0.01
IMAGE, CENTIMETERS = 1, 3  # RegionSpatialFormat 2D and physical units of an ultrasound region


def warn_if_not_square(path: str | Path, dataset: "pydicom.Dataset") -> None:
    """Log a warning if the pixels of an image are not square; the image is not resampled.

    Args:
        path: path of the file.
        dataset: pydicom dataset.
    """
    tag, ratio = _find_ratio(dataset)
    if abs(ratio - 1) > TOLERANCE:
        notices.warn(
            "pixels that are not square",
            path,
            f"pixel height is {ratio:.3g} times pixel width ({tag}). The image is not resampled, so that shapes are "
            "distorted. Resample it to square pixels if shapes matter.",
        )


def _find_ratio(dataset):
    """Return `(tag and value, pixel height divided by width)`; the ratio is 1.0 if no tag defines it."""
    for tag in SPACINGS:
        if ratio := _ratio(dataset, tag):
            return f"{tag} {dataset[tag].value[0]:g}, {dataset[tag].value[1]:g}", ratio
    try:
        regions = list(dataset.get("SequenceOfUltrasoundRegions") or [])
        for region in regions:
            kinds = (region.get("RegionSpatialFormat"), region.get("PhysicalUnitsXDirection"))
            steps = [abs(float(region.get(f"PhysicalDelta{axis}") or 0)) for axis in "YX"]
            if kinds == (IMAGE, CENTIMETERS) and region.get("PhysicalUnitsYDirection") == CENTIMETERS and all(steps):
                return f"PhysicalDeltaY {steps[0]:g}, PhysicalDeltaX {steps[1]:g}", steps[0] / steps[1]
    except (TypeError, ValueError, AttributeError):  # a damaged sequence does not prevent reading the pixels
        pass
    ratio = _ratio(dataset, "PixelAspectRatio")
    return ("PixelAspectRatio", ratio) if ratio else (None, 1.0)


def _ratio(dataset, tag):
    """Return the first of two values divided by the second, or `None` if the tag has no two positive lengths."""
    try:
        first, second = (float(value) for value in dataset[tag].value)
        ratio = first / second
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError, AttributeError):
        return None
    return ratio if first > 0 and math.isfinite(ratio) and ratio > 0 else None
