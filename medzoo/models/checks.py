"""Checks on what goes into a model: a wrong range, size or type raises an error and never gives a wrong image."""

import os

import keras
import numpy as np
from keras import ops

from medzoo.utils.arguments import COUNT, NONE, checked, either, real, whole

TOLERANCE = 1e-3  # interpolation and float16 may step over the ends of [0, 1] by so much
WHAT = {2: ("images", "pixels"), 3: ("volumes", "voxels")}
NAMES = ("depth", "height", "width")
PERHAPS = either(COUNT, NONE)
OPTIONS = {  # of `fit`, `evaluate` and `predict`
    "batch_size": PERHAPS,
    "epochs": COUNT,
    "initial_epoch": whole(0),
    "validation_split": real(0, below=1),
    "steps_per_epoch": PERHAPS,
    "steps": PERHAPS,
    "validation_steps": PERHAPS,
    "validation_batch_size": PERHAPS,
    "class_weight": NONE,
}


def images_only(model, what):
    """Raises ValueError for a model of volumes."""
    if model.spatial_dims != 2:
        raise ValueError(f"{model.name}: a model of volumes; {what} takes images (and a volume slice by slice).")


def check_shape(model, x):
    """Raises ValueError unless `x` has the rank, channels, size and type that the model takes (`None` is let
    through)."""
    _check_sides(model, x)
    kind = _dtype(x)
    if kind is not None and "float" not in kind:
        raise ValueError(f"{model.name}: values of {kind}; expected floats from 0 to 1. Divide 8-bit images by 255.")


def _dtype(x):
    """Name of the type of an array or tensor; `None` for anything else."""
    dtype = getattr(x, "dtype", None)
    return dtype and str(getattr(dtype, "name", dtype))


def _check_sides(model, x):
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
    """What to do about a wrong size."""
    if axes == 3:
        return f"Resize with medzoo.center_crop_resize(x, {tuple(size)})"
    return f"Resize with medzoo.read_image(path, size={tuple(size)}) or medzoo.center_crop_resize(x, {tuple(size)})"


def check_images(model, x):
    """`check_shape`, and raises ValueError for an empty batch, integers, NaN or values outside [0, 1]."""
    x = np.asarray(x)
    _check_sides(model, x)
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


def as_array(model, x):
    """Lists as arrays, other things as they are.

    Raises:
        ValueError: If `x` is missing, a path or a list of paths, or a list of unlike entries.
    """
    paths = x if isinstance(x, (tuple, list)) else [x]
    if x is None or any(isinstance(path, (str, bytes, os.PathLike)) for path in paths):
        raise ValueError(f"{model.name}: {x!r:.80}; expected an array. model.preprocess(path) reads files.")
    if not isinstance(x, (tuple, list)):
        return x
    try:
        return np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{model.name}: a list of entries of unlike shape; expected one array.") from error


def check_data(model, x):
    """`check_images` for arrays; anything else (datasets, tensors in a graph) passes."""
    if isinstance(x, np.ndarray) or hasattr(x, "numpy"):
        check_images(model, ops.convert_to_numpy(x))


def first_batch(model, x):
    """The first batch of a `tf.data.Dataset` or `keras.utils.PyDataset`; arrays and anything else as they are."""
    if hasattr(x, "take") and hasattr(x, "element_spec"):
        first = next(iter(x.take(1)), None)
    elif hasattr(x, "__getitem__") and hasattr(x, "num_batches"):
        first = None if x.num_batches == 0 else x[0]
    else:
        return x
    if first is None:
        raise ValueError(f"{model.name}: the dataset is empty.")
    return first


def check_training_data(model, x):
    """`check_data`, and for a `tf.data.Dataset` or `keras.utils.PyDataset` a look at the first batch."""
    first = first_batch(model, x)
    check_data(model, first[0] if isinstance(first, tuple) else first)


def check_target(model, x, y):
    """Raises ValueError unless `y` has the shape of the images `x`."""
    unequal = None not in (x.shape[0], y.shape[0]) and x.shape[0] != y.shape[0]
    if tuple(y.shape[1:]) != tuple(x.shape[1:]) or unequal:
        raise ValueError(
            f"{type(model).__name__}: y has shape {tuple(y.shape)} and x {tuple(x.shape)}. y is taken as the "
            "clean target images; for labels, leave y out: fit(x)."
        )


def check_sample_weight(model, x, weight):
    """Raises ValueError unless `weight` is one finite, nonnegative number for each image of `x`."""
    shape, wrong = tuple(weight.shape), ""
    if len(shape) != 1 or (None not in (shape[0], x.shape[0]) and shape[0] != x.shape[0]):
        wrong = f"shape {shape} for {x.shape[0]} images"
    elif isinstance(weight, np.ndarray) and not (np.isfinite(weight) & (weight >= 0)).all():
        wrong = "negative numbers, NaN or infinity"
    if wrong:
        raise ValueError(f"{type(model).__name__}: sample_weight of {wrong}; expected one number per image, 0 or more.")


def check_set(model, data):
    """Checks on what `fit` or `evaluate` gets, `(x, y, sample_weight)` with `None` for what is missing.

    Returns:
        The same with lists as arrays.
    """
    x, y, weight = (part if part is None and i else as_array(model, part) for i, part in enumerate(data))
    first = first_batch(model, x)
    check_data(model, first[0] if isinstance(first, tuple) else first)
    seen = first if isinstance(first, tuple) else (first, y, weight)
    seen = (*seen, None, None)[:3]
    if seen[1] is not None and hasattr(seen[0], "shape"):
        check_target(model, *seen[:2])
        check_data(model, seen[1])
    if seen[2] is not None and hasattr(seen[0], "shape"):
        check_sample_weight(model, seen[0], seen[2])
    return x, y, weight


def check_options(model, options):
    """Raises ValueError for options of `fit`, `evaluate` or `predict` that are out of range."""
    for name in OPTIONS.keys() & options.keys():
        checked(type(model).__name__, OPTIONS, **{name: options[name]})


def check_trainable(model):
    """Raises ValueError for a model of which all is frozen."""
    if not model.trainable_weights:
        raise ValueError(
            f"{model.name}: nothing to train; all its layers are frozen (trainable=False). Set model.trainable = True, "
            "or that of the layers to train, and compile again."
        )


def check_latents(model, latents):
    """Latents as `model.encode` returns them, in a type that the decoder takes.

    Args:
        model: An autoencoder. `model.codes` is the number of codes of a VQ-VAE, else `None`.
        latents: Array, list or tensor. Of tensors in a graph only what is known of shape and type is checked.

    Raises:
        ValueError: If rank, length or type are wrong, the batch is empty, or values are not finite or no codes.
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
    """What is wrong with the values of latents, or `None`."""
    if codes and not (values.min() >= 0 and values.max() < codes):
        return f"codes from {values.min()} to {values.max()}"
    if not codes and not np.isfinite(values.astype("float64")).all():
        return "NaN or infinite values"
    return None


def _concrete(x):
    """The values of an array or of a tensor that has any; `None` for a tensor in a graph."""
    if isinstance(x, np.ndarray):
        return x
    if keras.backend.backend() == "jax":
        import jax

        return None if isinstance(x, (jax.core.Tracer, keras.KerasTensor)) else np.asarray(x)
    return ops.convert_to_numpy(x) if hasattr(x, "numpy") else None
