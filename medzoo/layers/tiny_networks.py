"""Encoder and decoder of `TinyAutoencoder`: convolutions of kernel size 3 and ReLU, hardly any normalization."""

import keras
from keras import ops

from medzoo.layers.grids import convolution, enlarged
from medzoo.layers.kl_blocks import GroupNorm

POOL_GROUPS, POOL_EPSILON, POOL_WIDTH = 4, 1e-5, 4  # constants of TAEF2: groups, epsilon, times the block's width


@keras.saving.register_keras_serializable("medzoo")
class TinyBlock(keras.layers.Layer):
    """`relu(x + conv(relu(conv(relu(conv(x))))))`; with `pooled` a normalized branch is added to x first.

    Args:
        filters: int. Number of channels.
        pooled: bool. Whether `x + conv(relu(norm(conv(x))))` of kernel size 1 comes first, as in TAEF2's middle.
        spatial_dims: int. 2 for images, 3 for volumes.
    """

    def __init__(self, filters, pooled=False, spatial_dims=2, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.pooled, self.spatial_dims = filters, pooled, spatial_dims
        conv, policy = convolution(spatial_dims), {"dtype": self.dtype_policy}
        self.convolutions = [conv(filters, 3, padding="same", name=f"conv_{i}", **policy) for i in range(3)]
        self.pool = []
        if pooled:
            norm = GroupNorm(POOL_GROUPS, POOL_EPSILON, name="pool_norm", **policy)
            widen = conv(POOL_WIDTH * filters, 1, use_bias=False, name="pool_widen", **policy)
            self.pool = [widen, norm, conv(filters, 1, use_bias=False, name="pool_narrow", **policy)]

    def build(self, input_shape):
        for layer in self.convolutions:
            layer.build(input_shape)
        shape = input_shape
        for layer in self.pool:
            layer.build(shape)
            shape = (*shape[:-1], getattr(layer, "filters", shape[-1]))
        self.built = True

    def call(self, x):
        if self.pool:
            widen, norm, narrow = self.pool
            x = x + narrow(ops.relu(norm(widen(x))))
        first, second, third = self.convolutions
        return ops.relu(x + third(ops.relu(second(ops.relu(first(x))))))

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "pooled": self.pooled,
            "spatial_dims": self.spatial_dims,
        }


class TinyNetwork(keras.layers.Layer):
    """What encoder and decoder share.

    Args:
        latent_dim: int. Number of latent channels.
        filters: sequence of int. Width of each level, the finest first.
        blocks_per_stage: sequence of int. Blocks of each level, the finest first.
        pooled: bool. Whether the blocks of the coarsest level have a pooled branch, see `TinyBlock`.
        spatial_dims: int. 2 for images, 3 for volumes.
    """

    bottleneck, linear, squeeze = "spatial", None, None

    def __init__(self, latent_dim, filters, blocks_per_stage, pooled=False, spatial_dims=2, **kwargs):
        super().__init__(**kwargs)
        self.latent_dim, self.filters, self.blocks_per_stage = latent_dim, tuple(filters), tuple(blocks_per_stage)
        self.pooled, self.spatial_dims, self.steps = pooled, spatial_dims, []

    def add(self, filters, name, **options):
        options = {"padding": "same", "dtype": self.dtype_policy, **options}
        self.steps.append(convolution(self.spatial_dims)(filters, 3, name=name, **options))

    def add_level(self, level):
        pooled = self.pooled and level == len(self.filters) - 1
        for i in range(self.blocks_per_stage[level]):
            name = f"level_{level}_block_{i}"
            self.steps.append(
                TinyBlock(self.filters[level], pooled, self.spatial_dims, dtype=self.dtype_policy, name=name)
            )

    def build(self, input_shape):
        shape = (input_shape[0], *(None,) * self.spatial_dims, input_shape[-1])
        for layer in self.steps:
            layer.build(shape)
            shape = (*shape[:-1], layer.filters)
        self.built = True

    def get_config(self):
        own = {"latent_dim": self.latent_dim, "pooled": self.pooled, "spatial_dims": self.spatial_dims}
        return {
            **super().get_config(),
            **own,
            "filters": list(self.filters),
            "blocks_per_stage": list(self.blocks_per_stage),
        }


@keras.saving.register_keras_serializable("medzoo")
class TinyEncoder(TinyNetwork):
    """Images to latents; see `TinyNetwork`. A convolution of stride 2 begins each level but the finest."""

    def __init__(self, latent_dim, filters, blocks_per_stage, pooled=False, spatial_dims=2, **kwargs):
        super().__init__(latent_dim, filters, blocks_per_stage, pooled, spatial_dims, **kwargs)
        self.ends = []
        for level, width in enumerate(self.filters):
            if level:
                # padded by 1 on both sides, as in PyTorch: "same" would pad at the far end only
                self.add(width, f"level_{level}_down", strides=2, padding="valid", use_bias=False)
            else:
                self.add(width, "stem")
            self.add_level(level)
            self.ends.append(len(self.steps))
        self.add(latent_dim, "head", dtype="float32")

    @property
    def downsampling_factors(self):
        """Pixels per position of the latents, axis by axis."""
        return (2 ** (len(self.filters) - 1),) * self.spatial_dims

    @property
    def patch_size(self):
        """Pixels per position of the finest level, axis by axis."""
        return (1,) * self.spatial_dims

    @property
    def head(self):
        """The last convolution."""
        return self.steps[-1]

    def run(self, x, first, last):
        for layer in list(self.steps)[first:last]:
            if getattr(layer, "padding", "") == "valid":
                x = ops.pad(x, [[0, 0], *[[1, 1]] * self.spatial_dims, [0, 0]])
            x = layer(x)
        return x

    def stage_outputs(self, images):
        """Return the features of each level, the finest first."""
        outputs, first, x = [], 0, images
        for end in self.ends:
            x = self.run(x, first, end)
            outputs.append(x)
            first = end
        return outputs

    def latents(self, images, stages):
        """Return what `call` returns, from the images and their `stage_outputs`."""
        return self.head(stages[-1])

    def call(self, images):
        return self.latents(images, self.stage_outputs(images))


@keras.saving.register_keras_serializable("medzoo")
class TinyDecoder(TinyNetwork):
    """Latents to images; see `TinyNetwork`. Latents are limited to ±3 by `3 * tanh(z / 3)` first.

    Args:
        channels: int. Number of image channels.
    """

    def __init__(self, latent_dim, filters, blocks_per_stage, pooled=False, spatial_dims=2, channels=3, **kwargs):
        super().__init__(latent_dim, filters, blocks_per_stage, pooled, spatial_dims, **kwargs)
        self.channels = channels
        self.add(self.filters[-1], "stem")
        for level in reversed(range(len(self.filters))):
            self.add_level(level)
            if level:
                self.add(self.filters[level - 1], f"level_{level}_up", use_bias=False)
            else:
                self.add(channels, "head", dtype="float32")

    def call(self, latents):
        x = 3.0 * ops.tanh(latents / 3.0)
        for layer in self.steps:
            if layer.name.endswith("_up"):
                x = enlarged(x, 2)
            x = layer(x)
            if layer.name == "stem":
                x = ops.relu(x)
        return x

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}
