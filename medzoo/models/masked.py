"""Masked autoencoder."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from medzoo import losses
from medzoo.layers import replicas
from medzoo.layers.grids import enlarged
from medzoo.models.base import Autoencoder
from medzoo.models.checks import as_array, check_images, check_shape
from medzoo.utils.arguments import SEED, checked, either, interval, real

RATIO = real(0, below=1)
ARGUMENTS = {"mask_ratio": either(RATIO, interval(RATIO)), "ratio": real(0, 1), "seed": SEED}


@keras.saving.register_keras_serializable("medzoo")
class MaskedAutoencoder(Autoencoder):
    """Convolutional masked autoencoder for feature learning.

    He et al. 2022, arXiv:2111.06377. In training, random blocks of `downsampling` x `downsampling` pixels, one per
    position of the latents, are masked. As in a sparse convolution (Tian et al. 2023, arXiv:2301.03580; Woo et al.
    2023, arXiv:2301.00808), masked positions are set to 0 after each layer of the encoder, so that they do not
    influence visible ones. The decoder receives a learned mask token for each masked position. The loss per image is
    the squared error summed over all pixels, of which masked pixels cause most. Without a mask the model is an ordinary
    autoencoder.

    Args:
        image_shape: tuple `(height, width, channels)`; the sides may be `None`.
        latent_dim: int. Number of latent channels.
        mask_ratio: float from 0 to below 1, fraction of masked blocks; or `(low, high)`, from which the ratio of each
            image is sampled uniformly.
        filters: tuple of int, as in `Autoencoder`.
        bottleneck: `"spatial"`, the only one.
        **kwargs: Further arguments of `Autoencoder`.
    """

    bottlenecks = ("spatial",)
    backbones = ("residual",)

    def __init__(
        self,
        image_shape: Sequence[int | None] = (None, None, 1),
        *,
        latent_dim: int = 64,
        mask_ratio: float | Sequence[float] = (0.0, 0.9),
        filters: Sequence[int] = (48, 96, 192),
        bottleneck: str = "spatial",
        **kwargs,
    ):
        mask_ratio = checked(type(self).__name__, ARGUMENTS, mask_ratio=mask_ratio)
        super().__init__(image_shape, latent_dim=latent_dim, filters=filters, bottleneck=bottleneck, **kwargs)
        self.mask_ratio = mask_ratio if isinstance(mask_ratio, tuple) else (mask_ratio, mask_ratio)
        self.token = self.add_weight(shape=(latent_dim,), initializer="zeros", name="token", dtype="float32")
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.build()

    def random_mask(self, x: np.ndarray, ratio: float = 0.6, seed: int | None = None) -> np.ndarray:
        """Sample a random mask of blocks for each image.

        Args:
            x: Images `(N, height, width, channels)`.
            ratio: float from 0 to 1. Fraction of masked blocks.
            seed: int or `None`.

        Returns:
            bool array `(N, height / downsampling, width / downsampling)`, `True` for visible blocks.
        """
        ratio, seed = checked("random_mask", ARGUMENTS, ratio=ratio, seed=seed)
        check_shape(self, x)
        grid = self.latent_shape(x.shape[1:])[:-1]
        order = np.random.default_rng(seed).permuted(np.tile(np.arange(math.prod(grid)), (len(x), 1)), axis=1)
        return (order >= round(ratio * math.prod(grid))).reshape(len(x), *grid)

    def apply_mask(self, x: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """Return images whose masked blocks are gray (0.5), for display.

        Args:
            x: float32 array `(N, height, width, channels)`.
            visible: bool array as in `inpaint`.

        Returns:
            float32 array shaped like `x`.
        """
        mask = ops.convert_to_numpy(enlarged(np.asarray(visible, "float32")[..., None], self.downsampling_factors))
        return mask * x + 0.5 * (1 - mask)

    def inpaint(self, x: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """Replace the masked blocks of images by the model's prediction.

        Args:
            x: float32 array `(N, height, width, channels)` with values in [0, 1].
            visible: bool array `(N, height / downsampling, width / downsampling)`, e.g. from `random_mask`.

        Returns:
            float32 array shaped like `x` and equal to it in visible blocks.

        Raises:
            ValueError: If the images do not fit the model, or `visible` has another shape.
        """
        x = ops.convert_to_numpy(as_array(self, x))
        check_images(self, x)
        visible = np.asarray(visible, "float32")
        expected = (len(x), *self.latent_shape(x.shape[1:])[:-1])
        if visible.shape != expected:
            raise ValueError(f"{self.name}: visible has shape {visible.shape}; expected {expected}.")
        filled = self.compiled_method("_inpaint")((ops.convert_to_tensor(x), ops.convert_to_tensor(visible[..., None])))
        return ops.convert_to_numpy(filled)

    def _inpaint(self, images_and_mask):
        x, visible = images_and_mask
        mask = enlarged(visible, self.downsampling_factors)
        return mask * x + (1 - mask) * self._decode(self._masked_latents(x, visible))

    def _masked_latents(self, x, visible):
        """Return the latents of visible blocks, and the mask token for masked blocks."""
        latents = ops.cast(self.encoder(x, visible=visible), "float32")
        return visible * latents + (1 - visible) * self.token

    def loss_terms(self, x, target, training: bool) -> tuple:
        seed = self.seed_generator if training else 0
        low, high = self.mask_ratio
        per_image = (ops.shape(x)[0], *(1,) * (self.spatial_dims + 1))
        ratio = low + (high - low) * replicas.uniform(replicas.normal(per_image, seed))
        grid = [ops.shape(x)[axis] // f for axis, f in enumerate(self.downsampling_factors, start=1)]
        samples = replicas.uniform(replicas.normal((ops.shape(x)[0], *grid, 1), seed if training else 1))
        visible = ops.cast(samples >= ratio, "float32")
        reconstruction = self.decoder(self._masked_latents(x, visible))
        error = losses.squared_error(target, reconstruction)
        return reconstruction, {"loss": error, "reconstruction_loss": error}

    def get_config(self) -> dict:
        return {**super().get_config(), "mask_ratio": list(self.mask_ratio)}
