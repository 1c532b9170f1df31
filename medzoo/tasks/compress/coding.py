"""Whole numbers to a range coder's words and back: latents under a codec's prior.

`Encoder` and `Decoder` are used by the same function, so that both sides walk through the same steps: an encoder is
given the numbers, a decoder fills them in.
"""

from functools import cache

import numpy as np

from medzoo.errors import CompressedFileError
from medzoo.layers.prior import order
from medzoo.tasks.compress.exact import ESCAPE, FRACTIONS, REACH, TOTAL_BITS, distributions

RAW = 2**20  # range of escaped numbers, around zero


class Encoder:
    """Writes whole numbers `y` under distributions of given means (in FRACTIONS-ths) and steps of the table."""

    def __init__(self):
        self.coder, self.steps = constriction().queue.RangeEncoder(), []

    def code(self, y, mean, step):
        # Kept small: of a whole radiograph these are millions.
        self.steps.append((y.astype("int32"), mean.astype("int32"), step.astype("uint8")))
        base, fraction = np.divmod(mean, FRACTIONS)
        residual = y - base
        escaped = np.abs(residual) > REACH
        symbols = np.where(escaped, ESCAPE, residual + REACH).astype("int32")
        for table, own in _by_table(step, fraction):
            self.coder.encode(symbols[own], table)
        if escaped.any():
            self._uniform(residual[escaped] + RAW // 2, RAW)
        return y

    def count(self, number, most):
        self.most, self.number = most, number
        self._uniform([number], most + 1)
        return number

    def _uniform(self, y, size):
        self.coder.encode(np.asarray(y, "int32"), constriction().model.Uniform(size))

    def words(self):
        """What was written, uint32.

        Raises:
            CompressedFileError: a decoder would not read the same from it.
        """
        words = self.coder.get_compressed()
        decoder = Decoder(words)
        alike = decoder.count(0, self.most) == self.number
        for y, mean, step in self.steps:
            alike = alike and np.array_equal(decoder.code(y, mean.astype("int64"), step.astype("int64")), y)
        if not alike:
            raise CompressedFileError("the file would not give back what was written; please report this.")
        return words


class Decoder:
    """Reads what `Encoder` wrote; the `y` given are only counted."""

    def __init__(self, words):
        self.coder = constriction().queue.RangeDecoder(words)

    def code(self, y, mean, step):
        base, fraction = np.divmod(mean, FRACTIONS)
        symbols = np.empty(len(y), "int64")
        for table, own in _by_table(step, fraction):
            symbols[own] = self.coder.decode(table, len(own))
        residual = symbols - REACH
        escaped = symbols == ESCAPE
        if escaped.any():
            residual[escaped] = self._uniform(escaped.sum(), RAW) - RAW // 2
        return base + residual

    def count(self, number, most):
        return int(self._uniform(1, most + 1)[0])

    def _uniform(self, count, size):
        return self.coder.decode(constriction().model.Uniform(size), int(count)).astype("int64")


def _by_table(step, fraction):
    """`(table, indices)`: the latents of each table together, which the range coder takes at once."""
    kind = step * FRACTIONS + fraction
    indices = np.argsort(kind, kind="stable")
    numbers, starts = np.unique(kind[indices], return_index=True)
    ends = [*starts[1:].tolist(), len(indices)]
    for number, start, end in zip(numbers.tolist(), starts.tolist(), ends, strict=True):
        yield _table(*divmod(number, FRACTIONS)), indices[start:end]


@cache
def _table(step, fraction):
    return constriction().model.Categorical(distributions()[step, fraction] / 2.0 ** (TOTAL_BITS + 1), perfect=False)


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
    """Codes the latents `(h, w, channels)`, or fills them in: of how many groups, and then these; the others are 0."""
    groups = np.split(latents, np.cumsum(exact.groups)[:-1], axis=-1)
    used = max((k for k, group in enumerate(groups, start=1) if group.any()), default=0)
    start = 0
    for k, size in enumerate(exact.groups[: coder.count(used, len(groups))]):
        for level, stride, known, coded in _steps(latents.shape, exact.levels):
            grid = latents[::stride, ::stride]
            own = grid[..., start : start + size] * known[..., None]
            context = np.concatenate([grid[..., :start], own, known[..., None]], axis=-1)
            mean, step = exact.parameters(k, context, np.nonzero(coded), level, quality)
            y = grid[..., start : start + size][coded].astype("int64")
            found = coder.code(y.ravel(), mean.ravel(), step.ravel())
            grid[..., start : start + size][coded] = found.reshape(-1, size)
        start += size
