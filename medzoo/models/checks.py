"""Checks on images that go into a model: a wrong range or size raises, it never gives a grey picture."""

import numpy as np
from keras import ops

TOLERANCE = 1e-3  # interpolation and float16 may step over the ends of [0, 1] by so much
WHAT = {2: ("images", "pixels"), 3: ("volumes", "voxels")}
NAMES = ("depth", "height", "width")


def images_only(model, what):
    """Raises ValueError for a model of volumes."""
    if model.axes != 2:
        raise ValueError(f"{model.name}: a model of volumes; {what} takes images (and a volume slice by slice).")


def check_shape(model, x):
    """Raises ValueError unless `x` has the rank, channels and size that the model takes (`None` is let through)."""
    name, shape = model.name, tuple(getattr(x, "shape", np.shape(x)))
    *own, channels = model.image_shape
    axes, (what, unit) = len(own), WHAT[len(own)]
    if len(shape) != axes + 2 or shape[-1] not in (None, channels):
        names = ", ".join(NAMES[-axes:])
        raise ValueError(
            f"{name}: got an array of shape {shape}; expected (batch, {names}, {channels}). Add axes with "
            f"x[None, ..., None] for one {what[:-1]}, x[..., None] for several."
        )
    sides = shape[1:-1]
    asked = f"{'x'.join(map(str, sides))} {unit}"
    for axis, (side, wanted, factor) in enumerate(zip(sides, own, model.factors, strict=True)):
        if side is None:
            continue
        if model.bottleneck == "vector" and side != wanted:
            raise ValueError(
                f"{name}: {what} of {asked}; this model takes {'x'.join(map(str, own))} only. {_resize(axes, own)}."
            )
        if side % factor or side == 0:
            nearest = tuple(max(1, round((s or side) / f)) * f for s, f in zip(sides, model.factors, strict=True))
            raise ValueError(
                f"{name}: {what} of {asked}; {NAMES[axis - axes]} must be a multiple of {factor}. "
                f"{_resize(axes, nearest)}, or pad."
            )


def _resize(axes, size):
    """What to do about a wrong size."""
    if axes == 3:
        return f"Resize with medzoo.resize(x, {tuple(size)})"
    return f"Resize with medzoo.read_image(path, size={tuple(size)}) or medzoo.resize(x, {tuple(size)})"


def check_images(model, x):
    """`check_shape`, and raises ValueError for an empty batch, integers, NaN or values outside [0, 1]."""
    x = np.asarray(x)
    check_shape(model, x)
    if x.size == 0:
        raise ValueError(f"{model.name}: an empty batch of shape {x.shape}; expected at least one image.")
    low, high = model.input_range
    if x.dtype.kind not in "fiu" or np.isnan(x.min()) or np.isnan(x.max()):
        raise ValueError(f"{model.name}: the images ({x.dtype}) hold NaN or no numbers; expected {low:g} to {high:g}.")
    if x.dtype.kind != "f" or x.min() < low - TOLERANCE or x.max() > high + TOLERANCE:
        hint = " Divide 8-bit images by 255." if x.max() <= 255 and x.min() >= 0 else ""
        raise ValueError(
            f"{model.name}: values from {x.min():g} to {x.max():g} ({x.dtype}); expected floats from {low:g} to "
            f"{high:g}.{hint} medzoo.read_image and medzoo.datasets give images in that range."
        )


def check_data(model, x):
    """`check_images` for arrays; anything else (datasets, tensors in a graph) passes."""
    if isinstance(x, np.ndarray) or hasattr(x, "numpy"):
        check_images(model, ops.convert_to_numpy(x))


def check_training_data(model, x):
    """`check_data`, and for a `tf.data.Dataset` or `keras.utils.PyDataset` a look at the first batch."""
    check_data(model, x)
    if hasattr(x, "take") and hasattr(x, "element_spec"):
        first = next(iter(x.take(1)), None)
    elif hasattr(x, "__getitem__") and hasattr(x, "num_batches"):
        first = x[0]
    else:
        return
    if first is None:
        raise ValueError(f"{model.name}: the dataset is empty.")
    check_data(model, first[0] if isinstance(first, tuple) else first)
