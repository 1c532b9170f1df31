"""Intensity transforms to [0, 1]: windows, bit depths, normalization; resizing."""

import math
from collections.abc import Sequence
from typing import cast

import numpy as np

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")  # VOI LUT Functions
WINDOWS = {  # (center, width) in Hounsfield units
    "lung": (-600, 1500),
    "bone": (400, 1800),
    "soft_tissue": (40, 400),
    "brain": (40, 80),
}


def resolve_window(window: tuple[float, float] | str) -> tuple[float, float]:
    """Return `(center, width)` of a window given by its values or by name.

    Args:
        window: `(center, width)`, or a key of `WINDOWS`.

    Raises:
        ValueError: If the name is unknown.
    """
    if not isinstance(window, str):
        center, width = window
        return center, width
    if window not in WINDOWS:
        raise ValueError(f"window={window!r}; expected (center, width) or one of {', '.join(WINDOWS)}.")
    return WINDOWS[window]


def check_window(center: float, width: float, function: str = "LINEAR") -> None:
    """Validate the center, width and function of a window.

    Args:
        center: window center.
        width: window width.
        function: VOI LUT function, see `apply_window`.

    Raises:
        ValueError: If center or width is not finite, the width is not positive, or the function is unknown.
    """
    if function not in FUNCTIONS:
        raise ValueError(f"VOI LUT function {function!r}; expected LINEAR, LINEAR_EXACT or SIGMOID")
    if not width > 0 or (function == "LINEAR" and width < 1):
        raise ValueError(f"window width {width}; expected {'1 or more' if function == 'LINEAR' else 'more than 0'}")
    if not math.isfinite(center) or not math.isfinite(width):
        raise ValueError(f"window center {center}, width {width}; expected finite numbers")


def apply_window(values: np.ndarray, center: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Map values to [0, 1] with a DICOM window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: array of any shape in the units of the window (Hounsfield units for CT).
        center: window center.
        width: window width, > 0 (≥ 1 for `"LINEAR"`).
        function: VOI LUT function, `"LINEAR"` (default), `"LINEAR_EXACT"` or `"SIGMOID"`.

    Returns:
        float32 array of the same shape in [0, 1].

    Raises:
        ValueError: If the window is invalid, see `check_window`.
    """
    check_window(center, width, function)
    values = np.asarray(values, "float64")
    if function == "SIGMOID":
        return (1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700, 700)))).astype("float32")
    if function == "LINEAR":
        # Half-pixel convention of the standard: a window of width w has w - 1 steps between black and white.
        center, width = center - 0.5, width - 1.0
    if width == 0:
        return (values > center).astype("float32")
    return np.clip((values - center) / width + 0.5, 0.0, 1.0).astype("float32")


def min_max_normalize(values: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """Map the minimum to 0 and the maximum to 1; a constant image is mapped to 0.

    Args:
        values: array of any shape.
        counted: boolean array of the same shape that selects the values which define minimum and maximum; all others
            are clipped to [0, 1]. Default: all values.

    Returns:
        float32 array of the same shape in [0, 1].
    """
    values = np.asarray(values, "float64")
    selected = values if counted is None else values[counted]
    low, high = (selected.min(), selected.max()) if selected.size else (0.0, 0.0)
    if not high > low:
        return np.zeros_like(values, "float32")
    return np.clip((values - low) / (high - low), 0.0, 1.0).astype("float32")


SPARSE = 0.98  # fraction of equal voxels above which only the other voxels define the display range


def display_range(values: np.ndarray) -> tuple[float, float]:
    """Return the default display range: the 0.5th and 99.5th percentile.

    If at least 98% of the voxels are equal, as in lesion maps, masks and statistical maps, that value is treated as
    background: the percentiles are computed from the other voxels, and the range is extended to include it.

    Args:
        values: array of real numbers.

    Returns:
        `(low, high)` as floats; equal for a constant array.
    """
    low, middle, high = np.percentile(values, (0.5, 50, 99.5))
    foreground = values != middle
    if 0 < np.count_nonzero(foreground) <= (1 - SPARSE) * np.size(values):
        ends = np.percentile(values[foreground], (0.5, 99.5))
        low, high = min(middle, ends[0]), max(middle, ends[1])
    return float(low), float(high)


def to_lossless_float(values: np.ndarray) -> np.ndarray:
    """Convert numbers to the smallest floating-point type that represents them exactly.

    The result is float32, or float64 for integers above 2**24 (labels of atlas regions), for values outside the range
    of float32, and for values whose differences are small relative to their magnitude.

    Args:
        values: array of integers or floats.

    Returns:
        float32 or float64 array of the same shape.

    Raises:
        ValueError: If an integer exceeds 2**53 and has no exact float64 representation.
    """
    if values.dtype in (np.float32, np.float16) or (values.dtype.kind in "biu" and values.dtype.itemsize < 4):
        return values.astype("float32", copy=False)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if values.dtype.kind in "iu" and max(-int(low), int(high)) > 2**53:
        raise ValueError(
            f"integers from {low} to {high}; expected a magnitude of at most 2**53, which float64 represents exactly"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype("float32")
        error = np.max(np.abs(narrow - values.astype("float64")), initial=0.0)
    integral = values.dtype.kind in "iu" or (max(-low, high) > 2**24 and np.array_equal(values, np.round(values)))
    span = float(high) - float(low)
    exact = error == 0 if integral else error <= 1e-6 * span or span == 0
    return narrow if exact and np.isfinite(error) else values.astype("float64")


def rgb_to_gray(rgb: np.ndarray) -> np.ndarray:
    """Convert RGB to luminance (ITU-R BT.601, as `convert("L")` of Pillow).

    Args:
        rgb: float array `(..., 3)`.

    Returns:
        Array `(...)` of the same type.
    """
    return rgb @ np.array([0.299, 0.587, 0.114], dtype=rgb.dtype)


TOLERANCE = 1e-3  # overshoot beyond [0, 1] caused by interpolation and float16


def unit_range(images: np.ndarray, name: str) -> np.ndarray:
    """Convert images to floats in [0, 1]: uint8 is divided by 255, uint16 by 65535.

    Args:
        images: array of uint8 or uint16, or of other numbers in [0, 1].
        name: str. Name of the calling function, for error messages.

    Returns:
        Float array of the same shape; float32 if `images` is not a float array.

    Raises:
        ValueError: If values are outside [0, 1] or NaN, or integers use too few levels (labels, 12 bits stored in 16).
    """
    images = np.asarray(images)
    if images.dtype.kind not in "buif":
        raise ValueError(f"{name}: array of {images.dtype}; expected uint8, uint16 or floats from 0 to 1.")
    if images.size == 0:
        return images.astype("float32")
    low, high = images.min(), images.max()
    if images.dtype in (np.uint8, np.uint16):
        if high == 1 or (images.dtype == np.uint16 and 0 < high < 2**13):
            raise ValueError(
                f"{name}: {images.dtype} values up to {high} only, which would be nearly black; expected gray values "
                f"up to {np.iinfo(images.dtype).max}, or floats from 0 to 1. Divide them by the white level."
            )
        return images.astype("float32") / np.iinfo(images.dtype).max
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
        raise ValueError(
            f"{name}: {images.dtype} values from {low:g} to {high:g}; expected uint8, uint16 or floats from 0 to 1. "
            "Divide 8-bit values by 255, or see medzoo.io.apply_window."
        )
    return images if images.dtype.kind == "f" else images.astype("float32")


def center_crop_resize(images: np.ndarray, size: int | Sequence[int]) -> np.ndarray:
    """Crop images centrally to the target aspect ratio, then resize them.

    The aspect ratio is preserved: the margins of the longer side are cropped. Resizing uses Lanczos interpolation with
    antialiasing.

    Args:
        images: array `(H, W)`, `(H, W, 1)`, `(N, H, W)` or `(N, H, W, 1)` of floats in [0, 1], uint8 or uint16 (divided
            by 255 or 65535). An array with 3 axes is `(H, W, 1)` if its last axis has length 1, else `(N, H, W)`. Or
            volumes `(N, D, H, W, 1)`.
        size: `(height, width)` in pixels, or one int for a square; for volumes `(depth, height, width)` in voxels.

    Returns:
        float32 array with the same axes in [0, 1].

    Raises:
        ValueError: If the array has another shape, or values outside [0, 1].
    """
    from PIL import Image

    images = unit_range(images, "center_crop_resize").astype("float32", copy=False)
    if images.ndim == 5 and images.shape[-1] == 1:
        return np.stack([_resized(volume[..., 0], size) for volume in images])[..., None]
    if not 2 <= images.ndim <= 4 or (images.ndim == 4 and images.shape[-1] != 1):
        raise ValueError(
            f"center_crop_resize: array of shape {images.shape}; expected (H, W), (H, W, 1), (N, H, W), (N, H, W, 1) "
            "or (N, D, H, W, 1)."
        )
    height, width = (size, size) if np.isscalar(size) else cast("Sequence[int]", size)
    channel = images.ndim > 2 and images.shape[-1] == 1
    stack = images.ndim - channel == 3
    flat = images[..., 0] if channel else images
    result = []
    for image in flat if stack else flat[None]:
        h, w = image.shape
        scale = min(h / height, w / width)
        top, left = (h - scale * height) / 2, (w - scale * width) / 2
        box = (left, top, left + scale * width, top + scale * height)
        result.append(np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS, box=box)))
    result = np.clip(np.stack(result), 0.0, 1.0)
    result = result if stack else result[0]
    return result[..., None] if channel else result


def _resized(volume, size):
    """Crop and resize one volume, axis by axis."""
    from PIL import Image

    if np.isscalar(size) or len(size) != 3:
        raise ValueError(f"center_crop_resize: size={size} for volumes; expected (depth, height, width).")
    scale = min(current / target for current, target in zip(volume.shape, size, strict=True))
    for axis, target in enumerate(size):
        lines = np.moveaxis(volume, axis, 0)
        rest, margin = lines.shape[1:], (len(lines) - scale * target) / 2
        flat = Image.fromarray(np.ascontiguousarray(lines.reshape(len(lines), -1)))
        box = (0, margin, flat.width, margin + scale * target)
        flat = np.asarray(flat.resize((flat.width, target), Image.Resampling.LANCZOS, box=box))
        volume = np.moveaxis(flat.reshape(target, *rest), 0, axis)
    return np.clip(volume, 0.0, 1.0)


def standardize(images: np.ndarray, mean: float = 0.5, std: float = 0.22) -> np.ndarray:
    """Normalize each image to the same mean and standard deviation, clipped to [0, 1].

    This removes differences in brightness and contrast between images.

    Args:
        images: array `(N, H, W, 1)` of floats in [0, 1], uint8 or uint16. A constant image becomes `mean`.
        mean: target mean, default 0.5.
        std: target standard deviation, default 0.22.

    Returns:
        float32 array `(N, H, W, 1)` in [0, 1].

    Raises:
        ValueError: If values are outside [0, 1].
    """
    images = unit_range(images, "standardize")
    axes = (1, 2, 3)
    scale = images.std(axis=axes, keepdims=True)
    scale = np.where(scale < 1e-4, 1.0, scale)
    return np.clip(mean + std * (images - images.mean(axis=axes, keepdims=True)) / scale, 0, 1).astype("float32")


def equalize_histogram(images: np.ndarray) -> np.ndarray:
    """Equalize the histogram of each image.

    The result is invariant to monotonic intensity transforms, such as brightness, contrast and gamma.

    Args:
        images: array `(N, H, W, 1)` of floats in [0, 1], uint8 or uint16. Each value is replaced by its normalized
            rank; equal values get their mean rank.

    Returns:
        float32 array `(N, H, W, 1)` in [0, 1].

    Raises:
        ValueError: If values are outside [0, 1].
    """
    from scipy.stats import rankdata

    images = unit_range(images, "equalize_histogram")
    flat = images.reshape(len(images), -1)
    return ((rankdata(flat, axis=1) - 0.5) / flat.shape[1]).reshape(images.shape).astype("float32")
