"""The detector: several scores on one scale, a threshold, heat maps and boxes."""

import warnings

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted

from medzoo.data.augmentation import augmented_copies
from medzoo.data.npz import to_float
from medzoo.data.patients import patients_of_files
from medzoo.io.image import read_image
from medzoo.io.intensity import center_crop_resize, standardize
from medzoo.metrics.conformal import quantile_of_others
from medzoo.metrics.two_sample import ALPHA, LEAST, holm, two_sample_test
from medzoo.models.checks import images_only
from medzoo.tasks.anomaly.scores import SCORES
from medzoo.tasks.anomaly.synthetic import SyntheticAnomalyScore
from medzoo.tasks.anomaly.threshold import attained_rate, conformal_threshold
from medzoo.utils.groups import group_indices, has_known_groups, hold_out, take_groups
from medzoo.zoo.presets import loaded


class AnomalyDetector(OutlierMixin, BaseEstimator):
    """Scores images by how unlike they are to the normal ones that it was fitted on (scikit-learn's conventions).

        detector = AnomalyDetector().fit(normal_images)
        detector.predict(images)        # 1 normal, -1 not, at the false-positive rate asked for
        detector.anomaly_map(images)       # where

    Several scores are put on one scale, that of normal images held out from the fit (robust z-scores: median 0,
    interquartile range 1.35), and averaged.

    The threshold is conformal: of normal images that are exchangeable with the held-out ones, at most
    `false_positive_rate` are called anomalies, on the average over such fits (Vovk et al. 2005; Bates et al. 2023,
    arXiv:2104.08279). Where patients are known, the held-out images are of other patients than those learned from, and
    the rate holds for images of new patients, see `conformal_threshold`. Images from elsewhere are not exchangeable:
    `predict` warns where exposure, contrast or sharpness of ten or more images are not those of the normal ones.

    Args:
        model: name, folder or `hf://...` of a preset, or a medzoo model.
        scores: which of `medzoo.tasks.anomaly.scores.SCORES`: `"synthetic"`, `"l1"`, `"ssim"`, `"mahalanobis"`,
            `"knn"`, `"padim"`, and for VAEs `"elbo"`, `"gradient"`, `"restoration"`.
        map_score: which score draws the heat map: `"synthetic"`, `"padim"`, `"l1"`, or for VAEs `"gradient"`,
            `"restoration"`.
        size: side in pixels that images are brought to, for a model that takes any.
        standardize: bring every image to the same mean and contrast first. Without it, exposure is what the scores see.
        train_steps: of the training behind `"synthetic"`, batches of 16; some minutes.
        n_augmented: moved and mirrored copies of each normal image added to the fit of the other scores.
        false_positive_rate: share of normal images that `predict` may call anomalies.
        validation_fraction: share of the normal images (of their patients, where these are known) kept for scale and threshold.
        seed: int.

    Attributes: `threshold_` of `anomaly_scores`; `rate_`, the false-positive rate that it keeps: `false_positive_rate`,
        or 1 / (n + 1) where n held-out images allow no smaller one; `model_`; `fitted_`, the scores by name;
        `segmenter_`, the `medzoo.Segmenter` behind `"synthetic"`, whose encoder `Classifier.from_pretrained` takes.
    """

    def __init__(
        self,
        model="mae-medical",
        scores=("synthetic",),
        map_score="synthetic",
        size=96,
        standardize=True,
        train_steps=600,
        n_augmented=4,
        false_positive_rate=0.05,
        validation_fraction=0.25,
        seed=0,
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

    def fit(self, X, y=None, groups=None):
        """Learn from normal images.

        Args:
            X: Array `(N, H, W[, 1])` (uint8, or floats in [0, 1]) or a list of files.
            y: Not used.
            groups: Sequence `(N,)` that tells patients apart; missing values are patients of their own. By default the
                PatientID of DICOM files; where there is none, each image is a patient of its own.

        Returns:
            The detector.

        Raises:
            ValueError: If there are too few images or patients, or not one group per image.
        """
        unknown = {*self.scores, self.map_score} - set(SCORES)
        if unknown or not self.scores:
            raise ValueError(f"AnomalyDetector: scores {sorted(unknown)}; expected some of {', '.join(SCORES)}.")
        self.model_ = loaded(self.model)
        images_only(self.model_, "AnomalyDetector")
        raw = self._read(X)
        groups = patients_of_files(X) if groups is None and _are_files(X) else groups
        kept, rest = self._hold_out(len(raw), groups)
        held_out, normals = self._prepare(raw[kept]), self._prepare(raw[rest])
        self.fitted_ = self._fit_scores(normals)
        found = {name: self.fitted_[name].score(self.model_, held_out)[0] for name in self.scores}
        self.scale_ = {name: _scale(*np.percentile(values, QUARTILES)) for name, values in found.items()}
        self.held_out_scores_ = self._held_out(found)
        self.held_out_groups_ = take_groups(groups, kept)
        self.threshold_ = self.threshold_at(self.false_positive_rate)
        self.rate_ = attained_rate(len(group_indices(self.held_out_groups_, len(kept))), self.false_positive_rate)
        self.acquisition_ = acquisition(raw)
        return self

    def _hold_out(self, count, groups):
        """Indices of the images held out, 10 or more, and of those learned from."""
        patients = group_indices(groups, count)
        least = round(self.validation_fraction * len(patients))
        for many in range(max(1, least), len(patients)) if has_known_groups(groups) else [least]:
            if 0 < many < len(patients):
                kept, rest = hold_out(patients, [many], self.seed)
                if len(kept) >= LEAST and len(rest) >= LEAST:
                    return kept, rest
        whose = f" of {len(patients)} patients" if has_known_groups(groups) else ""
        raise ValueError(
            f"AnomalyDetector: {count} normal images{whose}; expected {2 * LEAST} or more, so that {LEAST} can be held "
            f"out{', of other patients than the rest' if whose else ''}."
        )

    def threshold_at(self, rate):
        """Return the threshold of `anomaly_scores` for another false-positive rate."""
        check_is_fitted(self, "held_out_scores_")
        return conformal_threshold(self.held_out_scores_, rate, self.held_out_groups_)

    @property
    def segmenter_(self):
        return self.fitted_["synthetic"].segmenter

    def _fit_scores(self, normals):
        names, fitted = {*self.scores, self.map_score}, {}
        if "synthetic" in names:
            fitted["synthetic"] = SyntheticAnomalyScore(self.train_steps, self.seed).fit(self.model_, normals)
        if self.n_augmented and names - set(fitted):
            changes = {"translation": 3.0, "affine": 0.08, "contrast": 0.0, "flip": True}
            normals = np.concatenate([normals, *augmented_copies(normals, self.n_augmented, self.seed, **changes)])
        return fitted | {name: SCORES[name]().fit(self.model_, normals) for name in names - set(fitted)}

    def anomaly_scores(self, X):
        """Larger for stranger images, `(N,)`; above `threshold_` an anomaly."""
        check_is_fitted(self, "threshold_")
        return self._scores(self._prepare(self._read(X)))

    def score_samples(self, X):
        """`-anomaly_scores`: scikit-learn's sign."""
        return -self.anomaly_scores(X)

    def decision_function(self, X):
        """Negative for anomalies."""
        return -(self.anomaly_scores(X) - self.threshold_)

    def predict(self, X):
        """1 for normal images, -1 for anomalies. Warns where ten or more images differ from the normal ones in how they
        were acquired, see `drifted`."""
        check_is_fitted(self, "threshold_")
        raw = self._read(X)
        self._warn_of_drift(raw)
        return np.where(self._scores(self._prepare(raw)) > self.threshold_, -1, 1)

    def acquisition_shift(self, X):
        """In which of `ACQUISITION` images differ from the normal ones.

        Each of the four is tested (`medzoo.metrics.two_sample.two_sample_test`, p-values adjusted after Holm 1979). For
        images that are exchangeable with the normal ones, the list is not empty with a probability of 5% at most.

        Returns:
            list of names, empty if no difference is found, or if there are fewer than ten images.
        """
        check_is_fitted(self, "threshold_")
        return self._drifted(self._read(X))

    def anomaly_map(self, X, size=None):
        """Where the anomaly is: float32 `(N, H, W, 1)`; for `heat="synthetic"` in [0, 1], about 1 in normal images for
        `heat="padim"`.

        Args:
            X: as in `fit`.
            size: `(height, width)` that the maps are enlarged to; by default that of the images that the model saw.

        Raises:
            ValueError: `heat` names a score that has no map.
        """
        check_is_fitted(self, "threshold_")
        images = self._prepare(self._read(X))
        maps = self.fitted_[self.map_score].score(self.model_, images)[1]
        if maps is None:
            raise ValueError(
                f"AnomalyDetector: heat={self.map_score!r} has no map; use 'synthetic', 'features' or 'l1'."
            )
        return _enlarge(maps, size or images.shape[1:3])[..., None]

    def bounding_boxes(self, X, level=0.6, size=None):
        """Boxes around the strangest places, for each image a list of `(top, left, bottom, right)` in pixels.

        Args:
            X, size: as in `anomaly_map`.
            level: share of the map's height, from its median to its peak, that a box's inside exceeds.
        """
        return [find_boxes(heat, level) for heat in self.anomaly_map(X, size)]

    def _read(self, X):
        """Images as the model takes them, float32 `(N, H, W, 1)` in [0, 1], of the detector's size."""
        own = self.model_.image_shape[:2]
        size = own if own[0] else (self.size, self.size)
        if not _are_files(X):
            X = to_float(X) if X.dtype == np.uint8 else X
            X = X[..., None] if X.ndim == 3 else X
        else:
            window = self.model_.preprocess and self.model_.preprocess.window
            X = np.stack([read_image(path, size, window) for path in X])
        return self.model_.preprocess(X if X.shape[1:3] == size else center_crop_resize(X, size))

    def _prepare(self, images):
        return standardize(images) if self.standardize else images

    def _drifted(self, images):
        if len(images) < LEAST:
            return []
        pairs = zip(self.acquisition_.T, acquisition(images).T, strict=True)
        adjusted = holm([two_sample_test(old, new) for old, new in pairs])
        return [name for name, p in zip(ACQUISITION, adjusted, strict=True) if p <= ALPHA]

    def _warn_of_drift(self, images):
        if changed := self._drifted(images):
            warnings.warn(
                f"these {len(images)} images differ from the normal ones in {', '.join(changed)} (without a difference "
                f"this warning occurs for {ALPHA:.0%} of sets): the false-positive rate of "
                f"{self.rate_:.1%} may not hold. Fit on normal images of the same scanners.",
                stacklevel=3,
            )

    def _held_out(self, found):
        """Scores of the held-out images. Where several are averaged, each image is scaled by the quartiles of the
        others, as a new image is: scaled by its own, the held-out scores would be too small for a valid threshold."""
        if len(found) == 1:
            ((name, values),) = found.items()
            return (values - self.scale_[name][0]) / self.scale_[name][1]
        scaled = []
        for values in found.values():
            middle, scale = _scale(*(quantile_of_others(values, q / 100) for q in QUARTILES))
            scaled.append((values - middle) / scale)
        return np.mean(scaled, axis=0)

    def _scores(self, images):
        scaled = [
            (self.fitted_[name].score(self.model_, images)[0] - self.scale_[name][0]) / self.scale_[name][1]
            for name in self.scores
        ]
        return np.mean(scaled, axis=0)


def _are_files(X):
    return not isinstance(X, np.ndarray) or X.dtype.kind in "US"


ACQUISITION = ("brightness", "contrast", "share of black", "sharpness")


def acquisition(images):
    """How images were taken, `(N, 4)` in the order of `ACQUISITION`, of float `(N, H, W, 1)` in [0, 1]."""
    x = images[..., 0]
    steps = np.abs(np.diff(x, axis=1)).mean(axis=(1, 2)) + np.abs(np.diff(x, axis=2)).mean(axis=(1, 2))
    spread = x.std(axis=(1, 2))
    return np.stack([x.mean(axis=(1, 2)), spread, (x < 0.05).mean(axis=(1, 2)), steps / (spread + 1e-6)], axis=1)


QUARTILES = (25, 50, 75)


def _scale(low, middle, high):
    return middle, np.maximum((high - low) / 1.349, 1e-12)


def find_boxes(heat, level=0.6, smallest=0.002):
    """Boxes around the strangest places of one heat map `(H, W, 1)`, see `AnomalyDetector.boxes`; places of less than
    `smallest` of the image's area are left out."""
    from scipy.ndimage import find_objects, label

    middle = np.median(heat)
    regions, _ = label(heat[..., 0] > middle + level * (heat.max() - middle))
    sizes = np.bincount(regions.ravel())[1:]
    found = zip(find_objects(regions), sizes, strict=True)
    return [(r.start, c.start, r.stop, c.stop) for (r, c), size in found if size >= smallest * regions.size]


def _enlarge(maps, size):
    """Maps `(N, h, w)` to another size, smoothly."""
    from PIL import Image

    enlarge = (Image.fromarray(m.astype("float32")).resize(size[::-1], Image.Resampling.BICUBIC) for m in maps)
    return np.stack([np.asarray(m, "float32") for m in enlarge])
