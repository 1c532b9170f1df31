"""Batched and prefetched `tf.data` pipelines from arrays."""

from typing import TYPE_CHECKING

import numpy as np

from medzoo.data.npz import max_value

if TYPE_CHECKING:
    import tensorflow as tf


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    batch_size: int = 32,
    shuffle: bool = False,
    seed: int | None = None,
    drop_remainder: bool = False,
) -> "tf.data.Dataset":
    """Return a `tf.data.Dataset` of images, or of pairs of images and labels.

    Args:
        images: uint8 or uint16 array `(N, H, W, 1)` in memory, or an `np.memmap`, which stays on disk.
        labels: array `(N, ...)` of the labels of the images, or `None` (default).
        batch_size: int. Number of images per batch, default 32.
        shuffle: bool. Whether to reshuffle the images in each epoch, default `False`.
        seed: int or `None`. Seed of the order; with `None` the order differs between runs.
        drop_remainder: bool. Whether to drop the last batch if it is smaller than `batch_size`.

    Returns:
        `tf.data.Dataset` of float32 batches `(batch, H, W, 1)` in [0, 1], or of pairs `(images, labels)`.
    """
    import tensorflow as tf

    # Indices are shuffled, not images: a shuffle buffer of the size of the dataset then needs little memory.
    order = tf.data.Dataset.range(len(images))
    if shuffle:
        order = order.shuffle(len(images), seed=seed)
    batches = order.batch(batch_size, drop_remainder=drop_remainder)
    if isinstance(images, np.memmap):

        def gather(indices):
            batch = tf.numpy_function(lambda i: images[i], [indices], images.dtype)
            batch.set_shape((batch_size if drop_remainder else None, *images.shape[1:]))
            return batch

    else:
        stored = tf.constant(images)

        def gather(indices):
            return tf.gather(stored, indices)

    def batch(indices):
        x = tf.cast(gather(indices), tf.float32) / max_value(images.dtype)
        return x if labels is None else (x, tf.gather(tf.constant(labels), indices))

    return batches.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
