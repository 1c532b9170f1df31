"""A trained `Codec` in integer arithmetic, so that every machine computes identical probabilities and pixels.

Floating-point sums depend on the order in which a processor or a library adds, and a difference in the last bit of a
probability makes the rest of a file undecodable. Here, weights and activations are integers (fixed point) stored as
float64. As long as they stay below 2^53, sums of their products are exact in any order (after Ballé et al. 2019,
"Integer networks for data compression with latent-variable models"). Only NumPy is used: the weights of the codec's
layers are read, but the layers are not run.
"""

import math
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from medzoo.layers.blocks import ResidualBlock
from medzoo.layers.entropy_model import SCALES
from medzoo.models import Codec
from medzoo.models.codec import MAX_QUALITY
from medzoo.utils.parallel import map_pieces

if TYPE_CHECKING:
    import keras

BITS = 10  # fractional bits of activations
WEIGHT_BITS = 14  # fractional bits of weights
SILU_END = 16  # magnitude beyond which silu(x) is x or 0 to this precision
STEPS = 64  # number of scales in the table of distributions
FRACTIONS = 8  # number of positions of a mean between two integers
REACH = 63  # residuals up to this magnitude have separate probabilities
ESCAPE = 2 * REACH + 1  # symbol of all other residuals
TOTAL_BITS = 20  # bits of the probabilities
WINDOWS = 2**18  # maximum number of elements of a convolution's windows in memory at a time
BAND = 80  # number of rows of latents that are decoded at a time


def to_fixed_point(values: Any, bits: int = 0) -> np.ndarray:
    """Round values to fixed-point numbers.

    Args:
        values: Array of floats.
        bits: int. Number of fractional bits.

    Returns:
        float64 array of integer values.
    """
    return np.round(np.asarray(values, "float64") * 2.0**bits)


def shift_right(x: np.ndarray, bits: int) -> np.ndarray:
    """Divide integers by 2^bits and round.

    Args:
        x: float64 array of integer values.
        bits: int. Number of bits.

    Returns:
        float64 array of integer values.
    """
    return np.floor(x / 2.0**bits + 0.5)


def _exp(x):
    """Return e^x of a Decimal, identical on every machine."""
    with localcontext() as context:
        context.prec = 18
        return x.exp()


@lru_cache(maxsize=1)
def silu_table() -> np.ndarray:
    """Return silu(i / 2^BITS) * 2^BITS for i from -SILU_END * 2^BITS to SILU_END * 2^BITS."""
    end = SILU_END * 2**BITS
    sigmoid = [float(1 / (1 + _exp(-Decimal(i) / 2**BITS))) for i in range(end + 1)]
    right = np.round(np.arange(end + 1) * np.array(sigmoid))
    return np.concatenate([(right - np.arange(end + 1))[:0:-1], right])  # silu(-x) = silu(x) - x


def silu(x: np.ndarray) -> np.ndarray:
    """Compute the activation function SiLU of fixed-point numbers with `BITS` fractional bits.

    Args:
        x: float64 array of integer values.

    Returns:
        float64 array of integer values.
    """
    end = SILU_END * 2**BITS
    y = silu_table().take((x + end).astype("int64"), mode="clip")
    if x.max() > end:
        y += np.maximum(x - end, 0)
    return y


@lru_cache(maxsize=1)
def distributions() -> np.ndarray:
    """Return the probability tables of the quantized logistic distributions.

    There is one table per scale and fraction of the mean. Residuals are relative to the integer part of the mean. The
    last entry is the probability of `ESCAPE`.

    Returns:
        float64 array of shape `(STEPS, FRACTIONS, 2 REACH + 2)` of integers in units of 2^-TOTAL_BITS.
    """
    numerators = np.arange(FRACTIONS * (REACH + 2) + 1)  # distance from the mean in units of 1 / FRACTIONS
    half = FRACTIONS // 2
    tables = []
    for step in range(STEPS):
        scale = _exp(Decimal(SCALES[0]).ln() + (Decimal(SCALES[1]) / Decimal(SCALES[0])).ln() * step / (STEPS - 1))
        right = [round(2**TOTAL_BITS / (1 + _exp(-Decimal(int(n)) / FRACTIONS / scale))) for n in numerators]
        cdf = np.array([2**TOTAL_BITS - v for v in right[:0:-1]] + right, "float64")
        middle = len(numerators) - 1
        for fraction in range(FRACTIONS):
            edges = middle + FRACTIONS * np.arange(-REACH, REACH + 2) - fraction - half
            mass = np.maximum(np.diff(cdf[edges]), 1)
            outside = max(cdf[edges[0]] + 2**TOTAL_BITS - cdf[edges[-1]], 1)
            tables.append(np.append(mass, outside))
    return np.array(tables).reshape(STEPS, FRACTIONS, -1)


def depth_to_space(x: np.ndarray, block: int) -> np.ndarray:
    """Rearrange channels into blocks of pixels.

    Args:
        x: Array of shape `(h, w, block * block * c)`.
        block: int. Side length of the blocks.

    Returns:
        Array of shape `(h * block, w * block, c)`.
    """
    height, width, channels = x.shape
    x = x.reshape(height, width, block, block, channels // block**2)
    return x.transpose(0, 2, 1, 3, 4).reshape(height * block, width * block, -1)


class IntegerConv:
    """Convolution with `same` padding, or dense layer, in integer arithmetic.

    Args:
        layer: Keras layer whose weights are used.
        bits_in: int. Number of fractional bits of the input.
        bits_out: int. Number of fractional bits of the output.
        gain: float. Factor of the input, included in the weights.
    """

    def __init__(self, layer: "keras.layers.Layer", bits_in: int = BITS, bits_out: int = BITS, gain: float = 1.0):
        kernel, bias = (np.asarray(w, "float64") for w in layer.get_weights())
        self.side = kernel.shape[0] if kernel.ndim == 4 else 1
        self.kernel = to_fixed_point(kernel * gain, WEIGHT_BITS).reshape(-1, kernel.shape[-1])
        self.bias = to_fixed_point(bias, bits_in + WEIGHT_BITS)
        self.drop = bits_in + WEIGHT_BITS - bits_out

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Apply the layer.

        Args:
            x: float64 array of integer values of shape `(h, w, c)`, or `(n, c)` for a dense layer.

        Returns:
            float64 array of integer values.
        """
        if self.side == 1:
            return self._sums(x)
        windows = self._windows(x)
        count = max(1, WINDOWS // (windows.shape[1] * len(self.kernel)))
        parts = (windows[i : i + count] for i in range(0, len(windows), count))
        return np.concatenate([self._sums(part.reshape(*part.shape[:2], -1)) for part in parts])

    def at_positions(self, x: np.ndarray, positions: tuple[np.ndarray, ...], extra: np.ndarray) -> np.ndarray:
        """Apply the layer at some positions only.

        Args:
            x: float64 array of integer values of shape `(h, w, c)`.
            positions: Row and column indices, arrays of shape `(n,)` each.
            extra: Array that is added before rounding.

        Returns:
            float64 array of integer values of shape `(n, c)`.
        """
        windows, (rows, columns) = self._windows(x), positions
        count = max(1, WINDOWS // len(self.kernel))
        parts = ((rows[i : i + count], columns[i : i + count]) for i in range(0, len(rows), count))
        return np.concatenate(map_pieces(lambda at: self._sums(windows[at].reshape(len(at[0]), -1), extra), parts))

    def _sums(self, x, extra=0):
        """Return `shift_right(x @ kernel + bias + extra)`, computed in place."""
        sums = x @ self.kernel
        sums += self.bias + extra
        sums *= 2.0**-self.drop
        sums += 0.5
        return np.floor(sums, out=sums)

    def _windows(self, x):
        """Return a view of shape `(h, w, side, side * c)` of the receptive field of each position."""
        height, width, channels = x.shape
        pad = self.side // 2
        x = np.pad(np.asarray(x, "float64"), ((pad, pad), (pad, pad), (0, 0)))
        shape, (row, column, number) = (height, width, self.side, self.side * channels), x.strides
        return np.lib.stride_tricks.as_strided(x, shape, (row, column, row, number), writeable=False)


class IntegerCodec:
    """Decoder and entropy model of a `Codec` in integer arithmetic.

    Args:
        model: The trained `Codec`.
    """

    def __init__(self, model: Codec):
        decoder, prior = model.decoder, model.prior
        self.groups, self.levels, self.hidden = prior.groups, prior.levels, prior.hidden
        self.f, self.patch_size = decoder.downsampling_factors[0], decoder.patch_size[0]
        log_gain = np.asarray(model.log_gain, "float64")
        self.log_gain = np.array([[Decimal(float(g)) for g in row] for row in log_gain])
        # 1 / sqrt instead of ** -0.5, because the square root is identical on every machine.
        self.linear = IntegerConv(decoder.linear, gain=1 / np.sqrt(decoder.linear.units))
        fan = 9 * decoder.head.get_weights()[0].shape[2]
        self.head = IntegerConv(decoder.head, gain=1 / np.sqrt(fan))
        self.stages = []
        for layer in decoder.stages:
            block = isinstance(layer, ResidualBlock)
            self.stages.append((IntegerConv(layer.first), IntegerConv(layer.second)) if block else IntegerConv(layer))
        self.radius = self._radius()
        self.first, self.second, self.third = [], [], []
        for k in range(len(self.groups)):
            self.first.append(IntegerConv(prior.first[k], bits_in=0))
            self.second.append(IntegerConv(prior.second[k]))
            self.third.append(IntegerConv(prior.third[k]))
        self.at_level = [to_fixed_point(w, WEIGHT_BITS) for w in prior.at_level]
        self.at_quality = [to_fixed_point(w, WEIGHT_BITS) for w in prior.at_quality]
        low, high = (Decimal(s).ln() for s in SCALES)
        self.log_low = int(low * 2**BITS)
        self.per_step = int((STEPS - 1) / (high - low) * 2**BITS)  # steps of the table per unit of the log-scale

    def _radius(self):
        """Return the radius of the receptive field of a pixel, in rows of latents."""
        radius, scale = 0.0, 1
        for i, stage in enumerate(self.stages):
            radius += sum(conv.side // 2 for conv in (stage if isinstance(stage, tuple) else (stage,))) / scale
            scale *= 1 if isinstance(stage, tuple) or not i else 2
        return math.ceil(radius + self.head.side // 2 / scale)

    def decode(self, latents: np.ndarray, quality: int, low: int = 0, high: int = 255) -> np.ndarray:
        """Decode latents to pixel values.

        Args:
            latents: Float array of shape `(h, w, channels)` with integer values.
            quality: int, 0 to 100.
            low: int. Pixel value that corresponds to 0 in the model's range.
            high: int. Pixel value that corresponds to 1.

        Returns:
            int64 array of shape `(H, W)` with values from `low` to `high`.
        """
        inverse = to_fixed_point([float(_exp(-g)) for g in _between(self.log_gain, quality)], WEIGHT_BITS)

        def band(first):
            """Return the rows from `first` on; rows of their receptive field are decoded too and then removed."""
            start, last = max(0, first - self.radius), first + BAND
            values = self._values(latents[start : last + self.radius], inverse)
            return values[(first - start) * self.f : (last - start) * self.f]

        values = np.concatenate(map_pieces(band, range(0, len(latents), BAND)))
        return np.clip(low + shift_right(values * (high - low), BITS), low, high).astype("int64")

    def _values(self, latents, inverse):
        """Return the pixel values of some rows of latents, from 0 to 2^BITS, of shape `(H, W)`."""
        x = shift_right(latents * inverse, WEIGHT_BITS - BITS)
        linear = depth_to_space(self.linear(x), self.f)
        for i, stage in enumerate(self.stages):
            if isinstance(stage, tuple):
                first, second = stage
                x = x + second(silu(first(silu(x))))
            else:
                x = stage(x)
                x = depth_to_space(x, 2) if i else x
        return (linear + depth_to_space(self.head(silu(x)), self.patch_size))[..., 0]

    def parameters(
        self, k: int, known: np.ndarray, positions: tuple[np.ndarray, ...], level: int, quality: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the parameters of the distributions of a group's latents at some positions.

        The counterpart of `InterlacedEntropyModel.parameters` for one image.

        Args:
            k: int. Index of the channel group.
            known: Float array of shape `(h, w, channels)`. Known latents.
            positions: Row and column indices, arrays of shape `(n,)` each.
            level: int. Level of the grid.
            quality: int, 0 to 100.

        Returns:
            `(mean, step)`, int64 arrays of shape `(n, channels)`: the means in units of 1 / `FRACTIONS`, and the
            indices of the scales.
        """
        size = self.groups[k]
        extra = self.at_level[k][level] + np.round(_between(self.at_quality[k], quality))
        x = self.first[k].at_positions(known, positions, extra)
        hidden = np.maximum(self.second[k](np.maximum(x[:, : self.hidden], 0)), 0)
        x = x[:, self.hidden :] + self.third[k](hidden)
        mean = shift_right(x[:, :size] * FRACTIONS, BITS)
        step = shift_right((x[:, size:] - self.log_low) * self.per_step, 2 * BITS)
        return mean.astype("int64"), np.clip(step, 0, STEPS - 1).astype("int64")


def _between(rows, quality):
    """Return the row of a table of floats or `Decimal`s for a quality, by linear interpolation."""
    low, fraction = divmod(quality * (len(rows) - 1), MAX_QUALITY)
    high = min(low + 1, len(rows) - 1)
    return (rows[low] * (MAX_QUALITY - fraction) + rows[high] * fraction) / MAX_QUALITY
