"""Two-sample test for the detection of dataset drift."""

from collections.abc import Sequence

import numpy as np

ALPHA = 0.05  # false-positive rate of drift detection
LEAST, FEWEST = 10, 5  # minimum rows per set; minimum groups per set
MAX_ROWS = 1000  # per set in the test; of more, a random sample


def two_sample_test(
    reference: np.ndarray,
    new: np.ndarray,
    groups: tuple[Sequence, Sequence] | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> float:
    """Permutation test of whether two sets come from one distribution.

    The statistic is the squared maximum mean discrepancy (Gretton et al. 2012) of the pooled ranks of each feature,
    with a Gaussian kernel whose bandwidth is the median distance. If the rows (or the groups) are exchangeable,
    `P(p <= alpha) <= alpha` at every number of rows.

    Args:
        reference: float array `(N, D)` or `(N,)`.
        new: float array `(M, D)` or `(M,)`.
        groups: pair of arrays `(N,)` and `(M,)`, e.g. patients. Rows of one group are permuted together.
        permutations: int. The smallest p-value is `1 / (permutations + 1)`.
        seed: int.

    Returns:
        float, the p-value.

    Raises:
        ValueError: If there are fewer than 10 rows or 5 groups in a set, or values are not finite.
    """
    sets = [np.asarray(rows, "float64").reshape(len(rows), -1) for rows in (reference, new)]
    if min(map(len, sets)) < LEAST or sets[0].shape[1] != sets[1].shape[1]:
        raise ValueError(
            f"two_sample_test: sets of shape {sets[0].shape} and {sets[1].shape}. Expected {LEAST} rows or more in "
            "each and the same number of features."
        )
    rng = np.random.default_rng(seed)
    chosen = [np.sort(rng.permutation(len(rows))[:MAX_ROWS]) for rows in sets]
    units = _units(chosen, groups)
    table = np.concatenate([rows[part] for rows, part in zip(sets, chosen, strict=True)])
    if not np.isfinite(table).all():
        raise ValueError("two_sample_test: NaN or infinite values. Expected finite numbers.")
    kernel, first = _kernel(table), len(np.unique(units[: len(chosen[0])]))
    count = units.max() + 1
    labels = np.concatenate([[np.arange(count) < first], _shuffled(rng, count, first, permutations)])
    in_reference = labels[:, units].astype("float64")
    sizes = in_reference.sum(axis=1, keepdims=True)
    others = len(table) - sizes
    weights = in_reference / sizes - (1 - in_reference) / others
    statistic = np.einsum("ij,ij->i", weights @ kernel, weights) * (sizes * others)[:, 0]
    larger = (statistic[1:] >= statistic[0] - 1e-9 * max(1.0, abs(statistic[0]))).sum()
    return float((1 + larger) / (1 + permutations))


def holm(pvalues: Sequence[float]) -> np.ndarray:
    """Return p-values adjusted for multiple tests (Holm 1979).

    With probability at most alpha, any adjusted p-value is below alpha by chance.
    """
    pvalues = np.asarray(pvalues, "float64")
    order = np.argsort(pvalues)
    adjusted = np.maximum.accumulate(pvalues[order] * np.arange(len(pvalues), 0, -1))
    result = np.empty(len(pvalues))
    result[order] = np.minimum(adjusted, 1)
    return result


def _units(chosen, groups):
    """Return the index of the permutation unit of each row, those of the reference first."""
    if groups is None:
        return np.arange(sum(map(len, chosen)))
    own = [np.unique(np.asarray(names)[part], return_inverse=True) for names, part in zip(groups, chosen, strict=True)]
    counts = [len(names) for names, _ in own]
    if min(counts) < FEWEST:
        raise ValueError(
            f"two_sample_test: {counts[0]} and {counts[1]} groups. Expected {FEWEST} or more in each: permutations of "
            "fewer allow no small p-value."
        )
    return np.concatenate([own[0][1].ravel(), counts[0] + own[1][1].ravel()])


def _shuffled(rng, count, first, permutations):
    """Return random permutations as bool `(permutations, count)`, `True` for the `first` units of the reference."""
    order = np.argsort(rng.random((permutations, count)), axis=1)
    labels = np.zeros((permutations, count), bool)
    np.put_along_axis(labels, order[:, :first], True, axis=1)
    return labels


def _kernel(table):
    from scipy.stats import rankdata

    ranks = rankdata(table, axis=0)
    ranks = (ranks - ranks.mean(axis=0)) / np.maximum(ranks.std(axis=0), 1e-12)
    squares = np.square(ranks).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * ranks @ ranks.T, 0)
    above = distances[np.triu_indices(len(table), 1)]
    return np.exp(-distances / max(2 * np.median(above), 1e-12))
