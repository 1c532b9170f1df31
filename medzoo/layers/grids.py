"""Operations on the spatial axes of images and volumes, whose channels are the last axis."""

from collections.abc import Callable, Sequence
from functools import partial

import keras
from keras import ops

LAST = "channels_last"  # independent of `image_data_format` in keras.json


def convolution(spatial_dims: int) -> Callable[..., keras.layers.Layer]:
    """Return the channels-last convolution layer class for 2 or 3 spatial dimensions.

    The channels are the last axis, independent of `image_data_format` in `keras.json`.

    Args:
        spatial_dims: int. 2 for images, 3 for volumes.

    Returns:
        Constructor of `keras.layers.Conv2D` or `keras.layers.Conv3D`.
    """
    return partial({2: keras.layers.Conv2D, 3: keras.layers.Conv3D}[spatial_dims], data_format=LAST)


def per_axis(value: int | Sequence[int], spatial_dims: int) -> tuple[int, ...]:
    """Return one integer per spatial axis, given one integer or one per axis."""
    return (value,) * spatial_dims if isinstance(value, int) else tuple(value)


def together(values: Sequence[int]) -> int | tuple[int, ...]:
    """Return the common value of all axes, or the tuple if the values differ."""
    return values[0] if len(set(values)) == 1 else tuple(values)


def to_depth(x, factor: int | Sequence[int]):
    """Move blocks of `factor` positions per axis into the channels (space-to-depth).

    Args:
        x: Tensor `(batch, height, width, channels)` or `(batch, depth, height, width, channels)`.
        factor: int, or one int per spatial axis.

    Returns:
        Tensor whose spatial axes are shorter by `factor` and whose channels are more by the product of the factors.
    """
    spatial_dims = len(x.shape) - 2
    factors = per_axis(factor, spatial_dims)
    if spatial_dims == 2 and len(set(factors)) == 1:
        return ops.space_to_depth(x, factors[0], data_format=LAST)
    for axis in range(spatial_dims, 0, -1):  # one by one: LiteRT transposes arrays of at most six axes
        x = _into_channels(x, axis, factors[axis - 1])
    return x


def to_space(x, factor: int | Sequence[int]):
    """Move channels into blocks of `factor` positions per axis: the inverse of `to_depth`."""
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


def enlarged(grid, factor: int | Sequence[int]):
    """Repeat each position of a grid as a block of `factor` positions per axis."""
    for axis, times in enumerate(per_axis(factor, len(grid.shape) - 2), start=1):
        grid = ops.repeat(grid, times, axis=axis)
    return grid
