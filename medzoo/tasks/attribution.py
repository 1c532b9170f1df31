"""Attribution maps: how much each pixel contributes to an output of a model."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from medzoo.models.gradients import input_gradient


def occlusion_map(
    function: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    patch: int = 8,
    fill: float | np.ndarray | None = None,
    stride: int | None = None,
) -> np.ndarray:
    """Compute how an output changes when patches of an image are occluded.

    Occlusion sensitivity (Zeiler & Fergus 2014, arXiv:1311.2901).

    Args:
        function: Maps images of shape `(N, height, width, 1)` to outputs of shape `(N,)`, e.g.
            `lambda x: model.encode(x)[:, 3]`.
        image: Float32 array of shape `(height, width, 1)`.
        patch: int. Side length of the square patches in pixels.
        fill: Pixel intensity of occluded patches, or an image that replaces them; by default the mean of the image.
        stride: int. Distance between patches in pixels; by default `patch`. Where patches overlap, their changes are
            averaged.

    Returns:
        Float32 array of shape `(height, width)`: the output for the image minus the output for the occluded image.
    """
    height, width, _ = image.shape
    stride = stride or patch
    cover = np.broadcast_to(image.mean() if fill is None else fill, image.shape)
    starts = (range(0, max(side - patch, 0) + stride, stride) for side in (height, width))
    patches = [(slice(i, i + patch), slice(j, j + patch)) for i, j in product(*starts)]
    occluded = np.repeat(image[None], len(patches), axis=0)
    for x, where in zip(occluded, patches, strict=True):
        x[where] = cover[where]
    total, count = np.zeros((2, height, width), "float32")
    for value, where in zip(function(image[None])[0] - function(occluded), patches, strict=True):
        total[where] += value
        count[where] += 1
    return total / count


def integrated_gradients(
    function: Callable[[Any], Any], image: np.ndarray, baseline: np.ndarray | None = None, steps: int = 32
) -> np.ndarray:
    """Compute the contribution of each pixel to an output by integrated gradients.

    Sundararajan et al. 2017, arXiv:1703.01365.

    Args:
        function: Maps a tensor of shape `(N, height, width, 1)` to a differentiable tensor of shape `(N,)`, e.g.
            `lambda x: model.encoder(x)[:, 3]`.
        image: Float32 array of shape `(height, width, 1)`.
        baseline: Image at which the path starts; by default every pixel has the mean intensity of the image.
        steps: int. Number of steps along the path.

    Returns:
        Float32 array of shape `(height, width)`. Its sum approximates the output for the image minus the output for
        the baseline.
    """
    baseline = np.full_like(image, image.mean()) if baseline is None else baseline
    way = ((np.arange(steps, dtype="float32") + 0.5) / steps).reshape(-1, 1, 1, 1)
    gradients = input_gradient(function, (baseline + way * (image - baseline)).astype("float32"))
    return ((image - baseline) * gradients.mean(axis=0))[..., 0]
