"""Batches of consecutive items of equal shape."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras


def batch_by_shape(
    items: Iterable, shape: Callable[[Any], tuple[int, ...]], model: keras.Model, batch_size: int = 64
) -> Iterator[list]:
    """Yield lists of consecutive items of equal shape, one by one for a model of volumes.

    Args:
        items: Iterable; items are requested only as they are needed.
        shape: Function that returns the shape of an item.
        model: The medzoo model that the batches are for.
        batch_size: int. Maximum number of images per batch.

    Yields:
        Lists of items.
    """
    for _, group in itertools.groupby(items, shape):
        while batch := list(itertools.islice(group, batch_size if model.spatial_dims == 2 else 1)):
            yield batch
