"""Attribution maps: which pixels an output depends on."""

from itertools import product

import numpy as np

from medzoo.models.gradients import input_gradient


def occlusion_map(function, image, patch=8, fill=None, stride=None):
    """How a number changes when parts of an image are covered (Zeiler & Fergus 2014, arXiv:1311.2901).

    Args:
        function: images `(N, height, width, 1)` to numbers `(N,)`, e.g. `lambda x: model.encode(x)[:, 3]`.
        image: float32 `(height, width, 1)`.
        patch: side of the covered squares in pixels.
        fill: grey value that covers, or an image to be seen in the covered parts; by default the image's mean.
        stride: pixels from one square to the next; by default `patch`. Where squares overlap their changes are
            averaged.

    Returns: float32 `(height, width)`: the number of the whole image minus that of the covered one.
    """
    height, width, _ = image.shape
    stride = stride or patch
    cover = np.broadcast_to(image.mean() if fill is None else fill, image.shape)
    starts = (range(0, max(side - patch, 0) + stride, stride) for side in (height, width))
    places = [(slice(i, i + patch), slice(j, j + patch)) for i, j in product(*starts)]
    covered = np.repeat(image[None], len(places), axis=0)
    for x, place in zip(covered, places, strict=True):
        x[place] = cover[place]
    total, times = np.zeros((2, height, width), "float32")
    for value, place in zip(function(image[None])[0] - function(covered), places, strict=True):
        total[place] += value
        times[place] += 1
    return total / times


def integrated_gradients(function, image, baseline=None, steps=32):
    """What each pixel adds to a number (Sundararajan et al. 2017, arXiv:1703.01365).

    Args:
        function: tensor `(N, height, width, 1)` to a tensor `(N,)` of differentiable numbers, e.g.
            `lambda x: model.encoder(x)[:, 3]`.
        image: float32 `(height, width, 1)`.
        baseline: image that the path starts from; by default all pixels at the image's mean.
        steps: of the path.

    Returns: float32 `(height, width)`; adds up to the number of the image minus that of the baseline, nearly.
    """
    baseline = np.full_like(image, image.mean()) if baseline is None else baseline
    way = ((np.arange(steps, dtype="float32") + 0.5) / steps).reshape(-1, 1, 1, 1)
    slopes = input_gradient(function, (baseline + way * (image - baseline)).astype("float32"))
    return ((image - baseline) * slopes.mean(axis=0))[..., 0]
