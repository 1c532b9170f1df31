"""Measures of image quality, classification and segmentation, with bootstrap intervals.

The names of `medzoo.metrics.image` stand here too; they need Keras and are imported when they are first used.
"""

from importlib import import_module


def __getattr__(name):
    image = import_module("medzoo.metrics.image")
    if name.startswith("_") or not hasattr(image, name):
        raise AttributeError(f"module 'medzoo.metrics' has no attribute {name!r}")
    return getattr(image, name)
