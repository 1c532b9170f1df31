"""Pretrained presets: manifest, Hugging Face Hub, loading and saving.

Names are imported on first use: listing presets imports no framework.
"""

from importlib import import_module

_NAMES = {
    "list_converted": "medzoo.zoo.manifest",
    "list_models": "medzoo.zoo.manifest",
    "load": "medzoo.zoo.presets",
    "save_preset": "medzoo.zoo.presets",
}
__all__ = ["list_converted", "list_models", "load", "save_preset"]


def __getattr__(name: str):
    if name not in _NAMES:
        raise AttributeError(f"module 'medzoo.zoo' has no attribute {name!r}")
    value = getattr(import_module(_NAMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
