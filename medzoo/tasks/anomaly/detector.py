"""The anomaly detector: standardized scores, a conformal threshold, anomaly maps and bounding boxes."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeGuard

import keras
import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted

from medzoo.data.augmentation import augmented_copies
from medzoo.data.npz import to_float
from medzoo.data.patients import patients_of_files
from medzoo.io.image import read_image
from medzoo.io.intensity import center_crop_resize, standardize
from medzoo.metrics.conformal import quantile_of_others
from medzoo.metrics.two_sample import ALPHA, LEAST
from medzoo.models.checks import check_2d
from medzoo.tasks.anomaly.acquisition import acquisition_statistics, shifted_statistics
from medzoo.tasks.anomaly.maps import find_boxes, resize_maps
from medzoo.tasks.anomaly.scores import SCORES
from medzoo.tasks.anomaly.synthetic import SyntheticAnomalyScore
from medzoo.tasks.anomaly.threshold import attained_rate, conformal_threshold
from medzoo.utils.groups import group_indices, has_known_groups, hold_out, take_groups
from medzoo.zoo.presets import loaded

if TYPE_CHECKING:
    from medzoo.tasks.segment import Segmenter

QUARTILES = (25, 50, 75)


class AnomalyDetector(OutlierMixin, BaseEstimator):
    """Anomaly detector fitted to normal images only, with the interface of scikit-learn.

    Several scores are standardized by the median and interquartile range of held-out normal images (robust z-scores)
    and averaged.

    `predict` uses a conformal threshold: for normal images that are exchangeable with the held-out ones, the expected
    false-positive rate is at most `false_positive_rate` (Vovk et al. 2005; Bates et al. 2023, arXiv:2104.08279). Where
    patients are known, the split is patient-level and the rate holds for images of new patients, see
    `conformal_threshold`. Images of another acquisition are not exchangeable: `predict` warns where the brightness,
    contrast or sharpness of 10 or more images differs from that of the normal images.

    Args:
        model: A medzoo model of images, or anything `medzoo.load` takes.
        scores: Names of `medzoo.tasks.anomaly.scores.SCORES`: `"synthetic"`, `"l1"`, `"ssim"`, `"mahalanobis"`,
            `"knn"`, `"padim"`, and for VAEs `"elbo"`, `"gradient"`, `"restoration"`.
        map_score: Name of the score that `anomaly_map` uses: `"synthetic"`, `"padim"`, `"l1"`, or for VAEs
            `"gradient"`, `"restoration"`.
        size: int. Side length in pixels to which images are resized, for a model that accepts any size.
        standardize: bool. Whether to standardize the mean and contrast of every image first. Otherwise the scores
            depend strongly on brightness.
        train_steps: int. Number of training batches of 16 images for `"synthetic"`; takes some minutes.
        n_augmented: int. Number of augmented copies (translated, deformed, flipped) of each normal image that the other
            scores are fitted to in addition.
        false_positive_rate: float in (0, 1). Expected fraction of normal images classified as anomalous.
        validation_fraction: float in (0, 1). Fraction of the normal images (of the patients, where these are known)
            held out to standardize the scores and to set the threshold.
        seed: int. Random seed.

    Attributes:
        threshold_: float. Threshold of `anomaly_scores`.
        rate_: float. Attained false-positive rate: `false_positive_rate`, or 1 / (n + 1) where n held-out images allow
            no lower one.
        model_: The loaded model.
        fitted_: Dict of the fitted scores by name.
        segmenter_: The `medzoo.Segmenter` of the score `"synthetic"`; `Classifier.from_pretrained` accepts it as a
            pretrained encoder.

    Examples:
        ```python
        detector = AnomalyDetector().fit(normal_images)
        detector.predict(images)  # 1: normal, -1: anomalous
        detector.anomaly_map(images)  # (N, H, W, 1)
        ```
    """

    def __init__(
        self,
        model: keras.Model | str | Path = "mae-medical",
        scores: Sequence[str] = ("synthetic",),
        map_score: str = "synthetic",
        size: int = 96,
        standardize: bool = True,
        train_steps: int = 600,
        n_augmented: int = 4,
        false_positive_rate: float = 0.05,
        validation_fraction: float = 0.25,
        seed: int = 0,
    ):
        self.model = model
        self.scores = scores
        self.map_score = map_score
        self.size = size
        self.standardize = standardize
        self.train_steps = train_steps
        self.n_augmented = n_augmented
        self.false_positive_rate = false_positive_rate
        self.validation_fraction = validation_fraction
        self.seed = seed

    def fit(
        self, X: np.ndarray | Sequence[str | Path], y: Any = None, groups: Sequence | np.ndarray | None = None
    ) -> Self:
        """Fit the scores to normal images and set the threshold.

        Args:
            X: Array of shape `(N, H, W)` or `(N, H, W, 1)` (uint8, or floats in [0, 1]), or a list of image files.
            y: Not used.
            groups: Sequence of N patient identifiers. Images with a missing identifier count as separate patients. By
                default the PatientID of DICOM files; images of other files count as separate patients.

        Returns:
            The detector.

        Raises:
            ValueError: If a score is unknown, there are too few images or patients, or not one group per image.
        """
        unknown = {*self.scores, self.map_score} - set(SCORES)
        if unknown or not self.scores:
            expected = ", ".join(SCORES)
            raise ValueError(f"AnomalyDetector: unknown scores. Expected some of {expected}, got {sorted(unknown)}.")
        self.model_ = loaded(self.model)
        check_2d(self.model_, "AnomalyDetector")
        raw = self._read(X)
        groups = patients_of_files(X) if groups is None and _is_path_list(X) else groups
        kept, rest = self._hold_out(len(raw), groups)
        held_out, normals = self._prepare(raw[kept]), self._prepare(raw[rest])
        self.fitted_ = self._fit_scores(normals)
        found = {name: self.fitted_[name].score(self.model_, held_out)[0] for name in self.scores}
        self.scale_ = {name: _scale(*np.percentile(values, QUARTILES)) for name, values in found.items()}
        self.held_out_scores_ = self._held_out(found)
        self.held_out_groups_ = take_groups(groups, kept)
        self.threshold_ = self.threshold_at(self.false_positive_rate)
        self.rate_ = attained_rate(len(group_indices(self.held_out_groups_, len(kept))), self.false_positive_rate)
        self.acquisition_ = acquisition_statistics(raw)
        return self

    def _hold_out(self, count, groups):
        """Return the indices of the held-out images, 10 or more, and of the other images."""
        patients = group_indices(groups, count)
        least = round(self.validation_fraction * len(patients))
        for many in range(max(1, least), len(patients)) if has_known_groups(groups) else [least]:
            if 0 < many < len(patients):
                kept, rest = hold_out(patients, [many], self.seed)
                if len(kept) >= LEAST and len(rest) >= LEAST:
                    return kept, rest
        known = has_known_groups(groups)
        raise ValueError(
            f"AnomalyDetector: too few normal images. Expected {2 * LEAST} or more, so that {LEAST} can be held out"
            f"{' of patients other than the rest' if known else ''}, got {count}"
            f"{f' of {len(patients)} patients' if known else ''}."
        )

    def threshold_at(self, rate: float) -> float:
        """Return the threshold of `anomaly_scores` for another false-positive rate.

        Args:
            rate: float in (0, 1). False-positive rate.

        Returns:
            The threshold.
        """
        check_is_fitted(self, "held_out_scores_")
        return conformal_threshold(self.held_out_scores_, rate, self.held_out_groups_)

    @property
    def segmenter_(self) -> "Segmenter":
        """The segmenter of the score `"synthetic"`."""
        return self.fitted_["synthetic"].segmenter

    def _fit_scores(self, normals):
        """Return the scores, fitted to normal images."""
        names, fitted = {*self.scores, self.map_score}, {}
        if "synthetic" in names:
            fitted["synthetic"] = SyntheticAnomalyScore(self.train_steps, self.seed).fit(self.model_, normals)
        if self.n_augmented and names - set(fitted):
            changes = {"translation": 3.0, "affine": 0.08, "contrast": 0.0, "flip": True}
            normals = np.concatenate([normals, *augmented_copies(normals, self.n_augmented, self.seed, **changes)])
        return fitted | {name: SCORES[name]().fit(self.model_, normals) for name in names - set(fitted)}

    def anomaly_scores(self, X: np.ndarray | Sequence[str | Path]) -> np.ndarray:
        """Return the anomaly scores of images.

        Args:
            X: Images or paths, see `fit`.

        Returns:
            Float array of shape `(N,)`; images above `threshold_` are anomalous.
        """
        check_is_fitted(self, "threshold_")
        return self._scores(self._prepare(self._read(X)))

    def score_samples(self, X: np.ndarray | Sequence[str | Path]) -> np.ndarray:
        """Return the negative anomaly scores, following scikit-learn.

        Args:
            X: Images or paths, see `fit`.

        Returns:
            Float array of shape `(N,)`.
        """
        return -self.anomaly_scores(X)

    def decision_function(self, X: np.ndarray | Sequence[str | Path]) -> np.ndarray:
        """Return the threshold minus the anomaly scores; negative for anomalies.

        Args:
            X: Images or paths, see `fit`.

        Returns:
            Float array of shape `(N,)`.
        """
        return -(self.anomaly_scores(X) - self.threshold_)

    def predict(self, X: np.ndarray | Sequence[str | Path]) -> np.ndarray:
        """Classify images as normal or anomalous.

        Issues a warning if the acquisition of 10 or more images differs from that of the normal images, see
        `acquisition_shift`.

        Args:
            X: Images or paths, see `fit`.

        Returns:
            Integer array of shape `(N,)`: 1 for normal images, -1 for anomalies.
        """
        check_is_fitted(self, "threshold_")
        raw = self._read(X)
        self._warn_of_acquisition_shift(raw)
        return np.where(self._scores(self._prepare(raw)) > self.threshold_, -1, 1)

    def acquisition_shift(self, X: np.ndarray | Sequence[str | Path]) -> list[str]:
        """Return the acquisition statistics in which images differ from the normal images.

        Brightness, contrast, the fraction of dark pixels and sharpness are tested
        (`medzoo.metrics.two_sample.two_sample_test`, p-values adjusted by Holm's method). For images that are
        exchangeable with the normal images, the probability of a non-empty result is at most 5%.

        Args:
            X: Images or paths, see `fit`.

        Returns:
            Names of the statistics; empty if no difference is found, or if there are fewer than 10 images.
        """
        check_is_fitted(self, "threshold_")
        return shifted_statistics(self.acquisition_, self._read(X))

    def anomaly_map(self, X: np.ndarray | Sequence[str | Path], size: tuple[int, int] | None = None) -> np.ndarray:
        """Return maps of the anomaly score of every pixel.

        Args:
            X: Images or paths, see `fit`.
            size: Tuple `(height, width)` of the maps; by default the size of the model's input.

        Returns:
            Float32 array of shape `(N, H, W, 1)`, with values in [0, 1] for `map_score="synthetic"`, and about 1 in
            normal images for `map_score="padim"`.

        Raises:
            ValueError: If `map_score` is a score without maps.
        """
        check_is_fitted(self, "threshold_")
        images = self._prepare(self._read(X))
        maps = self.fitted_[self.map_score].score(self.model_, images)[1]
        if maps is None:
            raise ValueError(
                "AnomalyDetector: unsuitable map_score. Expected a score with maps such as 'synthetic', 'padim' or "
                f"'l1', got {self.map_score!r}."
            )
        return resize_maps(maps, size or images.shape[1:3])[..., None]

    def bounding_boxes(
        self, X: np.ndarray | Sequence[str | Path], level: float = 0.6, size: tuple[int, int] | None = None
    ) -> list[list[tuple[int, int, int, int]]]:
        """Return bounding boxes of the regions with the highest anomaly scores.

        Args:
            X: Images or paths, see `fit`.
            level: float in [0, 1]. Threshold as a fraction of the range from the median to the maximum of the map.
            size: See `anomaly_map`.

        Returns:
            For each image, a list of `(top, left, bottom, right)` in pixels.
        """
        return [find_boxes(anomaly_map, level) for anomaly_map in self.anomaly_map(X, size)]

    def _read(self, X):
        """Return images as float32 `(N, H, W, 1)` in [0, 1], resized to the detector's size."""
        own = self.model_.image_shape[:2]
        size = own if own[0] else (self.size, self.size)
        if not _is_path_list(X):
            X = to_float(X) if X.dtype == np.uint8 else X
            X = X[..., None] if X.ndim == 3 else X
        else:
            window = self.model_.preprocess and self.model_.preprocess.window
            X = np.stack([read_image(path, size, window) for path in X])
        return self.model_.preprocess(X if X.shape[1:3] == size else center_crop_resize(X, size))

    def _prepare(self, images):
        """Return standardized images, if `standardize` is set."""
        return standardize(images) if self.standardize else images

    def _warn_of_acquisition_shift(self, images):
        """Warn if the acquisition of images differs from that of the normal images."""
        if changed := shifted_statistics(self.acquisition_, images):
            warnings.warn(
                f"these {len(images)} images differ from the normal images in {', '.join(changed)} (without a shift, "
                f"this warning is issued for {ALPHA:.0%} of sets). The false-positive rate of {self.rate_:.1%} may not "
                "hold. Fit the detector to normal images of the same scanners.",
                stacklevel=3,
            )

    def _held_out(self, found):
        """Return the scores of the held-out images.

        If several scores are averaged, each image is standardized by the quartiles of the other images, as a new image
        is. Standardized by quartiles that include itself, its score would be too small for a valid threshold.
        """
        if len(found) == 1:
            ((name, values),) = found.items()
            return (values - self.scale_[name][0]) / self.scale_[name][1]
        scaled = []
        for values in found.values():
            middle, scale = _scale(*(quantile_of_others(values, q / 100) for q in QUARTILES))
            scaled.append((values - middle) / scale)
        return np.mean(scaled, axis=0)

    def _scores(self, images):
        """Return the mean of the standardized scores."""
        scaled = [
            (self.fitted_[name].score(self.model_, images)[0] - self.scale_[name][0]) / self.scale_[name][1]
            for name in self.scores
        ]
        return np.mean(scaled, axis=0)


def _is_path_list(X) -> TypeGuard[Sequence[str | Path]]:
    """Return whether `X` is a list of paths rather than an array of images."""
    return not isinstance(X, np.ndarray) or X.dtype.kind in "US"


def _scale(low, middle, high):
    """Return location and scale of scores from their quartiles."""
    return middle, np.maximum((high - low) / 1.349, 1e-12)
