"""What a model's latents look like: how many are used, how far they are from the prior, how many bits they cost."""

import math

import keras
import numpy as np
from keras import ops
from scipy.special import logsumexp

from medzoo import losses, metrics
from medzoo.models import VAE, VQVAE, Codec

ACTIVE = 0.01  # a latent whose posterior mean varies by more than this over images is in use (Burda et al. 2016)


def latent_statistics(model, images, train=None):
    """JSON-ready facts about the latents of `images`; which ones depends on the family.

    Args:
        model: a medzoo model.
        images: float32 `(N, height, width, 1)`, a test set.
        train: training images; a VQ-VAE's bits are counted with the code frequencies of these.
    """
    pixels = math.prod(images.shape[1:])
    numbers = math.prod(model.latent_shape(images.shape[1:]))
    common = {"numbers": numbers, "compression_ratio": round(pixels / numbers, 2)}
    if isinstance(model, VQVAE):
        return {**common, **_codes(model, images, train)}
    if isinstance(model, VAE):
        return {**common, **_posterior(model, images)}
    if isinstance(model, Codec):
        return {**common, "qualities": _qualities(model, images)}
    latents = model.encode(images).reshape(-1, model.latent_dim)
    deviation = latents.std(axis=0)
    return {
        **common,
        "standard_deviation": _spread(deviation),
        "hoyer_sparsity": round(float(_hoyer(latents / np.maximum(deviation, 1e-12)).mean()), 4),
    }


def _spread(values):
    return {name: round(float(f(values)), 4) for name, f in (("least", np.min), ("mean", np.mean), ("most", np.max))}


def _hoyer(latents):
    """Sparsity of each row, 0 (all alike) to 1 (all but one zero); Hoyer 2004. Normal numbers: about 0.2."""
    root = math.sqrt(latents.shape[1])
    ratio = np.abs(latents).sum(axis=1) / np.maximum(np.linalg.norm(latents, axis=1), 1e-12)
    return (root - ratio) / max(root - 1, 1e-12)


def _codes(model, images, train):
    codes = model.encode(images)
    size = model.quantizer.codebook_size
    counts = np.bincount(codes.ravel(), minlength=size)
    p = counts[counts > 0] / counts.sum()
    seen = np.bincount(model.encode(train).ravel(), minlength=size) if train is not None else counts
    bits = -np.log2((seen + 1) / (seen.sum() + size))  # an ideal arithmetic coder with the training set's frequencies
    pixels = math.prod(images.shape[1:-1])
    return {
        "codebook_size": size,
        "usage": round(float((counts > 0).mean()), 4),
        "perplexity": round(float(np.exp(-(p * np.log(p)).sum())), 2),
        "bits_per_pixel": round(math.log2(size) * codes[0].size / pixels, 4),
        "bits_per_pixel_entropy_coded": round(float(bits[codes].sum() / len(codes) / pixels), 4),
    }


def _qualities(model, images, batch_size=16):
    """Bits per pixel by the model's own prior, and the PSNR they buy, for some qualities."""
    found = []
    for quality in (0, 25, 50, 75, 100):
        latents = model.encode(images, quality)
        parts = (latents[i : i + batch_size].astype("float32") for i in range(0, len(latents), batch_size))
        nats = [
            ops.convert_to_numpy(model.prior.nats(x, ops.full((len(x),), model.place(quality), "float32")))
            for x in parts
        ]
        bits = np.concatenate(nats).mean() / math.log(2) / math.prod(images.shape[1:3])
        psnr = np.mean(ops.convert_to_numpy(metrics.psnr(images, model.decode(latents, quality))))
        found.append({"quality": quality, "bits_per_pixel": round(float(bits), 4), "psnr": round(float(psnr), 4)})
    return found


def kl_per_latent(model, images):
    """KL(q(z|x) || p(z)) of each latent (vector) or channel (spatial, summed over positions), nats an image."""
    return _kl_per_latent(*model.posteriors(images))


def _kl_per_latent(mean, log_var):
    kl = ops.convert_to_numpy(losses.gaussian_kl_per_latent(mean, log_var))
    return kl.reshape(len(kl), -1, kl.shape[-1]).sum(axis=1).mean(axis=0)


def _posterior(model, images):
    mean, log_var = model.posteriors(images)
    kl = _kl_per_latent(mean, log_var)
    z, variance = (x.reshape(-1, model.latent_dim) for x in (mean, np.exp(log_var)))
    covariance = np.cov(z.T, bias=True).reshape(model.latent_dim, -1) + np.diag(variance.mean(axis=0))
    centre = z.mean(axis=0)
    _, log_det = np.linalg.slogdet(covariance)
    gap = 0.5 * (np.trace(covariance) + centre @ centre - model.latent_dim - log_det)
    return {
        "active_units": int((z.var(axis=0) > ACTIVE).sum()),
        "latent_dim": model.latent_dim,
        "kl": round(float(kl.sum()), 3),
        "kl_per_latent": [round(float(v), 3) for v in np.sort(kl)[::-1]],
        "aggregate_posterior": {
            "variance": _spread(np.diag(covariance)),
            "largest_mean": round(float(np.abs(centre).max()), 4),
            "kl_to_prior_as_gaussian": round(float(gap), 4),
        },
    }


def log_likelihood(model, images, samples=64, seed=0):
    """Importance-weighted bound on log p(x), nats an image (Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519).

    log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x): the evidence lower bound for K = 1, and never smaller, in
    expectation, for more. A density of pixel values in [0, 1], so it may be positive.

    Returns: two float64 arrays `(N,)`: the bound, and the evidence lower bound from the same samples.
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
    """The decoder's mean, not clipped: the Gaussian of the loss is about this one."""
    return keras.ops.convert_to_numpy(model.decoder(ops.convert_to_tensor(z)))
