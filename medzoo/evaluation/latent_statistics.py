"""Statistics of a model's latents: active units, distance to the prior, codebook usage, bits per pixel."""

import math
from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import ops
from scipy.special import logsumexp

from medzoo import losses, metrics
from medzoo.models import VAE, VQVAE, Codec

if TYPE_CHECKING:
    from medzoo.models.base import Autoencoder

ACTIVE = 0.01  # variance of the posterior mean over images above which a latent is active (Burda et al. 2016)


def latent_statistics(model: "Autoencoder", images: np.ndarray, train: np.ndarray | None = None) -> dict:
    """Return statistics of the latents of images, which depend on the model family.

    Args:
        model: A medzoo model.
        images: float32 array of shape `(N, height, width, 1)` with values in [0, 1], a test set.
        train: Training images; the entropy-coded bits of a VQ-VAE are computed with the code frequencies of these.
            Default: `images`.

    Returns:
        Dict, serializable as JSON, with `"latent_size"` (elements per image), `"compression_ratio"` and the statistics
        of the family.
    """
    pixels = math.prod(images.shape[1:])
    size = math.prod(model.latent_shape(images.shape[1:]))
    common = {"latent_size": size, "compression_ratio": round(pixels / size, 2)}
    if isinstance(model, VQVAE):
        return {**common, **_codes(model, images, train)}
    if isinstance(model, VAE):
        return {**common, **_posterior(model, images)}
    if isinstance(model, Codec):
        return {**common, "qualities": _qualities(model, images)}
    latents = model.encode(images).reshape(-1, model.latent_dim)
    std = latents.std(axis=0)
    return {
        **common,
        "standard_deviation": _range(std),
        "hoyer_sparsity": round(float(_hoyer(latents / np.maximum(std, 1e-12)).mean()), 4),
    }


def _range(values):
    return {name: round(float(f(values)), 4) for name, f in (("least", np.min), ("mean", np.mean), ("most", np.max))}


def _hoyer(latents):
    """Sparsity of each row from 0 (all equal) to 1 (all but one zero); Hoyer 2004. Gaussian values: about 0.2."""
    root = math.sqrt(latents.shape[1])
    ratio = np.abs(latents).sum(axis=1) / np.maximum(np.linalg.norm(latents, axis=1), 1e-12)
    return (root - ratio) / max(root - 1, 1e-12)


def _codes(model, images, train):
    codes = model.encode(images)
    size = model.quantizer.codebook_size
    counts = np.bincount(codes.ravel(), minlength=size)
    p = counts[counts > 0] / counts.sum()
    frequencies = np.bincount(model.encode(train).ravel(), minlength=size) if train is not None else counts
    # Code lengths of an ideal arithmetic coder with the frequencies of the training set.
    bits = -np.log2((frequencies + 1) / (frequencies.sum() + size))
    pixels = math.prod(images.shape[1:-1])
    return {
        "codebook_size": size,
        "usage": round(float((counts > 0).mean()), 4),
        "perplexity": round(float(np.exp(-(p * np.log(p)).sum())), 2),
        "bits_per_pixel": round(math.log2(size) * codes[0].size / pixels, 4),
        "bits_per_pixel_entropy_coded": round(float(bits[codes].sum() / len(codes) / pixels), 4),
    }


def _qualities(model, images, batch_size=16):
    """Bits per pixel under the model's entropy model, and PSNR, at several qualities."""
    rows = []
    for quality in (0, 25, 50, 75, 100):
        latents = model.encode(images, quality)
        parts = (latents[i : i + batch_size].astype("float32") for i in range(0, len(latents), batch_size))
        nats = [
            ops.convert_to_numpy(model.prior.nats(x, ops.full((len(x),), model.quality_index(quality), "float32")))
            for x in parts
        ]
        bits = np.concatenate(nats).mean() / math.log(2) / math.prod(images.shape[1:3])
        psnr = np.mean(ops.convert_to_numpy(metrics.psnr(images, model.decode(latents, quality))))
        rows.append({"quality": quality, "bits_per_pixel": round(float(bits), 4), "psnr": round(float(psnr), 4)})
    return rows


def kl_per_latent(model: "Autoencoder", images: np.ndarray) -> np.ndarray:
    """Return KL(q(z|x) || p(z)) of each latent, averaged over images.

    Args:
        model: A VAE.
        images: float32 array of shape `(N, height, width, 1)` with values in [0, 1].

    Returns:
        Array of shape `(latent_dim,)` in nats per image; of spatial latents, summed over positions.
    """
    return _kl_per_latent(*model.posteriors(images))


def _kl_per_latent(mean, log_var):
    kl = ops.convert_to_numpy(losses.gaussian_kl_per_latent(mean, log_var))
    return kl.reshape(len(kl), -1, kl.shape[-1]).sum(axis=1).mean(axis=0)


def _posterior(model, images):
    mean, log_var = model.posteriors(images)
    kl = _kl_per_latent(mean, log_var)
    z, variance = (x.reshape(-1, model.latent_dim) for x in (mean, np.exp(log_var)))
    covariance = np.cov(z.T, bias=True).reshape(model.latent_dim, -1) + np.diag(variance.mean(axis=0))
    center = z.mean(axis=0)
    _, log_det = np.linalg.slogdet(covariance)
    gap = 0.5 * (np.trace(covariance) + center @ center - model.latent_dim - log_det)
    return {
        "active_units": int((z.var(axis=0) > ACTIVE).sum()),
        "latent_dim": model.latent_dim,
        "kl": round(float(kl.sum()), 3),
        "kl_per_latent": [round(float(v), 3) for v in np.sort(kl)[::-1]],
        "aggregate_posterior": {
            "variance": _range(np.diag(covariance)),
            "largest_mean": round(float(np.abs(center).max()), 4),
            "kl_to_prior_as_gaussian": round(float(gap), 4),
        },
    }


def log_likelihood(
    model: "Autoencoder", images: np.ndarray, samples: int = 64, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the importance-weighted bound on log p(x) of each image.

    The bound (Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519) is `log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x)` with
    `z_k ~ q(z|x)`. For K = 1 it is the evidence lower bound, and its expectation does not decrease with K. It is a
    density of pixel values in [0, 1], so it may be positive.

    Args:
        model: A VAE.
        images: float32 array of shape `(N, height, width, 1)` with values in [0, 1].
        samples: int. Number K of samples per image. Default: 64.
        seed: int. Seed of the samples. Default: 0.

    Returns:
        Two float64 arrays of shape `(N,)`, in nats per image: the bound, and the evidence lower bound from the same
        samples.
    """
    rng = np.random.default_rng(seed)
    variance = float(ops.convert_to_numpy(model.variance))
    bounds = []
    for image in images:
        mean, log_var = (p[0] for p in model.posteriors(image[None]))
        noise = rng.standard_normal((samples, *mean.shape)).astype("float32")
        z = mean + np.exp(log_var / 2) * noise
        means = np.concatenate([_decode(model, z[i : i + 16]) for i in range(0, samples, 16)])
        squares = np.square(image - means, dtype="float64").reshape(samples, -1).sum(axis=1)
        log_p = -0.5 * (squares / variance + image.size * math.log(2 * math.pi * variance))
        ratio = 0.5 * (np.square(noise, dtype="float64") + log_var - np.square(z, dtype="float64"))
        log_weights = log_p + ratio.reshape(samples, -1).sum(axis=1)
        bounds.append((logsumexp(log_weights) - math.log(samples), log_weights.mean()))
    return tuple(np.array(bounds).T)


def _decode(model, z):
    """The decoder's mean without clipping, as in the Gaussian likelihood of the loss."""
    return keras.ops.convert_to_numpy(model.decoder(ops.convert_to_tensor(z)))
