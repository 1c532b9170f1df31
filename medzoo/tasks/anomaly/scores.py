"""Anomaly scores, each fitted to normal images.

Each score is a class with `fit(model, normals)` and `score(model, images)`. `score` returns `(scores, maps)`: an array
of shape `(N,)`, larger for more anomalous images, and anomaly maps of shape `(N, h, w)` or `None`. Images are float32
arrays of shape `(N, H, W, 1)` with values in [0, 1], of a size that the model accepts.
"""

from collections.abc import Callable
from typing import Self

import keras
import numpy as np
from keras import ops

from medzoo import losses, metrics
from medzoo.models import VAE
from medzoo.models.gradients import input_gradient
from medzoo.tasks.anomaly.synthetic import SyntheticAnomalyScore
from medzoo.tasks.features import extract_features


def _batches(images, size=64):
    """Split images into batches."""
    return (images[i : i + size] for i in range(0, len(images), size))


class _PerImage:
    """Base class of scores without parameters to fit."""

    _score: Callable  # of a model and images, by the classes below

    def fit(self, model: keras.Model, normals: np.ndarray) -> Self:
        """Return the score unchanged.

        Args:
            model: Not used.
            normals: Not used.

        Returns:
            The score.
        """
        return self

    def score(self, model: keras.Model, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Score images.

        Args:
            model: A medzoo model.
            images: See the module.

        Returns:
            `(scores, maps)`, see the module.
        """
        parts = [self._score(model, batch) for batch in _batches(images)]
        scores, maps = zip(*parts, strict=True)
        return np.concatenate(scores), None if maps[0] is None else np.concatenate(maps)


class L1Score(_PerImage):
    """Mean absolute difference of image and reconstruction."""

    def _score(self, model, images):
        difference = np.abs(images - model.reconstruct(images))[..., 0]
        return difference.mean(axis=(1, 2)), difference


class SSIMScore(_PerImage):
    """One minus the structural similarity of image and reconstruction."""

    def _score(self, model, images):
        return 1 - ops.convert_to_numpy(metrics.ssim(images, model.reconstruct(images))), None


class ELBOScore(_PerImage):
    """Negative evidence lower bound at the posterior mean, in nats per image; VAEs only."""

    def _score(self, model, images):
        _only_vae(self, model)
        return ops.convert_to_numpy(_negative_elbo(model, images)), None


class ELBOGradientScore(_PerImage):
    """Input gradient of the KL divergence times the reconstruction error; VAEs only.

    Zimmerer et al. 2019, arXiv:1907.12258.
    """

    def _score(self, model, images):
        _only_vae(self, model)
        gradient = np.abs(input_gradient(lambda x: _kl(model, x), images))[..., 0]
        maps = gradient * np.abs(images - model.reconstruct(images))[..., 0]
        return maps.mean(axis=(1, 2)), maps


class RestorationScore(_PerImage):
    """Difference of an image and its restoration to a more probable image; VAEs only.

    The restoration minimizes -ELBO(x) + `weight` |x - image| by gradient descent; the anomaly map is |x - image| (Chen
    et al. 2020, arXiv:2001.02055).

    Args:
        steps: int. Number of gradient steps.
        rate: float. Step size, in units of the decoder variance.
        weight: float. Weight of the total difference from the image.
    """

    def __init__(self, steps: int = 30, rate: float = 1.0, weight: float = 20.0):
        self.steps, self.rate, self.weight = steps, rate, weight

    def _score(self, model, images):
        _only_vae(self, model)
        x, rate = images.copy(), self.rate * float(ops.convert_to_numpy(model.variance))
        for _ in range(self.steps):
            gradient = input_gradient(lambda tensor: _negative_elbo(model, tensor), x)
            x = x - rate * gradient
            # Proximal step of the absolute value: small changes are set to zero.
            x = images + np.sign(x - images) * np.maximum(np.abs(x - images) - rate * self.weight, 0)
            x = np.clip(x, 0, 1)
        difference = np.abs(x - images)[..., 0]
        return difference.mean(axis=(1, 2)), difference


def _only_vae(score, model):
    """Raise ValueError unless the model is a VAE."""
    if not isinstance(model, VAE):
        name = type(score).__name__
        raise ValueError(f"{name}: unsuitable model. Expected a VAE, got {model.name}, a {type(model).__name__}.")


def _kl(model, x):
    """Return the KL divergence between posterior and prior, in nats per image."""
    return losses.gaussian_kl(*model.posterior(x))


def _negative_elbo(model, x):
    """Return the negative evidence lower bound at the posterior mean, in nats per image."""
    mean, log_var = model.posterior(x)
    x = ops.cast(x, "float32")
    return losses.gaussian_nll(x, model.decoder(mean), model.variance) + losses.gaussian_kl(mean, log_var)


class MahalanobisScore:
    """Mahalanobis distance of the latents, with a shrinkage covariance (Ledoit & Wolf 2004)."""

    def fit(self, model: keras.Model, normals: np.ndarray) -> Self:
        """Fit mean and covariance of the latents.

        Args:
            model: A medzoo model.
            normals: Normal images, see the module.

        Returns:
            The fitted score.
        """
        from sklearn.covariance import LedoitWolf

        self.gaussian = LedoitWolf().fit(extract_features(model, normals))
        return self

    def score(self, model: keras.Model, images: np.ndarray) -> tuple[np.ndarray, None]:
        """Score images.

        Args:
            model: The model that was passed to `fit`.
            images: See the module.

        Returns:
            `(scores, None)`.
        """
        return self.gaussian.mahalanobis(extract_features(model, images)), None


class KNNScore:
    """Mean distance of standardized latents to those of the 5 nearest normal images."""

    def fit(self, model: keras.Model, normals: np.ndarray) -> Self:
        """Index the latents of normal images.

        Args:
            model: A medzoo model.
            normals: Normal images, see the module.

        Returns:
            The fitted score.
        """
        from sklearn.neighbors import NearestNeighbors
        from sklearn.preprocessing import StandardScaler

        latents = extract_features(model, normals)
        self.scaler = StandardScaler().fit(latents)
        self.search = NearestNeighbors(n_neighbors=min(5, len(latents))).fit(self.scaler.transform(latents))
        return self

    def score(self, model: keras.Model, images: np.ndarray) -> tuple[np.ndarray, None]:
        """Score images.

        Args:
            model: The model that was passed to `fit`.
            images: See the module.

        Returns:
            `(scores, None)`.
        """
        distances, _ = self.search.kneighbors(self.scaler.transform(extract_features(model, images)))
        return distances.mean(axis=1), None


class PaDiMScore:
    """Mahalanobis distance of the encoder's first feature map at each position (PaDiM).

    The score of an image is the maximum over positions (Defard et al. 2020, arXiv:2011.08785).

    Args:
        shrinkage: float in [0, 1]. Weight of a multiple of the identity in each covariance estimate.
    """

    def __init__(self, shrinkage: float = 0.01):
        self.shrinkage = shrinkage

    def fit(self, model: keras.Model, normals: np.ndarray) -> Self:
        """Fit mean and covariance of the features at each position.

        Args:
            model: A medzoo model.
            normals: Normal images, see the module.

        Returns:
            The fitted score.
        """
        maps = self._maps(model, normals)
        n, self.rows, self.columns, channels = maps.shape
        maps = maps.reshape(n, -1, channels).transpose(1, 0, 2)  # (positions, N, channels)
        self.mean = maps.mean(axis=1, keepdims=True)
        centered = maps - self.mean
        covariance = np.matmul(centered.transpose(0, 2, 1), centered) / max(1, n - 1)
        scale = np.trace(covariance, axis1=1, axis2=2)[:, None, None] / channels
        covariance = (1 - self.shrinkage) * covariance + (self.shrinkage * scale + 1e-12) * np.eye(channels)
        self.whiten = np.linalg.cholesky(np.linalg.inv(covariance))
        return self

    def score(self, model: keras.Model, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score images.

        Args:
            model: The model that was passed to `fit`.
            images: See the module.

        Returns:
            `(scores, maps)`.
        """
        maps = self._maps(model, images)
        n, rows, columns, channels = maps.shape
        if (rows, columns) != (self.rows, self.columns):
            raise ValueError(
                f"PaDiMScore: unsuitable image size. Expected feature maps of {self.rows}x{self.columns}, as in `fit`, "
                f"got {rows}x{columns}."
            )
        features = maps.reshape(n, -1, channels).transpose(1, 0, 2) - self.mean
        distance = np.square(np.matmul(features, self.whiten)).sum(axis=2).T / channels
        return distance.max(axis=1), np.sqrt(distance).reshape(n, rows, columns)

    @staticmethod
    def _maps(model, images):
        """Return the feature maps of the first encoder stage."""
        first = (model.encoder.stage_outputs(ops.convert_to_tensor(batch))[0] for batch in _batches(images))
        return np.concatenate([ops.convert_to_numpy(x) for x in first]).astype("float64")


SCORES = {
    "synthetic": SyntheticAnomalyScore,
    "l1": L1Score,
    "ssim": SSIMScore,
    "elbo": ELBOScore,
    "gradient": ELBOGradientScore,
    "restoration": RestorationScore,
    "mahalanobis": MahalanobisScore,
    "knn": KNNScore,
    "padim": PaDiMScore,
}
