"""A preset's encoder within a U-Net, and its loss."""

import math
from functools import partial

import keras
from keras import ops

from medzoo.layers.blocks import ACTIVATION
from medzoo.layers.grids import convolution, to_space
from medzoo.models.checks import check_shape
from medzoo.models.tiles import in_tiles
from medzoo.tasks.shared.encoder_model import EncoderModel


@keras.saving.register_keras_serializable("medzoo")
class DiceCrossEntropy(keras.losses.Loss):
    """Cross-entropy plus one minus the Dice overlap, each averaged (Milletari et al. 2016, arXiv:1606.04797).

    Targets: integer masks `(N, H, W)` or `(N, H, W, 1)`, 0 the background; predictions: probabilities `(N, H, W, K)`;
    of volumes with the depth before the height. Dice is taken per image and foreground class, with 1 pixel added above
    and below, so that an empty mask is met by an empty prediction.

    Args:
        multi_label: targets `(N, H, W, K)` of 0 and 1 instead, which may overlap; none is the background.
    """

    def __init__(self, multi_label=False, name="dice_cross_entropy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.multi_label = multi_label

    def call(self, y_true, y_pred):
        places = tuple(range(1, len(y_pred.shape) - 1))
        if self.multi_label:
            truth, first = ops.cast(y_true, y_pred.dtype), 0
        else:
            y_true = ops.cast(y_true, "int32")
            y_true = ops.squeeze(y_true, -1) if len(y_true.shape) == len(y_pred.shape) else y_true
            truth, first = ops.one_hot(y_true, y_pred.shape[-1], dtype=y_pred.dtype), 1
        likelihood = truth * _log(y_pred)
        if self.multi_label:
            likelihood += (1 - truth) * _log(1 - y_pred)
        entropy = -ops.mean(ops.sum(likelihood, axis=-1), axis=places)
        both = ops.sum(truth * y_pred, axis=places)[:, first:]
        either = ops.sum(truth + y_pred, axis=places)[:, first:]
        return entropy + 1 - ops.mean((2 * both + 1) / (either + 1), axis=-1)

    def get_config(self):
        return {**super().get_config(), "multi_label": self.multi_label}


def _log(probability):
    return ops.log(ops.maximum(probability, 1e-7))


@keras.saving.register_keras_serializable("medzoo")
class ConvBlock(keras.layers.Layer):
    """Convolution, batch normalisation, SiLU.

    Args:
        filters: width.
        spatial_dims: 2 for images, 3 for volumes.
        stride: of the convolution, one for each axis; `None`: it is 3 wide and moves by 1.
    """

    def __init__(self, filters, spatial_dims=2, stride=None, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.spatial_dims, self.stride = filters, spatial_dims, stride and tuple(stride)
        how = {"kernel_size": 3} if stride is None else {"kernel_size": self.stride, "strides": self.stride}
        self.convolution = convolution(spatial_dims)(
            filters, padding="same", use_bias=False, kernel_initializer="he_normal", dtype=self.dtype_policy, **how
        )
        self.normalization = normalization()

    def build(self, input_shape):
        self.convolution.build(input_shape)
        self.normalization.build((*input_shape[:-1], self.filters))
        self.built = True

    def call(self, x, training=False):
        return ACTIVATION(self.normalization(self.convolution(x), training=training))

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "spatial_dims": self.spatial_dims,
            "stride": self.stride,
        }


def normalization(**kwargs):
    # Fits of a few hundred steps: averages over about ten batches, not a hundred.
    return keras.layers.BatchNormalization(momentum=0.9, **kwargs)


def halvings(patch):
    """Strides from the image's resolution to that of the encoder's first stage: `(4, 4)` is `[(2, 2), (2, 2)]`."""
    left, strides = list(patch), []
    while any(n > 1 for n in left):
        strides.append(tuple(2 if n % 2 == 0 else n for n in left))
        left = [n // s for n, s in zip(left, strides[-1], strict=True)]
    return strides


@keras.saving.register_keras_serializable("medzoo")
class Segmenter(EncoderModel):
    """A pretrained encoder within a U-Net (Ronneberger et al. 2015, arXiv:1505.04597); an ordinary Keras model.

        segmenter = Segmenter.from_pretrained("ae-chestxray", num_classes=2)
        segmenter.compile()                       # Adam, DiceCrossEntropy
        segmenter.fit(images, masks, epochs=20)   # masks: integers (N, H, W[, 1]), 0 the background

    The encoder begins with patches of a few pixels; small stages of the segmenter's own, 16 and 32 filters wide, see
    what is finer. Its decoder joins them and the encoder's stages, from coarse to fine.

    `predict` gives probabilities `(N, H, W, num_classes)`; on the encoder of a model of volumes `(N, D, H, W,
    num_classes)`.

    Args:
        encoder: an `Encoder`, see `medzoo.layers.blocks`.
        image_shape: `(height, width, channels)` that it takes, or of volumes `(depth, height, width, channels)`; the
            sides may be `None`.
        num_classes: with the background, 2 or more.
        multi_label: masks that may overlap, `(N, H, W, num_classes)` of 0 and 1, without a background; 1 class or more.
    """

    FINE = 16  # filters at the image's own resolution; twice as many at half of it, and so on

    def __init__(self, encoder, image_shape, num_classes, multi_label=False, **kwargs):
        self.multi_label, self.least_classes = multi_label, 1 if multi_label else 2
        self.counted = "" if multi_label else " (background and foreground)"
        super().__init__(encoder, image_shape, num_classes, **kwargs)
        conv, block = convolution(self.spatial_dims), partial(ConvBlock, spatial_dims=self.spatial_dims)
        self.strides = halvings(encoder.patch_size)
        widths = [self.FINE * 2**i for i in range(len(self.strides))]
        self.fine = []
        for i, width in enumerate(widths):
            stride = self.strides[i - 1] if i else None
            self.fine.append([block(width, stride=stride, name=f"fine_{i}_0"), block(width, name=f"fine_{i}_1")])
        self.norms = [normalization(name=f"norm_{i}") for i in range(len(encoder.filters))]
        # Upwards: through the encoder's stages, each at twice the resolution, then through the fine ones.
        self.factors_up = [(2,) * self.spatial_dims] * (len(encoder.filters) - 1) + self.strides[::-1]
        widths = [*encoder.filters[-2::-1], *widths[::-1]]
        self.widen = [
            conv(math.prod(factors) * width, 1, name=f"widen_{i}")
            for i, (factors, width) in enumerate(zip(self.factors_up, widths, strict=True))
        ]
        self.refine = [[block(w, name=f"refine_{i}_0"), block(w, name=f"refine_{i}_1")] for i, w in enumerate(widths)]
        self.head = conv(num_classes, 1, dtype="float32", name="head")
        self.build()

    @classmethod
    def from_pretrained(cls, name, num_classes, pretrained=True, multi_label=False):
        """A segmenter on the encoder of a preset.

        Args:
            name: anything `medzoo.load` takes, a medzoo model, or another model on an encoder, whose encoder is taken.
            num_classes, multi_label: as above.
            pretrained: `False` starts from random weights, as a control.
        """
        return cls._on_preset(name, num_classes, pretrained, "segmenter", multi_label=multi_label)

    def build_head(self):
        for unused in (self.encoder.linear, self.encoder.squeeze, self.encoder.head):
            if unused is not None:  # nothing here depends on the latents
                unused.trainable = False
        anywhere, width = (None,) * (1 + self.spatial_dims), self.image_shape[-1]
        for stage in self.fine:
            for block in stage:
                block.build((*anywhere, width))
                width = block.filters
        skips = [stage[-1].filters for stage in self.fine] + list(self.encoder.filters)
        for norm, filters in zip(self.norms, self.encoder.filters, strict=True):
            norm.build((*anywhere, filters))
        width = skips.pop()
        for widen, (first, second) in zip(self.widen, self.refine, strict=True):
            widen.build((*anywhere, width))
            width = first.filters
            first.build((*anywhere, width + skips.pop()))
            second.build((*anywhere, width))
        self.head.build((*anywhere, width))

    def call(self, x, training=False):
        check_shape(self, x)
        skips, hidden = [], x
        for stage in self.fine:
            for block in stage:
                hidden = block(hidden, training=training)
            skips.append(hidden)
        for norm, stage in zip(self.norms, self.encoder.stage_outputs(x), strict=True):
            skips.append(ACTIVATION(norm(stage, training=training)))
        hidden = skips.pop()
        for factors, widen, refine in zip(self.factors_up, self.widen, self.refine, strict=True):
            hidden = ops.concatenate([to_space(widen(hidden), factors), skips.pop()], axis=-1)
            for block in refine:
                hidden = block(hidden, training=training)
        return (ops.sigmoid if self.multi_label else ops.softmax)(self.head(hidden))

    def compile(self, optimizer="adam", loss=None, **kwargs):
        super().compile(optimizer=optimizer, loss=loss or DiceCrossEntropy(self.multi_label), **kwargs)

    def segment(self, x, tile=None):
        """Integer masks, shaped like the images without channels, the likeliest class of each pixel; of several labels
        0 and 1 for each, `(N, H, W, num_classes)`.

        Args:
            x: images, as `predict` takes them.
            tile: of large ones, see `Autoencoder.reconstruct`.
        """
        predict = partial(self.predict, verbose=0)
        found = predict(x) if tile is None else in_tiles(predict, x, tile, None, self)
        return (found > 0.5).astype("uint8") if self.multi_label else found.argmax(axis=-1)

    def get_config(self):
        return {**super().get_config(), "multi_label": self.multi_label}
