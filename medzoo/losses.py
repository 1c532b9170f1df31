"""Loss terms: pure functions of tensors that return one value per image, `(batch,)`.

Every term is a sum over the pixels or latents of one image, in nats for log-likelihoods and divergences. The model
averages over the batch once. So `reconstruction + KL` is the negative evidence lower bound (Kingma & Welling 2014,
arXiv:1312.6114), and beta = 1 has the meaning of the literature.
"""

import math

import keras
import numpy as np
from keras import ops

WIDEST = (-1.0, 2.0)  # accepted for images in [0, 1]: noise and overshoot may exceed it, other units exceed more


def checked_pair(name: str, images, others, limit: float | None = None) -> tuple:
    """Return two batches to be compared as float32 tensors, intensities scaled to [0, 1].

    Args:
        name: str. Name of the calling function, for error messages.
        images: float array with values in [0, 1], or uint8 array, `(batch, ...)`.
        others: Array like `images`, of the same shape and kind.
        limit: float. Largest possible value for other units. Default: 255 for uint8, else 1.

    Returns:
        Two float32 tensors.

    Raises:
        ValueError: If shapes differ, one batch is integer and the other float, integers other than uint8 are given
            without `limit`, or arrays contain values far outside the range.
    """
    images, others = (x if hasattr(x, "shape") else np.asarray(x) for x in (images, others))
    if len(images.shape) != len(others.shape) or any(
        None not in pair and pair[0] != pair[1] for pair in zip(images.shape, others.shape, strict=True)
    ):
        raise ValueError(f"{name}: shapes {tuple(images.shape)} and {tuple(others.shape)}. Expected the same shape.")
    kinds = [keras.backend.standardize_dtype(x.dtype) for x in (images, others)]
    integer = ["float" not in kind for kind in kinds]
    if integer[0] != integer[1] or (integer[0] and kinds[0] != kinds[1]):
        raise ValueError(
            f"{name}: {kinds[0]} and {kinds[1]}. Expected both as floats in [0, 1] or both as uint8. Divide 8-bit "
            "images by 255."
        )
    if limit is None and integer[0] and kinds[0] not in ("uint8", "bool"):
        raise ValueError(f"{name}: {kinds[0]} images. Expected floats in [0, 1], uint8, or max_val=LARGEST VALUE.")
    limit = limit or (255 if kinds[0] == "uint8" else 1)
    for x in (images, others):
        if isinstance(x, np.ndarray) and x.size and (x.min() < WIDEST[0] * limit or x.max() > WIDEST[1] * limit):
            raise ValueError(
                f"{name}: values from {x.min():g} to {x.max():g} ({x.dtype}). Expected 0 to {limit:g}. Scale the "
                "images to [0, 1], or pass max_val=LARGEST VALUE."
            )
    images, others = (ops.cast(x, "float32") for x in (images, others))
    return (images, others) if limit == 1 else (images / limit, others / limit)


def _sum_per_image(x):
    return ops.sum(ops.reshape(x, (ops.shape(x)[0], -1)), axis=1)


def _check_floats(name, *batches):
    """Raise ValueError for integers: unsigned differences wrap around, and nats refer to values in [0, 1]."""
    kinds = [keras.backend.standardize_dtype(x.dtype) for x in batches]
    if not all("float" in kind for kind in kinds):
        raise ValueError(f"{name}: {' and '.join(kinds)}. Expected floats in [0, 1]. Divide 8-bit images by 255.")


def squared_error(images, reconstructions):
    """Return the sum over pixels of (x - r)^2 per image.

    Args:
        images: float tensor `(batch, ...)`.
        reconstructions: float tensor shaped like `images`.

    Returns:
        float tensor `(batch,)`.
    """
    _check_floats("squared_error", images, reconstructions)
    return _sum_per_image(ops.square(images - reconstructions))


def absolute_error(images, reconstructions):
    """Return the sum over pixels of |x - r| per image.

    Args:
        images: float tensor `(batch, ...)`.
        reconstructions: float tensor shaped like `images`.

    Returns:
        float tensor `(batch,)`.
    """
    _check_floats("absolute_error", images, reconstructions)
    return _sum_per_image(ops.abs(images - reconstructions))


def gaussian_nll(images, reconstructions, variance):
    """Return the negative log-likelihood of images under N(reconstruction, variance), in nats.

    The normalization constant is included: it bounds a learned variance (sigma-VAE, Rybkin et al. 2021,
        arXiv:2006.13202).
    The value can be negative, since a density can exceed 1.

    Args:
        images: float tensor `(batch, ...)`.
        reconstructions: float tensor shaped like `images`.
        variance: float or scalar tensor, the same for all pixels.

    Returns:
        float tensor `(batch,)`, summed over pixels.
    """
    pixels = math.prod(images.shape[1:]) if None not in images.shape[1:] else ops.size(images) / ops.shape(images)[0]
    pixels = ops.cast(pixels, reconstructions.dtype)
    return 0.5 * (squared_error(images, reconstructions) / variance + pixels * ops.log(2 * math.pi * variance))


def gaussian_kl_per_latent(mean, log_var):
    """Return KL(N(mean, exp(log_var)) || N(0, 1)) of each latent in nats."""
    return 0.5 * (ops.exp(log_var) + ops.square(mean) - 1.0 - log_var)


def gaussian_kl(mean, log_var):
    """Return KL(N(mean, diag exp(log_var)) || N(0, I)) per image in nats, summed over latents."""
    return _sum_per_image(gaussian_kl_per_latent(mean, log_var))
