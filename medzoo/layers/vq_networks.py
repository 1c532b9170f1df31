"""Encoder and decoder of strided convolutions, as in the first VQ-VAEs and in MONAI's."""

import math

import keras
from keras import ops

from medzoo.layers.grids import convolution
from medzoo.layers.kl_blocks import transposed_convolution

OUTPUT_ACTIVATIONS = {"none": lambda x: x, "sigmoid": ops.sigmoid, "tanh": ops.tanh, "relu": ops.relu}


@keras.saving.register_keras_serializable("medzoo")
class PaddedConvolution(keras.layers.Layer):
    """A convolution padded with zeros on both sides by a number of positions, as PyTorch pads.

    Args:
        filters: int. Number of output channels.
        stride: int.
        kernel: int. Kernel size.
        dilation: int. Distance between the kernel's taps.
        padding: int. Positions on either side.
        spatial_dims: int. 2 for images, 3 for volumes.
    """

    def __init__(self, filters, stride, kernel, dilation, padding, spatial_dims=2, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.numbers, self.padding, self.spatial_dims = (
            filters,
            (stride, kernel, dilation),
            padding,
            spatial_dims,
        )
        options = {"strides": stride, "dilation_rate": dilation, "dtype": self.dtype_policy, "name": "conv"}
        self.conv = convolution(spatial_dims)(filters, kernel, padding="valid", **options)

    def build(self, input_shape):
        self.conv.build(input_shape)
        self.built = True

    def call(self, x):
        return self.conv(ops.pad(x, [[0, 0], *[[self.padding] * 2] * self.spatial_dims, [0, 0]]) if self.padding else x)

    def get_config(self):
        names = dict(zip(("stride", "kernel", "dilation"), self.numbers, strict=True))
        return {
            **super().get_config(),
            "filters": self.filters,
            **names,
            "padding": self.padding,
            "spatial_dims": self.spatial_dims,
        }


@keras.saving.register_keras_serializable("medzoo")
class CroppedTransposedConvolution(keras.layers.Layer):
    """A transposed convolution with PyTorch's padding: the full result without `padding` positions on either side.

    Args:
        filters: int. Number of output channels.
        stride: int.
        kernel: int. Kernel size.
        padding: int. Positions cut off.
        output_padding: int. Positions that are not cut off at the far end.
        spatial_dims: int. 2 for images, 3 for volumes.
    """

    def __init__(self, filters, stride, kernel, padding, output_padding=0, spatial_dims=2, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.stride, self.kernel, self.spatial_dims = filters, stride, kernel, spatial_dims
        self.padding, self.output_padding = padding, output_padding
        options = {"strides": stride, "padding": "valid", "dtype": self.dtype_policy, "name": "conv"}
        self.conv = transposed_convolution(spatial_dims)(filters, kernel, **options)

    def build(self, input_shape):
        self.conv.build(input_shape)
        self.built = True

    def call(self, x):
        start, sides = self.padding, ops.shape(x)[1:-1]
        extra = self.kernel + self.output_padding - 2 * self.padding
        cuts = [slice(start, start + (side - 1) * self.stride + extra) for side in sides]
        return self.conv(x)[(slice(None), *cuts)]

    def get_config(self):
        names = ("filters", "stride", "kernel", "padding", "output_padding", "spatial_dims")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("medzoo")
class VQResidualBlock(keras.layers.Layer):
    """`relu(x + conv(relu(conv(x))))`, two convolutions of kernel size 3, without normalization.

    Args:
        filters: int. Number of channels.
        hidden: int. Number of channels between the convolutions.
        spatial_dims: int. 2 for images, 3 for volumes.
    """

    def __init__(self, filters, hidden, spatial_dims=2, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.hidden, self.spatial_dims = filters, hidden, spatial_dims
        shared = {"padding": "same", "dtype": self.dtype_policy}
        self.conv1 = convolution(spatial_dims)(hidden, 3, name="conv1", **shared)
        self.conv2 = convolution(spatial_dims)(filters, 3, name="conv2", **shared)

    def build(self, input_shape):
        self.conv1.build(input_shape)
        self.conv2.build((*input_shape[:-1], self.hidden))
        self.built = True

    def call(self, x):
        return ops.relu(x + self.conv2(ops.relu(self.conv1(x))))

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "hidden": self.hidden,
            "spatial_dims": self.spatial_dims,
        }


class VQNetwork(keras.layers.Layer):
    """What encoder and decoder share; see `StridedVQVAE` for the arguments."""

    bottleneck, linear, squeeze = "spatial", None, None

    def __init__(
        self,
        latent_dim,
        filters,
        blocks_per_stage,
        hidden,
        resampling,
        value_range=(0.0, 1.0),
        spatial_dims=2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.latent_dim, self.filters, self.blocks_per_stage, self.hidden = (
            latent_dim,
            tuple(filters),
            blocks_per_stage,
            tuple(hidden),
        )
        self.resampling, self.value_range = tuple(tuple(numbers) for numbers in resampling), tuple(value_range)
        self.spatial_dims, self.steps = spatial_dims, []

    def add_blocks(self, level):
        for i in range(self.blocks_per_stage):
            name = f"level_{level}_block_{i}"
            layer = VQResidualBlock(
                self.filters[level], self.hidden[level], self.spatial_dims, dtype=self.dtype_policy, name=name
            )
            self.steps.append(layer)

    def build(self, input_shape):
        shape = (input_shape[0], *(None,) * self.spatial_dims, input_shape[-1])
        for layer in self.steps:
            layer.build(shape)
            shape = (*shape[:-1], layer.filters)
        self.built = True

    def get_config(self):
        own = {
            "latent_dim": self.latent_dim,
            "blocks_per_stage": self.blocks_per_stage,
            "spatial_dims": self.spatial_dims,
        }
        lists = {name: list(getattr(self, name)) for name in ("filters", "hidden", "value_range")}
        return {**super().get_config(), **own, **lists, "resampling": [list(numbers) for numbers in self.resampling]}


@keras.saving.register_keras_serializable("medzoo")
class VQEncoder(VQNetwork):
    """Images to latents before quantization."""

    def __init__(self, latent_dim, filters, blocks_per_stage, hidden, resampling, **kwargs):
        super().__init__(latent_dim, filters, blocks_per_stage, hidden, resampling, **kwargs)
        shared = {"spatial_dims": self.spatial_dims, "dtype": self.dtype_policy}
        for level, width in enumerate(self.filters):
            self.steps.append(PaddedConvolution(width, *self.resampling[level], name=f"level_{level}_down", **shared))
            self.add_blocks(level)
        head = convolution(self.spatial_dims)(latent_dim, 3, padding="same", dtype="float32", name="head")
        self.steps.append(head)

    @property
    def downsampling_factors(self):
        """Pixels per position of the latents, axis by axis."""
        return (math.prod(stride for stride, *_ in self.resampling),) * self.spatial_dims

    @property
    def patch_size(self):
        """Pixels per position of the finest level, axis by axis."""
        return (self.resampling[0][0],) * self.spatial_dims

    @property
    def head(self):
        """The last convolution."""
        return self.steps[-1]

    def stage_outputs(self, images):
        """Return the features of each level, the finest first."""
        low, high = self.value_range
        outputs, x = [], low + (high - low) * images
        for i, layer in enumerate(list(self.steps)[:-1]):
            x = layer(x)
            if isinstance(layer, PaddedConvolution):
                x = ops.relu(x)
            if (i + 1) % (1 + self.blocks_per_stage) == 0:
                outputs.append(x)
        return outputs

    def latents(self, images, stages):
        """Return what `call` returns, from the images and their `stage_outputs`."""
        return self.head(stages[-1])

    def call(self, images):
        return self.latents(images, self.stage_outputs(images))


@keras.saving.register_keras_serializable("medzoo")
class VQDecoder(VQNetwork):
    """Quantized latents to images.

    Args:
        channels: int. Number of image channels.
        output_activation: str. One of `OUTPUT_ACTIVATIONS`.
        **kwargs: See `VQNetwork`; `resampling` begins at the coarsest level.
    """

    def __init__(
        self, latent_dim, filters, blocks_per_stage, hidden, resampling, channels=1, output_activation="none", **kwargs
    ):
        super().__init__(latent_dim, filters, blocks_per_stage, hidden, resampling, **kwargs)
        self.channels, self.output_activation = channels, output_activation
        policy = self.dtype_policy
        self.steps.append(
            convolution(self.spatial_dims)(self.filters[-1], 3, padding="same", dtype=policy, name="stem")
        )
        for level, (stride, kernel, _, padding, output_padding) in zip(
            reversed(range(len(self.filters))), self.resampling, strict=True
        ):
            self.add_blocks(level)
            width, policy = (self.filters[level - 1], policy) if level else (channels, "float32")
            options = {"spatial_dims": self.spatial_dims, "dtype": policy, "name": f"level_{level}_up"}
            self.steps.append(CroppedTransposedConvolution(width, stride, kernel, padding, output_padding, **options))

    def call(self, latents):
        x = latents
        for layer in self.steps:
            x = layer(x)
            if isinstance(layer, CroppedTransposedConvolution) and layer is not self.steps[-1]:
                x = ops.relu(x)
        low, high = self.value_range
        return (OUTPUT_ACTIVATIONS[self.output_activation](x) - low) / (high - low)

    def get_config(self):
        return {**super().get_config(), "channels": self.channels, "output_activation": self.output_activation}
