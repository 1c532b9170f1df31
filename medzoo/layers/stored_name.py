"""Class names in weights files, independent of class names in code."""

from collections.abc import Callable


def stored_as(name: str) -> Callable[[type], type]:
    """Return a class decorator that sets the name under which weights files store a layer.

    Keras addresses a layer within a list by its class name in snake case: `TimedBlock` as `timed_block`. A class that
    is renamed keeps its former name here, so that weights files saved before the renaming can still be loaded.

    Args:
        name: str. Class name whose snake case stands in the weights files.

    Returns:
        Decorator that sets `__name__` of the class. The name in the module and in pickles does not change.
    """

    def rename(layer: type) -> type:
        layer.__name__ = name
        return layer

    return rename
