"""Pretrained presets: the manifest, the hub, loading and saving."""

from medzoo.zoo.manifest import list_models
from medzoo.zoo.presets import load, save_preset

__all__ = ["list_models", "load", "save_preset"]
