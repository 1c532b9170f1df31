"""Pixel values to [0, 1]: windows, bit depths, resizing."""

import math

import numpy as np

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")  # VOI LUT Functions
WINDOWS = {  # (center, width) in Hounsfield units
    "lung": (-600, 1500),
    "bone": (400, 1800),
    "soft_tissue": (40, 400),
    "brain": (40, 80),
}


def resolve_window(window):
    """`(center, width)` of a window given as such or by name."""
    if not isinstance(window, str):
        center, width = window
        return center, width
    if window not in WINDOWS:
        raise ValueError(f"window={window!r}; expected (center, width) or one of {', '.join(WINDOWS)}.")
    return WINDOWS[window]


def check_window(center, width, function="LINEAR"):
    """Check the numbers and the function of a window, see `apply_window`.

    Raises:
        ValueError: If center or width is not finite, the width is not positive, or the function is unknown.
    """
    if function not in FUNCTIONS:
        raise ValueError(f"VOI LUT function {function!r}; expected LINEAR, LINEAR_EXACT or SIGMOID")
    if not width > 0 or (function == "LINEAR" and width < 1):
        raise ValueError(f"window width {width}; expected {'1 or more' if function == 'LINEAR' else 'more than 0'}")
    if not math.isfinite(center) or not math.isfinite(width):
        raise ValueError(f"window center {center}, width {width}; expected finite numbers")


def apply_window(values, center, width, function="LINEAR"):
    """Maps values to [0, 1] by a DICOM window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: array in the units of the window (Hounsfield units for CT).
        center, width: of the window; width > 0 (>= 1 for `"LINEAR"`).
        function: `"LINEAR"`, `"LINEAR_EXACT"` or `"SIGMOID"`, the VOI LUT Function.

    Returns: float32 array of the same shape.

    Raises:
        ValueError: see `check_window`.
    """
    check_window(center, width, function)
    values = np.asarray(values, "float64")
    if function == "SIGMOID":
        return (1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700, 700)))).astype("float32")
    if function == "LINEAR":
        # The standard's half-pixel: a window of width w passes w - 1 steps between black and white.
        center, width = center - 0.5, width - 1.0
    if width == 0:
        return (values > center).astype("float32")
    return np.clip((values - center) / width + 0.5, 0.0, 1.0).astype("float32")


def min_max_normalize(values, counted=None):
    """Maps the smallest value to 0 and the largest to 1 (a constant image to 0).

    Args:
        values: array.
        counted: boolean array of the values that count, the others are cut off to [0, 1]; by default all.
    """
    values = np.asarray(values, "float64")
    among = values if counted is None else values[counted]
    low, high = (among.min(), among.max()) if among.size else (0.0, 0.0)
    if not high > low:
        return np.zeros_like(values, "float32")
    return np.clip((values - low) / (high - low), 0.0, 1.0).astype("float32")


SPARSE = 0.98  # share of voxels of one value from which on the others alone set the display range


def display_range(values):
    """The values that become black and white where no window is given: the 0.5th and the 99.5th percentile.

    Where at least 98% of the voxels have one value, as in lesion maps, masks and statistical maps, the percentiles are
    those of the other voxels, and the range includes that value: it is the background, not the signal.

    Args:
        values: array of real numbers.

    Returns:
        `(low, high)` as floats; equal for a constant array.
    """
    low, middle, high = np.percentile(values, (0.5, 50, 99.5))
    apart = values != middle
    if 0 < np.count_nonzero(apart) <= (1 - SPARSE) * np.size(values):
        ends = np.percentile(values[apart], (0.5, 99.5))
        low, high = min(middle, ends[0]), max(middle, ends[1])
    return float(low), float(high)


def without_loss(values):
    """Real numbers in the smallest floating-point type that holds them.

    That is float32, or float64 for integers beyond 2**24 (numbers of atlas regions), for numbers beyond the range of
    float32, and for differences that are small compared with the numbers.

    Args:
        values: array of integers or floats.

    Returns:
        float32 or float64 array of the same shape.

    Raises:
        ValueError: integers beyond 2**53, which no floating-point number holds.
    """
    if values.dtype in (np.float32, np.float16) or (values.dtype.kind in "biu" and values.dtype.itemsize < 4):
        return values.astype("float32", copy=False)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if values.dtype.kind in "iu" and max(-int(low), int(high)) > 2**53:
        raise ValueError(f"integers from {low} to {high}; expected at most 2**53 in size, which float64 holds exactly")
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype("float32")
        error = np.max(np.abs(narrow - values.astype("float64")), initial=0.0)
    whole = values.dtype.kind in "iu" or (max(-low, high) > 2**24 and np.array_equal(values, np.round(values)))
    span = float(high) - float(low)
    held = error == 0 if whole else error <= 1e-6 * span or span == 0
    return narrow if held and np.isfinite(error) else values.astype("float64")


def rgb_to_gray(rgb):
    """`(..., 3)` colours to grey (ITU-R BT.601, as Pillow's `convert("L")`)."""
    return rgb @ np.array([0.299, 0.587, 0.114], dtype=rgb.dtype)


TOLERANCE = 1e-3  # interpolation and float16 may step over the ends of [0, 1] by so much


def unit_range(images, name):
    """Images as floats in [0, 1]: uint8 is divided by 255, uint16 by 65535.

    Args:
        images: array of uint8 or uint16, or of other numbers that lie in [0, 1] already.
        name: of the function that was given them, for the error.

    Returns:
        Float array of the same shape; float32, where `images` is not of floats.

    Raises:
        ValueError: Numbers outside [0, 1], NaN, or integers that would be nearly black (labels, 12 bits in 16).
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
                f"up to {np.iinfo(images.dtype).max}, or floats from 0 to 1. Divide them by what is white first."
            )
        return images.astype("float32") / np.iinfo(images.dtype).max
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
        raise ValueError(
            f"{name}: {images.dtype} values from {low:g} to {high:g}; expected uint8, uint16 or floats from 0 to 1. "
            "Divide 8-bit values by 255, or see medzoo.apply_window."
        )
    return images if images.dtype.kind == "f" else images.astype("float32")


def center_crop_resize(images, size):
    """Cuts the middle of the target's shape out of each image, then resizes with antialiasing (Lanczos).

    Nothing is stretched: a film that is not of the target's proportions loses its longer margins.

    Args:
        images: array `(H, W)`, `(H, W, 1)`, `(N, H, W)` or `(N, H, W, 1)` of floats in [0, 1], uint8 or uint16 (divided
            by 255 or 65535). Three axes mean `(H, W, 1)` if the last one has length 1, else `(N, H, W)`. Or volumes
            `(N, D, H, W, 1)`.
        size: `(height, width)` in pixels, or one number for a square; for volumes `(depth, height, width)`.

    Returns: float32 array with the same axes, in [0, 1].

    Raises:
        ValueError: another shape, or values outside [0, 1].
    """
    from PIL import Image

    images = unit_range(images, "resize").astype("float32", copy=False)
    if images.ndim == 5 and images.shape[-1] == 1:
        return np.stack([_resized(volume[..., 0], size) for volume in images])[..., None]
    if not 2 <= images.ndim <= 4 or (images.ndim == 4 and images.shape[-1] != 1):
        raise ValueError(
            f"resize: array of shape {images.shape}; expected (H, W), (H, W, 1), (N, H, W), (N, H, W, 1) or "
            "(N, D, H, W, 1)."
        )
    height, width = (size, size) if np.isscalar(size) else size
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
    """`resize` of one volume, one axis after another."""
    from PIL import Image

    if np.isscalar(size) or len(size) != 3:
        raise ValueError(f"resize: size={size} for volumes; expected (depth, height, width).")
    scale = min(have / want for have, want in zip(volume.shape, size, strict=True))
    for axis, want in enumerate(size):
        lines = np.moveaxis(volume, axis, 0)
        rest, margin = lines.shape[1:], (len(lines) - scale * want) / 2
        flat = Image.fromarray(np.ascontiguousarray(lines.reshape(len(lines), -1)))
        box = (0, margin, flat.width, margin + scale * want)
        flat = np.asarray(flat.resize((flat.width, want), Image.Resampling.LANCZOS, box=box))
        volume = np.moveaxis(flat.reshape(want, *rest), 0, axis)
    return np.clip(volume, 0.0, 1.0)


def standardize(images, mean=0.5, deviation=0.22):
    """Brings each image to one mean and one standard deviation, clipped to [0, 1]: takes exposure out of a comparison.

    Args:
        images: array `(N, H, W, 1)` of floats in [0, 1], uint8 or uint16. A constant image becomes `mean`.

    Raises:
        ValueError: values outside [0, 1].
    """
    images = unit_range(images, "standardize")
    axes = (1, 2, 3)
    spread = images.std(axis=axes, keepdims=True)
    spread = np.where(spread < 1e-4, 1.0, spread)
    return np.clip(mean + deviation * (images - images.mean(axis=axes, keepdims=True)) / spread, 0, 1).astype("float32")


def equalize_histogram(images):
    """Gives each image the same even histogram: takes exposure and tone curve out of a comparison, whatever monotonic
    curve a scanner has drawn its grey values through.

    Args:
        images: array `(N, H, W, 1)` of floats in [0, 1], uint8 or uint16. Each value becomes its rank, equal values the
            mean of theirs.

    Raises:
        ValueError: values outside [0, 1].
    """
    from scipy.stats import rankdata

    images = unit_range(images, "equalize")
    flat = images.reshape(len(images), -1)
    return ((rankdata(flat, axis=1) - 0.5) / flat.shape[1]).reshape(images.shape).astype("float32")
