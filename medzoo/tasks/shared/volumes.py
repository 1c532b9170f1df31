"""Application of 3D models to volumes of any size."""

from collections.abc import Callable

import keras
import numpy as np

from medzoo.io.volume import center_crop_or_pad, paste_center
from medzoo.models.tiles import default_tile, pad_to_multiple


def apply_to_volume(function: Callable, volume: np.ndarray, model: keras.Model, rest: np.ndarray) -> np.ndarray:
    """Apply a function of a 3D model to one volume of any size.

    Args:
        function: function of a batch of volumes. For a model that accepts any size it is also called with the keyword
            `tile`, see `Autoencoder.reconstruct`.
        volume: float32 array `(D, H, W, 1)` in [0, 1]. Volumes with more than 128 voxels per side are processed in
            tiles.
        model: a 3D model. A model with a fixed input size is applied to the central region only.
        rest: array `(D, H, W, ...)` with the values of the voxels outside that region.

    Returns:
        Array `(D, H, W, ...)` with the output of `function`.
    """
    own = model.image_shape[:-1]
    if own[0]:
        return paste_center(rest, function(center_crop_or_pad(volume, own)[None])[0])
    x = pad_to_multiple(volume[None], model)
    return function(x, tile=default_tile(x))[0][tuple(slice(side) for side in volume.shape[:3])]
