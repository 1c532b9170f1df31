"""Pooling of encoder activations and latents to one feature vector per image."""

from collections.abc import Sequence

from keras import ops

GRID = 4  # cells per axis in which a grid of latents is averaged


def pool_stages(stages: Sequence):
    """Return mean, standard deviation and maximum of every filter of every stage.

    Args:
        stages: Sequence of tensors `(batch, h, w, filters)`, see `Encoder.stage_outputs`. A ReLU is applied to them.

    Returns:
        float32 tensor `(batch, D)`.
    """
    rows = []
    for stage in stages:
        x, axes = ops.relu(ops.cast(stage, "float32")), tuple(range(1, len(stage.shape) - 1))
        rows += [ops.mean(x, axes), ops.sqrt(ops.var(x, axes) + 1e-6), ops.max(x, axes)]
    return ops.concatenate(rows, axis=1)


def pool_grid(latents):
    """Return latents as one vector per image.

    Vector latents are returned unchanged. Of a grid of latents, the mean and standard deviation in each of `GRID` cells
    per axis are returned.

    Args:
        latents: tensor `(batch, dim)` or `(batch, h, w, dim)`. A grid smaller than `GRID` leaves cells at 0.

    Returns:
        float32 tensor `(batch, D)`, see `pooled_size`.
    """
    x = ops.cast(latents, "float32")
    if len(x.shape) == 2:
        return x
    mean, mean_square = _averaged(x), _averaged(ops.square(x))
    std = ops.sqrt(ops.maximum(mean_square - ops.square(mean), 0.0) + 1e-6)
    return ops.reshape(ops.stack([mean, std], axis=-2), (-1, 2 * GRID ** (len(x.shape) - 2) * x.shape[-1]))


def pooled_size(network) -> int:
    """Return the vector length of `pool_grid` for the latents of an encoder or a model."""
    if network.bottleneck == "vector":
        return network.latent_dim
    return 2 * GRID**network.spatial_dims * network.latent_dim


def _averaged(x):
    """Return the means over the cells, `(batch, GRID, ..., dim)`."""
    for axis in range(1, len(x.shape) - 1):
        count = ops.shape(x)[axis]
        cell = ops.arange(count, dtype="int32") * GRID // count
        in_cell = ops.one_hot(cell, GRID, dtype="float32")
        weights = in_cell / ops.maximum(ops.sum(in_cell, axis=0), 1.0)
        x = ops.moveaxis(ops.tensordot(x, weights, axes=[[axis], [0]]), -1, axis)
    return x
