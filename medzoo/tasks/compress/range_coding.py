"""Range coding of latents with the probabilities of a codec's entropy model.

`RangeEncoder` and `RangeDecoder` have the same interface and are used by the same function `code_latents`, so that both
perform the same steps: the encoder is given the latents, the decoder fills them in.
"""

from collections.abc import Sequence
from functools import cache
from types import ModuleType

import numpy as np

from medzoo.errors import CompressedFileError
from medzoo.layers.entropy_model import order
from medzoo.tasks.compress.integer_codec import (
    ESCAPE,
    FRACTIONS,
    REACH,
    TOTAL_BITS,
    IntegerCodec,
    distributions,
)

ESCAPE_RANGE = 2**20  # range of escaped residuals, centered at zero


class RangeEncoder:
    """Range encoder of integers (constriction, Bamler 2022, arXiv:2201.01741)."""

    def __init__(self):
        self.coder, self.written = constriction().queue.RangeEncoder(), []

    def code(self, y: np.ndarray, mean: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Encode integers.

        Args:
            y: Integer array of shape `(n,)`.
            mean: Integer array of shape `(n,)`. Means of the distributions in units of 1 / `FRACTIONS`.
            step: Integer array of shape `(n,)`. Indices of the scales of the distributions.

        Returns:
            `y`.
        """
        base = mean // FRACTIONS
        residual = y - base
        escaped = np.abs(residual) > REACH
        indices, runs = _by_table(step, mean - base * FRACTIONS)
        symbols = np.where(escaped, ESCAPE, residual + REACH)[indices].astype("int32")
        for table, start, end in runs:
            self.coder.encode(symbols[start:end], _table(table))
        outliers = residual[escaped] + ESCAPE_RANGE // 2
        if len(outliers):
            self._uniform(outliers, ESCAPE_RANGE)
        self.written.append((symbols.astype("uint8"), runs, outliers))
        return y

    def count(self, number: int, maximum: int) -> int:
        """Encode an integer from 0 to `maximum` with equal probabilities.

        Args:
            number: int. The integer.
            maximum: int. Its maximum.

        Returns:
            `number`.
        """
        self.maximum, self.number = maximum, number
        self._uniform([number], maximum + 1)
        return number

    def _uniform(self, y, size):
        """Encode integers from 0 to `size` - 1 with equal probabilities."""
        self.coder.encode(np.asarray(y, "int32"), constriction().model.Uniform(size))

    def words(self) -> np.ndarray:
        """Return the encoded data, after decoding it as a test.

        Returns:
            uint32 array.

        Raises:
            CompressedFileError: If the data does not decode to what was encoded.
        """
        words = self.coder.get_compressed()
        decoder = RangeDecoder(words)
        equal = decoder.count(0, self.maximum) == self.number
        for symbols, runs, outliers in self.written:
            equal = equal and np.array_equal(decoder.symbols(runs), symbols)
            equal = equal and (
                not len(outliers) or np.array_equal(decoder.uniform(len(outliers), ESCAPE_RANGE), outliers)
            )
        if not equal:
            raise CompressedFileError("the encoded data does not decode to the same values. Please report this error.")
        return words


class RangeDecoder:
    """Range decoder of data that `RangeEncoder` encoded.

    Args:
        words: uint32 array, the encoded data.
    """

    def __init__(self, words: np.ndarray):
        self.coder = constriction().queue.RangeDecoder(words)

    def code(self, y: np.ndarray, mean: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Decode integers.

        Args:
            y: Array of shape `(n,)`, of which only the length is used.
            mean: See `RangeEncoder.code`.
            step: See `RangeEncoder.code`.

        Returns:
            Integer array of shape `(n,)`.
        """
        base = mean // FRACTIONS
        indices, runs = _by_table(step, mean - base * FRACTIONS)
        symbols = np.empty(len(y), "int64")
        symbols[indices] = self.symbols(runs)
        residual = symbols - REACH
        escaped = symbols == ESCAPE
        if escaped.any():
            residual[escaped] = self.uniform(escaped.sum(), ESCAPE_RANGE) - ESCAPE_RANGE // 2
        return base + residual

    def symbols(self, runs: Sequence[tuple[int, int, int]]) -> np.ndarray:
        """Decode runs of symbols.

        Args:
            runs: Tuples `(table, start, end)`.

        Returns:
            Integer array.
        """
        return np.concatenate([self.coder.decode(_table(table), end - start) for table, start, end in runs])

    def count(self, number: int, maximum: int) -> int:
        """Decode an integer from 0 to `maximum` with equal probabilities.

        Args:
            number: Not used.
            maximum: int. Maximum of the integer.

        Returns:
            The integer.
        """
        return int(self.uniform(1, maximum + 1)[0])

    def uniform(self, count: int, size: int) -> np.ndarray:
        """Decode integers from 0 to `size` - 1 with equal probabilities.

        Args:
            count: int. Number of integers.
            size: int. Number of possible values.

        Returns:
            int64 array of shape `(count,)`.
        """
        return self.coder.decode(constriction().model.Uniform(size), int(count)).astype("int64")


def _by_table(step, fraction):
    """Return the order of the latents by probability table, and runs `(table, start, end)` of equal tables."""
    table = (step * FRACTIONS + fraction).astype("int16")
    indices = np.argsort(table, kind="stable")
    table = table[indices]
    starts = np.flatnonzero(np.diff(table, prepend=-1))
    ends = [*starts[1:].tolist(), len(table)]
    return indices, list(zip(table[starts].tolist(), starts.tolist(), ends, strict=True))


@cache
def _table(number):
    """Return a probability table of the range coder."""
    distribution = distributions()[divmod(number, FRACTIONS)]
    return constriction().model.Categorical(distribution / 2.0 ** (TOTAL_BITS + 1), perfect=False)


def constriction() -> ModuleType:
    """Import the module of entropy coders of constriction.

    Returns:
        The module `constriction.stream`.

    Raises:
        ImportError: If constriction is not installed.
    """
    try:
        import constriction
    except ImportError as error:
        raise ImportError('Lossy compression requires constriction: pip install "medzoo[compress]".') from error
    return constriction.stream


def _steps(shape, levels):
    """Yield the steps `(level, stride, known, coded)` of `order` for a grid shape, with masks instead of functions."""
    for level, stride, known, coded in order(levels):
        rows = np.arange(-(-shape[0] // stride))[:, None]
        columns = np.arange(-(-shape[1] // stride))[None]
        known, coded = (f(rows, columns).astype(bool) for f in (known, coded))
        if coded.any():
            yield level, stride, known, coded


def code_latents(coder: RangeEncoder | RangeDecoder, codec: IntegerCodec, latents: np.ndarray, quality: int) -> None:
    """Encode or decode the latents of an image.

    First the number of channel groups with nonzero latents is coded, then these groups. A decoder fills `latents` in.

    Args:
        coder: The range encoder or decoder.
        codec: The codec in integer arithmetic.
        latents: Float array of shape `(h, w, channels)` with integer values.
        quality: int, 0 to 100.
    """
    groups = np.split(latents, np.cumsum(codec.groups)[:-1], axis=-1)
    used = max((k for k, group in enumerate(groups, start=1) if group.any()), default=0)
    start = 0
    for k, size in enumerate(codec.groups[: coder.count(used, len(groups))]):
        for level, stride, known, coded in _steps(latents.shape, codec.levels):
            grid = latents[::stride, ::stride]
            own = grid[..., start : start + size] * known[..., None]
            context = np.concatenate([grid[..., :start], own, known[..., None]], axis=-1)
            mean, step = codec.parameters(k, context, np.nonzero(coded), level, quality)
            y = grid[..., start : start + size][coded].astype("int64")
            coded_y = coder.code(y.ravel(), mean.ravel(), step.ravel())
            grid[..., start : start + size][coded] = coded_y.reshape(-1, size)
        start += size
