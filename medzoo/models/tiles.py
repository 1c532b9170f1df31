"""Large images in overlapping tiles, blended so that no seam shows."""

import numpy as np


def in_tiles(function, images, tile, overlap, model):
    """A function of images, applied tile by tile.

    The outer quarter of an overlap is thrown away, since a tile's border lacks its surroundings; across the middle half
    the weight goes over from one tile to the next.

    Args:
        function: `(N, h, w, c)` to the same shape.
        images: NumPy array `(N, height, width, c)`.
        tile, overlap: in pixels, multiples of `model.downsampling`; tile larger than twice the overlap.
        model: whose name and `downsampling` are needed, and whose size must be open.
    """
    f = model.downsampling
    if model.image_shape[0] is not None:
        raise ValueError(f"{model.name}: takes {model.image_shape[0]}x{model.image_shape[1]} pixels only; no tiles.")
    if tile % f or overlap % f or overlap < 4 or tile <= 2 * overlap:
        raise ValueError(
            f"{model.name}: tile={tile}, overlap={overlap}; expected multiples of {f}, the tile larger than twice the "
            "overlap."
        )
    total, weights = np.zeros(images.shape, "float32"), np.zeros((1, *images.shape[1:3], 1), "float32")
    rows, columns = (list(_starts(length, tile, overlap)) for length in images.shape[1:3])
    for top, height, down in rows:
        for left, width, across in columns:
            weight = (down[:, None] * across[None])[None, ..., None]
            here = (slice(None), slice(top, top + height), slice(left, left + width))
            total[here] += weight * function(images[here])
            weights[here] += weight
    return total / weights


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
