"""Drawn lesions of known outline, put on images where no real masks are at hand."""

import numpy as np

from medzoo.io.intensity import unit_range


def add_lesion(image, seed=0, radius=(0.05, 0.12), contrast=(0.1, 0.35)):
    """Puts one soft, uneven, brighter blob on an image.

    Not a real lesion: its place does not depend on the anatomy and its texture is that of the image below it. Good for
    testing that a segmentation learns, not for saying how well it would find disease.

    Args:
        image: `(H, W, 1)`, floats in [0, 1], uint8 or uint16.
        seed: int.
        radius: smallest and largest mean radius, as shares of the shorter side.
        contrast: smallest and largest brightening in the middle.

    Returns: `(image, mask)`: float32 `(H, W, 1)` in [0, 1], and uint8 `(H, W, 1)`, 1 inside the outline.
    """
    image, rng = unit_range(image, "add_lesion"), np.random.default_rng(seed)
    height, width = image.shape[:2]
    side = min(height, width)
    size = rng.uniform(*radius) * side
    row, column = (rng.uniform(0.2, 0.8) * n for n in (height, width))
    rows, columns = np.mgrid[:height, :width]
    angle = np.arctan2(rows - row, columns - column)
    # A radius that wavers with the angle, and an ellipse under it.
    outline = size * (1 + sum(rng.normal(0, 0.15 / k) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 4)))
    distance = np.hypot(rows - row, columns - column) / np.maximum(outline, 1.0)
    profile = 1 / (1 + np.exp((distance - 1) * 8))
    image = np.clip(image[..., 0] + rng.uniform(*contrast) * profile, 0, 1).astype("float32")
    return image[..., None], (distance < 1).astype("uint8")[..., None]
