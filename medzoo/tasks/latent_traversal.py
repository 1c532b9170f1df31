"""Interpretation of single latents: traversals and a measure of disentanglement."""

import keras
import numpy as np


def latent_traversal(
    model: keras.Model, image: np.ndarray, latent: int, span: float = 3.0, steps: int = 7, scale: float = 1.0
) -> np.ndarray:
    """Decode an image while one of its latents varies from -span to +span.

    Args:
        model: A medzoo model with a continuous vector bottleneck.
        image: Float32 array of shape `(height, width, 1)` with values in [0, 1].
        latent: int. Index of the latent, 0 to `latent_dim` - 1.
        span: float. Half the range in units of `scale`, centered at the value of the image.
        steps: int. Number of images.
        scale: float. Standard deviation of that latent over images; 1 under the prior of a VAE.

    Returns:
        Float32 array of shape `(steps, height, width, 1)`. For an odd number of steps, the middle image is the
        reconstruction.

    Raises:
        ValueError: If the model has no vector bottleneck, or `latent` is out of range.
    """
    if model.bottleneck != "vector" or not 0 <= latent < model.latent_dim:
        raise ValueError(
            f"latent_traversal: invalid latent. Expected a vector bottleneck and a latent from 0 to "
            f"{model.latent_dim - 1}, got latent={latent} of {model.name} ({model.bottleneck} bottleneck)."
        )
    z = np.repeat(model.encode(image[None]), steps, axis=0)
    z[:, latent] += scale * np.linspace(-span, span, steps)
    return model.decode(z)


def mutual_information_gap(latents: np.ndarray, factors: np.ndarray, bins: int = 20) -> np.ndarray:
    """Compute the mutual information gap of latents with known factors of variation.

    The mutual information gap (MIG) is a measure of disentanglement (Chen et al. 2018, arXiv:1802.04942).

    Args:
        latents: Float array of shape `(N, D)`.
        factors: Integer array of shape `(N, F)`, e.g. label, view and sex.
        bins: int. Number of bins of equal width into which the latents are discretized.

    Returns:
        Float array of shape `(F,)` with values from 0 to 1: for each factor, the difference in mutual information
        between the most informative latent and the second, divided by the entropy of the factor.
    """
    from sklearn.metrics import mutual_info_score

    def binned(x):
        edges = np.linspace(x.min(), x.max(), bins + 1)[1:-1]
        return np.digitize(x, edges)

    codes = [binned(x) for x in np.asarray(latents).T]
    gaps = []
    for factor in np.asarray(factors).T:
        information = sorted(mutual_info_score(factor, code) for code in codes)
        second = information[-2] if len(information) > 1 else 0.0
        entropy = mutual_info_score(factor, factor)
        gaps.append((information[-1] - second) / entropy if entropy > 0 else np.nan)
    return np.array(gaps)
