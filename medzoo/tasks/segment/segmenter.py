"""A preset's encoder under a decoder with skip connections, and its loss."""

import math

import keras
from keras import ops

from medzoo.layers.blocks import ACTIVATION, ResidualBlock
from medzoo.layers.grids import convolution, to_space
from medzoo.models.checks import check_shape
from medzoo.tasks.shared.on_encoder import OnEncoder


@keras.saving.register_keras_serializable("medzoo")
class DiceCrossEntropy(keras.losses.Loss):
    """Cross-entropy plus one minus the Dice overlap, each averaged (Milletari et al. 2016, arXiv:1606.04797).

    Targets: integer masks `(N, H, W)` or `(N, H, W, 1)`, 0 the background; predictions: probabilities `(N, H, W, K)`;
    of volumes with the depth before the height. Dice is taken per image and foreground class, with 1 pixel added above
    and below, so that an empty mask is met by an empty prediction.
    """

    def __init__(self, name="dice_cross_entropy", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        classes = y_pred.shape[-1]
        y_true = ops.cast(y_true, "int32")
        y_true = ops.squeeze(y_true, -1) if len(y_true.shape) == len(y_pred.shape) else y_true
        truth = ops.one_hot(y_true, classes, dtype=y_pred.dtype)
        places = tuple(range(1, len(y_pred.shape) - 1))
        entropy = -ops.mean(ops.sum(truth * ops.log(ops.maximum(y_pred, 1e-7)), axis=-1), axis=places)
        both = ops.sum(truth * y_pred, axis=places)[:, 1:]
        either = ops.sum(truth + y_pred, axis=places)[:, 1:]
        return entropy + 1 - ops.mean((2 * both + 1) / (either + 1), axis=-1)


@keras.saving.register_keras_serializable("medzoo")
class Segmenter(OnEncoder):
    """A pretrained encoder with a decoder that sees each of its stages (U-Net, Ronneberger et al. 2015,
    arXiv:1505.04597); an ordinary Keras model.

        segmenter = Segmenter.from_pretrained("ae-chestxray", num_classes=2)
        segmenter.compile()                       # Adam, DiceCrossEntropy
        segmenter.fit(images, masks, epochs=20)   # masks: integers (N, H, W[, 1]), 0 the background

    `predict` gives probabilities `(N, H, W, num_classes)`; on the encoder of a model of volumes `(N, D, H, W,
    num_classes)`.

    Args:
        encoder: an `Encoder`, see `medzoo.layers.blocks`.
        image_shape: `(height, width, channels)` that it takes, or of volumes `(depth, height, width, channels)`; the
            sides may be `None`.
        num_classes: with the background, 2 or more.
    """

    counted = " (background and foreground)"

    def __init__(self, encoder, image_shape, num_classes, **kwargs):
        super().__init__(encoder, image_shape, num_classes, **kwargs)
        conv, widths = convolution(self.axes), encoder.filters[::-1]
        self.widen = [conv(2**self.axes * w, 1, name=f"widen_{i}") for i, w in enumerate(widths[1:])]
        self.merge = [conv(w, 1, name=f"merge_{i}") for i, w in enumerate(widths[1:])]
        self.refine = [ResidualBlock(w, self.axes, name=f"refine_{i}") for i, w in enumerate(widths[1:])]
        self.spread = conv(8 * math.prod(encoder.patch), 1, name="spread")
        self.edges = conv(16, 3, padding="same", name="edges")
        self.head = conv(num_classes, 3, padding="same", dtype="float32", name="head")
        self.build()

    @classmethod
    def from_pretrained(cls, name, num_classes, pretrained=True):
        """A segmenter on the encoder of a preset.

        Args:
            name: anything `medzoo.load` takes, or a medzoo model.
            num_classes: as above.
            pretrained: `False` starts from random weights, as a control.
        """
        return cls._on_preset(name, num_classes, pretrained, "segmenter")

    def build_head(self):
        for unused in (self.encoder.linear, self.encoder.squeeze, self.encoder.head):
            if unused is not None:  # nothing here depends on the latents
                unused.trainable = False
        widths = self.encoder.filters[::-1]
        anywhere = (None,) * (1 + self.axes)
        for i, width in enumerate(widths[1:]):
            self.widen[i].build((*anywhere, widths[i]))
            self.merge[i].build((*anywhere, 2 * width))
            self.refine[i].build((*anywhere, width))
        self.spread.build((*anywhere, widths[-1]))
        self.edges.build((*anywhere, 8 + self.image_shape[-1]))
        self.head.build((*anywhere, 16))

    def call(self, x, training=False):
        check_shape(self, x)
        *skips, hidden = self.encoder.stage_outputs(x)
        for widen, merge, refine in zip(self.widen, self.merge, self.refine, strict=True):
            hidden = to_space(widen(ACTIVATION(hidden)), 2)
            hidden = refine(merge(ops.concatenate([hidden, skips.pop()], axis=-1)))
        hidden = to_space(self.spread(ACTIVATION(hidden)), self.encoder.patch)
        hidden = ACTIVATION(self.edges(ops.concatenate([hidden, x], axis=-1)))
        return ops.softmax(self.head(hidden))

    def compile(self, optimizer="adam", loss=None, **kwargs):
        super().compile(optimizer=optimizer, loss=loss or DiceCrossEntropy(), **kwargs)

    def segment(self, x):
        """Integer masks, shaped like the images without channels, the likeliest class of each pixel."""
        return self.predict(x, verbose=0).argmax(axis=-1)
