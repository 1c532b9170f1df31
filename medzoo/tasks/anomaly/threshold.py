"""Conformal thresholds of anomaly scores for a given false-positive rate."""

import warnings
from collections.abc import Sequence

import numpy as np

from medzoo.utils.groups import group_indices, has_known_groups


def attained_rate(count: int, rate: float) -> float:
    """Return the false-positive rate that a conformal threshold attains.

    Args:
        count: int. Number of held-out scores, or of patients.
        rate: float. Requested false-positive rate.

    Returns:
        `rate`, or `1 / (count + 1)` if that is larger.
    """
    return max(rate, 1 / (count + 1))


def conformal_threshold(scores: np.ndarray, rate: float, groups: Sequence | np.ndarray | None = None) -> float:
    """Return the conformal threshold of anomaly scores.

    A new normal image exceeds it with a probability of at most `rate`. The threshold is the k-th smallest of n scores
    of normal images, k = ceil((1 - rate) (n + 1)). With groups, each of the n patients has equal weight regardless of
    the number of images, and the new image is of another patient (hierarchical conformal prediction, Lee, Barber &
    Willett 2023, arXiv:2306.06342). If n is too small, the largest score is returned with a warning, and the rate is
    that of `attained_rate`.

    Args:
        scores: Array of shape `(N,)`. Anomaly scores of held-out normal images.
        rate: float in (0, 1). Fraction of normal images that may exceed the threshold.
        groups: Sequence of N patient identifiers, or `None` if each image is of another patient.

    Returns:
        The threshold.

    Raises:
        ValueError: If there are no scores, some are not finite, or `rate` is not between 0 and 1.
    """
    if not len(scores) or not np.isfinite(scores).all() or not 0 < rate < 1:
        raise ValueError(
            "conformal_threshold: invalid scores or rate. Expected finite scores and a rate between 0 and 1, e.g. "
            f"0.05, got {len(scores)} scores and a rate of {rate}."
        )
    patients = group_indices(groups, len(scores))
    n, weights = len(patients), np.empty(len(scores))
    for own in patients:
        weights[own] = 1 / len(own)
    order = np.argsort(scores, kind="stable")
    needed = (1 - rate) * (n + 1) - 1e-9
    if np.ceil(needed) > n:
        what = "patients" if has_known_groups(groups) else "normal images"
        warnings.warn(
            f"conformal_threshold: {n} held-out {what} allow a false-positive rate of {1 / (n + 1):.1%} at best, not "
            f"{rate:.1%}.",
            stacklevel=3,
        )
    index = np.searchsorted(np.cumsum(weights[order]), needed)
    return float(np.asarray(scores)[order[min(index, len(scores) - 1)]])
