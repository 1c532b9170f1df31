"""Entropy model of a codec: probabilities of integer latents, from coarse to fine."""

import math
from collections.abc import Iterator, Sequence

import keras
from keras import ops

from medzoo.layers.grids import convolution
from medzoo.layers.stored_name import stored_as

SCALES = (0.04, 40.0)  # smallest and largest scale of the logistic distributions


def order(levels: int) -> Iterator[tuple]:
    """Yield the steps `(level, stride, known, coded)` in which a group is coded.

    The coarsest grid (every `2 ** (levels - 1)`-th row and column) is coded first. In each finer grid, one quarter of
    the positions is then known. The quarter in the middle of four known positions follows, then the remaining half.

    Args:
        levels: int. Number of grids from coarse to fine.

    Yields:
        Tuples of the level, the stride of its grid, and two functions of row and column indices of that grid: which
        positions are known before the step, and which ones the step codes (1 or 0).
    """
    yield 0, 2 ** (levels - 1), _nowhere, _everywhere
    for level in range(1, levels):
        stride = 2 ** (levels - 1 - level)
        yield level, stride, _corners, _middles
        yield level, stride, _corners_and_middles, _between


def _nowhere(rows, columns):
    return 0 * (rows + columns)


def _everywhere(rows, columns):
    return 1 + 0 * (rows + columns)


def _corners(rows, columns):
    return (1 - rows % 2) * (1 - columns % 2)


def _middles(rows, columns):
    return (rows % 2) * (columns % 2)


def _corners_and_middles(rows, columns):
    return 1 - _between(rows, columns)


def _between(rows, columns):
    return (rows + columns) % 2


@keras.saving.register_keras_serializable("medzoo")
@stored_as("InterlacedPrior")
class InterlacedEntropyModel(keras.layers.Layer):
    """Autoregressive entropy model with logistic distributions for integer latents.

    Channels are coded in groups (Minnen & Singh 2020, arXiv:2007.08739), and each group from coarse to fine, see
    `order`. A small convolutional network predicts the distribution of each latent from the preceding groups at all
    positions of the current grid and from the known positions of its own group. Coding halves of the grid rather than
    single positions keeps the number of steps small (He et al. 2021, arXiv:2103.15306). All operations can be computed
    in integer arithmetic (`medzoo.tasks.compress.integer_codec`), so that a decoder on another machine obtains the same
    probabilities.

    Args:
        groups: tuple of int. Number of channels of each group.
        qualities: int. Number of quality levels with biases of their own; between them the biases are interpolated.
        hidden: int. Width of the networks.
        levels: int. Number of grids from coarse to fine.
    """

    def __init__(
        self, groups: Sequence[int] = (1, 3, 4, 8), qualities: int = 4, hidden: int = 48, levels: int = 4, **kwargs
    ):
        super().__init__(**kwargs)
        self.groups, self.qualities, self.hidden, self.levels = tuple(groups), qualities, hidden, levels
        self.first, self.second, self.third = [], [], []
        own = {"dtype": self.dtype_policy}
        for k, size in enumerate(self.groups):
            self.first.append(convolution(2)(hidden + 2 * size, 5, padding="same", name=f"first_{k}", **own))
            self.second.append(keras.layers.Dense(hidden, name=f"second_{k}", **own))
            self.third.append(keras.layers.Dense(2 * size, kernel_initializer="zeros", name=f"third_{k}", **own))

    def build(self, input_shape=None) -> None:
        self.at_level, self.at_quality = [], []
        for k, size in enumerate(self.groups):
            width = self.hidden + 2 * size
            self.first[k].build((None, None, None, sum(self.groups[: k + 1]) + 1))
            self.second[k].build((None, None, None, self.hidden))
            self.third[k].build((None, None, None, self.hidden))
            self.at_level.append(self.add_weight((self.levels, width), "zeros", name=f"at_level_{k}"))
            self.at_quality.append(self.add_weight((self.qualities, width), "zeros", name=f"at_quality_{k}"))
        self.built = True

    def parameters(self, k: int, known, level: int, quality) -> tuple:
        """Return mean and log-scale of the latents of group k.

        Args:
            k: int. Index of the group.
            known: float tensor `(batch, h, w, channels + 1)`: the preceding groups, the group itself where known (else
                0), and the mask of the known positions (1 or 0).
            level: int. Index of the grid.
            quality: float tensor `(batch,)` from 0 to `qualities - 1`, see `between`.

        Returns:
            Two float tensors `(batch, h, w, groups[k])`.
        """
        size = self.groups[k]
        x = self.first[k](known) + self.at_level[k][level] + between(self.at_quality[k], quality)[:, None, None]
        hidden = ops.relu(self.second[k](ops.relu(x[..., : self.hidden])))
        x = x[..., self.hidden :] + self.third[k](hidden)
        return x[..., :size], x[..., size:]

    def nats(self, latents, quality, known=None):
        """Return the negative log-probability of grids of latents, in nats per image, `(batch,)`.

        Args:
            latents: float tensor `(batch, h, w, channels)`; with noise in training.
            quality: float tensor `(batch,)`, as in `parameters`.
            known: float tensor shaped like `latents`: the latents that later ones are predicted from. In training these
                are the rounded latents, as in decoding. Default: `latents`.
        """
        latents, quality = ops.convert_to_tensor(latents), ops.convert_to_tensor(quality, "float32")
        known_latents = latents if known is None else known
        total = 0.0
        for k, size in enumerate(self.groups):
            start = sum(self.groups[:k])
            for level, stride, known, coded in order(self.levels):
                grid, own = (x[:, ::stride, ::stride, : start + size] for x in (known_latents, latents))
                rows, columns = ops.arange(ops.shape(grid)[1])[:, None], ops.arange(ops.shape(grid)[2])[None]
                known, coded = (ops.cast(f(rows, columns), "float32")[None, ..., None] for f in (known, coded))
                mask = ops.zeros_like(grid[..., :1]) + known
                context = ops.concatenate([grid[..., :start], grid[..., start:] * known, mask], axis=-1)
                mean, log_scale = self.parameters(k, context, level, quality)
                nats = logistic_nats(own[..., start:], mean, log_scale)
                total = total + ops.sum(nats * coded, axis=(1, 2, 3))
        return total

    def get_config(self) -> dict:
        own = {"groups": list(self.groups), "qualities": self.qualities, "hidden": self.hidden, "levels": self.levels}
        return {**super().get_config(), **own}


def between(rows, positions):
    """Return rows of a table, linearly interpolated.

    Args:
        rows: float tensor `(n, width)`.
        positions: float tensor `(batch,)` of row positions from 0 to `n - 1`.

    Returns:
        float tensor `(batch, width)`.
    """
    last = rows.shape[0] - 1
    low = ops.clip(ops.cast(ops.floor(positions), "int32"), 0, max(0, last - 1))
    weight = (positions - ops.cast(low, positions.dtype))[:, None]
    return (1 - weight) * ops.take(rows, low, axis=0) + weight * ops.take(rows, ops.minimum(low + 1, last), axis=0)


def logistic_nats(x, mean, log_scale):
    """Return -log of the mass of a logistic distribution between x - 1/2 and x + 1/2."""
    scale = ops.exp(ops.clip(log_scale, *(math.log(s) for s in SCALES)))
    distance = ops.abs(x - mean)
    inside, outside = (0.5 - distance) / scale, (0.5 + distance) / scale
    return ops.softplus(-inside) + ops.softplus(-outside) - ops.log(-ops.expm1(-1 / scale))
