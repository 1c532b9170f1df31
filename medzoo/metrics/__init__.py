"""Metrics of image quality, classification and segmentation, with bootstrap intervals.

The names of `medzoo.metrics.image` are also available here; they need Keras and are imported on first use.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    image = import_module("medzoo.metrics.image")
    if name.startswith("_") or not hasattr(image, name):
        raise AttributeError(f"module 'medzoo.metrics' has no attribute {name!r}")
    return getattr(image, name)
