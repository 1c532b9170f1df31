"""Sums and random numbers that do not depend on how many devices share a batch.

Two replicas of `tf.distribute` train as one only if batch statistics are summed over both and if each draws its own
slice of the noise that one device would have drawn (Keras' seed generators give every replica the same numbers).
Elsewhere (no strategy, or the JAX and PyTorch backends, where one program sees the whole batch) these are plain sums
and draws.
"""

import keras
from keras import ops


def _context():
    """The replica context of `tf.distribute` when several replicas are in step, else `None`."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def count():
    """Replicas in step: the number a hand-written loss must be divided by before its gradients are summed."""
    context = _context()
    return context.num_replicas_in_sync if context else 1


def index():
    """Which replica this is, 0 to `count() - 1`."""
    context = _context()
    return context.replica_id_in_sync_group if context else 0


def total(x):
    """Sum of `x` over the replicas (differentiable)."""
    context = _context()
    # Times one: gives the tensor a device of this replica, without which all_reduce finds no destination.
    return context.all_reduce("sum", x * ops.ones((), x.dtype)) if context else x


def mean(x):
    """Mean of `x` over the replicas (differentiable)."""
    return total(x) / count()


def even(normal_draws):
    """Draws of `normal` made even from 0 to 1."""
    return 0.5 * (1.0 + ops.erf(normal_draws / 2**0.5))


def normal(shape, seed_generator):
    """Standard normal noise: this replica's slice of what one device would draw for the whole batch.

    Args:
        shape: the shape for this replica's share; its first axis is the batch.
        seed_generator: `keras.random.SeedGenerator` in the same state on every replica, or an int.
    """
    if count() == 1:
        return keras.random.normal(tuple(shape), dtype="float32", seed=seed_generator)
    share = shape[0]
    noise = keras.random.normal((share * count(), *shape[1:]), dtype="float32", seed=seed_generator)
    return ops.slice(noise, [index() * share] + [0] * (len(shape) - 1), tuple(shape))
