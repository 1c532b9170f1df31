"""The plain convolutional autoencoder, with options for sparse latents and for denoising."""

import keras
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

    Loss per image: squared (or absolute) error summed over pixels + `sparsity_weight` * sum over latents of |z|.

    Args:
        reconstruction_loss: `"mse"` or `"mae"`; which error the loss sums over pixels.
        sparsity_weight: weight of the L1 penalty on the latents (a sparse autoencoder); 0 for none. Too small a weight only
            shrinks them, and the decoder makes up for it: look at `hoyer_sparsity` in `medzoo evaluate`.
        top_k: keep only so many latents of each image (or position), those of largest absolute value, and set the
            others to zero (a k-sparse autoencoder, Makhzani & Frey 2013, arXiv:1312.5663); `None` keeps all.
        noise_std: in `fit`, Gaussian noise of this standard deviation is added to the input while the target stays
            clean (a denoising autoencoder, Vincent et al. 2008): a number, or `(low, high)` to draw a level for each
            image. Range of the images: [0, 1]. The noisy input is clipped to that range.
        poisson_noise: the same for noise that grows with the root of the intensity, as that of counted photons does
            (a Gaussian stands for the Poisson law): the number is its standard deviation where the image is 1.
        others: as in `Autoencoder`.
    """

    def __init__(
        self,
        image_shape=(64, 64, 1),
        *,
        reconstruction_loss="mse",
        sparsity_weight=0.0,
        top_k=None,
        noise_std=0.0,
        poisson_noise=0.0,
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

    def reported(self):
        return super().reported() + (("sparsity_loss",) if self.sparsity_weight else ())

    def _encode(self, x):
        latents = self.encoder(x)
        if self.top_k is None:
            return latents
        size = ops.abs(latents)
        least = ops.top_k(size, k=self.top_k)[0][..., -1:]
        return ops.where(size >= least, latents, ops.zeros_like(latents))

    def pca_scales(self, eigenvalues, noise):
        """Whitened latents; if only some are kept, not: the largest are then those that matter most for the picture."""
        return (1.0, 1.0) if self.top_k else super().pca_scales(eigenvalues, noise)

    def corrupt(self, x):
        """The images with noise added, as `fit` shows them to the encoder."""
        variance = ops.square(self._level(x, self.noise_std)) + ops.square(self._level(x, self.poisson_noise)) * x
        return ops.clip(x + ops.sqrt(variance) * replicas.normal(ops.shape(x), self.seed_generator), 0.0, 1.0)

    def _level(self, x, bounds):
        """One number an image, uniform between the bounds, through the normal draw that replicas share."""
        low, high = bounds
        draw = replicas.normal((ops.shape(x)[0], *(1,) * (self.spatial_dims + 1)), self.seed_generator)
        return low + (high - low) * replicas.uniform(draw)

    def loss_terms(self, x, target, training):
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

    def get_config(self):
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
