"""Results told apart: is a classifier as good for women as for men, for the old as for the young?"""

import numpy as np

from medzoo.metrics.classification import classification_metrics
from medzoo.utils.groups import take_groups

PARTS = 4  # that numbers with many values are cut into, of about as many images each


def by_subgroup(probabilities, labels, subgroups, names=None, groups=None):
    """`medzoo.metrics.classification.measure` of the images of each subgroup, JSON-ready.

    A subgroup without images of two classes has no AUC; how many images there are always stands beside. Intervals of
    small subgroups are wide, and among many comparisons some differ by chance.

    Args:
        probabilities, labels, names: see `measure`.
        subgroups: `{column: array (N,) of str}`; columns of numbers with more than 6 values are cut into four parts.
        groups: see `measure`.

    Returns: `{column: {value: {"images": n, ...}}}`.
    """
    found = {}
    for column, values in subgroups.items():
        found[column] = {}
        parts = _parts(np.asarray(values))
        for value in dict.fromkeys(sorted(map(str, parts), key=_in_order)):
            own = parts == value
            several = labels.ndim == 2 or len(np.unique(labels[own])) > 1
            mine = {"names": names, "groups": take_groups(groups, own)}
            measured = classification_metrics(probabilities[own], labels[own], **mine) if several else {}
            found[column][value] = {"images": int(own.sum()), **measured}
    return found


def _parts(values):
    """The values, or of numbers the part of their range that they lie in, e.g. `40 to 58`; `unknown` where empty."""
    known = np.array([value != "" for value in values])
    try:
        numbers = np.array([float(value) for value in values[known]])
    except ValueError:
        return np.where(known, values, "unknown")
    if len(np.unique(numbers)) <= 6:
        return np.where(known, values, "unknown")
    ends = np.quantile(numbers, np.arange(1, PARTS) / PARTS)
    which = np.searchsorted(ends, numbers, side="left")
    parts = np.full(len(values), "unknown", "U64")
    parts[known] = [f"{numbers[which == k].min():g} to {numbers[which == k].max():g}" for k in which]
    return parts


def _in_order(value):
    """Numbers by size, then words."""
    first = value.split(" ")[0]
    number = first.lstrip("-").replace(".", "", 1).isdigit()
    return (not number, float(first) if number else 0.0, value)
