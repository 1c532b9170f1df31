"""Labelled images, brought to the size that a model takes."""

from medzoo.data.image_dataset import open_dataset

SIZE = 256  # pixels a side of images from files, for a model that takes any


def open_for(model, data, size=None, **reading):
    """`open_dataset` with the size that a model was trained on.

    Args:
        model: a medzoo model.
        data: see `open_dataset`.
        size: for a model that takes any; by default 256. A model of volumes of any size needs it.
        reading: other options of `open_dataset`.
    """
    own = model.image_shape[:-1]
    return open_dataset(data, own if own[0] else size or (SIZE if model.spatial_dims == 2 else None), **reading)
