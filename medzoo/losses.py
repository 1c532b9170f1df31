"""Loss terms: small pure functions of tensors, each returning one number per image, `(batch,)`.

Convention: every term is a sum over the pixels or latents of one image, in nats where it is a log-likelihood or a
divergence; the mean over the batch is taken once, by the model. So `reconstruction + KL` is the negative evidence
lower bound (Kingma & Welling 2014, arXiv:1312.6114) and beta = 1 means what the papers mean.
"""

import math

import keras
import numpy as np
from keras import ops

WIDEST = (-1.0, 2.0)  # values of images meant for [0, 1]: noise and overshoot may leave it, other units go further


def checked_pair(name, images, others, limit=None):
    """Two batches to be compared, as float32 in units where the whole range of intensities is 1.

    Args:
        name: of the function, for errors.
        images: floats meant for [0, 1], or uint8, `(batch, ...)`.
        others: as `images`, of the same shape and kind.
        limit: float, the largest possible value (8-bit images: 255), for other units. By default 255 for uint8, else 1.

    Returns:
        Two float32 tensors.

    Raises:
        ValueError: If shapes differ, one batch is integer and the other float, other integers than uint8 are given
            without `limit`, or arrays hold values far outside the range.
    """
    images, others = (x if hasattr(x, "shape") else np.asarray(x) for x in (images, others))
    if len(images.shape) != len(others.shape) or any(
        None not in pair and pair[0] != pair[1] for pair in zip(images.shape, others.shape, strict=True)
    ):
        raise ValueError(f"{name}: shapes {tuple(images.shape)} and {tuple(others.shape)}. Expected the same shape.")
    kinds = [keras.backend.standardize_dtype(x.dtype) for x in (images, others)]
    whole = ["float" not in kind for kind in kinds]
    if whole[0] != whole[1] or (whole[0] and kinds[0] != kinds[1]):
        raise ValueError(
            f"{name}: {kinds[0]} and {kinds[1]}. Expected both as floats in [0, 1] or both as uint8. Divide 8-bit "
            "images by 255."
        )
    if limit is None and whole[0] and kinds[0] not in ("uint8", "bool"):
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
    """Differences of unsigned integers wrap around, and nats are of values in [0, 1]: floats only."""
    kinds = [keras.backend.standardize_dtype(x.dtype) for x in batches]
    if not all("float" in kind for kind in kinds):
        raise ValueError(f"{name}: {' and '.join(kinds)}. Expected floats in [0, 1]. Divide 8-bit images by 255.")


def squared_error(images, reconstructions):
    """Sum over pixels of (x - r)^2."""
    _check_floats("squared_error", images, reconstructions)
    return _sum_per_image(ops.square(images - reconstructions))


def absolute_error(images, reconstructions):
    """Sum over pixels of |x - r|."""
    _check_floats("absolute_error", images, reconstructions)
    return _sum_per_image(ops.abs(images - reconstructions))


def gaussian_nll(images, reconstructions, variance):
    """Negative log-likelihood, in nats, of the images under N(reconstruction, variance), one variance for all pixels.

    The normalising constant is kept: with the variance learned it is what stops it from growing (sigma-VAE, Rybkin et
    al. 2021, arXiv:2006.13202). It may be negative, since a density may exceed one.
    """
    pixels = math.prod(images.shape[1:]) if None not in images.shape[1:] else ops.size(images) / ops.shape(images)[0]
    pixels = ops.cast(pixels, reconstructions.dtype)
    return 0.5 * (squared_error(images, reconstructions) / variance + pixels * ops.log(2 * math.pi * variance))


def gaussian_kl_per_latent(mean, log_var):
    """KL(N(mean, exp(log_var)) || N(0, 1)) of each latent by itself, in nats; shaped like `mean`."""
    return 0.5 * (ops.exp(log_var) + ops.square(mean) - 1.0 - log_var)


def gaussian_kl(mean, log_var):
    """KL(N(mean, diag exp(log_var)) || N(0, I)), in nats: summed over the latents, not averaged."""
    return _sum_per_image(gaussian_kl_per_latent(mean, log_var))
