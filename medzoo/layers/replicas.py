"""Sums and random numbers that do not depend on how many devices share a batch.

Two replicas of `tf.distribute` train like one device only if batch statistics are summed over both replicas, and if
each replica uses its own slice of the noise that one device would sample (the seed generators of Keras give every
replica the same numbers). Without a strategy, and on the JAX and PyTorch backends, where one program processes the
whole batch, these functions are plain sums and samples.
"""

from collections.abc import Sequence

import keras
from keras import ops


def _context():
    """Return the replica context of `tf.distribute` if several replicas are in sync, else `None`."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def count() -> int:
    """Return the number of replicas in sync.

    A hand-written loss must be divided by it before its gradients are summed over the replicas.
    """
    context = _context()
    return context.num_replicas_in_sync if context else 1


def index() -> int:
    """Return the index of this replica, from 0 to `count() - 1`."""
    context = _context()
    return context.replica_id_in_sync_group if context else 0


def total(x):
    """Return the sum of `x` over the replicas (differentiable)."""
    context = _context()
    # The multiplication places the tensor on a device of this replica; without it, all_reduce has no destination.
    return context.all_reduce("sum", x * ops.ones((), x.dtype)) if context else x


def mean(x):
    """Return the mean of `x` over the replicas (differentiable)."""
    return total(x) / count()


def uniform(normal_samples):
    """Return standard normal samples transformed to the uniform distribution on [0, 1]."""
    return 0.5 * (1.0 + ops.erf(normal_samples / 2**0.5))


def normal(shape: Sequence[int], seed_generator: keras.random.SeedGenerator | int):
    """Return standard normal noise: this replica's slice of the noise for the whole batch.

    Args:
        shape: Shape of this replica's part of the batch; its first axis is the batch.
        seed_generator: `keras.random.SeedGenerator` in the same state on every replica, or int.

    Returns:
        float32 tensor of shape `shape`.
    """
    if count() == 1:
        return keras.random.normal(tuple(shape), dtype="float32", seed=seed_generator)
    local = shape[0]
    noise = keras.random.normal((local * count(), *shape[1:]), dtype="float32", seed=seed_generator)
    return ops.slice(noise, [index() * local] + [0] * (len(shape) - 1), tuple(shape))
