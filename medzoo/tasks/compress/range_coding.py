"""Whole numbers to a range coder's words and back: latents under a codec's prior.

`Encoder` and `Decoder` are used by the same function, so that both sides walk through the same steps: an encoder is
given the numbers, a decoder fills them in.
"""

from functools import cache

import numpy as np

from medzoo.errors import CompressedFileError
from medzoo.layers.entropy_model import order
from medzoo.tasks.compress.integer_codec import ESCAPE, FRACTIONS, REACH, TOTAL_BITS, distributions

RAW = 2**20  # range of escaped numbers, around zero


class RangeEncoder:
    """Writes whole numbers `y` under distributions of given means (in FRACTIONS-ths) and steps of the table."""

    def __init__(self):
        self.coder, self.written = constriction().queue.RangeEncoder(), []

    def code(self, y, mean, step):
        base = mean // FRACTIONS
        residual = y - base
        escaped = np.abs(residual) > REACH
        indices, runs = _by_table(step, mean - base * FRACTIONS)
        symbols = np.where(escaped, ESCAPE, residual + REACH)[indices].astype("int32")
        for table, start, end in runs:
            self.coder.encode(symbols[start:end], _table(table))
        far = residual[escaped] + RAW // 2
        if len(far):
            self._uniform(far, RAW)
        self.written.append((symbols.astype("uint8"), runs, far))
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
        decoder = RangeDecoder(words)
        alike = decoder.count(0, self.most) == self.number
        for symbols, runs, far in self.written:
            alike = alike and np.array_equal(decoder.symbols(runs), symbols)
            alike = alike and (not len(far) or np.array_equal(decoder.uniform(len(far), RAW), far))
        if not alike:
            raise CompressedFileError("the file would not give back what was written; please report this.")
        return words


class RangeDecoder:
    """Reads what `Encoder` wrote; the `y` given are only counted."""

    def __init__(self, words):
        self.coder = constriction().queue.RangeDecoder(words)

    def code(self, y, mean, step):
        base = mean // FRACTIONS
        indices, runs = _by_table(step, mean - base * FRACTIONS)
        symbols = np.empty(len(y), "int64")
        symbols[indices] = self.symbols(runs)
        residual = symbols - REACH
        escaped = symbols == ESCAPE
        if escaped.any():
            residual[escaped] = self.uniform(escaped.sum(), RAW) - RAW // 2
        return base + residual

    def symbols(self, runs):
        return np.concatenate([self.coder.decode(_table(table), end - start) for table, start, end in runs])

    def count(self, number, most):
        return int(self.uniform(1, most + 1)[0])

    def uniform(self, count, size):
        return self.coder.decode(constriction().model.Uniform(size), int(count)).astype("int64")


def _by_table(step, fraction):
    """`(indices, [(table, start, end)])`: latents ordered by table; a range coder takes those of a table at once."""
    table = (step * FRACTIONS + fraction).astype("int16")
    indices = np.argsort(table, kind="stable")
    table = table[indices]
    starts = np.flatnonzero(np.diff(table, prepend=-1))
    ends = [*starts[1:].tolist(), len(table)]
    return indices, list(zip(table[starts].tolist(), starts.tolist(), ends, strict=True))


@cache
def _table(number):
    distribution = distributions()[divmod(number, FRACTIONS)]
    return constriction().model.Categorical(distribution / 2.0 ** (TOTAL_BITS + 1), perfect=False)


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
