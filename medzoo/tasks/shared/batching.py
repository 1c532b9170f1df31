"""Items of one shape, together."""

import itertools


def batch_by_shape(items, shape, model, most=64):
    """Lists of neighbouring items that have one shape, at most so many; for a model of volumes one by one.

    Args:
        items: iterable, taken as it is needed.
        shape: function of an item.
        model: that they are for.
    """
    for _, group in itertools.groupby(items, shape):
        while batch := list(itertools.islice(group, most if model.spatial_dims == 2 else 1)):
            yield batch
