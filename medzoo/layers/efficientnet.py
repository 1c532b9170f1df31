"""EfficientNet-Lite0 as an encoder: a net whose weights have learned to tell the classes of ImageNet apart."""

from itertools import pairwise

import keras
from keras import ops

from medzoo.layers.blocks import Encoder
from medzoo.layers.grids import LAST

STEM, TOP = 32, 1280
# Of each stage the blocks that its resolution has: kernel, stride, expansion, filters, how many.
STAGES = (
    ((3, 1, 1, 16, 1),),
    ((3, 2, 6, 24, 2),),
    ((5, 2, 6, 40, 2),),
    ((3, 2, 6, 80, 3), (5, 1, 6, 112, 3)),
    ((5, 2, 6, 192, 4), (3, 1, 6, 320, 1)),
)


@keras.saving.register_keras_serializable("medzoo")
class Normalised(keras.layers.Layer):
    """A convolution without bias, batch normalisation, and ReLU6 unless `linear`.

    Args:
        filters: width; `None`: each filter by itself (depthwise).
        kernel, stride: of the convolution.
    """

    def __init__(self, filters, kernel=1, stride=1, linear=False, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel, self.stride, self.linear = filters, kernel, stride, linear
        shared = {"padding": "same", "use_bias": False, "data_format": LAST, "dtype": self.dtype_policy}
        if filters is None:
            self.convolution = keras.layers.DepthwiseConv2D(kernel, stride, depthwise_initializer="he_normal", **shared)
        else:
            self.convolution = keras.layers.Conv2D(filters, kernel, stride, kernel_initializer="he_normal", **shared)
        self.normalization = keras.layers.BatchNormalization(epsilon=1e-3, dtype=self.dtype_policy)

    def build(self, input_shape):
        self.convolution.build(input_shape)
        self.normalization.build((*input_shape[:-1], self.filters or input_shape[-1]))
        self.built = True

    def call(self, x):
        x = self.normalization(self.convolution(x), training=False)  # see `EfficientNetEncoder`
        return x if self.linear else ops.relu6(x)

    def get_config(self):
        own = {"filters": self.filters, "kernel": self.kernel, "stride": self.stride, "linear": self.linear}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("medzoo")
class InvertedResidual(keras.layers.Layer):
    """Widen, filter each channel by itself, narrow again (Sandler et al. 2018, arXiv:1801.04381).

    Args:
        filters: width behind it.
        kernel, stride: of the depthwise convolution.
        expansion: how many times wider within.
    """

    def __init__(self, filters, kernel, stride=1, expansion=6, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel, self.stride, self.expansion = filters, kernel, stride, expansion

    def build(self, input_shape):
        width, policy = input_shape[-1], {"dtype": self.dtype_policy}
        self.steps = [Normalised(self.expansion * width, name="widen", **policy)] if self.expansion > 1 else []
        self.steps.append(Normalised(None, self.kernel, self.stride, name="filter", **policy))
        self.steps.append(Normalised(self.filters, linear=True, name="narrow", **policy))
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
        return self.steps[0](x) if self.expansion > 1 else x

    def narrowed(self, x):
        for step in self.steps[-2:]:
            x = step(x)
        return x

    def get_config(self):
        own = {name: getattr(self, name) for name in ("filters", "kernel", "stride", "expansion")}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("medzoo")
class EfficientNetEncoder(Encoder):
    """The net of EfficientNet-Lite0 (Tan & Le 2019, arXiv:1905.11946; without squeeze and excitation) in the place of
    residual blocks; else as `Encoder` with a spatial bottleneck of 1/32.

    Its batch normalisation keeps the statistics that came with the weights, in training too, as the guide of Keras to
    transfer learning has it: medical images are too few and too alike for new ones.

    Args:
        latent_dim, extra: as in `Encoder`.
    """

    def __init__(self, latent_dim, extra=0, **kwargs):
        filters = [after[0][2] * stage[-1][3] for stage, after in pairwise(STAGES)] + [TOP]
        super().__init__(
            latent_dim, "spatial", filters=filters, blocks_per_stage=0, patch_size=2, extra=extra, **kwargs
        )

    def make_stages(self):
        policy = {"dtype": self.dtype_policy}
        layers = [Normalised(STEM, 3, 2, name="stem", **policy)]
        self.starts = []
        for i, stage in enumerate(STAGES):
            self.starts.append(len(layers))
            for kernel, stride, expansion, filters, count in stage:
                for j in range(count):
                    name = f"block_{i}_{len(layers)}"
                    layers.append(InvertedResidual(filters, kernel, 1 if j else stride, expansion, name=name, **policy))
        return [*layers, Normalised(TOP, name="top", **policy)]

    def stage_outputs(self, images):
        """What each resolution ends with, finest first: its features as the next stage widens them, and the top's."""
        outputs, x = [], (255 * images - 127) / 128  # as the weights of ImageNet have learned it
        for i, layer in enumerate(self.stages):
            if i in self.starts[1:]:
                outputs.append(layer.widened(x))
                x = layer.narrowed(outputs[-1])
            else:
                x = layer(x)
        return [*outputs, x]

    def call(self, images):
        return self.latents(images, self.stage_outputs(images))

    def get_config(self):
        return {**keras.layers.Layer.get_config(self), "latent_dim": self.latent_dim, "extra": self.extra}
