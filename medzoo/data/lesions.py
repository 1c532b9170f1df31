"""Synthetic lesions with known masks, for tests and demonstrations without annotated data."""

import numpy as np

from medzoo.io.intensity import unit_range


def add_lesion(
    image: np.ndarray,
    seed: int = 0,
    radius: tuple[float, float] = (0.05, 0.12),
    contrast: tuple[float, float] = (0.1, 0.35),
) -> tuple[np.ndarray, np.ndarray]:
    """Insert one synthetic lesion into an image.

    The lesion is a bright region with a soft irregular boundary. Its position does not depend on the anatomy, and its
    texture is that of the image. Such lesions are suitable for testing segmentation training, not for estimating
    performance on real disease.

    Args:
        image: array `(H, W, 1)` of floats in [0, 1], uint8 or uint16.
        seed: int. Seed of position, shape and contrast, default 0.
        radius: smallest and largest mean radius as fractions of the shorter side.
        contrast: smallest and largest intensity increase at the center.

    Returns:
        `(image, mask)`: float32 array `(H, W, 1)` in [0, 1], and uint8 array `(H, W, 1)`, 1 inside the lesion.
    """
    image, rng = unit_range(image, "add_lesion"), np.random.default_rng(seed)
    height, width = image.shape[:2]
    side = min(height, width)
    size = rng.uniform(*radius) * side
    row, column = (rng.uniform(0.2, 0.8) * n for n in (height, width))
    rows, columns = np.mgrid[:height, :width]
    angle = np.arctan2(rows - row, columns - column)
    # Mean radius modulated by the first harmonics of the angle.
    outline = size * (1 + sum(rng.normal(0, 0.15 / k) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 4)))
    distance = np.hypot(rows - row, columns - column) / np.maximum(outline, 1.0)
    profile = 1 / (1 + np.exp((distance - 1) * 8))
    image = np.clip(image[..., 0] + rng.uniform(*contrast) * profile, 0, 1).astype("float32")
    return image[..., None], (distance < 1).astype("uint8")[..., None]
