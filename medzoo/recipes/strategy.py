"""Which `tf.distribute` strategy a machine gets."""

import contextlib

import keras


def strategy_scope(name="auto"):
    """A context manager to build and compile a model in.

    Args:
        name: `"auto"` (mirrored over the GPUs where TensorFlow sees two or more, else none), `"default"` or
            `"mirrored"`. On the JAX and PyTorch backends only `"auto"` and `"default"`, and both mean one device.

    Raises:
        ValueError: another name.
    """
    if name not in ("auto", "default", "mirrored"):
        raise ValueError(f"strategy {name!r}; expected auto, default or mirrored.")
    if keras.backend.backend() != "tensorflow":
        if name == "mirrored":
            raise ValueError(f"strategy 'mirrored' needs the TensorFlow backend, not {keras.backend.backend()}.")
        return contextlib.nullcontext()
    import tensorflow as tf

    if name == "mirrored" or (name == "auto" and len(tf.config.list_physical_devices("GPU")) > 1):
        return tf.distribute.MirroredStrategy().scope()
    return contextlib.nullcontext()
