"""Files to arrays: reading, intensity, datasets."""

from medzoo.images.intensity import apply_window, resize
from medzoo.images.masks import load_masks
from medzoo.images.read import read_image
from medzoo.images.read_volume import read_volume

__all__ = ["apply_window", "load_masks", "read_image", "read_volume", "resize"]
