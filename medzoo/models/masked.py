"""The masked autoencoder."""

import math

import keras
import numpy as np
from keras import ops

from medzoo import losses
from medzoo.layers import replicas
from medzoo.layers.grids import enlarged
from medzoo.models.base import Autoencoder
from medzoo.models.checks import as_array, check_images, check_shape
from medzoo.utils.arguments import SEED, checked, either, interval, real

SHARE = real(0, below=1)
ARGUMENTS = {"mask_ratio": either(SHARE, interval(SHARE)), "ratio": real(0, 1), "seed": SEED}


@keras.saving.register_keras_serializable("medzoo")
class MaskedAutoencoder(Autoencoder):
    """Autoencoder that learns to fill in what is hidden (He et al. 2022, arXiv:2111.06377), for its features.

    In training blocks of `downsampling` x `downsampling` pixels, one for each position of the latents, are hidden at
    random. The encoder is kept from seeing them as a sparse convolution would (Tian et al. 2023, arXiv:2301.03580; Woo
    et al. 2023, arXiv:2301.00808): the hidden positions are set to 0 behind each of its layers. In their latents'
    place the decoder gets a learned token. Loss per image: squared error summed over all pixels; nearly all of it is
    that of the hidden ones. Where nothing is hidden, it is an autoencoder like the others.

    Args:
        mask_ratio: share of the blocks that is hidden, or `(low, high)`: each image's is drawn evenly between these.
        others: as in `Autoencoder`; the bottleneck is always spatial.
    """

    bottlenecks = ("spatial",)
    backbones = ("residual",)

    def __init__(
        self,
        image_shape=(None, None, 1),
        *,
        latent_dim=64,
        mask_ratio=(0.0, 0.9),
        filters=(48, 96, 192),
        bottleneck="spatial",
        **kwargs,
    ):
        mask_ratio = checked(type(self).__name__, ARGUMENTS, mask_ratio=mask_ratio)
        super().__init__(image_shape, latent_dim=latent_dim, filters=filters, bottleneck=bottleneck, **kwargs)
        self.mask_ratio = mask_ratio if isinstance(mask_ratio, tuple) else (mask_ratio, mask_ratio)
        self.token = self.add_weight(shape=(latent_dim,), initializer="zeros", name="token", dtype="float32")
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.build()

    def random_mask(self, x, ratio=0.6, seed=None):
        """Which blocks of images stay visible when some are hidden at random.

        Args:
            x: images `(N, height, width, channels)`.
            ratio: share of the blocks that is hidden, 0 to 1.
            seed: int or `None`.

        Returns: bool array `(N, height / downsampling, width / downsampling)`.
        """
        ratio, seed = checked("hide", ARGUMENTS, ratio=ratio, seed=seed)
        check_shape(self, x)
        grid = self.latent_shape(x.shape[1:])[:-1]
        order = np.random.default_rng(seed).permuted(np.tile(np.arange(math.prod(grid)), (len(x), 1)), axis=1)
        return (order >= round(ratio * math.prod(grid))).reshape(len(x), *grid)

    def apply_mask(self, x, visible):
        """Images whose hidden blocks are grey, to be looked at.

        Args:
            x, visible: as in `fill`.
        """
        shown = ops.convert_to_numpy(enlarged(np.asarray(visible, "float32")[..., None], self.downsampling_factors))
        return shown * x + 0.5 * (1 - shown)

    def inpaint(self, x, visible):
        """Images whose hidden blocks are filled in with what the model expects there.

        Args:
            x: float32 NumPy array `(N, height, width, channels)` in [0, 1].
            visible: bool `(N, height / downsampling, width / downsampling)`, e.g. from `hide`.

        Returns: float32, shaped like `x`, and equal to it where it is visible.

        Raises:
            ValueError: images that the model does not take; `visible` of another shape.
        """
        x = ops.convert_to_numpy(as_array(self, x))
        check_images(self, x)
        visible = np.asarray(visible, "float32")
        expected = (len(x), *self.latent_shape(x.shape[1:])[:-1])
        if visible.shape != expected:
            raise ValueError(f"{self.name}: visible has shape {visible.shape}; expected {expected}.")
        filled = self.compiled_method("_fill")((ops.convert_to_tensor(x), ops.convert_to_tensor(visible[..., None])))
        return ops.convert_to_numpy(filled)

    def _fill(self, given):
        x, visible = given
        shown = enlarged(visible, self.downsampling_factors)
        return shown * x + (1 - shown) * self._decode(self._seen(x, visible))

    def _seen(self, x, visible):
        """Latents of the visible blocks_per_stage, and the token for the hidden ones."""
        latents = ops.cast(self.encoder(x, visible=visible), "float32")
        return visible * latents + (1 - visible) * self.token

    def loss_terms(self, x, target, training):
        seed = self.seed_generator if training else 0
        low, high = self.mask_ratio
        one = (ops.shape(x)[0], *(1,) * (self.spatial_dims + 1))
        share = low + (high - low) * replicas.uniform(replicas.normal(one, seed))
        grid = [ops.shape(x)[axis] // f for axis, f in enumerate(self.downsampling_factors, start=1)]
        draw = replicas.uniform(replicas.normal((ops.shape(x)[0], *grid, 1), seed if training else 1))
        visible = ops.cast(draw >= share, "float32")
        reconstruction = self.decoder(self._seen(x, visible))
        error = losses.squared_error(target, reconstruction)
        return reconstruction, {"loss": error, "reconstruction_loss": error}

    def get_config(self):
        return {**super().get_config(), "mask_ratio": list(self.mask_ratio)}
