"""Processing of large images and volumes in overlapping tiles with blended borders."""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product

import keras
import numpy as np

from medzoo.utils.arguments import COUNT, NONE, checked, either, whole
from medzoo.utils.progress import track

LARGE, TILE = 128, 96  # voxels per side: volumes larger than the first are processed in tiles of the second
ARGUMENTS = {"tile": COUNT, "overlap": either(whole(0), NONE)}


def default_tile(images: np.ndarray) -> int | None:
    """Return the side of tiles, or `None` for no tiles; only large volumes are tiled."""
    return TILE if images.ndim == 5 and max(images.shape[1:-1]) > LARGE else None


def pad_to_multiple(images: np.ndarray, model: keras.Model) -> np.ndarray:
    """Pad images at their far borders to multiples of the model's downsampling.

    Edge values are repeated. Images for a model with a fixed size are returned unchanged.
    """
    if model.image_shape[0] is not None:
        return images
    margins = [-side % f for side, f in zip(images.shape[1:-1], model.downsampling_factors, strict=True)]
    return np.pad(images, [(0, 0), *((0, n) for n in margins), (0, 0)], mode="edge")


def apply_in_tiles(
    function: Callable, images: np.ndarray, tile: int | Sequence[int] | None, overlap: int | None, model: keras.Model
) -> np.ndarray:
    """Apply a function of images tile by tile.

    The outer quarter of an overlap is discarded, since the border of a tile lacks context. Across the middle half, the
    weight shifts linearly from one tile to the next.

    Args:
        function: Function from `(N, h, w, c)` to `(N, h, w, k)`.
        images: float array `(N, height, width, c)`, or `(N, depth, height, width, c)` for volumes.
        tile: int. Side of the tiles in pixels, a multiple of `model.downsampling` and more than twice the overlap.
        overlap: int or `None`. Overlap in pixels, a multiple of `model.downsampling`. Default: 96; for volumes a third
            of the tile, since there overlap costs computation in three directions.
        model: Model with `name` and `downsampling_factors` and an open image size.

    Returns:
        float32 array `(N, height, width, k)`.

    Raises:
        ValueError: If the model has a fixed image size, or tile and overlap do not fit.
    """
    if model.image_shape[0] is not None:
        own = "x".join(map(str, model.image_shape[:-1]))
        raise ValueError(
            f"{model.name}: the image size is {own} pixels; no tiles. Expected a model with an open image size."
        )
    tile, overlap = checked(model.name, ARGUMENTS, tile=tile, overlap=overlap)
    if overlap is None:
        step = math.lcm(*model.downsampling_factors)
        overlap = 96 if model.spatial_dims == 2 else tile // 3 // step * step
    if any(tile % f or overlap % f for f in model.downsampling_factors) or overlap < 4 or tile <= 2 * overlap:
        raise ValueError(
            f"{model.name}: tile={tile}, overlap={overlap}; expected multiples of {model.downsampling}, the tile "
            "larger than twice the overlap."
        )
    sides = images.shape[1:-1]
    total, weights = None, np.zeros((1, *sides, 1), "float32")
    positions = list(product(*(_starts(length, tile, overlap) for length in sides)))
    for position in track(positions, "tiles") if len(sides) == 3 else positions:
        weight = reduce(np.multiply.outer, [fade for _, _, fade in position])[None, ..., None]
        here = (slice(None), *(slice(start, start + size) for start, size, _ in position))
        output = function(images[here])
        total = np.zeros((*images.shape[:-1], output.shape[-1]), "float32") if total is None else total
        total[here] += weight * output
        weights[here] += weight
    total /= weights
    return total


def _starts(length, tile, overlap):
    """Yield `(start, size, weights)` of the tiles along one axis; weights decrease at inner borders only."""
    if length <= tile:
        yield 0, length, np.ones(length, "float32")
        return
    last = length - tile
    for start in [*range(0, last, tile - overlap), last]:
        inside = np.arange(tile) + 0.5
        fade = np.ones(tile)
        if start > 0:
            fade = np.minimum(fade, (inside - overlap / 4) / (overlap / 2))
        if start < last:
            fade = np.minimum(fade, (tile - inside - overlap / 4) / (overlap / 2))
        yield start, tile, np.clip(fade, 0, 1).astype("float32")
