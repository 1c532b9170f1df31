"""Encoder and decoder of torchxrayvision's ResNetAE: bottleneck blocks of a ResNet, transposed on the way back.

Batch normalization is part of the convolutions here, as it is at inference.
"""

import keras
from keras import ops

from medzoo.layers.grids import convolution
from medzoo.layers.vq_networks import CroppedTransposedConvolution, PaddedConvolution

STRIDES, INNER, EXPANSION, STEM = (1, 2, 2, 6), (64, 128, 256, 128), 4, 64
UP_INNER = (128, 64, 32, 16)  # of the decoder's levels, the coarsest first
TOP = 64


@keras.saving.register_keras_serializable("medzoo")
class Bottleneck(keras.layers.Layer):
    """`relu(shortcut(x) + relu(conv(relu(conv(relu(conv(x)))))))`, kernel sizes 1, 3 and 1.

    Args:
        inner: int. Channels of the first two convolutions.
        filters: int. Number of output channels.
        stride: int. Of the second convolution and of the shortcut.
        transposed: bool. Whether they enlarge.
        shortcut: bool. Whether the shortcut is a convolution of kernel size 1.
    """

    def __init__(self, inner, filters, stride=1, transposed=False, shortcut=False, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.filters, self.stride = inner, filters, stride
        self.transposed, self.has_shortcut = transposed, shortcut
        conv, policy = convolution(2), {"dtype": self.dtype_policy}
        self.conv1 = conv(inner, 1, name="conv1", **policy)
        if transposed and stride > 1:
            self.conv2 = CroppedTransposedConvolution(inner, stride, 3, 1, 1, name="conv2", **policy)
        else:
            self.conv2 = PaddedConvolution(inner, stride, 3, 1, 1, name="conv2", **policy)
        self.conv3 = conv(filters, 1, name="conv3", **policy)
        self.shortcut = None
        if shortcut and transposed:
            self.shortcut = CroppedTransposedConvolution(filters, stride, 1, 0, 1, name="shortcut", **policy)
        elif shortcut:
            self.shortcut = PaddedConvolution(filters, stride, 1, 1, 0, name="shortcut", **policy)

    def build(self, input_shape):
        inner = (*input_shape[:-1], self.inner)
        self.conv1.build(input_shape)
        self.conv2.build(inner)
        self.conv3.build(inner)
        if self.shortcut is not None:
            self.shortcut.build(input_shape)
        self.built = True

    def call(self, x):
        hidden = ops.relu(self.conv3(ops.relu(self.conv2(ops.relu(self.conv1(x))))))
        return ops.relu(hidden + (x if self.shortcut is None else self.shortcut(x)))

    def get_config(self):
        own = {name: getattr(self, name) for name in ("inner", "filters", "stride", "transposed")}
        return {**super().get_config(), **own, "shortcut": self.has_shortcut}


class ResNetNetwork(keras.layers.Layer):
    """What encoder and decoder share.

    Args:
        blocks_per_stage: sequence of 4 int. Bottleneck blocks of each level, the finest first.
        channels: int. Number of image channels.
        value_range: `(low, high)`. Range of images that the network itself works in.
    """

    bottleneck, linear, squeeze, patch_size, spatial_dims = "spatial", None, None, (4, 4), 2
    latent_dim = EXPANSION * INNER[-1]
    filters = tuple(EXPANSION * width for width in INNER)

    def __init__(self, blocks_per_stage, channels=1, value_range=(-1024.0, 1024.0), **kwargs):
        super().__init__(**kwargs)
        self.blocks_per_stage, self.channels, self.value_range = tuple(blocks_per_stage), channels, tuple(value_range)
        self.steps = []

    def build(self, input_shape):
        shape = (None, None, None, self.first_channels())
        for layer in self.steps:
            layer.build(shape)
            shape = (*shape[:-1], layer.filters)
        self.built = True

    def get_config(self):
        own = {
            "blocks_per_stage": list(self.blocks_per_stage),
            "channels": self.channels,
            "value_range": list(self.value_range),
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("medzoo")
class ResNetEncoder(ResNetNetwork):
    """Images of 224×224 pixels to latents `(batch, 3, 3, 512)`."""

    def __init__(self, blocks_per_stage, channels=1, value_range=(-1024.0, 1024.0), **kwargs):
        super().__init__(blocks_per_stage, channels, value_range, **kwargs)
        policy = {"dtype": self.dtype_policy}
        self.steps.append(PaddedConvolution(STEM, 2, 7, 1, 3, name="stem", **policy))
        for level, (count, inner, stride) in enumerate(zip(self.blocks_per_stage, INNER, STRIDES, strict=True)):
            for i in range(count):
                options = {"stride": 1 if i else stride, "shortcut": i == 0, "name": f"level_{level}_block_{i}"}
                self.steps.append(Bottleneck(inner, EXPANSION * inner, **options, **policy))
        self.pool = keras.layers.MaxPooling2D(3, 2, "valid", dtype=self.dtype_policy)

    downsampling_factors, head = (224, 224), None

    def first_channels(self):
        return self.channels

    def stage_outputs(self, images):
        """Return the features of each level, the finest first."""
        low, high = self.value_range
        x = ops.relu(self.steps[0](low + (high - low) * images))
        x = self.pool(ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]))  # zeros do behind a ReLU
        outputs, first = [], 1
        for count in self.blocks_per_stage:
            for layer in list(self.steps)[first : first + count]:
                x = layer(x)
            outputs.append(x)
            first += count
        return outputs

    def latents(self, images, stages):
        """Return what `call` returns, from the images and their `stage_outputs`."""
        return ops.cast(stages[-1], "float32")

    def call(self, images):
        return self.latents(images, self.stage_outputs(images))


@keras.saving.register_keras_serializable("medzoo")
class ResNetDecoder(ResNetNetwork):
    """Latents `(batch, 3, 3, 512)` to images of 224×224 pixels."""

    def __init__(self, blocks_per_stage, channels=1, value_range=(-1024.0, 1024.0), **kwargs):
        super().__init__(blocks_per_stage, channels, value_range, **kwargs)
        policy = {"dtype": self.dtype_policy}
        for level, (inner, stride) in enumerate(zip(UP_INNER, (*STRIDES[:0:-1], 2), strict=True)):
            count = self.blocks_per_stage[::-1][level]
            for i in range(count):
                last = {"stride": stride, "shortcut": True} if i == count - 1 else {}
                width = (2 if last else EXPANSION) * inner
                self.steps.append(
                    Bottleneck(inner, width, transposed=True, name=f"up_{level}_block_{i}", **last, **policy)
                )
        self.steps.append(Bottleneck(TOP, TOP, 2, True, True, name="up_top", **policy))
        options = {"padding": "valid", "use_bias": False, "dtype": "float32", "name": "head"}
        self.steps.append(keras.layers.Conv2DTranspose(channels, 1, **options))

    def first_channels(self):
        return self.latent_dim

    def call(self, latents):
        x = latents
        for layer in self.steps:
            x = layer(x)
        low, high = self.value_range
        return (x - low) / (high - low)
