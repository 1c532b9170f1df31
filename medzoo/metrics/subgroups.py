"""Classification metrics by subgroup, e.g. sex or age."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medzoo.metrics.classification import classification_metrics
from medzoo.utils.groups import take_groups

RANGES = 4  # of equal size that numeric columns with many values are divided into


def by_subgroup(
    probabilities: np.ndarray,
    labels: np.ndarray,
    subgroups: Mapping[str, Sequence[str] | np.ndarray],
    names: Sequence[str] | None = None,
    groups: Sequence | np.ndarray | None = None,
) -> dict:
    """Return `classification_metrics` of the images of each subgroup, JSON-ready.

    A subgroup without images of two classes has no AUC; its number of images is always included. Intervals of small
    subgroups are wide, and among many comparisons some differ by chance.

    Args:
        probabilities: float array, see `classification_metrics`.
        labels: int array, see `classification_metrics`.
        subgroups: dict of column names to str arrays `(N,)`. Numeric columns with more than 6 values are divided into
            four ranges of about equal size.
        names: Names of labels, see `classification_metrics`.
        groups: Patient identifiers, see `classification_metrics`.

    Returns:
        Dict `{column: {value: {"images": n, ...}}}`.
    """
    result = {}
    for column, values in subgroups.items():
        result[column] = {}
        parts = _ranges(np.asarray(values))
        for value in dict.fromkeys(sorted(map(str, parts), key=_sort_key)):
            own = parts == value
            has_auc = labels.ndim == 2 or len(np.unique(labels[own])) > 1
            options: dict[str, Any] = {"names": names, "groups": take_groups(groups, own)}
            measured = classification_metrics(probabilities[own], labels[own], **options) if has_auc else {}
            result[column][value] = {"images": int(own.sum()), **measured}
    return result


def _ranges(values):
    """Return the values, or for numbers their range, e.g. `40 to 58`; `unknown` if empty."""
    known = np.array([value != "" for value in values])
    try:
        numbers = np.array([float(value) for value in values[known]])
    except ValueError:
        return np.where(known, values, "unknown")
    if len(np.unique(numbers)) <= 6:
        return np.where(known, values, "unknown")
    ends = np.quantile(numbers, np.arange(1, RANGES) / RANGES)
    which = np.searchsorted(ends, numbers, side="left")
    parts = np.full(len(values), "unknown", "U64")
    parts[known] = [f"{numbers[which == k].min():g} to {numbers[which == k].max():g}" for k in which]
    return parts


def _sort_key(value):
    """Sort key: numbers by size, then words."""
    first = value.split(" ")[0]
    number = first.lstrip("-").replace(".", "", 1).isdigit()
    return (not number, float(first) if number else 0.0, value)
