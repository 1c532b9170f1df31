"""Whole numbers to a range coder's words and back: latents under a codec's prior, residuals under the image's own.

`Encoder` and `Decoder` are used by the same functions, so that both sides walk through the same steps: an encoder is
given the numbers, a decoder fills them in.
"""

import numpy as np

from medzoo.layers.prior import order
from medzoo.tasks.compress.exact import ESCAPE, FRACTIONS, REACH, STEPS, distributions

RAW = 2**20  # range of escaped residuals, around zero
ROWS = 20_000  # symbols handed to the range coder at a time: each brings its own table
LEVELS = 5  # grids of the residual, from coarse to fine
WEIGHT_BITS = 6  # of the residual's prediction
ENOUGH = 2000  # pixels of a step for weights and spreads of its own
PLAIN = np.array([2 ** (WEIGHT_BITS - 2)] * 4 + [0] * 12)  # weights of a smaller step: the mean of the nearest
ACTIVITY = np.array(
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64, 96]
)  # between the bins of its spread


class Encoder:
    """Writes whole numbers `y` under distributions of given means (in FRACTIONS-ths) and steps of the table."""

    writes = True

    def __init__(self, coder):
        self.coder = coder

    def code(self, y, mean, step):
        for part in _parts(y):
            base, fraction = np.divmod(mean[part], FRACTIONS)
            residual = y[part] - base
            escaped = np.abs(residual) > REACH
            symbols = np.where(escaped, ESCAPE, residual + REACH).astype("int32")
            self.coder.encode(symbols, _categorical(), _tables(step[part], fraction))
            if escaped.any():
                self.uniform(residual[escaped] + RAW // 2, RAW)
        return y

    def uniform(self, y, size):
        if size > 1 and len(y):
            self.coder.encode(np.asarray(y, "int32"), constriction().model.Uniform(size))
        return y


class Decoder:
    """Reads what `Encoder` wrote; the `y` given are only counted."""

    writes = False

    def __init__(self, coder):
        self.coder = coder

    def code(self, y, mean, step):
        found = np.empty(len(y), "int64")
        for part in _parts(y):
            base, fraction = np.divmod(mean[part], FRACTIONS)
            symbols = self.coder.decode(_categorical(), _tables(step[part], fraction)).astype("int64")
            residual = symbols - REACH
            escaped = symbols == ESCAPE
            if escaped.any():
                residual[escaped] = self.uniform(residual[escaped], RAW) - RAW // 2
            found[part] = base + residual
        return found

    def uniform(self, y, size):
        if size == 1 or not len(y):
            return np.zeros(len(y), "int64")
        return self.coder.decode(constriction().model.Uniform(size), len(y)).astype("int64")


def _parts(y):
    return (slice(i, i + ROWS) for i in range(0, len(y), ROWS))


def _tables(step, fraction):
    return distributions()[step, fraction] / 2.0**21


def _categorical():
    return constriction().model.Categorical(perfect=False)


def constriction():
    try:
        import constriction
    except ImportError as error:
        raise ImportError(
            'compressing needs a range coder: pip install "medzoo[compress]" (or constriction).'
        ) from error
    return constriction.stream


def _steps(shape, levels):
    """`order`, for a grid of that shape: `(level, stride, known, coded)` with masks in place of functions."""
    for level, stride, known, coded in order(levels):
        rows = np.arange(-(-shape[0] // stride))[:, None]
        columns = np.arange(-(-shape[1] // stride))[None]
        known, coded = (f(rows, columns).astype(bool) for f in (known, coded))
        if coded.any():
            yield level, stride, known, coded


def code_latents(coder, exact, latents, quality):
    """Codes the latents `(h, w, channels)`, or fills them in."""
    start = 0
    for k, size in enumerate(exact.groups):
        for level, stride, known, coded in _steps(latents.shape, exact.levels):
            grid = latents[::stride, ::stride]
            own = grid[..., start : start + size] * known[..., None]
            context = np.concatenate([grid[..., :start], own, known[..., None]], axis=-1)
            mean, step = exact.parameters(k, context, level, quality)
            y = grid[..., start : start + size][coded].astype("int64")
            found = coder.code(y.ravel(), mean[coded].ravel(), step[coded].ravel())
            grid[..., start : start + size][coded] = found.reshape(-1, size)
        start += size


def code_residual(coder, residual, picture):
    """Codes the residual `(H, W)`, or fills it in.

    Each pixel is predicted from known neighbours and the decoded picture by weights that were fitted to the image; its
    spread is that of pixels with as active a neighbourhood. Weights and spreads are sent first.
    """
    spread = int(residual.std()) if coder.writes else 0
    drop = int(coder.uniform([max(0, (spread // 8).bit_length())], 16)[0])  # low bits that are noise, sent as they are
    for _, stride, known, coded in _steps(residual.shape, LEVELS):
        grid = residual[::stride, ::stride]
        features, activity = _surroundings(grid * known, picture[::stride, ::stride], coded)
        y = grid[coded]
        weights, steps = PLAIN, np.zeros(len(ACTIVITY) + 1, "int64")
        fitted = len(y) >= ENOUGH  # or the weights would cost more than they save
        if fitted:
            if coder.writes:
                weights = np.linalg.lstsq(features.astype("float64"), y.astype("float64"), rcond=None)[0]
                weights = np.clip(np.round(weights * 2**WEIGHT_BITS), -128, 127).astype("int64")
            weights = coder.uniform(weights + 128, 256) - 128
        mean = (features @ weights * FRACTIONS) >> (WEIGHT_BITS + drop)
        bins = np.searchsorted(ACTIVITY << drop, activity) if fitted else np.zeros(len(y), "int64")
        if coder.writes:
            for b in np.unique(bins):
                steps[b] = _best_step((y >> drop)[bins == b], mean[bins == b])
        used = len(steps) if fitted else 1
        steps[:used] = coder.uniform(steps[:used], STEPS)
        high = coder.code(y >> drop, mean, steps[bins])
        low = coder.uniform(y & ((1 << drop) - 1), 1 << drop)
        grid[coded] = (high << drop) + low


# Known neighbours of a place, (row, column): nearest first. At the middles known places lie on the diagonals, between
# them straight above, below, left and right.
MIDDLES = (
    (-1, -1),
    (-1, 1),
    (1, -1),
    (1, 1),
    *((i, j) for i in (-3, -1, 1, 3) for j in (-3, -1, 1, 3) if i**2 + j**2 == 10),
)
BETWEEN = (
    (-1, 0),
    (1, 0),
    (0, -1),
    (0, 1),
    *((i, j) for i in (-2, -1, 1, 2) for j in (-2, -1, 1, 2) if i**2 + j**2 == 5),
)


def _surroundings(residual, picture, coded):
    """Of each coded place: twelve known neighbours and the picture's rise towards the nearest four, `(N, 16)`, and how
    active they are, `(N,)`. At the coarsest grid, where all is coded, no neighbour is known.
    """
    around = MIDDLES if len(coded) > 1 and not coded[0].any() else BETWEEN
    reach = 3
    mode = "reflect" if min(residual.shape) > reach else "edge"
    values, shades = (np.pad(x, reach, mode=mode) for x in (residual, picture))
    height, width = residual.shape

    def moved(x, i, j):
        return x[reach + i : reach + i + height, reach + j : reach + j + width][coded]

    near = [moved(values, i, j) for i, j in around]
    rise = [moved(shades, i, j) - picture[coded] for i, j in around[:4]]
    centre = sum(near[:4]) // 4
    activity = sum(2 * np.abs(n - centre) for n in near[:4]) + sum(np.abs(n - centre) for n in near[4:])
    return np.stack([*near, *rise], axis=1), (activity + sum(np.abs(r) for r in rise) // 2) // 4


def _best_step(y, mean):
    """The step of the table under which these numbers are shortest."""
    base, fraction = np.divmod(mean, FRACTIONS)
    symbols = y - base
    symbols = np.where(np.abs(symbols) > REACH, ESCAPE, symbols + REACH)
    some = slice(None, None, max(1, len(y) // 2000))
    bits = [np.log2(table[fraction[some], symbols[some]]).sum() for table in distributions()]
    return int(np.argmax(bits))
