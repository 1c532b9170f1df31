"""Pixels of DICOM files that are not square."""

import math

from medzoo.io import notices

SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")  # between rows, between columns
TOLERANCE = 0.01
IMAGE, CENTIMETERS = 1, 3  # a region of an ultrasound image that is one (2D), and its physical units


def warn_if_not_square(path, dataset):
    """Log a warning where the pixels of an image are not square: nothing is resampled, so that shapes are distorted."""
    tag, ratio = _find_ratio(dataset)
    if abs(ratio - 1) > TOLERANCE:
        notices.warn(
            "pixels that are not square",
            path,
            f"pixels are {ratio:.3g} times as high as wide ({tag}). The image keeps the file's grid, so that shapes "
            "are distorted; resample it to square pixels where shapes matter.",
        )


def _find_ratio(dataset):
    """`(tag and value, height of a pixel by its width)`, 1.0 where no tag tells it."""
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
    except (TypeError, ValueError, AttributeError):  # damaged: no reason not to read the pixels
        pass
    ratio = _ratio(dataset, "PixelAspectRatio")
    return ("PixelAspectRatio", ratio) if ratio else (None, 1.0)


def _ratio(dataset, tag):
    """The first of two numbers divided by the second, `None` where the tag does not hold two lengths."""
    try:
        first, second = (float(value) for value in dataset[tag].value)
        ratio = first / second
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError, AttributeError):
        return None
    return ratio if first > 0 and math.isfinite(ratio) and ratio > 0 else None
