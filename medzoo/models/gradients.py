"""The gradient of a number with respect to images, on each of Keras' backends."""

import keras
from keras import ops


def input_gradient(function, x):
    """d sum(function(x)) / dx.

    Args:
        function: tensor `(batch, ...)` to tensor, made of `keras.ops` and medzoo models.
        x: float array or tensor.

    Returns: NumPy array shaped like x.
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
