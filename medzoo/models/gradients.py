"""Gradients with respect to images, on each backend of Keras."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops


def input_gradient(function: Callable, x) -> np.ndarray:
    """Return the gradient of `sum(function(x))` with respect to `x`.

    Args:
        function: Function from tensor `(batch, ...)` to tensor, made of `keras.ops` and medzoo models.
        x: float array or tensor.

    Returns:
        NumPy array shaped like `x`.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(function(x))
        return tape.gradient(total, x).numpy()
    if backend == "torch":
        import torch

        x = ops.convert_to_tensor(x).detach().clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(function(x).sum(), x)
        return ops.convert_to_numpy(gradient)
    import jax

    return ops.convert_to_numpy(jax.grad(lambda images: ops.sum(function(images)))(ops.convert_to_tensor(x)))
