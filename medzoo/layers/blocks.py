"""Encoder and decoder of all autoencoders: patch stem, residual blocks, patch head.

Design decisions for fast inference on a CPU and fast training:

- Almost all arithmetic is done at 1/4 of the resolution or below. There are no normalization layers; instead every
  residual branch starts near zero (De & Smith 2020, arXiv:2002.10444).
- The ends of the network (latents, images) stay float32 under mixed precision, since bfloat16 has too few bits for
  either.
- The weights of the first and last layers are stored large and their inputs are scaled by 1/sqrt(fan) (equalized
  learning rate, Karras et al. 2018, arXiv:1710.10196). Otherwise one step of Adam would change the whole image; with
  it, a pretrained model can be fine-tuned with `compile("adam")` at the default learning rate.
- A linear path bypasses each half (image to latents, latents to image). Without it, training spends hours on what a
  PCA computes in seconds; with it, `Autoencoder.initialize_from_pca` starts the training at the PCA. For whole
  volumes the path contains the low frequencies only, see `LowFrequencies`.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
from keras import ops

from medzoo.layers.dct import LowFrequencies
from medzoo.layers.grids import convolution, enlarged, per_axis, to_depth, to_space, together

# Constructors that each layer calls: an initializer takes its seed on construction, so an instance made here would not
# follow keras.utils.set_random_seed.
UNIT = partial(keras.initializers.RandomNormal, stddev=1.0)
# Small but not zero: behind zeros the gradients start at zero, and Adam turns their sudden growth into large steps.
SMALL = partial(keras.initializers.RandomNormal, stddev=0.02)
SMALL_HE = partial(keras.initializers.VarianceScaling, 0.1)
ACTIVATION = keras.activations.silu


def squeezed(positions: int) -> int:
    """Return the channels between grid and vector bottleneck: about 1024 values in total."""
    return max(16, 1024 // positions)


@keras.saving.register_keras_serializable("medzoo")
class ResidualBlock(keras.layers.Layer):
    """Pre-activation residual block `x + conv(act(conv(act(x))))`, convolutions of size 3.

    The second convolution starts with small weights.

    Args:
        filters: int. Number of channels.
        spatial_dims: int. 2 for images, 3 for volumes.

    Call arguments:
        x: float tensor `(batch, h, w, filters)`, or `(batch, d, h, w, filters)`.

    Returns:
        float tensor shaped like `x`.
    """

    def __init__(self, filters: int, spatial_dims: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.spatial_dims = filters, spatial_dims
        shared = {"padding": "same", "dtype": self.dtype_policy}
        self.first = convolution(spatial_dims)(filters, 3, kernel_initializer="he_normal", **shared)
        self.second = convolution(spatial_dims)(filters, 3, kernel_initializer=SMALL_HE(), **shared)

    def build(self, input_shape) -> None:
        self.first.build(input_shape)
        self.second.build(input_shape)
        self.built = True

    def call(self, x):
        hidden = self.first(ACTIVATION(x))
        return x + self.second(ACTIVATION(hidden))

    def get_config(self) -> dict:
        return {**super().get_config(), "filters": self.filters, "spatial_dims": self.spatial_dims}


@keras.saving.register_keras_serializable("medzoo")
class Encoder(keras.layers.Layer):
    """Encoder: patch stem, residual stages and a linear path from images to latents.

    Each stage works at half the resolution of the previous one.

    Args:
        latent_dim: int. Latent elements per image (vector bottleneck) or per position (spatial bottleneck).
        bottleneck: `"vector"` or `"spatial"`.
        filters: tuple of int. Number of channels of each stage; the first works at 1/`patch_size` of the resolution.
        blocks_per_stage: int. Number of residual blocks per stage.
        patch_size: int, or one int per axis. Side of the stem's patches in pixels.
        extra: int. Number of further outputs, which only the residual path computes (a VAE's log-variances).
        spatial_dims: int. 2 for images, 3 for volumes.

    Call arguments:
        images: float tensor `(batch, height, width, channels)`, or volumes `(batch, depth, height, width, channels)`.
        visible: See `stage_outputs`.

    Returns:
        float tensor `(batch, latent_dim + extra)` or `(batch, height/f, width/f, latent_dim + extra)` with
        `f = patch_size * 2 ** (len(filters) - 1)` per axis.
    """

    def __init__(
        self,
        latent_dim: int,
        bottleneck: str = "vector",
        filters: Sequence[int] = (48, 96),
        blocks_per_stage: int = 2,
        patch_size: int | Sequence[int] = 4,
        extra: int = 0,
        spatial_dims: int = 2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.latent_dim, self.bottleneck, self.extra, self.spatial_dims = latent_dim, bottleneck, extra, spatial_dims
        self.filters, self.blocks_per_stage = tuple(filters), blocks_per_stage
        self.patch_size = per_axis(patch_size, spatial_dims)
        self.downsampling_factors = downsampling(self.patch_size, self.filters)
        self.linear = keras.layers.Dense(latent_dim, kernel_initializer=UNIT(), dtype="float32", name="linear")
        self.stages = self.make_stages()
        self.squeeze: Any = None  # created in build: its width depends on the grid
        self.head = keras.layers.Dense(latent_dim + extra, kernel_initializer=SMALL(), dtype="float32", name="head")

    def make_stages(self) -> list[keras.layers.Layer]:
        """Return the layers of all stages in order."""
        layers, policy = [], self.dtype_policy
        for i, width in enumerate(self.filters):
            stride = self.patch_size if i == 0 else 2
            layers.append(convolution(self.spatial_dims)(width, stride, strides=stride, dtype=policy, name=f"down_{i}"))
            blocks = (f"block_{i}_{j}" for j in range(self.blocks_per_stage))
            layers += [ResidualBlock(width, self.spatial_dims, dtype=policy, name=name) for name in blocks]
        return layers

    def build(self, input_shape) -> None:
        batch, *sides, channels = input_shape
        self.low = whole_volumes(self.bottleneck, sides, channels)
        pixels = math.prod(sides if self.bottleneck == "vector" else self.downsampling_factors) * channels
        inputs = self.low.numbers if self.low else pixels
        self.linear.build((batch, inputs))
        self.linear_gain = inputs**-0.5
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

    def stage_outputs(self, images, visible=None) -> list:
        """Return the output of each stage, finest first: tensors `(batch, h, w, filters)`.

        Args:
            images: As in `call`.
            visible: float tensor `(batch, height/f, width/f, 1)`, 1 for visible and 0 for masked blocks; `None` for no
                mask.
        """
        outputs, x = [], images if visible is None else images * enlarged(visible, self.downsampling_factors)
        for i, layer in enumerate(self.stages, start=1):
            x = layer(x)
            if visible is not None:  # otherwise visible neighbors would leak into a masked block
                x = x * ops.cast(enlarged(visible, self._positions(i)), x.dtype)
            if i % (1 + self.blocks_per_stage) == 0:
                outputs.append(x)
        return outputs

    def _positions(self, layer):
        """Return the positions per axis that one latent position covers behind layer number `layer`, from 1."""
        return 2 ** (len(self.filters) - 1 - (layer - 1) // (1 + self.blocks_per_stage))

    def call(self, images, visible=None):
        return self.latents(images, self.stage_outputs(images, visible))

    def latents(self, images, stages: Sequence):
        """Return the output of `call` from the images and their `stage_outputs`."""
        x = stages[-1]
        if self.bottleneck == "vector":
            x = self.squeeze(x)
            x = ops.reshape(x, (-1, math.prod(x.shape[1:])))
        x = self.head(ACTIVATION(x) * self.head_gain)
        linear = self.linear(self.linear_input(images) * self.linear_gain)
        return ops.concatenate([linear + x[..., : self.latent_dim], x[..., self.latent_dim :]], axis=-1)

    def linear_input(self, images):
        """Return the input of the linear path.

        Its shape is `(batch, D)` for whole images and `(batch, h, w, D)` for patches.
        """
        if self.bottleneck == "spatial":
            return to_depth(images, self.downsampling_factors)
        return self.low.of(images) if self.low else ops.reshape(images, (-1, math.prod(images.shape[1:])))

    def get_config(self) -> dict:
        names = ("latent_dim", "bottleneck", "filters", "blocks_per_stage", "extra", "spatial_dims")
        own = {**{name: getattr(self, name) for name in names}, "patch_size": together(self.patch_size)}
        return {**super().get_config(), **own}


def whole_volumes(bottleneck: str, sides: Sequence[int | Any], channels: int) -> LowFrequencies | None:
    """Return the `LowFrequencies` of the linear path of whole volumes, else `None`."""
    return LowFrequencies(sides, channels) if bottleneck == "vector" and len(sides) == 3 else None


def downsampling(patch_size: Sequence[int], filters: Sequence[int]) -> tuple[int, ...]:
    """Return the pixels per position of the latents, for each axis."""
    return tuple(side * 2 ** (len(filters) - 1) for side in patch_size)


@keras.saving.register_keras_serializable("medzoo")
class Decoder(keras.layers.Layer):
    """Decoder: mirror image of `Encoder` with a depth-to-space head.

    Args:
        image_shape: tuple `(height, width, channels)`, or `(depth, height, width, channels)` for volumes. The sides are
            `None` for a spatial bottleneck.
        bottleneck: `"vector"` or `"spatial"`.
        filters: tuple of int, as in `Encoder`; used in reverse order.
        blocks_per_stage: int. Number of residual blocks per stage.
        patch_size: int, or one int per axis, as in `Encoder`.

    Call arguments:
        latents: float tensor as `Encoder` returns it, without the `extra` outputs.

    Returns:
        float images, not clipped to [0, 1].
    """

    def __init__(
        self,
        image_shape: Sequence[int | None],
        bottleneck: str = "vector",
        filters: Sequence[int] = (48, 96),
        blocks_per_stage: int = 2,
        patch_size: int | Sequence[int] = 4,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.image_shape, self.bottleneck, policy = tuple(image_shape), bottleneck, self.dtype_policy
        sides: Sequence[int | Any] = self.image_shape[:-1]
        channels: int | Any = self.image_shape[-1]
        self.spatial_dims = len(sides)
        self.filters, self.blocks_per_stage = tuple(filters), blocks_per_stage
        self.patch_size = per_axis(patch_size, self.spatial_dims)
        self.downsampling_factors = downsampling(self.patch_size, self.filters)
        if bottleneck == "vector":
            self.grid = tuple(side // f for side, f in zip(sides, self.downsampling_factors, strict=True))
            self.channels = squeezed(math.prod(self.grid))
            self.spread = keras.layers.Dense(math.prod(self.grid) * self.channels, dtype=policy, name="spread")
        else:
            self.spread, sides = None, self.downsampling_factors
        self.low = whole_volumes(bottleneck, sides, channels)
        outputs = self.low.numbers if self.low else math.prod(sides) * channels
        self.linear = keras.layers.Dense(outputs, kernel_initializer=UNIT(), dtype="float32", name="linear")
        self.stages = []
        widths = self.filters[::-1]
        for i, filters_here in enumerate(widths):
            # Size 1: the first widens the latents, the others compute the channels that depth-to-space rearranges.
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

    def build(self, latent_shape) -> None:
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
