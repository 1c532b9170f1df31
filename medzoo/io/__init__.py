"""Reading and writing of PNG, JPEG, TIFF, NPY, DICOM and NIfTI files, and intensity transforms."""

from medzoo.io.image import read_image
from medzoo.io.intensity import apply_window, center_crop_resize
from medzoo.io.volume_reader import read_volume

__all__ = ["apply_window", "center_crop_resize", "read_image", "read_volume"]
