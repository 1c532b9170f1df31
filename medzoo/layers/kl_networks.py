"""Encoder and decoder of `AutoencoderKL`: sequences of the blocks in `kl_blocks`."""

import keras
from keras import ops

from medzoo.layers.grids import convolution
from medzoo.layers.kl_blocks import Downsample, GroupNorm, NormalizedResidualBlock, SpatialAttention, Upsample

MIDDLES = ("attention", "residual", "none")


class KLNetwork(keras.layers.Layer):
    """What encoder and decoder share: named blocks in their order.

    Args:
        latent_dim: int. Number of latent channels.
        filters: sequence of int. Width of each level, the finest first.
        blocks_per_stage: sequence of int. Number of residual blocks of each level, the finest first.
        attention: sequence of int. Levels whose residual blocks are each followed by attention; 0 is the finest.
        middle: `"attention"` (residual block, attention, residual block at the coarsest level), `"residual"` (two
            residual blocks) or `"none"`.
        groups: int. See `GroupNorm`.
        epsilon: float. See `GroupNorm`.
        final_activation: bool. Whether SiLU precedes the last convolution; `False` in MONAI.
        attention_projection: bool. See `SpatialAttention`.
        learned_resampling: bool. See `Downsample` and `Upsample`.
        value_range: `(low, high)`. Range of the images that the network itself works in.
        spatial_dims: int. 2 for images, 3 for volumes.
    """

    def __init__(
        self,
        latent_dim,
        filters,
        blocks_per_stage,
        attention=(),
        middle="attention",
        groups=32,
        epsilon=1e-6,
        final_activation=True,
        attention_projection=True,
        learned_resampling=True,
        value_range=(-1.0, 1.0),
        spatial_dims=2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.latent_dim, self.filters, self.blocks_per_stage = latent_dim, tuple(filters), tuple(blocks_per_stage)
        self.attention, self.middle, self.groups, self.epsilon = tuple(attention), middle, groups, epsilon
        self.final_activation, self.attention_projection = final_activation, attention_projection
        self.learned_resampling, self.value_range, self.spatial_dims = (
            learned_resampling,
            tuple(value_range),
            spatial_dims,
        )
        self.steps, self.index = [], {}

    def add(self, name, layer):
        """Append a layer to the sequence under a name."""
        self.index[name] = len(self.steps)
        self.steps.append(layer)

    def step(self, name):
        """Return the layer of a name, or `None` if the network has none of that name."""
        return self.steps[self.index[name]] if name in self.index else None

    def add_convolution(self, name, filters, kernel=3, dtype=None):
        self.add(
            name,
            convolution(self.spatial_dims)(
                filters, kernel, padding="same", dtype=dtype or self.dtype_policy, name=name
            ),
        )

    def add_block(self, name, filters):
        shared = {
            "groups": self.groups,
            "epsilon": self.epsilon,
            "spatial_dims": self.spatial_dims,
            "dtype": self.dtype_policy,
        }
        self.add(name, NormalizedResidualBlock(filters, name=name, **shared))

    def add_attention(self, name):
        shared = {"groups": self.groups, "epsilon": self.epsilon, "dtype": self.dtype_policy}
        self.add(name, SpatialAttention(projection=self.attention_projection, name=name, **shared))

    def add_level(self, level):
        """The residual blocks of a level, each with attention where the level has it."""
        for i in range(self.blocks_per_stage[level]):
            self.add_block(f"level_{level}_block_{i}", self.filters[level])
            if level in self.attention:
                self.add_attention(f"level_{level}_attention_{i}")

    def add_middle(self):
        if self.middle == "none":
            return
        self.add_block("middle_block_0", self.filters[-1])
        if self.middle == "attention":
            self.add_attention("middle_attention")
        self.add_block("middle_block_1", self.filters[-1])

    def add_norm(self):
        self.add("norm", GroupNorm(self.groups, self.epsilon, dtype=self.dtype_policy, name="norm"))

    def build(self, input_shape):
        shape = (input_shape[0], *(None,) * self.spatial_dims, input_shape[-1])
        for layer in self.steps:
            layer.build(shape)
            shape = (*shape[:-1], getattr(layer, "filters", shape[-1]))
        self.built = True

    def run(self, x, first=0, last=None):
        """Apply the steps from index `first` up to, not including, `last`."""
        for i, layer in list(enumerate(self.steps))[first:last]:
            x = layer(x)
            if self.final_activation and i == self.index["norm"]:
                x = ops.silu(x)
        return x

    def get_config(self):
        names = ("latent_dim", "middle", "groups", "epsilon", "final_activation", "attention_projection")
        names += ("learned_resampling", "spatial_dims")
        lists = ("filters", "blocks_per_stage", "attention", "value_range")
        own = {name: list(getattr(self, name)) for name in lists} | {name: getattr(self, name) for name in names}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("medzoo")
class KLEncoder(KLNetwork):
    """Images to the mean and the log-variance of the latents.

    Args:
        stem: int. Width of the first convolution; `None`: that of the finest level.
        moments: int. Number of channels before the convolution `quantization`; `None`: `2 * latent_dim`.
        quantization: bool. Whether a convolution of kernel size 1 gives the moments (`quant_conv`).
        **kwargs: See `KLNetwork`.

    Call arguments:
        images: float tensor of shape `(batch, ..., channels)` with values in [0, 1].

    Returns:
        float32 tensor of shape `(batch, ..., 2 * latent_dim)`.
    """

    bottleneck, linear, squeeze = "spatial", None, None

    def __init__(self, latent_dim, filters, blocks_per_stage, stem=None, moments=None, quantization=True, **kwargs):
        super().__init__(latent_dim, filters, blocks_per_stage, **kwargs)
        self.stem, self.moments, self.quantization = stem, moments, quantization
        self.add_convolution("stem", stem or self.filters[0])
        self.ends = []  # index of the step behind each level's last one
        for level, width in enumerate(self.filters):
            self.add_level(level)
            if level < len(self.filters) - 1:
                self.ends.append(len(self.steps))
                down = Downsample(width, self.learned_resampling, self.spatial_dims, dtype=self.dtype_policy)
                self.add(f"level_{level}_down", down)
        self.add_middle()
        self.ends.append(len(self.steps))
        self.add_norm()
        self.add_convolution("head", moments or 2 * latent_dim, dtype="float32")
        if quantization:
            self.add_convolution("quantization", 2 * latent_dim, kernel=1, dtype="float32")

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
        """The last layer, which gives the moments."""
        return self.steps[-1]

    def stage_outputs(self, images):
        """Return the features of each level, the finest first: tensors `(batch, ..., filters)`."""
        low, high = self.value_range
        outputs, x, first = [], low + (high - low) * images, 0
        for end in self.ends:
            x = self.run(x, first, end)
            outputs.append(x)
            first = end
        return outputs

    def latents(self, images, stages):
        """Return what `call` returns, from the images and their `stage_outputs`."""
        return self.run(stages[-1], self.ends[-1])

    def call(self, images):
        return self.latents(images, self.stage_outputs(images))

    def get_config(self):
        own = {"stem": self.stem, "moments": self.moments, "quantization": self.quantization}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("medzoo")
class KLDecoder(KLNetwork):
    """Latents to images.

    Args:
        channels: int. Number of image channels.
        upsampling: str. See `Upsample`.
        width: int. Number of channels that the convolution `quantization` gives; `None`: `latent_dim`.
        quantization: bool. Whether a convolution of kernel size 1 comes first (`post_quant_conv`).
        **kwargs: See `KLNetwork`.

    Call arguments:
        latents: float tensor of shape `(batch, ..., latent_dim)`.

    Returns:
        float32 tensor of shape `(batch, ..., channels)`: images whose range is [0, 1], not clipped.
    """

    def __init__(
        self,
        latent_dim,
        filters,
        blocks_per_stage,
        channels=1,
        upsampling="nearest",
        width=None,
        quantization=True,
        **kwargs,
    ):
        super().__init__(latent_dim, filters, blocks_per_stage, **kwargs)
        self.channels, self.upsampling, self.width, self.quantization = channels, upsampling, width, quantization
        if quantization:
            self.add_convolution("quantization", width or latent_dim, kernel=1)
        self.add_convolution("stem", self.filters[-1])
        self.add_middle()
        for level in reversed(range(len(self.filters))):
            self.add_level(level)
            if level:
                options = {"mode": upsampling, "learned": self.learned_resampling, "spatial_dims": self.spatial_dims}
                self.add(f"level_{level}_up", Upsample(self.filters[level], dtype=self.dtype_policy, **options))
        self.add_norm()
        self.add_convolution("head", channels, dtype="float32")

    def call(self, latents):
        low, high = self.value_range
        return (self.run(latents) - low) / (high - low)

    def get_config(self):
        names = ("channels", "upsampling", "width", "quantization")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
