"""The detector: several scores on one scale, a threshold, heat maps and boxes."""

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted

from medzoo.images.intensity import standardize
from medzoo.models.checks import images_only
from medzoo.recipes.augment import moved_copies
from medzoo.tasks.anomaly.scores import SCORES
from medzoo.tasks.features import fit_size
from medzoo.zoo.presets import loaded


class AnomalyDetector(OutlierMixin, BaseEstimator):
    """Scores images by how unlike they are to the normal ones that it was fitted on (scikit-learn's conventions).

        detector = AnomalyDetector("ae-chestxray-64").fit(normal_images)
        detector.predict(images)        # 1 normal, -1 not, at the false-positive rate asked for
        detector.heat_map(images)       # where

    Several scores are put on one scale, that of normal images held out from the fit (robust z-scores: median 0,
    interquartile range 1.35), and averaged.

    Args:
        model: name, folder or `hf://...` of a preset, or a medzoo model.
        scores: which of `medzoo.tasks.anomaly.scores.SCORES`: `"l1"`, `"ssim"`, `"latent"`, `"neighbours"`,
            `"features"`, and for VAEs `"elbo"`, `"gradient"`, `"restoration"`.
        heat: which score draws the heat map: `"features"`, `"l1"`, or for VAEs `"gradient"`, `"restoration"`.
        standardize: bring every image to the same mean and contrast first. Without it, exposure is what the scores see.
        augment: moved and mirrored copies of each normal image added to the fit.
        false_positive_rate: share of normal images that `predict` may call anomalies.
        held_out: share of the normal images kept for scale and threshold.
        seed: int.

    Attributes: `threshold_` of `anomaly_scores`; `model_`; `fitted_`, the scores by name.
    """

    def __init__(
        self,
        model="ae-chestxray-64",
        scores=("neighbours",),
        heat="features",
        standardize=True,
        augment=4,
        false_positive_rate=0.05,
        held_out=0.25,
        seed=0,
    ):
        self.model = model
        self.scores = scores
        self.heat = heat
        self.standardize = standardize
        self.augment = augment
        self.false_positive_rate = false_positive_rate
        self.held_out = held_out
        self.seed = seed

    def fit(self, X, y=None):
        """Learns from normal images: arrays `(N, H, W[, 1])` (uint8, or floats in [0, 1]) or a list of files."""
        unknown = {*self.scores, self.heat} - set(SCORES)
        if unknown or not self.scores:
            raise ValueError(f"AnomalyDetector: scores {sorted(unknown)}; expected some of {', '.join(SCORES)}.")
        self.model_ = loaded(self.model)
        images_only(self.model_, "AnomalyDetector")
        images = self._prepare(X)
        count = round(self.held_out * len(images))
        if count < 10 or len(images) - count < 10:
            raise ValueError(
                f"AnomalyDetector: {len(images)} normal images; expected 20 or more, so that 10 can be held out."
            )
        order = np.random.default_rng(self.seed).permutation(len(images))
        held_out, normals = images[order[:count]], images[order[count:]]
        if self.augment:
            changes = {"shift": 3.0, "warp": 0.08, "contrast": 0.0, "flip": True}
            normals = np.concatenate([normals, *moved_copies(normals, self.augment, self.seed, **changes)])
        self.fitted_ = {name: SCORES[name]().fit(self.model_, normals) for name in {*self.scores, self.heat}}
        self.scale_ = {}
        for name in self.scores:
            low, middle, high = np.percentile(self.fitted_[name].score(self.model_, held_out)[0], (25, 50, 75))
            self.scale_[name] = (middle, max((high - low) / 1.349, 1e-12))
        self.threshold_ = float(np.quantile(self._scores(held_out), 1 - self.false_positive_rate))
        return self

    def anomaly_scores(self, X):
        """Larger for stranger images, `(N,)`; above `threshold_` an anomaly."""
        check_is_fitted(self, "threshold_")
        return self._scores(self._prepare(X))

    def score_samples(self, X):
        """`-anomaly_scores`: scikit-learn's sign."""
        return -self.anomaly_scores(X)

    def decision_function(self, X):
        """Negative for anomalies."""
        return -(self.anomaly_scores(X) - self.threshold_)

    def predict(self, X):
        """1 for normal images, -1 for anomalies."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def heat_map(self, X):
        """Where the anomaly is: float32 `(N, H, W, 1)`, in the size that the model saw; about 1 in normal images for
        `heat="features"`.

        Raises:
            ValueError: `heat` names a score that has no map.
        """
        check_is_fitted(self, "threshold_")
        images = self._prepare(X)
        maps = self.fitted_[self.heat].score(self.model_, images)[1]
        if maps is None:
            raise ValueError(f"AnomalyDetector: heat={self.heat!r} has no map; use 'features' or 'l1'.")
        return _enlarge(maps, images.shape[1:3])[..., None]

    def boxes(self, X, level=0.6):
        """Boxes around the strangest places, for each image a list of `(top, left, bottom, right)` in pixels.

        Args:
            level: share of the map's height, from its median to its peak, that a box's inside exceeds.
        """
        return [find_boxes(heat, level) for heat in self.heat_map(X)]

    def _prepare(self, X):
        if isinstance(X, np.ndarray) and X.dtype.kind not in "US":
            X = fit_size(self.model_, X)
        images = self.model_.preprocess(list(X) if not isinstance(X, np.ndarray) else X)
        return standardize(images) if self.standardize else images

    def _scores(self, images):
        scaled = [
            (self.fitted_[name].score(self.model_, images)[0] - self.scale_[name][0]) / self.scale_[name][1]
            for name in self.scores
        ]
        return np.mean(scaled, axis=0)


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
