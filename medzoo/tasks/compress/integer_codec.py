"""A trained `Codec` computed in whole numbers, so that every machine finds the same bits and the same picture.

Floating-point sums depend on the order in which a processor or a library adds; one last bit of difference in a
probability makes the rest of a file unreadable. Here weights and activations are whole numbers (fixed point), held in
float64: as long as they stay below 2^53, sums of their products are exact in any order (after Ballé et al. 2019,
"Integer networks for data compression with latent-variable models"). Only NumPy is used; the codec's layers are read,
not run.
"""

import math
from decimal import Decimal, localcontext
from functools import lru_cache

import numpy as np

from medzoo.layers.blocks import ResidualBlock
from medzoo.layers.entropy_model import SCALES
from medzoo.models.codec import BEST
from medzoo.utils.parallel import in_pieces

BITS = 10  # of activations behind the point
WEIGHT_BITS = 14  # of weights
SILU_END = 16  # where silu(x) is x, or 0, to that precision
STEPS = 64  # scales in the table of distributions
FRACTIONS = 8  # of a mean between two whole numbers
REACH = 63  # residuals up to this size have a probability of their own
ESCAPE = 2 * REACH + 1  # the symbol for all others
TOTAL_BITS = 20  # of the probabilities
WINDOWS = 2**18  # numbers of a convolution's windows that lie in memory at a time
BAND = 80  # rows of latents that are decoded at a time


def whole(values, bits=0):
    return np.round(np.asarray(values, "float64") * 2.0**bits)


def shifted(x, bits):
    """x / 2^bits, rounded."""
    return np.floor(x / 2.0**bits + 0.5)


def _exp(x):
    """e^x of a Decimal, the same everywhere."""
    with localcontext() as context:
        context.prec = 18
        return x.exp()


@lru_cache(maxsize=1)
def silu_table():
    """silu(i / 2^BITS) * 2^BITS for i from -SILU_END * 2^BITS on."""
    end = SILU_END * 2**BITS
    sigmoid = [float(1 / (1 + _exp(-Decimal(i) / 2**BITS))) for i in range(end + 1)]
    right = np.round(np.arange(end + 1) * np.array(sigmoid))
    return np.concatenate([(right - np.arange(end + 1))[:0:-1], right])  # silu(-x) = silu(x) - x


def silu(x):
    end = SILU_END * 2**BITS
    y = silu_table().take((x + end).astype("int64"), mode="clip")
    if x.max() > end:
        y += np.maximum(x - end, 0)
    return y


@lru_cache(maxsize=1)
def distributions():
    """Probabilities of `residual + REACH`, and of ESCAPE, for each scale and fraction: whole numbers over 2^TOTAL_BITS.

    Residuals are from the mean's whole part. Returns: float64 `(STEPS, FRACTIONS, 2 REACH + 2)`.
    """
    numerators = np.arange(FRACTIONS * (REACH + 2) + 1)  # of the distance from the mean, in FRACTIONS-ths
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


def depth_to_space(x, block):
    height, width, channels = x.shape
    x = x.reshape(height, width, block, block, channels // block**2)
    return x.transpose(0, 2, 1, 3, 4).reshape(height * block, width * block, -1)


class Conv:
    """A convolution with `same` padding, or a dense layer, from a Keras layer's weights.

    Args:
        layer: Keras layer.
        bits_in: of the input behind the point.
        bits_out: of the output.
        gain: that the input is multiplied by, folded into the weights.
    """

    def __init__(self, layer, bits_in=BITS, bits_out=BITS, gain=1.0):
        kernel, bias = (np.asarray(w, "float64") for w in layer.get_weights())
        self.side = kernel.shape[0] if kernel.ndim == 4 else 1
        self.kernel = whole(kernel * gain, WEIGHT_BITS).reshape(-1, kernel.shape[-1])
        self.bias = whole(bias, bits_in + WEIGHT_BITS)
        self.drop = bits_in + WEIGHT_BITS - bits_out

    def __call__(self, x):
        """Whole numbers `(h, w, c)`, or a list `(n, c)` for a dense layer."""
        if self.side == 1:
            return self._sums(x)
        windows = self._windows(x)
        count = max(1, WINDOWS // (windows.shape[1] * len(self.kernel)))
        parts = (windows[i : i + count] for i in range(0, len(windows), count))
        return np.concatenate([self._sums(part.reshape(*part.shape[:2], -1)) for part in parts])

    def at(self, x, places, extra):
        """What `__call__` gives at some places only, `(n, c)`.

        Args:
            x: `(h, w, c)`.
            places: row and column numbers, `(n,)` each.
            extra: added before the rounding.
        """
        windows, (rows, columns) = self._windows(x), places
        count = max(1, WINDOWS // len(self.kernel))
        parts = ((rows[i : i + count], columns[i : i + count]) for i in range(0, len(rows), count))
        return np.concatenate(in_pieces(lambda at: self._sums(windows[at].reshape(len(at[0]), -1), extra), parts))

    def _sums(self, x, extra=0):
        """`shifted(x @ kernel + bias + extra)`, in place."""
        sums = x @ self.kernel
        sums += self.bias + extra
        sums *= 2.0**-self.drop
        sums += 0.5
        return np.floor(sums, out=sums)

    def _windows(self, x):
        """View `(h, w, side, side * c)` of what each place sees."""
        height, width, channels = x.shape
        pad = self.side // 2
        x = np.pad(np.asarray(x, "float64"), ((pad, pad), (pad, pad), (0, 0)))
        shape, (row, column, number) = (height, width, self.side, self.side * channels), x.strides
        return np.lib.stride_tricks.as_strided(x, shape, (row, column, row, number), writeable=False)


class IntegerCodec:
    """Decoder and prior of a `Codec` in whole numbers.

    Args:
        model: the trained `Codec`.
    """

    def __init__(self, model):
        decoder, prior = model.decoder, model.prior
        self.groups, self.levels, self.hidden = prior.groups, prior.levels, prior.hidden
        self.f, self.patch_size = decoder.downsampling_factors[0], decoder.patch_size[0]
        log_gain = np.asarray(model.log_gain, "float64")
        self.log_gain = np.array([[Decimal(float(g)) for g in row] for row in log_gain])
        # 1 / sqrt, not ** -0.5: the root is the same on every machine.
        self.linear = Conv(decoder.linear, gain=1 / np.sqrt(decoder.linear.units))
        fan = 9 * decoder.head.get_weights()[0].shape[2]
        self.head = Conv(decoder.head, gain=1 / np.sqrt(fan))
        self.stages = []
        for layer in decoder.stages:
            block = isinstance(layer, ResidualBlock)
            self.stages.append((Conv(layer.first), Conv(layer.second)) if block else Conv(layer))
        self.reach = self._reach()
        self.first, self.second, self.third = [], [], []
        for k in range(len(self.groups)):
            self.first.append(Conv(prior.first[k], bits_in=0))
            self.second.append(Conv(prior.second[k]))
            self.third.append(Conv(prior.third[k]))
        self.at_level = [whole(w, WEIGHT_BITS) for w in prior.at_level]
        self.at_quality = [whole(w, WEIGHT_BITS) for w in prior.at_quality]
        low, high = (Decimal(s).ln() for s in SCALES)
        self.log_low = int(low * 2**BITS)
        self.per_step = int((STEPS - 1) / (high - low) * 2**BITS)  # table steps for a log-scale of one

    def _reach(self):
        """How many rows of latents away a grey value is seen from."""
        reach, scale = 0.0, 1
        for i, stage in enumerate(self.stages):
            reach += sum(conv.side // 2 for conv in (stage if isinstance(stage, tuple) else (stage,))) / scale
            scale *= 1 if isinstance(stage, tuple) or not i else 2
        return math.ceil(reach + self.head.side // 2 / scale)

    def picture(self, latents, quality, low=0, high=255):
        """Latents `(h, w, channels)` to whole grey values from `low` to `high`, int64 `(H, W)`."""
        inverse = whole([float(_exp(-g)) for g in _between(self.log_gain, quality)], WEIGHT_BITS)

        def band(first):
            """Rows from `first` on; what they see above and below them is decoded too and cut away."""
            start, last = max(0, first - self.reach), first + BAND
            values = self._values(latents[start : last + self.reach], inverse)
            return values[(first - start) * self.f : (last - start) * self.f]

        values = np.concatenate(in_pieces(band, range(0, len(latents), BAND)))
        return np.clip(low + shifted(values * (high - low), BITS), low, high).astype("int64")

    def _values(self, latents, inverse):
        """Grey values of some rows of latents, from 0 to 2^BITS, `(H, W)`."""
        x = shifted(latents * inverse, WEIGHT_BITS - BITS)
        linear = depth_to_space(self.linear(x), self.f)
        for i, stage in enumerate(self.stages):
            if isinstance(stage, tuple):
                first, second = stage
                x = x + second(silu(first(silu(x))))
            else:
                x = stage(x)
                x = depth_to_space(x, 2) if i else x
        return (linear + depth_to_space(self.head(silu(x)), self.patch_size))[..., 0]

    def parameters(self, k, known, places, level, quality):
        """Means in FRACTIONS-ths and steps of the table of scales, int64 `(n, channels)` each, of a group's latents.

        As `InterlacedEntropyModel.parameters`, for one image and at some places: row and column numbers `(n,)`.
        """
        size = self.groups[k]
        extra = self.at_level[k][level] + np.round(_between(self.at_quality[k], quality))
        x = self.first[k].at(known, places, extra)
        hidden = np.maximum(self.second[k](np.maximum(x[:, : self.hidden], 0)), 0)
        x = x[:, self.hidden :] + self.third[k](hidden)
        mean = shifted(x[:, :size] * FRACTIONS, BITS)
        step = shifted((x[:, size:] - self.log_low) * self.per_step, 2 * BITS)
        return mean.astype("int64"), np.clip(step, 0, STEPS - 1).astype("int64")


def _between(rows, quality):
    """The row of a table of floats or `Decimal`s that belongs to a whole-numbered quality, interpolated."""
    low, share = divmod(quality * (len(rows) - 1), BEST)
    high = min(low + 1, len(rows) - 1)
    return (rows[low] * (BEST - share) + rows[high] * share) / BEST
