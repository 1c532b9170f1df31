"""The two halves of every autoencoder: patches in, residual blocks at low resolution, patches out.

Choices that make them quick on a CPU and quick to train:

- nearly all arithmetic happens at 1/4 of the resolution or below, and there is no normalisation layer: every residual
  branch starts near zero instead (De & Smith 2020, arXiv:2002.10444);
- the ends of the net (latents, images) stay float32 under mixed precision, since bfloat16 has too few bits for either;
- the first and last layers' weights are stored large and their inputs scaled down by 1/sqrt(fan) (the equalised
  learning rate of Karras et al. 2018, arXiv:1710.10196), or one step of Adam would move the whole picture: a
  pretrained model survives `compile("adam")` at its default rate;
- a linear path runs around each half (image -> latents, latents -> image). Without it a net spends hours on learning
  what a PCA finds in seconds; with it, `Autoencoder.initialize_from_pca` starts the training there. Of whole volumes it
  takes the low frequencies only, see `LowFrequencies`.
"""

import math
from functools import partial

import keras
from keras import ops

from medzoo.layers.dct import LowFrequencies
from medzoo.layers.grids import convolution, enlarged, per_axis, to_depth, to_space, together

# Classes to be called in each layer: an initializer draws its seed when it is made, so one made here would not follow
# keras.utils.set_random_seed.
UNIT = partial(keras.initializers.RandomNormal, stddev=1.0)
# Small but not zero: behind zeros the gradients start at nothing, and Adam answers their sudden growth with leaps.
SMALL = partial(keras.initializers.RandomNormal, stddev=0.02)
SMALL_HE = partial(keras.initializers.VarianceScaling, 0.1)
ACTIVATION = keras.activations.silu


def squeezed(positions):
    """Channels between the grid and a vector bottleneck: about a thousand numbers in all, for a Dense layer's sake."""
    return max(16, 1024 // positions)


@keras.saving.register_keras_serializable("medzoo")
class ResidualBlock(keras.layers.Layer):
    """`x + conv(act(conv(act(x))))`, two convolutions 3 wide, the second one starting small.

    Args:
        filters: width.
        spatial_dims: 2 for images, 3 for volumes.

    Call arguments: float tensor `(batch, h, w, filters)`, or `(batch, d, h, w, filters)`. Returns: the same shape.
    """

    def __init__(self, filters, spatial_dims=2, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.spatial_dims = filters, spatial_dims
        shared = {"padding": "same", "dtype": self.dtype_policy}
        self.first = convolution(spatial_dims)(filters, 3, kernel_initializer="he_normal", **shared)
        self.second = convolution(spatial_dims)(filters, 3, kernel_initializer=SMALL_HE(), **shared)

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build(input_shape)
        self.built = True

    def call(self, x):
        hidden = self.first(ACTIVATION(x))
        return x + self.second(ACTIVATION(hidden))

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "spatial_dims": self.spatial_dims}


@keras.saving.register_keras_serializable("medzoo")
class Encoder(keras.layers.Layer):
    """Images to latents: patch stem, residual stages each at half the resolution of the one before, linear path.

    Args:
        latent_dim: numbers per image (vector bottleneck) or per position (spatial bottleneck).
        bottleneck: `"vector"` or `"spatial"`.
        filters: width of each stage; the first works at 1/`patch_size` of the resolution.
        blocks_per_stage: residual blocks a stage.
        patch_size: side of the stem's patches in pixels, or one for each axis.
        extra: further numbers beside each latent that only the residual path gives (a VAE's log-variances).
        spatial_dims: 2 for images, 3 for volumes.

    Call arguments: float images `(batch, height, width, channels)`, or volumes with the depth before the height;
        `visible`: see `stage_outputs`.

    Returns: `(batch, latent_dim + extra)` or `(batch, height/f, width/f, latent_dim + extra)`, where
        f = `patch * 2 ** (len(filters) - 1)`, axis by axis.
    """

    def __init__(
        self,
        latent_dim,
        bottleneck="vector",
        filters=(48, 96),
        blocks_per_stage=2,
        patch_size=4,
        extra=0,
        spatial_dims=2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.latent_dim, self.bottleneck, self.extra, self.spatial_dims = latent_dim, bottleneck, extra, spatial_dims
        self.filters, self.blocks_per_stage, self.patch_size = (
            tuple(filters),
            blocks_per_stage,
            per_axis(patch_size, spatial_dims),
        )
        self.downsampling_factors = downsampling(self.patch_size, self.filters)
        self.linear = keras.layers.Dense(latent_dim, kernel_initializer=UNIT(), dtype="float32", name="linear")
        self.stages = self.make_stages()
        self.squeeze = None  # made in build: its width depends on the grid
        self.head = keras.layers.Dense(latent_dim + extra, kernel_initializer=SMALL(), dtype="float32", name="head")

    def make_stages(self):
        layers, policy = [], self.dtype_policy
        for i, width in enumerate(self.filters):
            stride = self.patch_size if i == 0 else 2
            layers.append(convolution(self.spatial_dims)(width, stride, strides=stride, dtype=policy, name=f"down_{i}"))
            blocks = (f"block_{i}_{j}" for j in range(self.blocks_per_stage))
            layers += [ResidualBlock(width, self.spatial_dims, dtype=policy, name=name) for name in blocks]
        return layers

    def build(self, input_shape):
        batch, *sides, channels = input_shape
        self.low = whole_volumes(self.bottleneck, sides, channels)
        pixels = math.prod(sides if self.bottleneck == "vector" else self.downsampling_factors) * channels
        numbers = self.low.numbers if self.low else pixels
        self.linear.build((batch, numbers))
        self.linear_gain = numbers**-0.5
        anywhere = (None,) * self.spatial_dims
        shape = (batch, *anywhere, channels)
        for layer in self.stages:
            layer.build(shape)
            shape = (batch, *anywhere, layer.filters)
        if self.bottleneck == "vector":
            positions = math.prod(side // f for side, f in zip(sides, self.downsampling_factors, strict=True))
            self.squeeze = convolution(self.spatial_dims)(
                squeezed(positions), 1, dtype=self.dtype_policy, name="squeeze"
            )
            self.squeeze.build(shape)
            shape = (batch, positions * squeezed(positions))
        self.head.build(shape)
        self.head_gain = shape[-1] ** -0.5
        self.built = True

    def stage_outputs(self, images, visible=None):
        """What each stage makes of the images, finest first: tensors `(batch, h, w, filters)`.

        Args:
            images: as in `call`.
            visible: float `(batch, height/f, width/f, 1)`, 1 for the blocks that may be seen and 0 for those that may
                not; `None`: all may be.
        """
        outputs, x = [], images if visible is None else images * enlarged(visible, self.downsampling_factors)
        for i, layer in enumerate(self.stages, start=1):
            x = layer(x)
            if visible is not None:  # or its neighbours would seep into a hidden block
                x = x * ops.cast(enlarged(visible, self._positions(i)), x.dtype)
            if i % (1 + self.blocks_per_stage) == 0:
                outputs.append(x)
        return outputs

    def _positions(self, layer):
        """How many positions an axis, behind the layer of that number from 1, one position of the latents covers."""
        return 2 ** (len(self.filters) - 1 - (layer - 1) // (1 + self.blocks_per_stage))

    def call(self, images, visible=None):
        return self.latents(images, self.stage_outputs(images, visible))

    def latents(self, images, stages):
        """What `call` gives, from the images and their `stage_outputs`."""
        x = stages[-1]
        if self.bottleneck == "vector":
            x = self.squeeze(x)
            x = ops.reshape(x, (-1, math.prod(x.shape[1:])))
        x = self.head(ACTIVATION(x) * self.head_gain)
        linear = self.linear(self.seen_linearly(images) * self.linear_gain)
        return ops.concatenate([linear + x[..., : self.latent_dim], x[..., self.latent_dim :]], axis=-1)

    def seen_linearly(self, images):
        """What the linear path sees: `(batch, numbers)` of whole images, or `(batch, h, w, numbers)` of patches."""
        if self.bottleneck == "spatial":
            return to_depth(images, self.downsampling_factors)
        return self.low.of(images) if self.low else ops.reshape(images, (-1, math.prod(images.shape[1:])))

    def get_config(self):
        names = ("latent_dim", "bottleneck", "filters", "blocks_per_stage", "extra", "spatial_dims")
        own = {**{name: getattr(self, name) for name in names}, "patch_size": together(self.patch_size)}
        return {**super().get_config(), **own}


def whole_volumes(bottleneck, sides, channels):
    """The `LowFrequencies` that stand for whole volumes in the linear path; `None` for images and for patches."""
    return LowFrequencies(sides, channels) if bottleneck == "vector" and len(sides) == 3 else None


def downsampling(patch_size, filters):
    """Pixels that one position of the latents stands for, axis by axis."""
    return tuple(side * 2 ** (len(filters) - 1) for side in patch_size)


@keras.saving.register_keras_serializable("medzoo")
class Decoder(keras.layers.Layer):
    """Latents to images: the mirror of `Encoder`, ending in a depth-to-space head instead of transposed convolutions.

    Args:
        image_shape: `(height, width, channels)`, or of volumes `(depth, height, width, channels)`; the sides are `None`
            for a spatial bottleneck.
        bottleneck, filters, blocks_per_stage, patch: as in `Encoder` (the widths are walked backwards).

    Call arguments: latents as `Encoder` returns them (without the extra numbers).

    Returns: float images, not clipped.
    """

    def __init__(self, image_shape, bottleneck="vector", filters=(48, 96), blocks_per_stage=2, patch_size=4, **kwargs):
        super().__init__(**kwargs)
        self.image_shape, self.bottleneck, policy = tuple(image_shape), bottleneck, self.dtype_policy
        *sides, channels = self.image_shape
        self.spatial_dims = len(sides)
        self.filters, self.blocks_per_stage, self.patch_size = (
            tuple(filters),
            blocks_per_stage,
            per_axis(patch_size, self.spatial_dims),
        )
        self.downsampling_factors = downsampling(self.patch_size, self.filters)
        if bottleneck == "vector":
            self.grid = tuple(side // f for side, f in zip(sides, self.downsampling_factors, strict=True))
            self.channels = squeezed(math.prod(self.grid))
            self.spread = keras.layers.Dense(math.prod(self.grid) * self.channels, dtype=policy, name="spread")
        else:
            self.spread, sides = None, self.downsampling_factors
        self.low = whole_volumes(bottleneck, sides, channels)
        numbers = self.low.numbers if self.low else math.prod(sides) * channels
        self.linear = keras.layers.Dense(numbers, kernel_initializer=UNIT(), dtype="float32", name="linear")
        self.stages = []
        widths = self.filters[::-1]
        for i, filters_here in enumerate(widths):
            # 1 wide: widen the latents at first, then make the positions that depth-to-space lays side by side.
            width = filters_here * (2**self.spatial_dims if i else 1)
            self.stages.append(convolution(self.spatial_dims)(width, 1, dtype=policy, name=f"up_{i}"))
            self.stages += [
                ResidualBlock(filters_here, self.spatial_dims, dtype=policy, name=f"block_{i}_{j}")
                for j in range(blocks_per_stage)
            ]
        self.head = convolution(self.spatial_dims)(
            math.prod(self.patch_size) * channels,
            3,
            padding="same",
            kernel_initializer=SMALL(),
            dtype="float32",
            name="head",
        )

    def build(self, latent_shape):
        self.linear.build(latent_shape)
        self.linear_gain = self.linear.units**-0.5
        shape = tuple(latent_shape)
        if self.bottleneck == "vector":
            self.spread.build(latent_shape)
            shape = (latent_shape[0], *self.grid, self.channels)
        for layer in self.stages:
            layer.build(shape)
            up = not isinstance(layer, ResidualBlock) and layer is not self.stages[0]
            width = layer.filters // 2**self.spatial_dims if up else layer.filters
            shape = (shape[0], *(None,) * self.spatial_dims, width)
        self.head.build(shape)
        self.head_gain = (3**self.spatial_dims * shape[-1]) ** -0.5
        self.built = True

    def call(self, latents):
        linear = self.linear(latents * self.linear_gain)
        if self.bottleneck == "vector":
            linear = self.low.back(linear) if self.low else ops.reshape(linear, (-1, *self.image_shape))
            x = ops.reshape(self.spread(latents), (-1, *self.grid, self.channels))
        else:
            linear = to_space(linear, self.downsampling_factors)
            x = latents
        for i, layer in enumerate(self.stages):
            x = layer(x)
            if i and not isinstance(layer, ResidualBlock):
                x = to_space(x, 2)
        residual = self.head(ACTIVATION(x) * self.head_gain)
        return linear + to_space(residual, self.patch_size)
