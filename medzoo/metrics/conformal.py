"""Conformal p-values for exchangeable data, and leave-one-out statistics."""

from collections.abc import Sequence
from typing import cast

import numpy as np


def conformal_pvalues(references: Sequence[float] | np.ndarray, scores: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return conformal p-values (Vovk et al. 2005; Bates et al. 2023, arXiv:2104.08279).

    `p = (1 + number of reference scores at least as large) / (n + 1)`. If a new score and the n reference scores are
    exchangeable, `P(p <= alpha) <= alpha` for every alpha. No p-value is below `1 / (n + 1)`.

    Args:
        references: float array `(n,)` of nonconformity scores, larger for more atypical samples.
        scores: float array `(m,)` of new scores.

    Returns:
        float64 array `(m,)`, from `1 / (n + 1)` to 1.
    """
    references = np.sort(np.asarray(references, "float64"))
    larger = len(references) - np.searchsorted(references, scores, side="left")
    return cast("np.ndarray", (1 + larger) / (len(references) + 1))


def smallest_pvalue(count: int) -> float:
    """Return the smallest conformal p-value that `count` reference scores allow."""
    return 1 / (count + 1)


def quantile_of_others(values: Sequence[float], q: float) -> np.ndarray:
    """Return for each of n values the q-th quantile of the n - 1 others, float64 `(n,)`.

    Args:
        values: float array `(n,)`.
        q: float from 0 to 1. The quantile is interpolated linearly.
    """
    values = np.asarray(values, "float64")
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values), int)
    ranks[order] = np.arange(len(values))
    position = (len(values) - 2) * q
    low, weight = int(position), position - int(position)

    def other(k):
        return values[order][np.minimum(k + (k >= ranks), len(values) - 1)]

    return (1 - weight) * other(low) + weight * other(low + (weight > 0))


def moments_of_others(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each row the difference from the mean of the others, their mean and std.

    Args:
        rows: float array `(n, D)`, n > 1.

    Returns:
        Three float64 arrays `(n, D)`: difference, mean and standard deviation.
    """
    rows = np.asarray(rows, "float64")
    n, mean = len(rows), rows.mean(axis=0)
    centered = rows - mean
    squares = np.square(centered).sum(axis=0) - n / (n - 1) * np.square(centered)
    difference = n / (n - 1) * centered
    return difference, rows - difference, np.sqrt(np.maximum(squares, 0) / (n - 1))
