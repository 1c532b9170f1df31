"""What single latents encode: traversals and a measure of disentanglement."""

import numpy as np


def latent_traversal(model, image, latent, span=3.0, steps=7, scale=1.0):
    """What one latent does to an image: decoded with that latent moved from -span to +span.

    Args:
        model: a medzoo model with a vector bottleneck of numbers.
        image: float32 `(height, width, 1)` in [0, 1].
        latent: which, 0 to `latent_dim` - 1.
        span: in units of `scale`, around the image's own value.
        scale: standard deviation of that latent over images (1 under a VAE's prior).

    Returns: float32 `(steps, height, width, 1)`; the middle one is the reconstruction.
    """
    if model.bottleneck != "vector" or not 0 <= latent < model.latent_dim:
        raise ValueError(
            f"traverse: latent={latent} of {model.name} ({model.bottleneck} bottleneck); expected a vector bottleneck "
            f"and 0 to {model.latent_dim - 1}."
        )
    z = np.repeat(model.encode(image[None]), steps, axis=0)
    z[:, latent] += scale * np.linspace(-span, span, steps)
    return model.decode(z)


def mutual_information_gap(latents, factors, bins=20):
    """Disentanglement of latents against known factors (MIG, Chen et al. 2018, arXiv:1802.04942).

    Args:
        latents: `(N, D)`.
        factors: integers `(N, F)`, e.g. label, view, sex.
        bins: equal-width bins that latents are cut into.

    Returns: float array `(F,)`: for each factor how much more the most informative latent knows than the second, as a
        share of the factor's entropy; 0 to 1.
    """
    from sklearn.metrics import mutual_info_score

    def binned(x):
        edges = np.linspace(x.min(), x.max(), bins + 1)[1:-1]
        return np.digitize(x, edges)

    codes = [binned(x) for x in np.asarray(latents).T]
    gaps = []
    for factor in np.asarray(factors).T:
        known = sorted(mutual_info_score(factor, code) for code in codes)
        second = known[-2] if len(known) > 1 else 0.0
        entropy = mutual_info_score(factor, factor)
        gaps.append((known[-1] - second) / entropy if entropy > 0 else np.nan)
    return np.array(gaps)
