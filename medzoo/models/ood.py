"""Does an image look like those that a model learned from?"""

import logging

import numpy as np
from keras import ops

from medzoo import metrics
from medzoo.layers import pooling
from medzoo.metrics.conformal import conformal_pvalues, moments_of_others, quantile_of_others, smallest_pvalue
from medzoo.metrics.two_sample import LEAST, two_sample_test
from medzoo.models.checks import check_images

log = logging.getLogger("medzoo")
AT_ONCE = 16  # images
TAIL, SIGMAS = 0.95, 1.645  # a quantile of a component's values, and how far it lies from the median of a normal one
OOD_ALPHA = 0.01  # p-values up to which commands and the web page warn: at most 1 in 100 in-distribution images
MOST = 512  # reference scores that a model keeps; of more, a random sample
DIGITS = 4  # of a score


class OODMixin:
    """Mixin for models with an encoder: out-of-distribution (OOD) detection against reference images.

    Attributes:
        usual: a `Usual` or `None`. Presets and classifiers that `medzoo classify` trained have one.
    """

    usual = None

    def ood_pvalue(self, x):
        """Conformal p-value of each image: how atypical it is among reference images of the model.

        `p = (1 + number of reference images at least as atypical) / (n + 1)` for n reference images, which the model
        was not trained on (Vovk et al. 2005; Laxhammar & Falkman 2015; Bates et al. 2023, arXiv:2104.08279). If an
        image is exchangeable with the reference images, `P(p <= 0.01) <= 0.01`. No p-value is below `1 / (n + 1)`:
        fewer than 99 reference images allow none of 0.01.

        The nonconformity score is the largest of up to three standardized components: low PSNR of the reconstruction,
        distance of the encoder's statistics from their mean, and distance of the image's layout of light and dark from
        its mean. A low p-value indicates another organ, modality, orientation or scanner, or an inverted image. It is
        not evidence of disease.

        Args:
            x: float array `(N, H, W, channels)` with values in [0, 1], as for `encode` or `predict`.

        Returns:
            float32 array `(N,)`, from `1 / (n + 1)` to 1.

        Raises:
            ValueError: If the model has no reference statistics: it is no preset, or it was trained after they were
                computed. `fit_reference(images)` computes them.
        """
        self._check_known()
        check_images(self, x)
        return self.reference_statistics.pvalues(self, x)

    def distribution_shift(self, x):
        """Effect size of a distribution shift, in standard deviations of single images.

        It is the root mean square of the standardized differences between the means of the images and of the reference
        images, over the encoder's statistics or the layout, whichever is larger. The value that is expected by chance
        is subtracted. `distribution_shift_pvalue` tests whether there is any shift.

        Each image may be typical by itself although the set is shifted. From about 0.5 on, measure on labeled images of
        that source before you rely on results.

        Args:
            x: float array as for `belongs`, 10 images or more.

        Returns:
            float, 0 or larger.

        Raises:
            ValueError: As `belongs`, or if there are fewer than 10 images.
        """
        self._check_set(x, "shift")
        return self.reference_statistics.shift(self, x)

    def distribution_shift_pvalue(self, x):
        """P-value of a two-sample test of the images' nonconformity scores against those of the reference images.

        If the images are exchangeable with the reference images, `P(p <= 0.05)` is 0.05. See
        `medzoo.metrics.two_sample.two_sample_test` for the test, and `belongs` for the scores.

        Args:
            x: float array as for `belongs`, 10 images or more.

        Returns:
            float.

        Raises:
            ValueError: As `shift`, or if there are fewer than 10 reference images.
        """
        self._check_set(x, "distribution_shift_pvalue")
        if len(self.reference_statistics.scores) < LEAST:
            raise ValueError(
                f"{self.name}: {len(self.reference_statistics.scores)} reference images. distribution_shift_pvalue expects {LEAST} or more; call "
                "fit_reference with more images."
            )
        return self.reference_statistics.distribution_shift_pvalue(self, x)

    def fit_reference(self, *images):
        """Computes the reference statistics that `belongs`, `shift` and `distribution_shift_pvalue` compare with.

        The p-values of n images are 1 / (n + 1) at least, so 99 images or more are needed for p-values of 0.01. Fewer
        are taken, with a warning in the log.

        Args:
            images: one or several float arrays `(N, H, W, channels)` with values in [0, 1] that the model was not
                trained on. Each array may have an image size of its own.

        Raises:
            ValueError: If there are fewer than 2 images.
        """
        self.reference_statistics = ReferenceStatistics.of(self, images)
        if said := self.reference_statistics.few():
            log.warning("%s: %s", self.name, said)

    def is_ood(self, x):
        """A sentence about the most atypical of some images, to warn with, or `None` if there is nothing to warn of.

        It is about p-values of 0.01 at most, times the number of images (Bonferroni). Where fewer than 99 reference
        images allow none, it is about images that are more atypical than all of these, and states how often that occurs
        by chance.
        """
        if self.reference_statistics is None:
            return None
        p = min(1.0, float(self.ood_pvalue(x).min()) * len(x))
        if p <= OOD_ALPHA:
            return (
                f"does not look like the images that {self.name} learned from (p = {p:.2g}); results may be unreliable."
            )
        if self.reference_statistics.few() and p <= smallest_pvalue(len(self.reference_statistics.scores)) * 1.001:
            return (
                f"is more atypical than each of the {len(self.reference_statistics.scores)} reference images of {self.name}, as 1 in "
                f"{len(self.reference_statistics.scores) + 1} in-distribution images is (p = {p:.2g}). So few reference images cannot "
                f"show p <= {OOD_ALPHA:g}."
            )
        return None

    def _check_known(self):
        if self.reference_statistics is None:
            raise ValueError(
                f"{self.name}: what its images look like is not known; call fit_reference(validation_images)."
            )

    def _check_set(self, x, name):
        self._check_known()
        if len(x) < LEAST:
            raise ValueError(f"{self.name}: {name} of {len(x)} images; expected {LEAST} or more.")
        check_images(self, x)


class ReferenceStatistics:
    """Reference statistics of images that a model was not trained on, and their nonconformity scores.

    The scores of the reference images are leave-one-out scores: each image is compared with the statistics of the
    others, as a new image is. So they are not smaller than those of new images, and their ranks are valid p-values.

    Args:
        psnr: `(median, scale)` of the reconstruction's PSNR in dB. scale: how far the lowest 5% of the values lie below
            the median, in standard deviations of a normal distribution. `None` for a model that reconstructs nothing.
        deep, layout: dicts of `mean` and `deviation` over the images of what `medzoo.layers.pooling` makes of the
            encoder's stages (`deep`) and of the image itself (`pool_grid`), and of `distance`, `(median, scale)` of the
            logarithm of the mean squared standardized difference from the mean; scale: to the highest 5%.
        images: int. Number of reference images that the statistics are of.
        scores: the reference images' nonconformity scores, 512 at most: of more images, a random sample.

    Raises:
        ValueError: If the numbers do not fit together.
    """

    def __init__(self, psnr, deep, layout, images, scores):
        self.psnr = psnr and tuple(float(n) for n in psnr)
        self.looks = []
        for look in (deep, layout):
            mean, deviation = (np.asarray(look[key], "float32") for key in ("mean", "deviation"))
            distance = tuple(float(n) for n in look["distance"])
            pairs = [distance, *([self.psnr] if self.psnr else [])]
            if mean.ndim != 1 or mean.shape != deviation.shape or any(len(pair) != 2 for pair in pairs):
                raise ValueError("usual: mean and deviation of unlike length, or not two numbers of PSNR or distance.")
            if not np.isfinite([*mean, *deviation, *sum(pairs, ())]).all():
                raise ValueError("usual: NaN or infinite numbers. Expected finite ones.")
            if min(deviation.min(), *(scale for _, scale in pairs)) <= 0:
                raise ValueError("usual: deviations and scales must be positive.")
            self.looks.append((mean, deviation, distance))
        self.images, self.scores = int(images), np.asarray(scores, "float64")
        if self.scores.ndim != 1 or not 2 <= len(self.scores) <= min(MOST, self.images):
            raise ValueError(
                f"usual: scores of shape {self.scores.shape} of {images} images. Expected 2 to {MOST} scores, of as "
                "many images or more."
            )
        if not np.isfinite(self.scores).all():
            raise ValueError("usual: scores that are NaN or infinite. Expected finite numbers.")

    @classmethod
    def of(cls, model, parts):
        """From reference images: a list of arrays `(N, H, W, channels)` in [0, 1], each of a size of its own."""
        for images in parts:
            check_images(model, images)
        if sum(map(len, parts)) < 2:
            raise ValueError(f"{model.name}: fit_reference of {sum(map(len, parts))} images; expected 100 or more.")
        found = [_seen(model, images) for images in parts if len(images)]
        return cls.of_rows(*(np.concatenate(part) for part in zip(*found, strict=True)))

    @classmethod
    def of_rows(cls, *rows):
        """From what `_seen` gives for reference images: PSNR `(n,)` if there is any, `deep` `(n, D)`, `layout`."""
        *psnr, deep, layout = rows
        quality, standardized = None, []
        if psnr:
            (middle, scale), own = _standardized(-psnr[0].astype("float64"))
            quality = (-middle, scale)
            standardized.append(own)
        looks = []
        for rows in (deep, layout):
            look, own = _look(rows)
            looks.append(look)
            standardized.append(own)
        scores = np.max(standardized, axis=0)
        sample = np.random.default_rng(0).permutation(len(scores))[:MOST]
        return cls(quality, *looks, len(scores), np.sort(_rounded(scores[sample])))

    def few(self):
        """A sentence if there are too few reference images for p-values of `UNUSUAL`, else `None`."""
        n = len(self.scores)
        if smallest_pvalue(n) > OOD_ALPHA:
            return (
                f"{n} reference images: no p-value is below 1/{n + 1} = {smallest_pvalue(n):.2g}. Expected "
                f"{round(1 / OOD_ALPHA) - 1} or more for p-values of {OOD_ALPHA:g}."
            )
        return None

    def pvalues(self, model, images):
        """See `OODMixin.ood_pvalue`."""
        return conformal_pvalues(self.scores, self.scores_of(model, images)).astype("float32")

    def distribution_shift_pvalue(self, model, images):
        """See `OODMixin.distribution_shift_pvalue`."""
        return two_sample_test(self.scores, self.scores_of(model, images))

    def scores_of(self, model, images):
        """Nonconformity scores of new images, float64 `(N,)`: the largest of the standardized components."""
        return self.scores_of_rows(*_seen(model, images))

    def scores_of_rows(self, *rows):
        """`scores_of` from what `_seen` gives for the images."""
        *psnr, deep, layout = rows
        rows, scores = (deep, layout), [(self.psnr[0] - values) / self.psnr[1] for values in psnr if self.psnr]
        for seen, (mean, deviation, (middle, scale)) in zip(rows, self.looks, strict=True):
            scores.append((_distance((seen - mean) / deviation) - middle) / scale)
        return _rounded(np.max(scores, axis=0))

    def shift(self, model, images):
        """See `OODMixin.shift`."""
        rows, found = _seen(model, images)[-2:], []
        for seen, (mean, deviation, _) in zip(rows, self.looks, strict=True):
            squares = np.square((seen.mean(axis=0) - mean) / deviation).mean()
            found.append(max(0.0, squares - 1 / len(seen) - 1 / self.images) ** 0.5)
        return float(max(found))

    def get_config(self):
        looks = [dict(zip(("mean", "deviation", "distance"), map(_short, look), strict=True)) for look in self.looks]
        own = {"psnr": self.psnr and _short(self.psnr), "deep": looks[0], "layout": looks[1]}
        return {**own, "images": self.images, "scores": _short(self.scores)}


def _short(numbers):
    return [float(f"{n:.5g}") for n in numbers]


def _rounded(scores):
    """Scores as a configuration keeps them, so that a new score and a kept one are compared alike."""
    scores = np.clip(np.nan_to_num(scores, nan=1e6), -1e6, 1e6)
    return np.array([float(f"{n:.{DIGITS}g}") for n in scores])


def _standardized(values):
    """`(median, scale)` of a component, and its leave-one-out values: each standardized by those of the others."""
    middle, high = np.quantile(values, (0.5, TAIL))
    middles, highs = (quantile_of_others(values, q) for q in (0.5, TAIL))
    own = (values - middles) * SIGMAS / np.maximum(highs - middles, 1e-3)
    return (middle, max(high - middle, 1e-3) / SIGMAS), own


def _look(rows):
    """Statistics of `deep` or `layout`, and the leave-one-out values of their component."""
    away, means, deviations = moments_of_others(rows)
    pair, own = _standardized(_distance(away / _at_least(deviations, means)))
    mean = rows.mean(axis=0)
    return {"mean": mean, "deviation": _at_least(rows.std(axis=0), mean), "distance": pair}, own


def _at_least(deviation, mean):
    return np.maximum(deviation, 1e-3 * np.abs(mean) + 1e-6)


def _seen(model, images):
    """PSNR of the reconstructions, `(N,)`, if the model makes any; what the encoder's stages see, `(N, D)`; light and
    dark, `(N, D')`."""
    parts = []
    for i in range(0, len(images), AT_ONCE):
        x = ops.convert_to_tensor(images[i : i + AT_ONCE])
        made = hasattr(model, "reconstruct")
        rows = (metrics.psnr(x, model.reconstruct(images[i : i + AT_ONCE])),) if made else ()
        rows += (pooling.pool_stages(model.encoder.stage_outputs(x)), pooling.pool_grid(x))
        parts.append([ops.convert_to_numpy(row) for row in rows])
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _distance(standardized):
    return np.log(np.square(standardized).mean(axis=1, dtype="float64") + 1e-12)
