"""Weights and inputs that the libraries of the sources and the tests make from names and shapes; none are stored.

`numpy.random.RandomState` is frozen: the same seed gives the same numbers in all versions of NumPy.
"""

import math
import zlib

import numpy as np


def weight(name, shape):
    """The values of a parameter: no normalization is 1, no bias is 0, no adapter is 0; float32."""
    draw = np.random.RandomState(zlib.crc32(name.encode()))
    normal, uniform = draw.standard_normal(shape), draw.uniform(size=shape)
    if name.endswith("running_var"):
        values = 0.5 + uniform
    elif name.endswith("running_mean"):
        values = 0.2 * normal
    elif name.endswith("ema_cluster_size"):
        values = 1 + uniform
    elif name.endswith(("embedding.weight", "ema_w")):
        values = normal
    elif name.endswith("bias"):
        values = 0.2 * normal
    elif len(shape) == 1:
        values = (0.15 if ".bn3." in name else 1.0) * (1 + 0.3 * normal)
    else:
        values = normal / math.sqrt(math.prod(shape[1:])) * (0.5 if "lora_up" in name else 1.0)
    return values.astype("float32")


def image(shape, seed):
    """Smooth and noisy images `(batch, channels, ...)` with values in [-1, 1]."""
    draw = np.random.RandomState(seed)
    coarse = draw.standard_normal([n if i < 2 else -(-n // 4) for i, n in enumerate(shape)])
    for axis in range(2, len(shape)):
        coarse = np.repeat(coarse, 4, axis=axis)
    coarse = coarse[tuple(slice(n) for n in shape)]
    return np.tanh(coarse + 0.2 * draw.standard_normal(shape)).astype("float32")
