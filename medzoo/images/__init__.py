"""Files to arrays: reading, intensity, datasets."""

from medzoo.images.intensity import apply_window, resize
from medzoo.images.read import read_image

__all__ = ["apply_window", "read_image", "resize"]
