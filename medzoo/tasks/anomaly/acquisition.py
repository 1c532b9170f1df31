"""Statistics of image acquisition, to detect an acquisition shift."""

import numpy as np

from medzoo.metrics.two_sample import ALPHA, LEAST, holm, two_sample_test

ACQUISITION = ("brightness", "contrast", "fraction of dark pixels", "sharpness")


def acquisition_statistics(images: np.ndarray) -> np.ndarray:
    """Return the acquisition statistics of images.

    Args:
        images: Float array of shape `(N, H, W, 1)` with values in [0, 1].

    Returns:
        Float array of shape `(N, 4)`, in the order of `ACQUISITION`.
    """
    x = images[..., 0]
    gradient = np.abs(np.diff(x, axis=1)).mean(axis=(1, 2)) + np.abs(np.diff(x, axis=2)).mean(axis=(1, 2))
    std = x.std(axis=(1, 2))
    return np.stack([x.mean(axis=(1, 2)), std, (x < 0.05).mean(axis=(1, 2)), gradient / (std + 1e-6)], axis=1)


def shifted_statistics(reference: np.ndarray, images: np.ndarray) -> list[str]:
    """Return the acquisition statistics that differ between reference and new images.

    Args:
        reference: Float array of shape `(M, 4)`. Acquisition statistics of the reference images.
        images: Float array of shape `(N, H, W, 1)` with values in [0, 1]. New images.

    Returns:
        Names of `ACQUISITION` whose p-value, adjusted by Holm's method (1979), is at most 0.05; empty for fewer than 10
        images.
    """
    if len(images) < LEAST:
        return []
    pairs = zip(reference.T, acquisition_statistics(images).T, strict=True)
    adjusted = holm([two_sample_test(old, new) for old, new in pairs])
    return [name for name, p in zip(ACQUISITION, adjusted, strict=True) if p <= ALPHA]
