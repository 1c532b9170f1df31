"""The autoencoder of torchxrayvision."""

import keras

from medzoo.layers.resnet_networks import ResNetDecoder, ResNetEncoder
from medzoo.models.conv_ae import ConvAutoencoder

SIDE, GRID = 224, 3


@keras.saving.register_keras_serializable("medzoo")
class ResNetAutoencoder(ConvAutoencoder):
    """Autoencoder of ResNet bottleneck blocks (`ResNetAE` of torchxrayvision, Cohen et al. 2021, arXiv:2102.09475).

    It takes images of 224×224 pixels only; the latents are a grid `(3, 3, 512)`. Loss as in `ConvAutoencoder`. Batch
    normalization is part of the convolutions: training goes on without it.

    Args:
        image_shape: tuple. `(224, 224, channels)`.
        blocks_per_stage: sequence of 4 int. Bottleneck blocks of each level; `(3, 4, 23, 2)` is ResNetAE101,
            `(3, 4, 6, 3)` ResNetAE50.
        value_range: `(low, high)`. Range of images that the network itself works in.
        **kwargs: See `ConvAutoencoder`.

    Raises:
        ValueError: If the arguments do not fit together.
    """

    bottlenecks = ("vector",)  # tied to one size, as a vector is
    backbones = ("residual",)

    def __init__(
        self, image_shape=(SIDE, SIDE, 1), *, blocks_per_stage=(3, 4, 23, 2), value_range=(-1024.0, 1024.0), **kwargs
    ):
        self.value_range = tuple(value_range)
        if tuple(image_shape[:-1]) != (SIDE, SIDE):
            raise ValueError(f"ResNetAutoencoder: image_shape={image_shape}. Expected ({SIDE}, {SIDE}, channels).")
        if isinstance(blocks_per_stage, int) or len(blocks_per_stage) != 4 or min(blocks_per_stage) < 1:
            raise ValueError(
                f"ResNetAutoencoder: blocks_per_stage={blocks_per_stage}. Expected 4 numbers of 1 or more."
            )
        shape = {"latent_dim": ResNetEncoder.latent_dim, "filters": ResNetEncoder.filters[-1:], "patch_size": SIDE}
        super().__init__(image_shape, blocks_per_stage=tuple(blocks_per_stage), **shape, **kwargs)

    def make_networks(self):
        options = {"channels": self.image_shape[-1], "value_range": self.value_range}
        return ResNetEncoder(self.blocks_per_stage, **options), ResNetDecoder(self.blocks_per_stage, **options)

    def latent_shape(self, input_shape=None):
        """Shape of one image's latents, `(3, 3, 512)`."""
        return (GRID, GRID, self.latent_dim)

    def initialize_from_pca(self, images, max_samples=100_000):
        """Not available: the networks have no linear path.

        Raises:
            ValueError: Always.
        """
        raise ValueError("ResNetAutoencoder: has no linear path that a PCA could initialize. Train with fit(x).")

    def get_config(self):
        config = super().get_config()
        for name in ("bottleneck", "patch_size", "backbone", "filters", "latent_dim"):
            config.pop(name)
        return {**config, "blocks_per_stage": list(self.blocks_per_stage), "value_range": list(self.value_range)}
