"""Means with 95% bootstrap intervals over images."""

import numpy as np


def interval_of(statistic, n, resamples=2000, seed=0):
    """`{"mean": value, "interval": [low, high]}` of a statistic of n images.

    Args:
        statistic: function of an index array that picks images (with repetition).
        n: how many images there are.
    """
    rng = np.random.default_rng(seed)
    draws = [statistic(rng.integers(0, n, n)) for _ in range(resamples)]
    low, high = np.nanpercentile(draws, (2.5, 97.5))
    return {"mean": round(float(statistic(np.arange(n))), 4), "interval": [round(float(v), 4) for v in (low, high)]}


def summary(values, resamples=2000, seed=0):
    """`interval_of` the mean of values, one an image."""
    values = np.asarray(values, "float64")
    return interval_of(lambda chosen: values[chosen].mean(), len(values), resamples, seed)


def show(value, digits=2):
    """`27.46 (27.31 to 27.60)` from a mean with its interval."""
    low, high = value["interval"]
    return f"{value['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
