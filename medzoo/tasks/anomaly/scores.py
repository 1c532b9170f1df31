"""Anomaly scores: each learns what is normal from images, then gives a number an image and, where it can, a map.

Each is a class with `fit(model, normals)` and `score(model, images)`, which returns `(scores, maps)`: `(N,)`, larger
for stranger images, and `(N, h, w)` or `None`. Images are float32 `(N, H, W, 1)` of a size that the model takes.
"""

import numpy as np
from keras import ops

from medzoo import losses, metrics
from medzoo.models import VAE
from medzoo.models.gradients import input_gradient
from medzoo.tasks.anomaly.synthetic import SyntheticAnomalyScore
from medzoo.tasks.features import extract_features


def _batches(images, size=64):
    return (images[i : i + size] for i in range(0, len(images), size))


class _PerImage:
    """A score that needs no fitting."""

    def fit(self, model, normals):
        return self

    def score(self, model, images):
        parts = [self._score(model, batch) for batch in _batches(images)]
        scores, maps = zip(*parts, strict=True)
        return np.concatenate(scores), None if maps[0] is None else np.concatenate(maps)


class L1Score(_PerImage):
    """Mean absolute difference between image and reconstruction."""

    def _score(self, model, images):
        difference = np.abs(images - model.reconstruct(images))[..., 0]
        return difference.mean(axis=(1, 2)), difference


class SSIMScore(_PerImage):
    """One minus the structural similarity of image and reconstruction."""

    def _score(self, model, images):
        return 1 - ops.convert_to_numpy(metrics.ssim(images, model.reconstruct(images))), None


class ELBO(_PerImage):
    """Negative evidence lower bound at the posterior mean, nats an image; VAEs only."""

    def _score(self, model, images):
        _only_vae(self, model)
        return ops.convert_to_numpy(_negative_elbo(model, images)), None


class ELBOGradientScore(_PerImage):
    """Gradient of the negative evidence lower bound with respect to the image (Zimmerer et al. 2019,
    arXiv:1907.12258), times the reconstruction error; VAEs only."""

    def _score(self, model, images):
        _only_vae(self, model)
        slope = np.abs(input_gradient(lambda x: _kl(model, x), images))[..., 0]
        maps = slope * np.abs(images - model.reconstruct(images))[..., 0]
        return maps.mean(axis=(1, 2)), maps


class RestorationScore(_PerImage):
    """How far an image moves on its way to a likelier one (Chen et al. 2020, arXiv:2001.02055); VAEs only.

    Steps down the gradient of -ELBO(x) + `weight` |x - image|; the map is |x - image|.
    """

    def __init__(self, steps=30, rate=1.0, weight=20.0):
        self.steps, self.rate, self.weight = steps, rate, weight

    def _score(self, model, images):
        _only_vae(self, model)
        x, rate = images.copy(), self.rate * float(ops.convert_to_numpy(model.variance))
        for _ in range(self.steps):
            slope = input_gradient(lambda tensor: _negative_elbo(model, tensor), x)
            x = x - rate * slope
            # The proximal step of the absolute value: small moves are taken back.
            x = images + np.sign(x - images) * np.maximum(np.abs(x - images) - rate * self.weight, 0)
            x = np.clip(x, 0, 1)
        moved = np.abs(x - images)[..., 0]
        return moved.mean(axis=(1, 2)), moved


def _only_vae(score, model):
    if not isinstance(model, VAE):
        raise ValueError(f"{type(score).__name__}: {model.name} is a {type(model).__name__}; this score needs a VAE.")


def _kl(model, x):
    return losses.gaussian_kl(*model.posterior(x))


def _negative_elbo(model, x):
    mean, log_var = model.posterior(x)
    x = ops.cast(x, "float32")
    return losses.gaussian_nll(x, model.decoder(mean), model.variance) + losses.gaussian_kl(mean, log_var)


class MahalanobisScore:
    """Mahalanobis distance of the latents, with a shrunk covariance (Ledoit & Wolf 2004)."""

    def fit(self, model, normals):
        from sklearn.covariance import LedoitWolf

        self.gaussian = LedoitWolf().fit(extract_features(model, normals))
        return self

    def score(self, model, images):
        return self.gaussian.mahalanobis(extract_features(model, images)), None


class KNNScore:
    """Mean distance to the five nearest normal images, in standardised latents."""

    def fit(self, model, normals):
        from sklearn.neighbors import NearestNeighbors
        from sklearn.preprocessing import StandardScaler

        known = extract_features(model, normals)
        self.scaler = StandardScaler().fit(known)
        self.search = NearestNeighbors(n_neighbors=min(5, len(known))).fit(self.scaler.transform(known))
        return self

    def score(self, model, images):
        distances, _ = self.search.kneighbors(self.scaler.transform(extract_features(model, images)))
        return distances.mean(axis=1), None


class PaDiMScore:
    """Mahalanobis distance of the encoder's first feature map at each place (PaDiM, Defard et al. 2020,
    arXiv:2011.08785); the image's score is that of its strangest place.

    Args:
        shrinkage: how far each covariance is drawn towards a multiple of the identity.
    """

    def __init__(self, shrinkage=0.01):
        self.shrinkage = shrinkage

    def fit(self, model, normals):
        maps = self._maps(model, normals)
        n, self.rows, self.columns, channels = maps.shape
        maps = maps.reshape(n, -1, channels).transpose(1, 0, 2)  # (places, N, channels)
        self.mean = maps.mean(axis=1, keepdims=True)
        centred = maps - self.mean
        covariance = np.matmul(centred.transpose(0, 2, 1), centred) / max(1, n - 1)
        scale = np.trace(covariance, axis1=1, axis2=2)[:, None, None] / channels
        covariance = (1 - self.shrinkage) * covariance + (self.shrinkage * scale + 1e-12) * np.eye(channels)
        self.whiten = np.linalg.cholesky(np.linalg.inv(covariance))
        return self

    def score(self, model, images):
        maps = self._maps(model, images)
        n, rows, columns, channels = maps.shape
        if (rows, columns) != (self.rows, self.columns):
            raise ValueError(
                f"feature maps of {rows}x{columns} places; fitted on {self.rows}x{self.columns}: use one image size."
            )
        places = maps.reshape(n, -1, channels).transpose(1, 0, 2) - self.mean
        distance = np.square(np.matmul(places, self.whiten)).sum(axis=2).T / channels
        return distance.max(axis=1), np.sqrt(distance).reshape(n, rows, columns)

    @staticmethod
    def _maps(model, images):
        first = (model.encoder.stage_outputs(ops.convert_to_tensor(batch))[0] for batch in _batches(images))
        return np.concatenate([ops.convert_to_numpy(x) for x in first]).astype("float64")


SCORES = {
    "synthetic": SyntheticAnomalyScore,
    "l1": L1Score,
    "ssim": SSIMScore,
    "elbo": ELBO,
    "gradient": ELBOGradientScore,
    "restoration": RestorationScore,
    "mahalanobis": MahalanobisScore,
    "knn": KNNScore,
    "padim": PaDiMScore,
}
