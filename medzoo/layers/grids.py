"""What images `(batch, height, width, channels)` and volumes `(batch, depth, height, width, channels)` share."""

from functools import partial

import keras
from keras import ops

LAST = "channels_last"  # whatever `image_data_format` in keras.json says


def convolution(spatial_dims):
    """The convolution layer for so many spatial_dims, 2 or 3; channels are the last axis whatever keras.json says."""
    return partial({2: keras.layers.Conv2D, 3: keras.layers.Conv3D}[spatial_dims], data_format=LAST)


def per_axis(value, spatial_dims):
    """One number for each axis: `4` or `(2, 4, 4)` as a tuple of `spatial_dims` numbers."""
    return (value,) * spatial_dims if isinstance(value, int) else tuple(value)


def together(values):
    """The number that all spatial_dims have, or where they differ the tuple."""
    return values[0] if len(set(values)) == 1 else tuple(values)


def to_depth(x, factor):
    """Blocks of `factor` positions an axis (a number, or one for each) become channels."""
    spatial_dims = len(x.shape) - 2
    factors = per_axis(factor, spatial_dims)
    if spatial_dims == 2 and len(set(factors)) == 1:
        return ops.space_to_depth(x, factors[0], data_format=LAST)
    for axis in range(spatial_dims, 0, -1):  # one by one: LiteRT turns arrays of six spatial_dims at most
        x = _into_channels(x, axis, factors[axis - 1])
    return x


def to_space(x, factor):
    """The inverse of `to_depth`."""
    spatial_dims = len(x.shape) - 2
    factors = per_axis(factor, spatial_dims)
    if spatial_dims == 2 and len(set(factors)) == 1:
        return ops.depth_to_space(x, factors[0], data_format=LAST)
    for axis in range(1, spatial_dims + 1):
        x = _out_of_channels(x, axis, factors[axis - 1])
    return x


def _into_channels(x, axis, factor):
    sides, last = _sides(x), len(x.shape) - 1
    sides[axis - 1] //= factor
    x = ops.reshape(x, (-1, *sides[:axis], factor, *sides[axis:], x.shape[-1]))
    order = [*(i for i in range(last + 1) if i != axis + 1), axis + 1, last + 1]
    return ops.reshape(ops.transpose(x, order), (-1, *sides, factor * x.shape[-1]))


def _out_of_channels(x, axis, factor):
    sides, last, channels = _sides(x), len(x.shape) - 1, x.shape[-1] // factor
    x = ops.reshape(x, (-1, *sides, factor, channels))
    order = [*range(axis + 1), last, *range(axis + 1, last), last + 1]
    sides[axis - 1] *= factor
    return ops.reshape(ops.transpose(x, order), (-1, *sides, channels))


def _sides(x):
    return [ops.shape(x)[i] for i in range(1, len(x.shape) - 1)]


def enlarged(grid, factor):
    """Each position of `(batch, ..., channels)` as a block of `factor` positions an axis."""
    for axis, times in enumerate(per_axis(factor, len(grid.shape) - 2), start=1):
        grid = ops.repeat(grid, times, axis=axis)
    return grid
