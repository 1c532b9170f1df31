"""Out-of-distribution (OOD) detection against reference images."""

import logging
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from medzoo import metrics
from medzoo.layers import pooling
from medzoo.metrics.conformal import conformal_pvalues, moments_of_others, quantile_of_others, smallest_pvalue
from medzoo.metrics.two_sample import LEAST, two_sample_test
from medzoo.models.checks import check_images

log = logging.getLogger("medzoo")
BATCH_SIZE = 16
TAIL, SIGMAS = 0.95, 1.645  # a quantile, and its distance from the median of a normal distribution
OOD_ALPHA = 0.01  # p-values up to which commands and the web page warn: at most 1 in 100 in-distribution images
MAX_SCORES = 512  # reference scores that a model stores; of more, a random sample
DIGITS = 4  # significant digits of a score


class OODMixin:
    """Mixin for models with an encoder: out-of-distribution (OOD) detection.

    Images are compared with reference images that the model was not trained on.

    Attributes:
        reference_statistics: `ReferenceStatistics` or `None`. Presets and classifiers trained by `medzoo classify` have
            them; `fit_reference` computes them.
    """

    name: str
    reference_statistics: "ReferenceStatistics | None" = None

    def ood_pvalue(self, x: np.ndarray) -> np.ndarray:
        """Return the conformal p-value of each image: how atypical it is of the reference images.

        `p = (1 + number of reference images at least as atypical) / (n + 1)` for n reference images, which the model
        was not trained on (Vovk et al. 2005; Laxhammar & Falkman 2015; Bates et al. 2023, arXiv:2104.08279). If an
        image is exchangeable with the reference images, `P(p <= 0.01) <= 0.01`. No p-value is below `1 / (n + 1)`:
        fewer than 99 reference images allow none of 0.01.

        The nonconformity score is the largest of up to three standardized components: low PSNR of the reconstruction,
        distance of the encoder's statistics from their mean, and distance of the image's coarse intensity layout from
        its mean. A low p-value indicates another organ, modality, orientation or scanner, or an inverted image. It is
        not evidence of disease.

        Args:
            x: float array `(N, H, W, channels)` with values in [0, 1], as for `encode` or `predict`.

        Returns:
            float32 array `(N,)`, from `1 / (n + 1)` to 1.

        Raises:
            ValueError: If the model has no reference statistics: it is not a preset, or it was trained after they were
                computed. `fit_reference(images)` computes them.
        """
        statistics = self._fitted()
        check_images(self, x)
        return statistics.pvalues(self, x)

    def distribution_shift(self, x: np.ndarray) -> float:
        """Return the effect size of a distribution shift, in standard deviations of single images.

        It is the root mean square of the standardized differences between the means of the images and of the reference
        images, over the encoder's statistics or the intensity layout, whichever is larger. The value that is expected
        by chance is subtracted. `distribution_shift_pvalue` tests whether there is any shift.

        Each image may be typical by itself although the set is shifted. From about 0.5 on, evaluate on labeled images
        of that source before you rely on results.

        Args:
            x: float array as for `ood_pvalue`, 10 images or more.

        Returns:
            float, 0 or larger.

        Raises:
            ValueError: As `ood_pvalue`, or if there are fewer than 10 images.
        """
        return self._fitted_for_set(x, "distribution_shift").distribution_shift(self, x)

    def distribution_shift_pvalue(self, x: np.ndarray) -> float:
        """Return the p-value of a two-sample test of scores against the reference images.

        The scores are the nonconformity scores of `ood_pvalue`.

        If the images are exchangeable with the reference images, `P(p <= 0.05)` is 0.05. See
        `medzoo.metrics.two_sample.two_sample_test` for the test.

        Args:
            x: float array as for `ood_pvalue`, 10 images or more.

        Returns:
            float from 0 to 1.

        Raises:
            ValueError: As `distribution_shift`, or if there are fewer than 10 reference images.
        """
        statistics = self._fitted_for_set(x, "distribution_shift_pvalue")
        if len(statistics.scores) < LEAST:
            raise ValueError(
                f"{self.name}: {len(statistics.scores)} reference images. distribution_shift_pvalue "
                f"expects {LEAST} or more; call fit_reference with more images."
            )
        return statistics.distribution_shift_pvalue(self, x)

    def fit_reference(self, *images: np.ndarray) -> None:
        """Compute the reference statistics for OOD detection.

        `ood_pvalue`, `distribution_shift` and `distribution_shift_pvalue` compare with them. The p-values of n
        reference images are at least 1 / (n + 1), so 99 images or more are needed for p-values of 0.01. Fewer are
        accepted, with a warning in the log.

        Args:
            *images: One or several float arrays `(N, H, W, channels)` with values in [0, 1] that the model was not
                trained on. Each array may have an image size of its own.

        Raises:
            ValueError: If there are fewer than 2 images.
        """
        self.reference_statistics = ReferenceStatistics.from_images(self, images)
        if warning := self.reference_statistics.size_warning():
            log.warning("%s: %s", self.name, warning)

    def ood_warning(self, x: np.ndarray) -> str | None:
        """Return a warning about the most atypical of some images, or `None`.

        The warning is given if the smallest p-value, times the number of images (Bonferroni), is 0.01 or less. If fewer
        than 99 reference images allow no such p-value, it is given for images that are more atypical than all reference
        images, and states how often that occurs by chance.

        Args:
            x: float array as for `ood_pvalue`.

        Returns:
            str, the predicate of a sentence about the image, or `None` if no image is out of distribution.
        """
        if self.reference_statistics is None:
            return None
        count = len(self.reference_statistics.scores)
        p = min(1.0, float(self.ood_pvalue(x).min()) * len(x))
        if p <= OOD_ALPHA:
            return f"is out of distribution for {self.name} (OOD p-value {p:.2g}); results may be unreliable."
        if self.reference_statistics.size_warning() and p <= smallest_pvalue(count) * 1.001:
            return (
                f"is more atypical than each of the {count} reference images of {self.name}, as 1 in {count + 1} "
                f"in-distribution images is (p = {p:.2g}). A p-value of {OOD_ALPHA:g} needs "
                f"{round(1 / OOD_ALPHA) - 1} reference images or more."
            )
        return None

    def _fitted(self) -> "ReferenceStatistics":
        """Return the reference statistics, or raise a ValueError without."""
        if self.reference_statistics is None:
            raise ValueError(
                f"{self.name}: the model has no reference statistics. Call fit_reference(validation_images) first."
            )
        return self.reference_statistics

    def _fitted_for_set(self, x, name) -> "ReferenceStatistics":
        statistics = self._fitted()
        if len(x) < LEAST:
            raise ValueError(f"{self.name}: {name} of {len(x)} images. Expected {LEAST} or more.")
        check_images(self, x)
        return statistics


class ReferenceStatistics:
    """Statistics of reference images that a model was not trained on, with their scores.

    The nonconformity scores of the reference images are leave-one-out scores: each image is compared with the
    statistics of the others, as a new image is. So they are not smaller than those of new images, and their ranks are
    valid p-values.

    Args:
        psnr: `(median, scale)` of the reconstruction's PSNR in dB. The scale is the distance of the lowest 5% of the
            values from the median, in standard deviations of a normal distribution. `None` for a model without
            reconstructions.
        deep: dict of `mean` and `deviation` (standard deviation) over the images of the pooled encoder activations
            (`medzoo.layers.pooling.pool_stages`), and of `distance`, `(median, scale)` of the logarithm of the mean
            squared standardized difference from the mean, with the scale of the highest 5%.
        layout: dict as `deep`, of the pooled image itself (`medzoo.layers.pooling.pool_grid`).
        images: int. Number of reference images.
        scores: float array of the reference images' nonconformity scores, at most 512; of more images, a random sample.

    Raises:
        ValueError: If the values are inconsistent or not finite.
    """

    def __init__(self, psnr: Sequence[float] | None, deep: dict, layout: dict, images: int, scores: Sequence[float]):
        self.psnr = psnr and tuple(float(n) for n in psnr)
        self.features = []
        for own in (deep, layout):
            mean, std = (np.asarray(own[key], "float32") for key in ("mean", "deviation"))
            distance = tuple(float(n) for n in own["distance"])
            pairs: list[Any] = [distance, *([self.psnr] if self.psnr else [])]
            if mean.ndim != 1 or mean.shape != std.shape or any(len(pair) != 2 for pair in pairs):
                raise ValueError(
                    "ReferenceStatistics: mean and deviation of different lengths, or PSNR or distance not of length 2."
                )
            if not np.isfinite([*mean, *std, *sum(pairs, ())]).all():
                raise ValueError("ReferenceStatistics: NaN or infinite values. Expected finite values.")
            if min(std.min(), *(scale for _, scale in pairs)) <= 0:
                raise ValueError("ReferenceStatistics: deviations and scales of 0 or less. Expected positive values.")
            self.features.append((mean, std, distance))
        self.images, self.scores = int(images), np.asarray(scores, "float64")
        if self.scores.ndim != 1 or not 2 <= len(self.scores) <= min(MAX_SCORES, self.images):
            raise ValueError(
                f"ReferenceStatistics: scores of shape {self.scores.shape} for {images} images. Expected 2 to "
                f"{MAX_SCORES} scores, of as many images or more."
            )
        if not np.isfinite(self.scores).all():
            raise ValueError("ReferenceStatistics: NaN or infinite scores. Expected finite values.")

    @classmethod
    def from_images(cls, model: keras.Model, parts: Sequence[np.ndarray]) -> "ReferenceStatistics":
        """Compute the statistics of reference images.

        Args:
            model: Model with an encoder.
            parts: Sequence of float arrays `(N, H, W, channels)` with values in [0, 1], each of any image size.
        """
        for images in parts:
            check_images(model, images)
        if sum(map(len, parts)) < 2:
            raise ValueError(f"{model.name}: fit_reference of {sum(map(len, parts))} images; expected 100 or more.")
        rows = [_components(model, images) for images in parts if len(images)]
        return cls.from_components(*(np.concatenate(part) for part in zip(*rows, strict=True)))

    @classmethod
    def from_components(cls, *rows: np.ndarray) -> "ReferenceStatistics":
        """Compute the statistics from the components of reference images.

        Args:
            *rows: PSNR `(n,)` if the model reconstructs, encoder activations `(n, D)`, layout `(n, D')`.
        """
        *psnr, deep, layout = rows
        psnr_scale, standardized = None, []
        if psnr:
            (median, scale), own = _standardized(-psnr[0].astype("float64"))
            psnr_scale = (-median, scale)
            standardized.append(own)
        features = []
        for rows in (deep, layout):
            statistics, own = _feature_statistics(rows)
            features.append(statistics)
            standardized.append(own)
        scores = np.max(standardized, axis=0)
        sample = np.random.default_rng(0).permutation(len(scores))[:MAX_SCORES]
        return cls(psnr_scale, features[0], features[1], len(scores), np.sort(_rounded(scores[sample])))

    def size_warning(self) -> str | None:
        """Return a warning if p-values of `OOD_ALPHA` need more reference images, else `None`."""
        n = len(self.scores)
        if smallest_pvalue(n) > OOD_ALPHA:
            return (
                f"{n} reference images: no p-value is below 1/{n + 1} = {smallest_pvalue(n):.2g}. Expected "
                f"{round(1 / OOD_ALPHA) - 1} or more for p-values of {OOD_ALPHA:g}."
            )
        return None

    def pvalues(self, model: keras.Model, images: np.ndarray) -> np.ndarray:
        """Return the p-values of images, see `OODMixin.ood_pvalue`."""
        return conformal_pvalues(self.scores, self.compute_scores(model, images)).astype("float32")

    def distribution_shift_pvalue(self, model: keras.Model, images: np.ndarray) -> float:
        """Return the p-value of a set of images, see `OODMixin.distribution_shift_pvalue`."""
        return two_sample_test(self.scores, self.compute_scores(model, images))

    def compute_scores(self, model: keras.Model, images: np.ndarray) -> np.ndarray:
        """Return the scores of images, float64 `(N,)`: the largest standardized component."""
        return self.scores_from_components(*_components(model, images))

    def scores_from_components(self, *rows: np.ndarray) -> np.ndarray:
        """Return the scores of images from their components, as in `from_components`."""
        *psnr, deep, layout = rows
        rows, scores = (deep, layout), [(self.psnr[0] - values) / self.psnr[1] for values in psnr if self.psnr]
        for values, (mean, std, (median, scale)) in zip(rows, self.features, strict=True):
            scores.append((_distance((values - mean) / std) - median) / scale)
        return _rounded(np.max(scores, axis=0))

    def distribution_shift(self, model: keras.Model, images: np.ndarray) -> float:
        """Return the effect size of a shift, see `OODMixin.distribution_shift`."""
        rows, sizes = _components(model, images)[-2:], []
        for values, (mean, std, _) in zip(rows, self.features, strict=True):
            squares = np.square((values.mean(axis=0) - mean) / std).mean()
            sizes.append(max(0.0, squares - 1 / len(values) - 1 / self.images) ** 0.5)
        return float(max(sizes))

    def get_config(self) -> dict:
        """Return the arguments of the constructor as JSON-ready values."""
        keys = ("mean", "deviation", "distance")
        features = [dict(zip(keys, map(_short, own), strict=True)) for own in self.features]
        own = {"psnr": self.psnr and _short(self.psnr), "deep": features[0], "layout": features[1]}
        return {**own, "images": self.images, "scores": _short(self.scores)}


def _short(numbers):
    return [float(f"{n:.5g}") for n in numbers]


def _rounded(scores):
    """Return scores rounded as in a configuration, so that new and stored scores are compared at equal precision."""
    scores = np.clip(np.nan_to_num(scores, nan=1e6), -1e6, 1e6)
    return np.array([float(f"{n:.{DIGITS}g}") for n in scores])


def _standardized(values):
    """Return `(median, scale)` of a component, and its values standardized by those of the other images."""
    median, high = np.quantile(values, (0.5, TAIL))
    medians, highs = (quantile_of_others(values, q) for q in (0.5, TAIL))
    own = (values - medians) * SIGMAS / np.maximum(highs - medians, 1e-3)
    return (median, max(high - median, 1e-3) / SIGMAS), own


def _feature_statistics(rows):
    """Return the statistics of `deep` or `layout`, and the leave-one-out values of their component."""
    difference, means, stds = moments_of_others(rows)
    pair, own = _standardized(_distance(difference / _floored(stds, means)))
    mean = rows.mean(axis=0)
    return {"mean": mean, "deviation": _floored(rows.std(axis=0), mean), "distance": pair}, own


def _floored(std, mean):
    return np.maximum(std, 1e-3 * np.abs(mean) + 1e-6)


def _components(model, images):
    """Return the components of images: PSNR `(N,)` if the model reconstructs, encoder activations, layout."""
    parts = []
    for i in range(0, len(images), BATCH_SIZE):
        x = ops.convert_to_tensor(images[i : i + BATCH_SIZE])
        reconstructs = hasattr(model, "reconstruct")
        rows = (metrics.psnr(x, model.reconstruct(images[i : i + BATCH_SIZE])),) if reconstructs else ()
        rows += (pooling.pool_stages(model.encoder.stage_outputs(x)), pooling.pool_grid(x))
        parts.append([ops.convert_to_numpy(row) for row in rows])
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _distance(standardized):
    return np.log(np.square(standardized).mean(axis=1, dtype="float64") + 1e-12)
