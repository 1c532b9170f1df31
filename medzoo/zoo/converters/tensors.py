"""Tensors that lie in a file: where, in what shape and type; read when they are needed."""

import math

import numpy as np

from medzoo.errors import CheckpointError

BFLOAT16 = "bfloat16"  # NumPy has none: the upper half of a float32
MOST_AXES, LARGEST_SIDE = 32, 2**40
SMALL = 2**20  # bytes that an expanded tensor may take, however small its storage is


def item_size(dtype):
    """Bytes of one value."""
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


def widened(array, dtype):
    """Return the values of bfloat16, given as uint16, as float32; all others as they are."""
    return (array.astype(np.uint32) << 16).view(np.float32) if dtype == BFLOAT16 else array


class Storage:
    """A block of values in the file.

    Args:
        dtype: str. Type of the values.
        count: int. Their number.
        read: function without arguments that returns the bytes.
    """

    __slots__ = ("count", "dtype", "read")

    def __init__(self, dtype, count, read):
        self.dtype, self.count, self.read = dtype, count, read

    @property
    def size(self):
        """Bytes."""
        return self.count * item_size(self.dtype)


class Tensor:
    """A view of a storage, as `torch` describes it.

    Args:
        storage: `Storage`.
        offset: int. Index of the first value.
        shape: sequence of int.
        stride: sequence of int. Values between neighbors along each axis; 0 repeats.
        dtype: str. Type of the values; default: that of the storage.

    Raises:
        CheckpointError: If the view reaches outside its storage, or is far larger than it.
    """

    __slots__ = ("dtype", "offset", "shape", "storage", "stride")

    def __init__(self, storage, offset, shape, stride, dtype=None):
        self.storage, self.offset, self.dtype = storage, offset, dtype or storage.dtype
        if not isinstance(shape, (tuple, list)) or not isinstance(stride, (tuple, list)):
            raise CheckpointError("a tensor without a shape")
        self.shape, self.stride = tuple(shape), tuple(stride)
        numbers = (*self.shape, *self.stride, offset)
        if len(self.shape) != len(self.stride) or len(self.shape) > MOST_AXES:
            raise CheckpointError("a tensor whose shape and strides do not fit together")
        if not all(type(n) is int and 0 <= n < LARGEST_SIDE for n in numbers):
            raise CheckpointError("a tensor with an impossible shape, stride or offset")
        count, size = math.prod(self.shape), item_size(self.dtype)
        reach = (
            offset + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True)) + 1 if count else 0
        )
        if reach * size > storage.size:
            raise CheckpointError(f"a tensor of shape {self.shape} that reaches outside its {storage.size:,} bytes")
        if count * size > max(storage.size, SMALL):
            raise CheckpointError(f"a tensor of shape {self.shape} in a storage of {storage.size:,} bytes")

    def read(self):
        """Return the values as a NumPy array; bfloat16 becomes float32."""
        dtype = np.dtype(np.uint16 if self.dtype == BFLOAT16 else self.dtype)
        if not math.prod(self.shape):
            return widened(np.zeros([min(n, SMALL) for n in self.shape], dtype), self.dtype)
        values = np.frombuffer(self.storage.read(), np.uint8)
        values = values[: len(values) // dtype.itemsize * dtype.itemsize].view(dtype)
        steps = [step * dtype.itemsize for step in self.stride]
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps, writeable=False)
        return widened(np.array(view), self.dtype)
