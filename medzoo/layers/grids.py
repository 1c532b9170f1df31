"""What images `(batch, height, width, channels)` and volumes `(batch, depth, height, width, channels)` share."""

import math

import keras
from keras import ops


def convolution(axes):
    """The convolution layer for so many axes, 2 or 3."""
    return {2: keras.layers.Conv2D, 3: keras.layers.Conv3D}[axes]


def per_axis(value, axes):
    """One number for each axis: `4` or `(2, 4, 4)` as a tuple of `axes` numbers."""
    return (value,) * axes if isinstance(value, int) else tuple(value)


def together(values):
    """The number that all axes have, or where they differ the tuple."""
    return values[0] if len(set(values)) == 1 else tuple(values)


def to_depth(x, factor):
    """Blocks of `factor` positions an axis (a number, or one for each) become channels."""
    axes = len(x.shape) - 2
    factors = per_axis(factor, axes)
    if axes == 2 and len(set(factors)) == 1:
        return ops.space_to_depth(x, factors[0])
    grid = [ops.shape(x)[i + 1] // f for i, f in enumerate(factors)]
    split = [n for pair in zip(grid, factors, strict=True) for n in pair]
    x = ops.reshape(x, (-1, *split, x.shape[-1]))
    order = (0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1)
    return ops.reshape(ops.transpose(x, order), (-1, *grid, math.prod(factors) * x.shape[-1]))


def to_space(x, factor):
    """The inverse of `to_depth`."""
    axes = len(x.shape) - 2
    factors = per_axis(factor, axes)
    if axes == 2 and len(set(factors)) == 1:
        return ops.depth_to_space(x, factors[0])
    grid, channels = [ops.shape(x)[i + 1] for i in range(axes)], x.shape[-1] // math.prod(factors)
    x = ops.reshape(x, (-1, *grid, *factors, channels))
    order = (0, *(n for i in range(axes) for n in (1 + i, 1 + axes + i)), 2 * axes + 1)
    sides = [n * f for n, f in zip(grid, factors, strict=True)]
    return ops.reshape(ops.transpose(x, order), (-1, *sides, channels))


def enlarged(grid, factor):
    """Each position of `(batch, ..., channels)` as a block of `factor` positions an axis."""
    for axis, times in enumerate(per_axis(factor, len(grid.shape) - 2), start=1):
        grid = ops.repeat(grid, times, axis=axis)
    return grid
