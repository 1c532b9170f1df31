"""Does an image look like those that a model learned from?"""

import numpy as np
from keras import ops

from medzoo import metrics
from medzoo.layers import pooling
from medzoo.models.checks import check_images

AT_ONCE = 16  # images
RARE, SIGMAS = 0.01, 2.33  # a share of the images, and how far from the middle of a normal distribution it lies
UNUSUAL = 0.01  # what commands and the web page warn below


class Usual:
    """What a model's validation images look like: how well it reconstructs them, what its encoder sees in them, and how
    light and dark lie in them.

    Args:
        psnr: `(median, scale)` of the reconstruction's PSNR in dB; scale: how far the lowest 1% lies below the median,
            in standard deviations of a normal distribution.
        deep, layout: dicts of `mean` and `deviation` over the images of what `medzoo.layers.pooling` makes of the
            encoder's stages (`deep`) and of the image itself (`in_cells`), and of `distance`, `(median, scale)` of the
            logarithm of the mean squared standardised difference from the mean; scale: to the highest 1%.

    Raises:
        ValueError: numbers that do not belong together.
    """

    def __init__(self, psnr, deep, layout):
        self.psnr = tuple(float(n) for n in psnr)
        self.looks = []
        for look in (deep, layout):
            mean, deviation = (np.asarray(look[key], "float32") for key in ("mean", "deviation"))
            distance = tuple(float(n) for n in look["distance"])
            if mean.ndim != 1 or mean.shape != deviation.shape or (len(distance), len(self.psnr)) != (2, 2):
                raise ValueError("usual: mean and deviation of unlike length, or not two numbers of PSNR or distance.")
            if min(distance[1], self.psnr[1], deviation.min()) <= 0:
                raise ValueError("usual: deviations and scales must be positive.")
            self.looks.append((mean, deviation, distance))

    @classmethod
    def of(cls, model, parts):
        """From validation images: a list of arrays `(N, H, W, 1)` in [0, 1], each of a size of its own."""
        for images in parts:
            check_images(model, images)
        found = [_seen(model, images) for images in parts]
        psnr, *rows = (np.concatenate(part) for part in zip(*found, strict=True))
        middle, low = np.median(psnr), np.quantile(psnr, RARE)
        return cls((middle, max(middle - low, 1e-3) / SIGMAS), *(_look(r) for r in rows))

    def share(self, model, images):
        """See `Autoencoder.belongs`."""
        from scipy.stats import norm

        psnr, *rows = _seen(model, images)
        strange = [(self.psnr[0] - psnr) / self.psnr[1]]
        for seen, (mean, deviation, (middle, scale)) in zip(rows, self.looks, strict=True):
            strange.append((_distance(seen, mean, deviation) - middle) / scale)
        return np.minimum(1, len(strange) * norm.sf(np.max(strange, axis=0))).astype("float32")

    def get_config(self):
        looks = [dict(zip(("mean", "deviation", "distance"), map(_short, look), strict=True)) for look in self.looks]
        return {"psnr": _short(self.psnr), "deep": looks[0], "layout": looks[1]}


def _short(numbers):
    return [float(f"{n:.5g}") for n in numbers]


def _look(rows):
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    deviation = np.maximum(deviation, 1e-3 * np.abs(mean) + 1e-6)
    distance = _distance(rows, mean, deviation)
    middle, high = np.median(distance), np.quantile(distance, 1 - RARE)
    return {"mean": mean, "deviation": deviation, "distance": (middle, max(high - middle, 1e-3) / SIGMAS)}


def _seen(model, images):
    """PSNR of the reconstructions, `(N,)`; what the encoder's stages see, `(N, D)`; light and dark, `(N, D')`."""
    parts = []
    for i in range(0, len(images), AT_ONCE):
        x = ops.convert_to_tensor(images[i : i + AT_ONCE])
        rows = (metrics.psnr(x, model.reconstruct(images[i : i + AT_ONCE])),)
        rows += (pooling.deep(model.encoder.stage_outputs(x)), pooling.in_cells(x))
        parts.append([ops.convert_to_numpy(row) for row in rows])
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _distance(rows, mean, deviation):
    return np.log(np.square((rows - mean) / deviation).mean(axis=1) + 1e-12)
