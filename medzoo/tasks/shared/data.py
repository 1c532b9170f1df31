"""Labeled images, resized to the input size of a model."""

import os
from collections.abc import Sequence
from typing import Any

import keras

from medzoo.data.image_dataset import ImageDataset, open_dataset

SIZE = 256  # side length in pixels of images from files, for a model that accepts any size


def open_for(
    model: keras.Model, data: str | os.PathLike | ImageDataset, size: int | Sequence[int] | None = None, **reading: Any
) -> ImageDataset:
    """Open a dataset at the image size of a model.

    Args:
        model: A medzoo model.
        data: See `open_dataset`.
        size: int or tuple, in pixels or voxels, for a model that accepts any size; by default 256 for images. A model
            of volumes of any size requires it.
        reading: Further options of `open_dataset`.

    Returns:
        The dataset.
    """
    own = model.image_shape[:-1]
    return open_dataset(data, own if own[0] else size or (SIZE if model.spatial_dims == 2 else None), **reading)
