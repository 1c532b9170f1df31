"""Does an image look like those that a model learned from?"""

import numpy as np
from keras import ops

from medzoo import metrics
from medzoo.layers import pooling
from medzoo.models.checks import check_images

AT_ONCE = 16  # images
RARE, SIGMAS = 0.01, 2.33  # a share of the images, and how far from the middle of a normal distribution it lies
UNUSUAL = 0.01  # what commands and the web page warn below
SHIFTED = 0.5  # standard deviations that they warn above


class KnowsItsImages:
    """Mixin for models with an encoder: how usual are images among those that it learned from?

    Attributes: `usual`, a `Usual` or `None`; presets and classifiers that `medzoo classify` trained have one.
    """

    usual = None

    def belongs(self, x):
        """How usual images are among those that the model learned from: of the shares of its validation images that are
        reconstructed no better (if it reconstructs), look no more usual to its encoder, and in which light and dark lie
        no more as usual, the smallest one, times their number.

        Below 0.01 an image is stranger than 99 in 100 of them: another organ, modality or orientation, inverted, or of
        another scanner. It says nothing of disease. Takes images as `encode` or `predict`; returns float32 `(N,)`, 0 to
        1.

        Raises:
            ValueError: nothing is known of the model's images: it is no preset, or was trained on since (`fit` forgets
                it; `set_usual(images)` learns it anew).
        """
        if self.usual is None:
            raise ValueError(f"{self.name}: what its images look like is not known; call set_usual(validation_images).")
        check_images(self, x)
        return self.usual.share(self, x)

    def shift(self, x):
        """How far images lie, as a set, from those that the model learned from, in standard deviations of single ones:
        the difference between the means of what its encoder sees, or of where light and dark lie, over all of these
        numbers (root mean square), less what so few images differ by chance.

        Each of them may look usual by itself and the set still be another hospital's: from about 0.5 on, measure on
        labelled images from there before believing anything. Takes 10 images or more, as `belongs`; returns a float.

        Raises:
            ValueError: as `belongs`; fewer than 10 images.
        """
        if self.usual is None or len(x) < 10:
            known = "what its images look like is not known" if self.usual is None else f"shift of {len(x)} images"
            raise ValueError(f"{self.name}: {known}; expected a model that knows them, and 10 or more.")
        check_images(self, x)
        return self.usual.shift(self, x)

    def set_usual(self, *images):
        """Learns what images look like, for `belongs`: float arrays `(N, H, W, channels)` in [0, 1] that the model was
        not trained on, a hundred or more; each array may have a size of its own."""
        self.usual = Usual.of(self, images)


class Usual:
    """What a model's validation images look like: how well it reconstructs them, what its encoder sees in them, and how
    light and dark lie in them.

    Args:
        psnr: `(median, scale)` of the reconstruction's PSNR in dB; scale: how far the lowest 1% lies below the median,
            in standard deviations of a normal distribution. `None` for a model that reconstructs nothing.
        deep, layout: dicts of `mean` and `deviation` over the images of what `medzoo.layers.pooling` makes of the
            encoder's stages (`deep`) and of the image itself (`in_cells`), and of `distance`, `(median, scale)` of the
            logarithm of the mean squared standardised difference from the mean; scale: to the highest 1%.

    Raises:
        ValueError: numbers that do not belong together.
    """

    def __init__(self, psnr, deep, layout):
        self.psnr = psnr and tuple(float(n) for n in psnr)
        self.looks = []
        for look in (deep, layout):
            mean, deviation = (np.asarray(look[key], "float32") for key in ("mean", "deviation"))
            distance = tuple(float(n) for n in look["distance"])
            pairs = [distance, *([self.psnr] if self.psnr else [])]
            if mean.ndim != 1 or mean.shape != deviation.shape or any(len(pair) != 2 for pair in pairs):
                raise ValueError("usual: mean and deviation of unlike length, or not two numbers of PSNR or distance.")
            if min(deviation.min(), *(scale for _, scale in pairs)) <= 0:
                raise ValueError("usual: deviations and scales must be positive.")
            self.looks.append((mean, deviation, distance))

    @classmethod
    def of(cls, model, parts):
        """From validation images: a list of arrays `(N, H, W, 1)` in [0, 1], each of a size of its own."""
        for images in parts:
            check_images(model, images)
        found = [_seen(model, images) for images in parts]
        *psnr, deep, layout = (np.concatenate(part) for part in zip(*found, strict=True))
        if psnr:
            middle, low = np.median(psnr), np.quantile(psnr, RARE)
            psnr = (middle, max(middle - low, 1e-3) / SIGMAS)
        return cls(psnr or None, _look(deep), _look(layout))

    def share(self, model, images):
        """See `KnowsItsImages.belongs`."""
        from scipy.stats import norm

        *psnr, deep, layout = _seen(model, images)
        rows, strange = (deep, layout), [(self.psnr[0] - values) / self.psnr[1] for values in psnr if self.psnr]
        for seen, (mean, deviation, (middle, scale)) in zip(rows, self.looks, strict=True):
            strange.append((_distance(seen, mean, deviation) - middle) / scale)
        return np.minimum(1, len(strange) * norm.sf(np.max(strange, axis=0))).astype("float32")

    def shift(self, model, images):
        """See `KnowsItsImages.shift`."""
        rows, found = _seen(model, images)[-2:], []
        for seen, (mean, deviation, _) in zip(rows, self.looks, strict=True):
            squares = np.square((seen.mean(axis=0) - mean) / deviation).mean()
            found.append(max(0.0, squares - 1 / len(seen)) ** 0.5)
        return float(max(found))

    def get_config(self):
        looks = [dict(zip(("mean", "deviation", "distance"), map(_short, look), strict=True)) for look in self.looks]
        return {"psnr": self.psnr and _short(self.psnr), "deep": looks[0], "layout": looks[1]}


def _short(numbers):
    return [float(f"{n:.5g}") for n in numbers]


def _look(rows):
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    deviation = np.maximum(deviation, 1e-3 * np.abs(mean) + 1e-6)
    distance = _distance(rows, mean, deviation)
    middle, high = np.median(distance), np.quantile(distance, 1 - RARE)
    return {"mean": mean, "deviation": deviation, "distance": (middle, max(high - middle, 1e-3) / SIGMAS)}


def _seen(model, images):
    """PSNR of the reconstructions, `(N,)`, if the model makes any; what the encoder's stages see, `(N, D)`; light and
    dark, `(N, D')`."""
    parts = []
    for i in range(0, len(images), AT_ONCE):
        x = ops.convert_to_tensor(images[i : i + AT_ONCE])
        made = hasattr(model, "reconstruct")
        rows = (metrics.psnr(x, model.reconstruct(images[i : i + AT_ONCE])),) if made else ()
        rows += (pooling.deep(model.encoder.stage_outputs(x)), pooling.in_cells(x))
        parts.append([ops.convert_to_numpy(row) for row in rows])
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _distance(rows, mean, deviation):
    return np.log(np.square((rows - mean) / deviation).mean(axis=1) + 1e-12)
