"""Large images and volumes in overlapping tiles, blended so that no seam shows."""

import math
from functools import reduce
from itertools import product

import numpy as np

from medzoo.utils.arguments import COUNT, NONE, checked, either, whole
from medzoo.utils.progress import track

LARGE, TILE = 128, 96  # voxels a side: beyond the first volumes go in tiles of the second
ARGUMENTS = {"tile": COUNT, "overlap": either(whole(0), NONE)}


def tile_for(images):
    """Side of the tiles that images should be taken in, or `None` for as a whole: only large volumes are not."""
    return TILE if images.ndim == 5 and max(images.shape[1:-1]) > LARGE else None


def padded(images, model):
    """Images with their far borders repeated, so that a model of open size takes them; cut the result back."""
    if model.image_shape[0] is not None:
        return images
    margins = [-side % f for side, f in zip(images.shape[1:-1], model.downsampling_factors, strict=True)]
    return np.pad(images, [(0, 0), *((0, n) for n in margins), (0, 0)], mode="edge")


def in_tiles(function, images, tile, overlap, model):
    """A function of images, applied tile by tile.

    The outer quarter of an overlap is thrown away, since a tile's border lacks its surroundings; across the middle half
    the weight goes over from one tile to the next.

    Args:
        function: `(N, h, w, c)` to `(N, h, w, k)`.
        images: NumPy array `(N, height, width, c)`, or of volumes `(N, depth, height, width, c)`.
        tile, overlap: in pixels, multiples of `model.downsampling`; tile larger than twice the overlap, which is by
            default 96, and in volumes a third of the tile: there each voxel of it costs in three directions.
        model: whose name and `factors` are needed, and whose size must be open.
    """
    if model.image_shape[0] is not None:
        own = "x".join(map(str, model.image_shape[:-1]))
        raise ValueError(f"{model.name}: takes {own} pixels only; no tiles.")
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
    places = list(product(*(_starts(length, tile, overlap) for length in sides)))
    for place in track(places, "tiles") if len(sides) == 3 else places:
        weight = reduce(np.multiply.outer, [fade for _, _, fade in place])[None, ..., None]
        here = (slice(None), *(slice(start, start + size) for start, size, _ in place))
        made = function(images[here])
        total = np.zeros((*images.shape[:-1], made.shape[-1]), "float32") if total is None else total
        total[here] += weight * made
        weights[here] += weight
    total /= weights
    return total


def _starts(length, tile, overlap):
    """`(start, size, weights)` of the tiles along one axis; only inner borders fade."""
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
