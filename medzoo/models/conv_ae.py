"""Convolutional autoencoder, with options for sparse latents and for denoising."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from medzoo import losses
from medzoo.layers import replicas
from medzoo.models.base import Autoencoder
from medzoo.utils.arguments import COUNT, NONE, checked, choice, either, interval, real

RECONSTRUCTION = {"mse": losses.squared_error, "mae": losses.absolute_error}
LEVEL = either(real(0), interval(real(0)))
ARGUMENTS = {
    "reconstruction_loss": choice(*RECONSTRUCTION),
    "sparsity_weight": real(0),
    "top_k": either(COUNT, NONE),
    "noise_std": LEVEL,
    "poisson_noise": LEVEL,
}


@keras.saving.register_keras_serializable("medzoo")
class ConvAutoencoder(Autoencoder):
    """Undercomplete convolutional autoencoder (Hinton & Salakhutdinov 2006).

    The loss per image is the squared (or absolute) error summed over pixels, plus `sparsity_weight` times the sum of
    |z| over latents.

    Args:
        image_shape: As in `Autoencoder`.
        reconstruction_loss: `"mse"` or `"mae"`. Error that the loss sums over pixels.
        sparsity_weight: float, 0 or larger. Weight of the L1 penalty on the latents (sparse autoencoder). A weight that
            is too small only scales the latents down, which the decoder compensates; `medzoo evaluate` reports
            `hoyer_sparsity`.
        top_k: int or `None`. Number of latents of each image (or position) that are kept, those of largest absolute
            value; the others are set to zero (k-sparse autoencoder, Makhzani & Frey 2013, arXiv:1312.5663). `None`
            keeps all.
        noise_std: float, or `(low, high)`. Standard deviation of Gaussian noise that `fit` adds to the input while the
            target stays clean (denoising autoencoder, Vincent et al. 2008), for intensities in [0, 1]. Of a pair, the
            standard deviation is sampled uniformly for each image. The noisy input is clipped to [0, 1].
        poisson_noise: float, or `(low, high)`. Standard deviation, at intensity 1, of noise that grows with the square
            root of the intensity, a Gaussian approximation of photon (Poisson) noise.
        **kwargs: Further arguments of `Autoencoder`.
    """

    def __init__(
        self,
        image_shape: Sequence[int | None] = (64, 64, 1),
        *,
        reconstruction_loss: str = "mse",
        sparsity_weight: float = 0.0,
        top_k: int | None = None,
        noise_std: float | Sequence[float] = 0.0,
        poisson_noise: float | Sequence[float] = 0.0,
        **kwargs,
    ):
        own = {
            "reconstruction_loss": reconstruction_loss,
            "sparsity_weight": sparsity_weight,
            "top_k": top_k,
            "noise_std": noise_std,
        }
        own = checked(type(self).__name__, ARGUMENTS, **own, poisson_noise=poisson_noise)
        super().__init__(image_shape, **kwargs)
        self.reconstruction_loss, self.sparsity_weight, self.top_k, noise_std, poisson_noise = own
        if top_k is not None and top_k > self.latent_dim:
            raise ValueError(f"ConvAutoencoder: top_k={top_k}; expected 1 to latent_dim={self.latent_dim}, or None.")
        self.noise_std, self.poisson_noise = _range(noise_std), _range(poisson_noise)
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.build()

    def reported(self) -> tuple[str, ...]:
        return super().reported() + (("sparsity_loss",) if self.sparsity_weight else ())

    def _encode(self, x):
        latents = self.encoder(x)
        if self.top_k is None:
            return latents
        magnitude = ops.abs(latents)
        smallest = ops.top_k(magnitude, k=self.top_k)[0][..., -1:]
        return ops.where(magnitude >= smallest, latents, ops.zeros_like(latents))

    def pca_scales(self, eigenvalues: np.ndarray, noise: float) -> tuple:
        """Return the scales of whitened latents, or 1 with `top_k`.

        With `top_k` the latents keep the scale of their components, so that the largest latents matter most for the
        image.
        """
        return (1.0, 1.0) if self.top_k else super().pca_scales(eigenvalues, noise)

    def corrupt(self, x):
        """Return the images with the noise that `fit` adds to the encoder's input."""
        variance = ops.square(self._level(x, self.noise_std)) + ops.square(self._level(x, self.poisson_noise)) * x
        return ops.clip(x + ops.sqrt(variance) * replicas.normal(ops.shape(x), self.seed_generator), 0.0, 1.0)

    def _level(self, x, bounds):
        """Return one noise level per image, uniform between the bounds, from normal samples that replicas share."""
        low, high = bounds
        samples = replicas.normal((ops.shape(x)[0], *(1,) * (self.spatial_dims + 1)), self.seed_generator)
        return low + (high - low) * replicas.uniform(samples)

    def loss_terms(self, x, target, training: bool) -> tuple:
        if training and max(*self.noise_std, *self.poisson_noise) > 0:
            x = self.corrupt(x)
        latents = self._encode(x)
        reconstruction = self.decoder(latents)
        error = RECONSTRUCTION[self.reconstruction_loss](target, reconstruction)
        terms = {"loss": error, "reconstruction_loss": error}
        if self.sparsity_weight:
            axes = tuple(range(1, len(latents.shape)))
            terms["sparsity_loss"] = self.sparsity_weight * ops.sum(ops.abs(latents), axis=axes)
            terms["loss"] = error + terms["sparsity_loss"]
        return reconstruction, terms

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "reconstruction_loss": self.reconstruction_loss,
            "sparsity_weight": self.sparsity_weight,
            "top_k": self.top_k,
            "noise_std": list(self.noise_std),
            "poisson_noise": list(self.poisson_noise),
        }


def _range(level):
    return tuple(level) if isinstance(level, (tuple, list)) else (level, level)
