"""P-values by rank, valid for exchangeable data of any distribution, and what leave-one-out scores need."""

import numpy as np


def conformal_pvalues(references, scores):
    """Conformal p-values (Vovk et al. 2005; Bates et al. 2023, arXiv:2104.08279).

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
    return (1 + larger) / (len(references) + 1)


def smallest_pvalue(count):
    """The smallest conformal p-value that so many reference scores allow."""
    return 1 / (count + 1)


def quantile_of_others(values, q):
    """For each of n values, the q-th quantile of the n - 1 others (linear interpolation): float64 `(n,)`."""
    values = np.asarray(values, "float64")
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values), int)
    ranks[order] = np.arange(len(values))
    place = (len(values) - 2) * q
    low, share = int(place), place - int(place)

    def other(k):
        return values[order][np.minimum(k + (k >= ranks), len(values) - 1)]

    return (1 - share) * other(low) + share * other(low + (share > 0))


def moments_of_others(rows):
    """For each of n rows, its difference from the mean of the n - 1 others, and their mean and standard deviation.

    Args:
        rows: float array `(n, D)`, n > 1.

    Returns:
        Three float64 arrays `(n, D)`.
    """
    rows = np.asarray(rows, "float64")
    n, mean = len(rows), rows.mean(axis=0)
    centered = rows - mean
    squares = np.square(centered).sum(axis=0) - n / (n - 1) * np.square(centered)
    away = n / (n - 1) * centered
    return away, rows - away, np.sqrt(np.maximum(squares, 0) / (n - 1))
