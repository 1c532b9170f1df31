"""Thresholds of anomaly scores that keep a false-positive rate."""

import warnings

import numpy as np

from medzoo.utils.groups import group_indices, has_known_groups


def attained_rate(count, rate):
    """The false-positive rate that the threshold of so many held-out scores (or patients) keeps: `rate`, or
    1 / (count + 1) where that is larger."""
    return max(rate, 1 / (count + 1))


def conformal_threshold(scores, rate, groups=None):
    """Return the threshold that a further normal image exceeds with a probability of at most `rate`.

    The k-th smallest of n scores of normal images, k = ceil((1 - rate) (n + 1)). With groups, each of the n patients
    counts alike, however many images there are of each, and the further image is of another patient (hierarchical
    conformal prediction, Lee, Barber & Willett 2023, arXiv:2306.06342). Where n is too small, the largest score, with a
    warning, and the rate is that of `attained_rate`.

    Args:
        scores: Array `(N,)`. Scores of normal images that were held out.
        rate: float in (0, 1). Share of normal images that may exceed the threshold.
        groups: Sequence `(N,)` that tells patients apart, or `None`: each image is a patient of its own.

    Returns:
        float.

    Raises:
        ValueError: If there are no scores, some are not finite, or `rate` is not between 0 and 1.
    """
    if not len(scores) or not np.isfinite(scores).all() or not 0 < rate < 1:
        raise ValueError(
            f"conformal_threshold: {len(scores)} scores at a false-positive rate of {rate}. Expected finite scores and "
            "a rate above 0 and below 1, e.g. 0.05."
        )
    patients = group_indices(groups, len(scores))
    n, weights = len(patients), np.empty(len(scores))
    for own in patients:
        weights[own] = 1 / len(own)
    order = np.argsort(scores, kind="stable")
    needed = (1 - rate) * (n + 1) - 1e-9
    if np.ceil(needed) > n:
        what = "patients with normal images" if has_known_groups(groups) else "normal images"
        warnings.warn(
            f"{n} {what} held out promise a false-positive rate of {1 / (n + 1):.1%} at best, not {rate:.1%}.",
            stacklevel=3,
        )
    place = np.searchsorted(np.cumsum(weights[order]), needed)
    return float(np.asarray(scores)[order[min(place, len(scores) - 1)]])
