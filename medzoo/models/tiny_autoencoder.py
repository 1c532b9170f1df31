"""The tiny autoencoders of latent diffusion models."""

import keras

from medzoo.layers.tiny_networks import TinyDecoder, TinyEncoder
from medzoo.models.conv_ae import ConvAutoencoder


@keras.saving.register_keras_serializable("medzoo")
class TinyAutoencoder(ConvAutoencoder):
    """Small convolutional autoencoder whose latents are those of a larger one (TAESD, Ollin Boer Bohan 2023).

    `AutoencoderTiny` of diffusers and the original TAESD, TAESD3, TAEF1 and TAEF2 are this family with other weights.
    Loss as in `ConvAutoencoder`.

    Args:
        image_shape: tuple. `(height, width, channels)` or `(depth, height, width, channels)`; the sides may be `None`.
        latent_dim: int. Number of latent channels per position.
        filters: sequence of int. Width of each level of the encoder, the finest first; each level but the finest halves
            the resolution.
        blocks_per_stage: sequence of int. Residual blocks of each level of the encoder.
        decoder_filters: sequence of int. Width of the decoder's levels, the finest first; default: `filters`.
        decoder_blocks: sequence of int. The same for the decoder, the finest level first; default: `blocks_per_stage`.
        pooled: bool. Whether the blocks of the coarsest level have a normalized branch of their own (TAEF2).
        scaling_factor: float. What latent diffusion models multiply latents by; stored only.
        shift_factor: float. What they subtract first; stored only.
        **kwargs: See `ConvAutoencoder`.

    Raises:
        ValueError: If the arguments do not fit together.
    """

    bottlenecks = ("spatial",)
    backbones = ("residual",)

    def __init__(
        self,
        image_shape=(None, None, 3),
        *,
        latent_dim=4,
        filters=(64, 64, 64, 64),
        blocks_per_stage=(1, 3, 3, 3),
        decoder_filters=None,
        decoder_blocks=None,
        pooled=False,
        scaling_factor=1.0,
        shift_factor=0.0,
        **kwargs,
    ):
        levels = len(filters)
        blocks = (blocks_per_stage,) * levels if isinstance(blocks_per_stage, int) else tuple(blocks_per_stage)
        self.decoder_filters = tuple(decoder_filters or filters)
        self.decoder_blocks = tuple(decoder_blocks or blocks)
        self.pooled, self.scaling_factor, self.shift_factor = pooled, scaling_factor, shift_factor
        for name, value in (
            ("blocks_per_stage", blocks),
            *((n, getattr(self, n)) for n in ("decoder_filters", "decoder_blocks")),
        ):
            if len(value) != levels:
                raise ValueError(f"TinyAutoencoder: {name}={value}. Expected {levels} numbers, as filters={filters}.")
        kwargs = {"bottleneck": "spatial", "patch_size": 1, **kwargs}
        super().__init__(image_shape, latent_dim=latent_dim, filters=filters, blocks_per_stage=blocks, **kwargs)

    def make_networks(self):
        shared = {"pooled": self.pooled, "spatial_dims": self.spatial_dims}
        encoder = TinyEncoder(self.latent_dim, self.filters, self.blocks_per_stage, **shared)
        channels = self.image_shape[-1]
        decoder = TinyDecoder(self.latent_dim, self.decoder_filters, self.decoder_blocks, channels=channels, **shared)
        return encoder, decoder

    def initialize_from_pca(self, images, max_samples=100_000):
        """Not available: the networks have no linear path.

        Raises:
            ValueError: Always.
        """
        raise ValueError("TinyAutoencoder: has no linear path that a PCA could initialize. Train with fit(x).")

    def get_config(self):
        config = super().get_config()
        for name in ("bottleneck", "patch_size", "backbone"):
            config.pop(name)
        lists = {n: list(getattr(self, n)) for n in ("blocks_per_stage", "decoder_filters", "decoder_blocks")}
        names = ("pooled", "scaling_factor", "shift_factor")
        return {**config, **lists, **{name: getattr(self, name) for name in names}}
