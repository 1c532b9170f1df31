"""EfficientNet-Lite0 as an encoder that can start from ImageNet weights."""

from itertools import pairwise

import keras
from keras import ops

from medzoo.layers.blocks import Encoder
from medzoo.layers.grids import LAST
from medzoo.layers.stored_name import stored_as

STEM, TOP = 32, 1280
# For each resolution its groups of blocks: kernel, stride, expansion, filters, number of blocks.
STAGES = (
    ((3, 1, 1, 16, 1),),
    ((3, 2, 6, 24, 2),),
    ((5, 2, 6, 40, 2),),
    ((3, 2, 6, 80, 3), (5, 1, 6, 112, 3)),
    ((5, 2, 6, 192, 4), (3, 1, 6, 320, 1)),
)


@keras.saving.register_keras_serializable("medzoo")
@stored_as("Normalised")
class ConvBatchNorm(keras.layers.Layer):
    """Convolution without bias, batch normalization, and ReLU6 unless `linear`.

    Args:
        filters: int, number of channels. `None` for a depthwise convolution.
        kernel: int. Size of the convolution.
        stride: int. Stride of the convolution.
        linear: bool. Whether to omit the ReLU6.
    """

    def __init__(self, filters: int | None, kernel: int = 1, stride: int = 1, linear: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel, self.stride, self.linear = filters, kernel, stride, linear
        shared = {"padding": "same", "use_bias": False, "data_format": LAST, "dtype": self.dtype_policy}
        if filters is None:
            self.convolution = keras.layers.DepthwiseConv2D(kernel, stride, depthwise_initializer="he_normal", **shared)
        else:
            self.convolution = keras.layers.Conv2D(filters, kernel, stride, kernel_initializer="he_normal", **shared)
        self.normalization = keras.layers.BatchNormalization(epsilon=1e-3, dtype=self.dtype_policy)

    def build(self, input_shape) -> None:
        self.convolution.build(input_shape)
        self.normalization.build((*input_shape[:-1], self.filters or input_shape[-1]))
        self.built = True

    def call(self, x):
        x = self.normalization(self.convolution(x), training=False)  # see `EfficientNetEncoder`
        return x if self.linear else ops.relu6(x)

    def get_config(self) -> dict:
        own = {"filters": self.filters, "kernel": self.kernel, "stride": self.stride, "linear": self.linear}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("medzoo")
class InvertedResidual(keras.layers.Layer):
    """Inverted residual block: expansion, depthwise convolution, projection.

    Sandler et al. 2018, arXiv:1801.04381.

    Args:
        filters: int. Number of output channels.
        kernel: int. Size of the depthwise convolution.
        stride: int. Stride of the depthwise convolution.
        expansion: int. Ratio of inner to input channels.
    """

    def __init__(self, filters: int, kernel: int, stride: int = 1, expansion: int = 6, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel, self.stride, self.expansion = filters, kernel, stride, expansion

    def build(self, input_shape) -> None:
        width, policy = input_shape[-1], {"dtype": self.dtype_policy}
        self.steps = [ConvBatchNorm(self.expansion * width, name="widen", **policy)] if self.expansion > 1 else []
        self.steps.append(ConvBatchNorm(None, self.kernel, self.stride, name="filter", **policy))
        self.steps.append(ConvBatchNorm(self.filters, linear=True, name="narrow", **policy))
        self.adds = self.stride == 1 and width == self.filters
        shape = input_shape
        for step in self.steps:
            step.build(shape)
            shape = (*shape[:-1], step.filters or shape[-1])
        self.built = True

    def call(self, x):
        narrow = self.narrowed(self.widened(x))
        return x + narrow if self.adds else narrow

    def widened(self, x):
        """Return `x` after the expansion."""
        return self.steps[0](x) if self.expansion > 1 else x

    def narrowed(self, x):
        """Return expanded `x` after the depthwise convolution and the projection."""
        for step in self.steps[-2:]:
            x = step(x)
        return x

    def get_config(self) -> dict:
        own = {name: getattr(self, name) for name in ("filters", "kernel", "stride", "expansion")}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("medzoo")
class EfficientNetEncoder(Encoder):
    """EfficientNet-Lite0 encoder with a spatial bottleneck of 1/32.

    Tan & Le 2019, arXiv:1905.11946. The network has no squeeze-and-excitation. Heads and linear path are those of
    `Encoder`. Batch normalization uses the statistics of the pretrained weights also in training, as the
    transfer-learning guide of Keras recommends: medical images are too few and too similar to estimate new ones.

    Args:
        latent_dim: int, as in `Encoder`.
        extra: int, as in `Encoder`.
    """

    def __init__(self, latent_dim: int, extra: int = 0, **kwargs):
        filters = [after[0][2] * stage[-1][3] for stage, after in pairwise(STAGES)] + [TOP]
        super().__init__(
            latent_dim, "spatial", filters=filters, blocks_per_stage=0, patch_size=2, extra=extra, **kwargs
        )

    def make_stages(self) -> list[keras.layers.Layer]:
        """Return the stem, the inverted residual blocks and the top layer in order."""
        policy = {"dtype": self.dtype_policy}
        layers = [ConvBatchNorm(STEM, 3, 2, name="stem", **policy)]
        self.starts = []
        for i, stage in enumerate(STAGES):
            self.starts.append(len(layers))
            for kernel, stride, expansion, filters, count in stage:
                for j in range(count):
                    name = f"block_{i}_{len(layers)}"
                    layers.append(InvertedResidual(filters, kernel, 1 if j else stride, expansion, name=name, **policy))
        return [*layers, ConvBatchNorm(TOP, name="top", **policy)]

    def stage_outputs(self, images) -> list:  # type: ignore[override]
        """Return the last features of each resolution, finest first.

        These are the expanded features of the next stage's first block, and the output of the top layer.
        """
        outputs, x = [], (255 * images - 127) / 128  # the input scaling of the ImageNet weights
        for i, layer in enumerate(self.stages):
            if i in self.starts[1:]:
                outputs.append(layer.widened(x))
                x = layer.narrowed(outputs[-1])
            else:
                x = layer(x)
        return [*outputs, x]

    def call(self, images):
        return self.latents(images, self.stage_outputs(images))

    def get_config(self) -> dict:
        return {**keras.layers.Layer.get_config(self), "latent_dim": self.latent_dim, "extra": self.extra}
