"""A U-Net on a pretrained encoder, and its loss."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from medzoo.layers.blocks import ACTIVATION, Encoder
from medzoo.layers.grids import convolution, to_space
from medzoo.models.checks import check_shape
from medzoo.models.tiles import apply_in_tiles
from medzoo.tasks.shared.encoder_model import EncoderModel


@keras.saving.register_keras_serializable("medzoo")
class DiceCrossEntropy(keras.losses.Loss):
    """Sum of the cross-entropy and one minus the Dice coefficient.

    Both are averaged (Milletari et al. 2016, arXiv:1606.04797). Targets are integer masks of shape `(N, H, W)` or
    `(N, H, W, 1)`, 0 the background; predictions are probabilities of shape `(N, H, W, K)`; of volumes with the depth
    axis before the height. The Dice coefficient is computed per image and foreground class. One pixel is added to
    numerator and denominator, so that the optimum for an empty mask is an empty prediction.

    Args:
        multi_label: bool. If `True`, targets have shape `(N, H, W, K)` with values 0 and 1; labels may overlap, and
            none is the background.
        name: str. Name of the loss.
        kwargs: Further options of `keras.losses.Loss`.
    """

    def __init__(self, multi_label: bool = False, name: str = "dice_cross_entropy", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.multi_label = multi_label

    def call(self, y_true, y_pred):
        """Return the loss of each image.

        Args:
            y_true: Masks, see the class.
            y_pred: Probabilities, see the class.

        Returns:
            Float tensor of shape `(N,)`.
        """
        axes = tuple(range(1, len(y_pred.shape) - 1))
        if self.multi_label:
            truth, first = ops.cast(y_true, y_pred.dtype), 0
        else:
            y_true = ops.cast(y_true, "int32")
            y_true = ops.squeeze(y_true, -1) if len(y_true.shape) == len(y_pred.shape) else y_true
            truth, first = ops.one_hot(y_true, y_pred.shape[-1], dtype=y_pred.dtype), 1
        likelihood = truth * _log(y_pred)
        if self.multi_label:
            likelihood += (1 - truth) * _log(1 - y_pred)
        entropy = -ops.mean(ops.sum(likelihood, axis=-1), axis=axes)
        both = ops.sum(truth * y_pred, axis=axes)[:, first:]
        either = ops.sum(truth + y_pred, axis=axes)[:, first:]
        return entropy + 1 - ops.mean((2 * both + 1) / (either + 1), axis=-1)

    def get_config(self):
        return {**super().get_config(), "multi_label": self.multi_label}


def _log(probability):
    """Return the logarithm of a probability, bounded from below."""
    return ops.log(ops.maximum(probability, 1e-7))


@keras.saving.register_keras_serializable("medzoo")
class ConvBlock(keras.layers.Layer):
    """Convolution, batch normalization and SiLU.

    Args:
        filters: int. Number of output channels.
        spatial_dims: int. 2 for images, 3 for volumes.
        stride: Stride and kernel size of the convolution per axis; `None` for a kernel size of 3 and stride 1.
        kwargs: Further options of `keras.layers.Layer`.
    """

    def __init__(self, filters: int, spatial_dims: int = 2, stride: Sequence[int] | None = None, **kwargs: Any):
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


def normalization(**kwargs: Any) -> keras.layers.BatchNormalization:
    """Return a batch normalization layer for short trainings.

    Its moving averages cover about 10 batches instead of 100.

    Args:
        kwargs: Further options of the layer.

    Returns:
        The layer.
    """
    return keras.layers.BatchNormalization(momentum=0.9, **kwargs)


def halvings(patch_size: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the strides from the image resolution to that of the first encoder stage.

    Args:
        patch_size: Patch size of the encoder per axis, e.g. `(4, 4)`.

    Returns:
        One tuple of strides per step, e.g. `[(2, 2), (2, 2)]`.
    """
    left, strides = list(patch_size), []
    while any(n > 1 for n in left):
        strides.append(tuple(2 if n % 2 == 0 else n for n in left))
        left = [n // s for n, s in zip(left, strides[-1], strict=True)]
    return strides


@keras.saving.register_keras_serializable("medzoo")
class Segmenter(EncoderModel):
    """Keras model of a U-Net on a pretrained encoder.

    The encoder processes patches of a few pixels. Additional convolutional stages with 16 and 32 channels extract
    features at higher resolution. The decoder combines them with the stages of the encoder, from coarse to fine
    (Ronneberger et al. 2015, arXiv:1505.04597).

    `predict` returns probabilities of shape `(N, H, W, num_classes)`; for volumes `(N, D, H, W, num_classes)`.

    Args:
        encoder: An `Encoder`, see `medzoo.layers.blocks`.
        image_shape: Tuple `(height, width, channels)`, or `(depth, height, width, channels)` for volumes; the sides may
            be `None`.
        num_classes: int. Number of classes including the background, 2 or more.
        multi_label: bool. If `True`, masks have shape `(N, H, W, num_classes)` with values 0 and 1; labels may overlap,
            there is no background, and `num_classes` is 1 or more.
        kwargs: Further options of `keras.Model`.

    Examples:
        ```python
        segmenter = Segmenter.from_pretrained("ae-chestxray", num_classes=2)
        segmenter.compile()  # Adam, DiceCrossEntropy
        segmenter.fit(images, masks, epochs=20)  # masks: integers (N, H, W), 0 the background
        ```
    """

    FINE = 16  # channels at full resolution; the number doubles with every halving of the resolution

    def __init__(
        self,
        encoder: Encoder,
        image_shape: tuple[int | None, ...],
        num_classes: int,
        multi_label: bool = False,
        **kwargs: Any,
    ):
        self.multi_label, self.least_classes = multi_label, 1 if multi_label else 2
        self.class_note = "" if multi_label else " (background and foreground)"
        super().__init__(encoder, image_shape, num_classes, **kwargs)
        conv, block = convolution(self.spatial_dims), partial(ConvBlock, spatial_dims=self.spatial_dims)
        self.strides = halvings(encoder.patch_size)
        widths = [self.FINE * 2**i for i in range(len(self.strides))]
        self.fine = []
        for i, width in enumerate(widths):
            stride = self.strides[i - 1] if i else None
            self.fine.append([block(width, stride=stride, name=f"fine_{i}_0"), block(width, name=f"fine_{i}_1")])
        self.norms = [normalization(name=f"norm_{i}") for i in range(len(encoder.filters))]
        # Decoder: first the encoder's stages, each at twice the resolution of the previous one, then the fine stages.
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
    def from_pretrained(
        cls,
        name: keras.Model | str | Path,
        num_classes: int,
        pretrained: bool = True,
        multi_label: bool = False,
    ) -> Self:
        """Build a segmenter on the encoder of a preset.

        Args:
            name: Anything `medzoo.load` takes, a medzoo model, or another model on an encoder, whose encoder is copied.
            num_classes: See the class.
            pretrained: bool. If `False`, the encoder is randomly initialized, as a baseline.
            multi_label: See the class.

        Returns:
            The segmenter.
        """
        return cls._on_preset(name, num_classes, pretrained, "segmenter", multi_label=multi_label)

    def build_head(self) -> None:
        """Build the layers that follow the encoder, and freeze the unused layers of the encoder."""
        for unused in (self.encoder.linear, self.encoder.squeeze, self.encoder.head):
            if unused is not None:  # the output does not depend on the latents
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

    def call(self, x, training: bool = False):
        """Return the class probabilities of pixels.

        Args:
            x: Float tensor of shape `(N, height, width, 1)` with values in [0, 1]; of volumes with the depth axis
                before the height.
            training: bool. Whether batch statistics are used.

        Returns:
            Float tensor of shape `(N, height, width, num_classes)`.
        """
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

    def compile(self, optimizer: str | keras.optimizers.Optimizer = "adam", loss: Any = None, **kwargs: Any) -> None:
        """Configure the model for training.

        Args:
            optimizer: A Keras optimizer.
            loss: A Keras loss; by default `DiceCrossEntropy`.
            kwargs: Further options of `keras.Model.compile`.
        """
        super().compile(optimizer=optimizer, loss=loss or DiceCrossEntropy(self.multi_label), **kwargs)

    def segment(self, x: np.ndarray, tile: int | tuple[int, ...] | None = None) -> np.ndarray:
        """Return the segmentation masks of images.

        Args:
            x: Images, as `predict` takes them.
            tile: Tile size for large images, see `Autoencoder.reconstruct`.

        Returns:
            Integer array shaped like the images without channels: the most probable class of each pixel. With
            `multi_label`, uint8 array of shape `(N, H, W, num_classes)` with values 0 and 1.
        """
        predict = partial(self.predict, verbose=0)
        probabilities = predict(x) if tile is None else apply_in_tiles(predict, x, tile, None, self)
        return (probabilities > 0.5).astype("uint8") if self.multi_label else probabilities.argmax(axis=-1)

    def get_config(self):
        return {**super().get_config(), "multi_label": self.multi_label}
