"""Loss terms: small pure functions of tensors, each returning one number per image, `(batch,)`.

Convention: every term is a sum over the pixels or latents of one image, in nats where it is a log-likelihood or a
divergence; the mean over the batch is taken once, by the model. So `reconstruction + KL` is the negative evidence
lower bound (Kingma & Welling 2014, arXiv:1312.6114) and beta = 1 means what the papers mean.
"""

import math

from keras import ops


def _sum_per_image(x):
    return ops.sum(ops.reshape(x, (ops.shape(x)[0], -1)), axis=1)


def squared_error(images, reconstructions):
    """Sum over pixels of (x - r)^2."""
    return _sum_per_image(ops.square(images - reconstructions))


def absolute_error(images, reconstructions):
    """Sum over pixels of |x - r|."""
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
