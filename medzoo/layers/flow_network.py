"""Velocity networks for flow matching: a U-Net for grids, a residual network for vectors."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
from keras import ops

from medzoo.layers.grids import convolution, to_space
from medzoo.layers.stored_name import stored_as

ACTIVATION = keras.activations.silu
GROUPS = 8  # of channels in group normalization (Wu & He 2018, arXiv:1803.08494)


def time_features(t, width: int = 64):
    """Return sinusoidal features of times from 0 to 1: `(batch,)` to `(batch, width)`."""
    frequencies = ops.exp(ops.arange(width // 2, dtype="float32") * (-math.log(1e4) / (width // 2)))
    angles = 1000.0 * ops.cast(t, "float32")[:, None] * frequencies[None]
    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)


@keras.saving.register_keras_serializable("medzoo")
@stored_as("TimedBlock")
class TimeConditionedBlock(keras.layers.Layer):
    """Residual block conditioned on time: two 3×3 convolutions, or dense layers for vectors.

    The time embedding scales and shifts the normalized features between the two layers (feature-wise linear modulation,
    Perez et al. 2018, arXiv:1709.07871). The second layer starts at zero, so that the block starts as its skip
    connection.

    Args:
        filters: int. Number of output channels.
        grid: bool. `True` for `(batch, h, w, channels)`, `False` for `(batch, channels)`.

    Call arguments:
        x: float tensor.
        time: float tensor `(batch, width)`, the time embedding.

    Returns:
        float tensor shaped like `x` with `filters` channels.
    """

    def __init__(self, filters: int, grid: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.grid = filters, grid
        policy = {"dtype": self.dtype_policy}

        def layer(name, **own):
            if grid:
                return convolution(2)(filters, 3, padding="same", name=name, **policy, **own)
            return keras.layers.Dense(filters, name=name, **policy, **own)

        self.norms = [keras.layers.GroupNormalization(GROUPS, name=f"norm_{i}", **policy) for i in range(2)]
        self.first, self.second = layer("first"), layer("second", kernel_initializer="zeros")
        self.by_time = keras.layers.Dense(2 * filters, kernel_initializer="zeros", name="by_time", **policy)
        self.match: Any = None

    def build(self, input_shape, time_shape) -> None:
        channels = input_shape[-1]
        self.norms[0].build(input_shape)
        self.first.build(input_shape)
        inner = (*input_shape[:-1], self.filters)
        self.norms[1].build(inner)
        self.second.build(inner)
        self.by_time.build(time_shape)
        if channels != self.filters:
            self.match = keras.layers.Dense(self.filters, name="match", dtype=self.dtype_policy)
            self.match.build(input_shape)
        self.built = True

    def call(self, x, time):
        hidden = self.first(ACTIVATION(self.norms[0](x)))
        scale, shift = ops.split(self.by_time(ACTIVATION(time)), 2, axis=-1)
        if self.grid:
            scale, shift = scale[:, None, None], shift[:, None, None]
        hidden = self.second(ACTIVATION(self.norms[1](hidden) * (1 + scale) + shift))
        return (x if self.match is None else self.match(x)) + hidden

    def get_config(self) -> dict:
        return {**super().get_config(), "filters": self.filters, "grid": self.grid}


@keras.saving.register_keras_serializable("medzoo")
@stored_as("GridAttention")
class SpatialSelfAttention(keras.layers.Layer):
    """Residual multi-head self-attention over all positions of a grid.

    Vaswani et al. 2017, arXiv:1706.03762.

    Args:
        heads: int. Number of attention heads.
    """

    def __init__(self, heads: int = 4, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads
        self.norm = keras.layers.GroupNormalization(GROUPS, name="norm", dtype=self.dtype_policy)
        self.attention: Any = None

    def build(self, input_shape) -> None:
        batch, height, width, channels = input_shape
        self.norm.build(input_shape)
        self.attention = keras.layers.MultiHeadAttention(
            self.heads, channels // self.heads, name="attention", dtype=self.dtype_policy
        )
        positions = (batch, height * width, channels)
        self.attention.build(positions, positions)
        self.shape = (height * width, channels)
        self.built = True

    def call(self, x):
        positions = ops.reshape(self.norm(x), (-1, *self.shape))
        return x + ops.reshape(self.attention(positions, positions), (-1, *x.shape[1:]))

    def get_config(self) -> dict:
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable("medzoo")
@stored_as("Velocity")
class VelocityNetwork(keras.layers.Layer):
    """Network that predicts the velocity field of flow matching.

    Inputs are noisy latents, a time and, if there are classes, a class index.

    For grids it is a U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with self-attention below the first level and a
    learned position embedding. For vectors it is a chain of residual blocks.

    Args:
        latent_shape: tuple `(h, w, channels)` or `(channels,)`.
        filters: tuple of int. Number of channels of each level; each level has half the resolution of the previous one.
            For vectors only the first is used.
        blocks_per_stage: int. Residual blocks per level; a vector network has `blocks_per_stage * len(filters)` blocks.
        num_classes: int. Number of classes, 0 for none; one further class index stands for "any class".
    """

    def __init__(
        self,
        latent_shape: Sequence[int],
        filters: Sequence[int] = (64, 128, 256),
        blocks_per_stage: int = 1,
        num_classes: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.latent_shape, self.filters, self.blocks_per_stage = tuple(latent_shape), tuple(filters), blocks_per_stage
        self.num_classes, self.grid = num_classes, len(latent_shape) == 3
        self.width = (4 if self.grid else 1) * self.filters[0]
        policy = {"dtype": self.dtype_policy}
        self.embed = [keras.layers.Dense(self.width, name=f"embed_{i}", **policy) for i in range(2)]
        self.of_class = (
            keras.layers.Embedding(num_classes + 1, self.width, name="of_class", **policy) if num_classes else None
        )
        self.norm = keras.layers.GroupNormalization(GROUPS, name="norm", **policy)
        channels, ends = self.latent_shape[-1], {"kernel_initializer": "zeros", "dtype": "float32", "name": "leave"}
        if not self.grid:
            count = blocks_per_stage * len(self.filters)
            self.enter = keras.layers.Dense(self.filters[0], name="enter", **policy)
            self.middle = [
                TimeConditionedBlock(self.filters[0], False, name=f"middle_{i}", **policy) for i in range(count)
            ]
            self.leave = keras.layers.Dense(channels, **ends)
            return
        conv = partial(convolution(2), **policy)
        self.enter = conv(self.filters[0], 3, padding="same", name="enter")
        self.down, self.up, self.smaller, self.larger = [], [], [], []
        last = len(self.filters) - 1
        for i, width in enumerate(self.filters):
            self.down.append(
                [TimeConditionedBlock(width, name=f"down_{i}_{j}", **policy) for j in range(blocks_per_stage)]
            )
            self.up.append([TimeConditionedBlock(width, name=f"up_{i}_{j}", **policy) for j in range(blocks_per_stage)])
            if i:
                self.smaller.append(conv(width, 2, strides=2, name=f"smaller_{i}"))
                self.larger.append(conv(4 * self.filters[i - 1], 1, name=f"larger_{i}"))
        self.looks_down = [SpatialSelfAttention(name=f"look_down_{i}", **policy) for i in range(1, last + 1)]
        self.looks_up = [SpatialSelfAttention(name=f"look_up_{i}", **policy) for i in range(1, last)]
        self.leave = convolution(2)(channels, 3, padding="same", **ends)

    def build(self, input_shape=None) -> None:
        time = (None, self.width)
        self.embed[0].build((None, 64))
        self.embed[1].build(time)
        if self.of_class is not None:
            self.of_class.build((None,))
        shape = (None, *self.latent_shape)
        self.enter.build(shape)
        if self.grid:
            shape = self._build_grid(time)
        else:
            shape = (None, self.filters[0])
            for block in self.middle:
                block.build(shape, time)
        self.norm.build(shape)
        self.leave.build(shape)
        self.built = True

    def _build_grid(self, time):
        height, width, _ = self.latent_shape
        sizes = [(None, height >> i, width >> i) for i in range(len(self.filters))]
        self.places = self.add_weight((1, height, width, self.filters[0]), "zeros", name="places")
        for i, filters in enumerate(self.filters):
            if i:
                self.smaller[i - 1].build((*sizes[i - 1], self.filters[i - 1]))
                self.larger[i - 1].build((*sizes[i], filters))
                self.looks_down[i - 1].build((*sizes[i], filters))
            for block in self.down[i]:
                block.build((*sizes[i], filters), time)
            top = i == len(self.filters) - 1
            for j, block in enumerate(self.up[i]):
                block.build((*sizes[i], filters * (2 if j == 0 and not top else 1)), time)
        for i, attention in enumerate(self.looks_up, start=1):
            attention.build((*sizes[i], self.filters[i]))
        return (*sizes[0], self.filters[0])

    def call(self, x, t, labels=None):
        time = self.embed[1](ACTIVATION(self.embed[0](time_features(t))))
        if self.of_class is not None:
            time = time + self.of_class(labels)
        x = self.enter(x)
        x = self._apply_grid(x + self.places, time) if self.grid else self._apply_blocks(self.middle, x, time)
        return self.leave(ACTIVATION(self.norm(x)))

    @staticmethod
    def _apply_blocks(blocks, x, time):
        for block in blocks:
            x = block(x, time)
        return x

    def _apply_grid(self, x, time):
        skips, last = [], len(self.filters) - 1
        for i in range(last + 1):
            if i:
                x = self.smaller[i - 1](x)
            x = self._apply_blocks(self.down[i], x, time)
            if i:
                x = self.looks_down[i - 1](x)
            skips.append(x)
        for i in range(last, -1, -1):
            if i < last:
                x = ops.concatenate([to_space(self.larger[i](x), 2), skips[i]], axis=-1)
            x = self._apply_blocks(self.up[i], x, time)
            if 0 < i < last:
                x = self.looks_up[i - 1](x)
        return x

    def get_config(self) -> dict:
        own = {"latent_shape": list(self.latent_shape), "filters": list(self.filters)}
        return {
            **super().get_config(),
            **own,
            "blocks_per_stage": self.blocks_per_stage,
            "num_classes": self.num_classes,
        }
