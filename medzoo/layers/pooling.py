"""What an encoder sees in a whole image, as one row of numbers."""

from keras import ops

GRID = 4  # latents on a grid are summed up in so many cells a side


def pool_stages(stages):
    """Mean, deviation and largest value of every filter of every stage (after ReLU): float32 `(batch, D)`.

    Args:
        stages: tensors `(batch, h, w, filters)`, see `Encoder.stage_outputs`.
    """
    rows = []
    for stage in stages:
        x, axes = ops.relu(ops.cast(stage, "float32")), tuple(range(1, len(stage.shape) - 1))
        rows += [ops.mean(x, axes), ops.sqrt(ops.var(x, axes) + 1e-6), ops.max(x, axes)]
    return ops.concatenate(rows, axis=1)


def pool_grid(latents):
    """Latents of a vector bottleneck as they are; of a grid, mean and deviation in each of `GRID` x `GRID` cells.

    Args:
        latents: tensor `(batch, dim)` or `(batch, h, w, dim)`; a grid smaller than `GRID` leaves cells at 0.

    Returns: float32 `(batch, D)`, see `pooled_size`.
    """
    x = ops.cast(latents, "float32")
    if len(x.shape) == 2:
        return x
    mean, square = _averaged(x), _averaged(ops.square(x))
    deviation = ops.sqrt(ops.maximum(square - ops.square(mean), 0.0) + 1e-6)
    return ops.reshape(ops.stack([mean, deviation], axis=-2), (-1, 2 * GRID ** (len(x.shape) - 2) * x.shape[-1]))


def pooled_size(net):
    """How many numbers `pool_grid` gives for the latents of an encoder or a model."""
    return net.latent_dim if net.bottleneck == "vector" else 2 * GRID**net.spatial_dims * net.latent_dim


def _averaged(x):
    """Means of the cells, `(batch, GRID, ..., dim)`."""
    for axis in range(1, len(x.shape) - 1):
        count = ops.shape(x)[axis]
        cell = ops.arange(count, dtype="int32") * GRID // count
        belongs = ops.one_hot(cell, GRID, dtype="float32")
        share = belongs / ops.maximum(ops.sum(belongs, axis=0), 1.0)
        x = ops.moveaxis(ops.tensordot(x, share, axes=[[axis], [0]]), -1, axis)
    return x
