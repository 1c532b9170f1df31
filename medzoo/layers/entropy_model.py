"""How likely integer latents on a grid are, from coarse to fine: what a codec's bits are counted and coded with."""

import math

import keras
from keras import ops

from medzoo.layers.grids import convolution

SCALES = (0.04, 40.0)  # least and largest scale of the logistic distributions


def order(levels):
    """The order in which a group of channels is coded: `(level, stride, known, coded)` for each step.

    The coarsest grid (every `2 ** (levels - 1)`-th row and column) comes first. Each finer grid then has one quarter of
    its places known; the quarter in the middle of four known ones follows, then the half between. `known` and `coded`
    are functions of row and column numbers of the grid, which say what is known before the step and what it codes.
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
class InterlacedEntropyModel(keras.layers.Layer):
    """Logistic distributions for integer latents, each given what was coded before it.

    Channels are coded in groups, each group from coarse to fine (see `order`): a small convolutional network sees the
    groups before at all places of the grid at hand and its own group where it is known. Coding by halves of the grid
    instead of place by place keeps the number of steps small (He et al. 2021, arXiv:2103.15306); channels after one
    another are from Minnen & Singh 2020 (arXiv:2007.08739). All of it can be computed in whole numbers
    (`medzoo.tasks.compress.integer_codec`), so that a decoder on another machine finds the same probabilities.

    Args:
        groups: channels of each group.
        qualities: how many levels of quality have biases of their own; between them they are interpolated.
        hidden: width of the networks.
        levels: grids from coarse to fine.
    """

    def __init__(self, groups=(1, 3, 4, 8), qualities=4, hidden=48, levels=4, **kwargs):
        super().__init__(**kwargs)
        self.groups, self.qualities, self.hidden, self.levels = tuple(groups), qualities, hidden, levels
        self.first, self.second, self.third = [], [], []
        own = {"dtype": self.dtype_policy}
        for k, size in enumerate(self.groups):
            self.first.append(convolution(2)(hidden + 2 * size, 5, padding="same", name=f"first_{k}", **own))
            self.second.append(keras.layers.Dense(hidden, name=f"second_{k}", **own))
            self.third.append(keras.layers.Dense(2 * size, kernel_initializer="zeros", name=f"third_{k}", **own))

    def build(self, input_shape=None):
        self.at_level, self.at_quality = [], []
        for k, size in enumerate(self.groups):
            width = self.hidden + 2 * size
            self.first[k].build((None, None, None, sum(self.groups[: k + 1]) + 1))
            self.second[k].build((None, None, None, self.hidden))
            self.third[k].build((None, None, None, self.hidden))
            self.at_level.append(self.add_weight((self.levels, width), "zeros", name=f"at_level_{k}"))
            self.at_quality.append(self.add_weight((self.qualities, width), "zeros", name=f"at_quality_{k}"))
        self.built = True

    def parameters(self, k, known, level, quality):
        """Mean and log-scale of group k's latents.

        Args:
            k: index of the group.
            known: `(batch, h, w, channels + 1)`: groups before, the group itself where known (else 0), and where that
                is (1 or 0).
            level: of the grid.
            quality: `(batch,)`, from 0 to `qualities - 1`, see `between`.
        """
        size = self.groups[k]
        x = self.first[k](known) + self.at_level[k][level] + between(self.at_quality[k], quality)[:, None, None]
        hidden = ops.relu(self.second[k](ops.relu(x[..., : self.hidden])))
        x = x[..., self.hidden :] + self.third[k](hidden)
        return x[..., :size], x[..., size:]

    def nats(self, latents, quality, seen=None):
        """Negative log-probability of whole grids of latents, `(batch,)`.

        Args:
            latents: float `(batch, h, w, channels)`; noisy ones in training.
            quality: `(batch,)`, as in `parameters`.
            seen: what is known of latents coded before, shaped like them: in training the rounded ones, as when
                decoding; by default the latents.
        """
        latents, quality = ops.convert_to_tensor(latents), ops.convert_to_tensor(quality, "float32")
        seen = latents if seen is None else seen
        total = 0.0
        for k, size in enumerate(self.groups):
            start = sum(self.groups[:k])
            for level, stride, known, coded in order(self.levels):
                grid, own = (x[:, ::stride, ::stride, : start + size] for x in (seen, latents))
                rows, columns = ops.arange(ops.shape(grid)[1])[:, None], ops.arange(ops.shape(grid)[2])[None]
                known, coded = (ops.cast(f(rows, columns), "float32")[None, ..., None] for f in (known, coded))
                mask = ops.zeros_like(grid[..., :1]) + known
                context = ops.concatenate([grid[..., :start], grid[..., start:] * known, mask], axis=-1)
                mean, log_scale = self.parameters(k, context, level, quality)
                nats = logistic_nats(own[..., start:], mean, log_scale)
                total = total + ops.sum(nats * coded, axis=(1, 2, 3))
        return total

    def get_config(self):
        own = {"groups": list(self.groups), "qualities": self.qualities, "hidden": self.hidden, "levels": self.levels}
        return {**super().get_config(), **own}


def between(rows, places):
    """The rows of a table at places `(batch,)` from 0 to the last one's, in between interpolated: `(batch, width)`."""
    last = rows.shape[0] - 1
    low = ops.clip(ops.cast(ops.floor(places), "int32"), 0, max(0, last - 1))
    share = (places - ops.cast(low, places.dtype))[:, None]
    return (1 - share) * ops.take(rows, low, axis=0) + share * ops.take(rows, ops.minimum(low + 1, last), axis=0)


def logistic_nats(x, mean, log_scale):
    """-log of the logistic distribution's mass between x - 1/2 and x + 1/2."""
    scale = ops.exp(ops.clip(log_scale, *(math.log(s) for s in SCALES)))
    distance = ops.abs(x - mean)
    inside, outside = (0.5 - distance) / scale, (0.5 + distance) / scale
    return ops.softplus(-inside) + ops.softplus(-outside) - ops.log(-ops.expm1(-1 / scale))
