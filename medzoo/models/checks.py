"""Checks of model inputs: a wrong range, size or type raises an error."""

import os

import keras
import numpy as np
from keras import ops

from medzoo.utils.arguments import COUNT, NONE, checked, either, real, whole

TOLERANCE = 1e-3  # by which interpolation and float16 may exceed the ends of [0, 1]
UNITS = {2: ("images", "pixels"), 3: ("volumes", "voxels")}
NAMES = ("depth", "height", "width")
OPTIONAL_COUNT = either(COUNT, NONE)
OPTIONS = {  # of `fit`, `evaluate` and `predict`
    "batch_size": OPTIONAL_COUNT,
    "epochs": COUNT,
    "initial_epoch": whole(0),
    "validation_split": real(0, below=1),
    "steps_per_epoch": OPTIONAL_COUNT,
    "steps": OPTIONAL_COUNT,
    "validation_steps": OPTIONAL_COUNT,
    "validation_batch_size": OPTIONAL_COUNT,
    "class_weight": NONE,
}


def check_2d(model: keras.Model, what: str) -> None:
    """Raise ValueError for a model of volumes; `what` names the function that needs images."""
    if model.spatial_dims != 2:
        raise ValueError(
            f"{model.name}: a model of volumes. {what} expects a model of images (process a volume slice by slice)."
        )


def check_shape(model: keras.Model, x) -> None:
    """Raise ValueError unless `x` has the rank, channels, size and type of the model's images.

    Sides that are `None` are not checked.
    """
    _check_sides(model, x)
    kind = _dtype(x)
    if kind is not None and "float" not in kind:
        raise ValueError(f"{model.name}: values of {kind}; expected floats from 0 to 1. Divide 8-bit images by 255.")


def _dtype(x):
    """Return the name of the dtype of an array or tensor; `None` for anything else."""
    dtype = getattr(x, "dtype", None)
    return dtype and str(getattr(dtype, "name", dtype))


def _check_sides(model, x):
    name, shape = model.name, tuple(getattr(x, "shape", np.shape(x)))
    *own, channels = model.image_shape
    axes, (what, unit) = len(own), UNITS[len(own)]
    if len(shape) != axes + 2 or shape[-1] not in (None, channels):
        names = ", ".join(NAMES[-axes:])
        raise ValueError(
            f"{name}: got an array of shape {shape}; expected (batch, {names}, {channels}). Add axes with "
            f"x[None, ..., None] for one {what[:-1]}, x[..., None] for several."
        )
    sides = shape[1:-1]
    asked = f"{'x'.join(map(str, sides))} {unit}"
    for axis, (side, wanted, factor) in enumerate(zip(sides, own, model.downsampling_factors, strict=True)):
        if side is None:
            continue
        if model.bottleneck == "vector" and side != wanted:
            raise ValueError(
                f"{name}: {what} of {asked}; this model takes {'x'.join(map(str, own))} only. {_resize(axes, own)}."
            )
        if side % factor or side == 0:
            nearest = tuple(
                max(1, round((s or side) / f)) * f for s, f in zip(sides, model.downsampling_factors, strict=True)
            )
            raise ValueError(
                f"{name}: {what} of {asked}; {NAMES[axis - axes]} must be a multiple of {factor}. "
                f"{_resize(axes, nearest)}, or pad."
            )


def _resize(axes, size):
    """Return a hint for resizing to the right size."""
    if axes == 3:
        return f"Resize with medzoo.center_crop_resize(x, {tuple(size)})"
    return f"Resize with medzoo.read_image(path, size={tuple(size)}) or medzoo.center_crop_resize(x, {tuple(size)})"


def check_images(model: keras.Model, x) -> None:
    """Raise ValueError for images that the model does not accept.

    The checks are those of `check_shape`, and for an empty batch, integers, NaN or values outside [0, 1].
    """
    x = np.asarray(x)
    _check_sides(model, x)
    if x.size == 0:
        raise ValueError(f"{model.name}: an empty batch of shape {x.shape}; expected at least one image.")
    low, high = model.input_range
    if x.dtype.kind not in "fiu" or np.isnan(x.min()) or np.isnan(x.max()):
        raise ValueError(
            f"{model.name}: the images ({x.dtype}) contain NaN or are not numeric; expected {low:g} to {high:g}."
        )
    if x.dtype.kind != "f" or x.min() < low - TOLERANCE or x.max() > high + TOLERANCE:
        hint = " Divide 8-bit images by 255." if x.max() <= 255 and x.min() >= 0 else ""
        raise ValueError(
            f"{model.name}: values from {x.min():g} to {x.max():g} ({x.dtype}); expected floats from {low:g} to "
            f"{high:g}.{hint} medzoo.read_image and medzoo.datasets return images in this range."
        )


def as_array(model: keras.Model, x):
    """Return lists as arrays and anything else unchanged.

    Raises:
        ValueError: If `x` is missing, a path or a list of paths, or a list of entries with different shapes.
    """
    paths = x if isinstance(x, (tuple, list)) else [x]
    if x is None or any(isinstance(path, (str, bytes, os.PathLike)) for path in paths):
        raise ValueError(f"{model.name}: {x!r:.80}; expected an array. model.preprocess(path) reads files.")
    if not isinstance(x, (tuple, list)):
        return x
    try:
        return np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{model.name}: a list of entries with different shapes; expected one array.") from error


def check_data(model: keras.Model, x) -> None:
    """Apply `check_images` to arrays; datasets and tensors in a graph pass."""
    if isinstance(x, np.ndarray) or hasattr(x, "numpy"):
        check_images(model, ops.convert_to_numpy(x))


def first_batch(model: keras.Model, x):
    """Return the first batch of a dataset (tf.data or PyDataset); anything else unchanged."""
    if hasattr(x, "take") and hasattr(x, "element_spec"):
        first = next(iter(x.take(1)), None)
    elif hasattr(x, "__getitem__") and hasattr(x, "num_batches"):
        first = None if x.num_batches == 0 else x[0]
    else:
        return x
    if first is None:
        raise ValueError(f"{model.name}: the dataset is empty.")
    return first


def check_training_data(model: keras.Model, x) -> None:
    """Apply `check_data` to arrays, or to the first batch of a dataset."""
    first = first_batch(model, x)
    check_data(model, first[0] if isinstance(first, tuple) else first)


def check_target(model: keras.Model, x, y) -> None:
    """Raise ValueError unless `y` has the shape of the images `x`."""
    unequal = None not in (x.shape[0], y.shape[0]) and x.shape[0] != y.shape[0]
    if tuple(y.shape[1:]) != tuple(x.shape[1:]) or unequal:
        raise ValueError(
            f"{type(model).__name__}: y has shape {tuple(y.shape)} and x {tuple(x.shape)}. Expected y to be the clean "
            "target images; for labels, leave y out: fit(x)."
        )


def check_sample_weight(model: keras.Model, x, weight) -> None:
    """Raise ValueError unless `weight` is one finite, nonnegative number per image of `x`."""
    shape, wrong = tuple(weight.shape), ""
    if len(shape) != 1 or (None not in (shape[0], x.shape[0]) and shape[0] != x.shape[0]):
        wrong = f"shape {shape} for {x.shape[0]} images"
    elif isinstance(weight, np.ndarray) and not (np.isfinite(weight) & (weight >= 0)).all():
        wrong = "negative numbers, NaN or infinity"
    if wrong:
        raise ValueError(f"{type(model).__name__}: sample_weight of {wrong}; expected one number per image, 0 or more.")


def check_set(model: keras.Model, data: tuple) -> tuple:
    """Check the data of `fit` or `evaluate`.

    Args:
        model: An autoencoder.
        data: Tuple `(x, y, sample_weight)` with `None` for missing parts.

    Returns:
        The same tuple with lists as arrays.
    """
    x, y, weight = (part if part is None and i else as_array(model, part) for i, part in enumerate(data))
    first = first_batch(model, x)
    check_data(model, first[0] if isinstance(first, tuple) else first)
    parts = first if isinstance(first, tuple) else (first, y, weight)
    images, target, weights = (*parts, None, None)[:3]
    if target is not None and hasattr(images, "shape"):
        check_target(model, images, target)
        check_data(model, target)
    if weights is not None and hasattr(images, "shape"):
        check_sample_weight(model, images, weights)
    return x, y, weight


def check_options(model: keras.Model, options: dict) -> None:
    """Raise ValueError for options of `fit`, `evaluate` or `predict` that are out of range."""
    for name in OPTIONS.keys() & options.keys():
        checked(type(model).__name__, OPTIONS, **{name: options[name]})


def check_trainable(model: keras.Model) -> None:
    """Raise ValueError for a model without trainable weights."""
    if not model.trainable_weights:
        raise ValueError(
            f"{model.name}: nothing to train; all its layers are frozen (trainable=False). Set trainable = True on the "
            "model or on the layers to train, and compile again."
        )


def check_latents(model: keras.Model, latents):
    """Check latents and return them in a type that the decoder accepts.

    Args:
        model: An autoencoder. `model.codes` is the codebook size of a VQ-VAE, else `None`.
        latents: Array, list or tensor, as `model.encode` returns it. Of tensors in a graph, only shape and type are
            checked, as far as they are known.

    Returns:
        The latents as a float array or tensor, or int32 for codes.

    Raises:
        ValueError: If rank, length or type are wrong, the batch is empty, values are not finite, or codes are out of
            range.
    """
    latents = as_array(model, latents)
    shape, kind, grid = tuple(latents.shape), _dtype(latents), model.bottleneck == "spatial"
    own = (NAMES[-model.spatial_dims :] if grid else ()) + (() if model.codes else (model.latent_dim,))
    wanted = f"({', '.join(map(str, ('batch', *own)))})"
    what = f"integer codes {wanted} from 0 to {model.codes - 1}" if model.codes else f"numbers {wanted}"
    wrong = None
    if len(shape) != 1 + len(own) or not (model.codes or shape[-1] in (None, model.latent_dim)) or 0 in shape:
        wrong = f"shape {shape}"
    elif "int" not in kind and (model.codes or "float" not in kind):
        wrong = f"type {kind}"
    elif (values := _concrete(latents)) is not None:
        wrong = _wrong_values(values, model.codes)
    if wrong:
        raise ValueError(f"{model.name}: latents of {wrong}; expected {what}, as encode returns them.")
    if "float" in kind:
        return latents
    taken = "int32" if model.codes else "float32"
    return latents.astype(taken) if isinstance(latents, np.ndarray) else ops.cast(latents, taken)


def _wrong_values(values, codes):
    """Return a description of invalid latent values, or `None`."""
    if codes and not (values.min() >= 0 and values.max() < codes):
        return f"codes from {values.min()} to {values.max()}"
    if not codes and not np.isfinite(values.astype("float64")).all():
        return "NaN or infinite values"
    return None


def _concrete(x):
    """Return the values of an array or eager tensor; `None` for a tensor in a graph."""
    if isinstance(x, np.ndarray):
        return x
    if keras.backend.backend() == "jax":
        import jax

        return None if isinstance(x, (jax.core.Tracer, keras.KerasTensor)) else np.asarray(x)
    return ops.convert_to_numpy(x) if hasattr(x, "numpy") else None
