"""The plain convolutional autoencoder, with options for sparse latents and for denoising."""

import keras
from keras import ops

from medzoo import losses
from medzoo.layers import replicas
from medzoo.models.base import Autoencoder

RECONSTRUCTION = {"mse": losses.squared_error, "mae": losses.absolute_error}


@keras.saving.register_keras_serializable("medzoo")
class ConvAutoencoder(Autoencoder):
    """Undercomplete convolutional autoencoder (Hinton & Salakhutdinov 2006).

    Loss per image: squared (or absolute) error summed over pixels + `sparsity` * sum over latents of |z|.

    Args:
        reconstruction: `"mse"` or `"mae"`; which error the loss sums over pixels.
        sparsity: weight of the L1 penalty on the latents (a sparse autoencoder); 0 for none.
        noise_std: in `fit`, Gaussian noise of this standard deviation is added to the input while the target stays
            clean (a denoising autoencoder, Vincent et al. 2008): a number, or `(low, high)` to draw a level for each
            image. Range of the images: [0, 1]. The noisy input is clipped to that range.
        others: as in `Autoencoder`.
    """

    def __init__(self, image_shape=(64, 64, 1), *, reconstruction="mse", sparsity=0.0, noise_std=0.0, **kwargs):
        super().__init__(image_shape, **kwargs)
        if reconstruction not in RECONSTRUCTION:
            raise ValueError(f"ConvAutoencoder: reconstruction={reconstruction!r}; expected {sorted(RECONSTRUCTION)}.")
        self.reconstruction, self.sparsity = reconstruction, sparsity
        self.noise_std = tuple(noise_std) if isinstance(noise_std, (tuple, list)) else (noise_std, noise_std)
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.build()

    def reported(self):
        return super().reported() + (("sparsity_loss",) if self.sparsity else ())

    def corrupt(self, x):
        """The images with noise added, as `fit` shows them to the encoder."""
        low, high = self.noise_std
        # One uniform number an image, through the normal draw that replicas share.
        level = replicas.normal((ops.shape(x)[0], 1, 1, 1), self.seed_generator)
        level = low + (high - low) * 0.5 * (1.0 + ops.erf(level / 2**0.5))
        return ops.clip(x + level * replicas.normal(ops.shape(x), self.seed_generator), 0.0, 1.0)

    def loss_terms(self, x, target, training):
        if training and self.noise_std[1] > 0:
            x = self.corrupt(x)
        latents = self.encoder(x)
        reconstruction = self.decoder(latents)
        error = RECONSTRUCTION[self.reconstruction](target, reconstruction)
        terms = {"loss": error, "reconstruction_loss": error}
        if self.sparsity:
            axes = tuple(range(1, len(latents.shape)))
            terms["sparsity_loss"] = self.sparsity * ops.sum(ops.abs(latents), axis=axes)
            terms["loss"] = error + terms["sparsity_loss"]
        return reconstruction, terms

    def get_config(self):
        return {
            **super().get_config(),
            "reconstruction": self.reconstruction,
            "sparsity": self.sparsity,
            "noise_std": list(self.noise_std),
        }
