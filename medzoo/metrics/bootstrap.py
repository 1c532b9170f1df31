"""Means with 95% bootstrap intervals over patients, or over images."""

from collections.abc import Callable, Sequence

import numpy as np

from medzoo.utils.groups import encode_groups, has_known_groups


def bootstrap_ci(
    statistic: Callable[[np.ndarray], float],
    n: int,
    resamples: int = 2000,
    seed: int = 0,
    groups: Sequence | np.ndarray | None = None,
) -> dict:
    """Return a statistic of n images with its 95% percentile bootstrap interval.

    Images of one patient are correlated, so a bootstrap over images would give intervals that are too narrow. If groups
    are known, patients are resampled with replacement, each with all of its images (cluster bootstrap, Field & Welsh
    2007, J. R. Stat. Soc. B 69, 369-390).

    Args:
        statistic: Function of an index array that selects images (with repetition).
        n: int. Number of images.
        resamples: int. Number of bootstrap samples.
        seed: int.
        groups: Sequence `(n,)` that identifies the patient of each image, or `None`. Missing values (`None`, NaN, empty
            strings) count as different patients.

    Returns:
        Dict `{"mean": value, "interval": [low, high]}`, and with groups `"patients"`, their number. The interval of a
        single patient is `None`.

    Raises:
        ValueError: If there is not one group per image.
    """
    rng, known = np.random.default_rng(seed), has_known_groups(groups)
    sample = _ClusterSampler(encode_groups(groups if known else None, n), rng)
    value = round(float(statistic(np.arange(n))), 4)
    counted = {"patients": sample.count} if known else {}
    if known and sample.count < 2:
        return {"mean": value, "interval": None, **counted}
    low, high = np.nanpercentile([statistic(sample()) for _ in range(resamples)], (2.5, 97.5))
    return {"mean": value, "interval": [round(float(v), 4) for v in (low, high)], **counted}


class _ClusterSampler:
    """Cluster bootstrap: each call samples patients with replacement and returns the indices of their images."""

    def __init__(self, numbers, rng):
        self.rng, self.order, self.sizes = rng, np.argsort(numbers, kind="stable"), np.bincount(numbers)
        self.count, self.starts = len(self.sizes), np.cumsum(self.sizes) - self.sizes

    def __call__(self):
        chosen = self.rng.integers(0, self.count, self.count)
        sizes = self.sizes[chosen]
        ends = np.cumsum(sizes)
        return self.order[np.arange(ends[-1]) + np.repeat(self.starts[chosen] - (ends - sizes), sizes)]


def bootstrap_mean_ci(
    values: Sequence[float] | np.ndarray,
    resamples: int = 2000,
    seed: int = 0,
    groups: Sequence | np.ndarray | None = None,
) -> dict:
    """Return the mean of values, one per image, with its interval; see `bootstrap_ci`."""
    values = np.asarray(values, "float64")
    return bootstrap_ci(lambda chosen: values[chosen].mean(), len(values), resamples, seed, groups)


def bootstrap_unit(groups: Sequence | np.ndarray | None) -> str:
    """Return the unit of resampling: `"patient"` if patients are known, else `"image"`."""
    return "patient" if has_known_groups(groups) else "image"


def describe_ci(value: dict, images: int) -> str:
    """Return a description of an interval: `95% CI, bootstrap over 34 patients`.

    Args:
        value: Dict as `bootstrap_ci` returns it.
        images: int. Number of images.
    """
    count, unit = (value["patients"], "patient") if "patients" in value else (images, "image")
    return f"95% CI, bootstrap over {count} {unit}{'s' * (count != 1)}"


def format_ci(value: dict, digits: int = 2) -> str:
    """Return a mean with its interval as text, `27.46 (27.31 to 27.60)`.

    Args:
        value: Dict as `bootstrap_ci` returns it.
        digits: int. Number of decimal places.
    """
    if value["interval"] is None:
        return f"{value['mean']:.{digits}f} (no interval: one patient)"
    low, high = value["interval"]
    return f"{value['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
