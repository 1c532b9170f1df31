"""Blocks of the autoencoders of latent diffusion models (Rombach et al. 2022, arXiv:2112.10752).

Images `(batch, height, width, channels)` and volumes `(batch, depth, height, width, channels)` share the code. The
arithmetic is that of the original PyTorch code: paddings, order of operations and numerical constants are equal, so
that converted weights give equal outputs.
"""

import keras
from keras import ops

from medzoo.layers.grids import convolution, enlarged

UPSAMPLING = ("nearest", "linear", "transposed-2", "transposed-3")
LARGEST_SCORES = 2**26  # attention scores of one batch that are held in memory at once: 256 MiB of float32


def transposed_convolution(spatial_dims):
    """The transposed convolution layer for 2 or 3 spatial spatial_dims."""
    return {2: keras.layers.Conv2DTranspose, 3: keras.layers.Conv3DTranspose}[spatial_dims]


@keras.saving.register_keras_serializable("medzoo")
class GroupNorm(keras.layers.Layer):
    """Group normalization (Wu & He 2018, arXiv:1803.08494) over the channels of the last axis, computed in float32.

    The variance is that of the centered values (two passes), as PyTorch's kernels compute it. The statistics of an
    image depend on all its pixels: the result for a tile differs from that for the whole image.

    Args:
        groups: int. Number of groups of channels that share a mean and a variance.
        epsilon: float. Added to the variance.

    Call arguments:
        x: float tensor of shape `(batch, ..., channels)`.

    Returns:
        Tensor of the shape and type of `x`.
    """

    def __init__(self, groups=32, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.groups, self.epsilon = groups, epsilon

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % self.groups:
            raise ValueError(f"GroupNorm: {channels} channels cannot be divided into {self.groups} groups.")
        self.gamma = self.add_weight(name="gamma", shape=(channels,), initializer="ones", dtype="float32")
        self.beta = self.add_weight(name="beta", shape=(channels,), initializer="zeros", dtype="float32")
        self.built = True

    def call(self, x):
        axes, channels = tuple(range(1, len(x.shape) - 1)), x.shape[-1]
        ones = (1,) * len(axes)

        def of_groups(per_channel):
            grouped = ops.reshape(per_channel, (-1, self.groups, channels // self.groups))
            return ops.mean(grouped, axis=-1)

        def per_channel(of_groups):
            return ops.reshape(ops.repeat(of_groups, channels // self.groups, axis=-1), (-1, *ones, channels))

        centered = ops.cast(x, "float32")
        centered = centered - per_channel(of_groups(ops.mean(centered, axis=axes)))
        variance = of_groups(ops.mean(ops.square(centered), axis=axes))
        scale = per_channel(ops.rsqrt(variance + self.epsilon)) * self.gamma
        return ops.cast(centered * scale + self.beta, x.dtype)

    def get_config(self):
        return {**super().get_config(), "groups": self.groups, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("medzoo")
class NormalizedResidualBlock(keras.layers.Layer):
    """`shortcut(x) + conv(silu(norm(conv(silu(norm(x))))))`, two convolutions of kernel size 3.

    The shortcut is the identity, or a convolution of kernel size 1 where the number of channels changes.

    Args:
        filters: int. Number of output channels.
        groups: int. See `GroupNorm`.
        epsilon: float. See `GroupNorm`.
        spatial_dims: int. 2 for images, 3 for volumes.

    Call arguments:
        x: float tensor of shape `(batch, ..., channels)`.

    Returns:
        Float tensor of shape `(batch, ..., filters)`.
    """

    def __init__(self, filters, groups=32, epsilon=1e-6, spatial_dims=2, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.groups, self.epsilon, self.spatial_dims = filters, groups, epsilon, spatial_dims
        conv, shared = convolution(spatial_dims), {"padding": "same", "dtype": self.dtype_policy}
        self.norm1 = GroupNorm(groups, epsilon, dtype=self.dtype_policy, name="norm1")
        self.conv1 = conv(filters, 3, name="conv1", **shared)
        self.norm2 = GroupNorm(groups, epsilon, dtype=self.dtype_policy, name="norm2")
        self.conv2 = conv(filters, 3, name="conv2", **shared)
        self.shortcut = None

    def build(self, input_shape):
        wide = (*input_shape[:-1], self.filters)
        self.norm1.build(input_shape)
        self.conv1.build(input_shape)
        self.norm2.build(wide)
        self.conv2.build(wide)
        if input_shape[-1] != self.filters:
            self.shortcut = convolution(self.spatial_dims)(self.filters, 1, dtype=self.dtype_policy, name="shortcut")
            self.shortcut.build(input_shape)
        self.built = True

    def call(self, x):
        hidden = self.conv1(ops.silu(self.norm1(x)))
        hidden = self.conv2(ops.silu(self.norm2(hidden)))
        return hidden + (x if self.shortcut is None else self.shortcut(x))

    def get_config(self):
        own = {name: getattr(self, name) for name in ("filters", "groups", "epsilon", "spatial_dims")}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("medzoo")
class SpatialAttention(keras.layers.Layer):
    """Self-attention of one head over all positions of a normalized grid, added to the input.

    The scores of n positions are an n×n matrix. Above `LARGEST_SCORES` entries they are computed exactly for one block
    of queries after another, so that the memory grows with n and not with n².

    Args:
        groups: int. See `GroupNorm`.
        epsilon: float. See `GroupNorm`.
        projection: bool. Whether a linear layer follows the weighted values (`include_fc` of MONAI).

    Call arguments:
        x: float tensor of shape `(batch, ..., channels)`.

    Returns:
        Float tensor shaped like `x`.
    """

    def __init__(self, groups=32, epsilon=1e-6, projection=True, **kwargs):
        super().__init__(**kwargs)
        self.groups, self.epsilon, self.projection = groups, epsilon, projection

    def build(self, input_shape):
        channels, policy = input_shape[-1], self.dtype_policy
        self.norm = GroupNorm(self.groups, self.epsilon, dtype=policy, name="norm")
        self.query = keras.layers.Dense(channels, dtype=policy, name="query")
        self.key = keras.layers.Dense(channels, dtype=policy, name="key")
        self.value = keras.layers.Dense(channels, dtype=policy, name="value")
        self.output_projection = None
        if self.projection:
            self.output_projection = keras.layers.Dense(channels, dtype=policy, name="output_projection")
            self.output_projection.build((None, None, channels))
        self.norm.build(input_shape)
        for layer in (self.query, self.key, self.value):
            layer.build((None, None, channels))
        self.built = True

    def call(self, x):
        shape, channels = ops.shape(x), x.shape[-1]
        hidden = ops.reshape(self.norm(x), (shape[0], -1, channels))
        query = self.query(hidden) * channels**-0.5
        attended = _attend(query, self.key(hidden), self.value(hidden))
        if self.output_projection is not None:
            attended = self.output_projection(attended)
        return x + ops.reshape(attended, shape)

    def get_config(self):
        own = {"groups": self.groups, "epsilon": self.epsilon, "projection": self.projection}
        return {**super().get_config(), **own}


def _attend(query, key, value):
    """`softmax(query keyᵀ) value` of tensors `(batch, positions, channels)`, in blocks of queries if need be."""
    transposed = ops.transpose(key, (0, 2, 1))

    def of(block):
        weights = ops.softmax(ops.cast(ops.matmul(block, transposed), "float32"), axis=-1)
        return ops.matmul(ops.cast(weights, value.dtype), value)

    batch, positions = ops.shape(query)[0], ops.shape(query)[1]
    static = isinstance(positions, int) and isinstance(batch, int)
    if static and batch * positions**2 <= LARGEST_SCORES:
        return of(query)
    if static:
        size = max(1, LARGEST_SCORES // (batch * positions))
        return ops.concatenate([of(query[:, i : i + size]) for i in range(0, positions, size)], axis=1)
    # In a graph for any size: a loop over blocks; the last one is filled up with repetitions of the last query.
    size = ops.clip(LARGEST_SCORES // ops.maximum(batch * positions, 1), 1, positions)
    count = (positions + size - 1) // size
    starts = ops.arange(count) * size
    blocks = ops.map(
        lambda start: of(ops.take(query, ops.minimum(start + ops.arange(size), positions - 1), axis=1)), starts
    )
    joined = ops.reshape(ops.transpose(blocks, (1, 0, 2, 3)), (batch, -1, value.shape[-1]))
    return joined[:, :positions]


@keras.saving.register_keras_serializable("medzoo")
class Downsample(keras.layers.Layer):
    """Half the resolution: a convolution of kernel size 3 and stride 2, padded by one position at the far end only.

    The one-sided padding (0, 1) is that of Latent Diffusion, diffusers and MONAI. An odd side n gives (n - 1) / 2.

    Args:
        filters: int. Number of output channels.
        learned: bool. `False` averages blocks of 2 positions per axis instead, without weights.
        spatial_dims: int. 2 for images, 3 for volumes.

    Call arguments:
        x: float tensor of shape `(batch, ..., channels)`.

    Returns:
        Float tensor of shape `(batch, ..., filters)`.
    """

    def __init__(self, filters, learned=True, spatial_dims=2, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.learned, self.spatial_dims = filters, learned, spatial_dims
        pooling = {2: keras.layers.AveragePooling2D, 3: keras.layers.AveragePooling3D}[spatial_dims]
        conv = convolution(spatial_dims)
        policy = {"dtype": self.dtype_policy}
        self.conv = conv(filters, 3, strides=2, name="conv", **policy) if learned else pooling(2, **policy)

    def build(self, input_shape):
        if self.learned:
            self.conv.build(input_shape)
        self.built = True

    def call(self, x):
        if self.learned:
            x = ops.pad(x, [[0, 0], *[[0, 1]] * self.spatial_dims, [0, 0]])
        return self.conv(x)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "learned": self.learned,
            "spatial_dims": self.spatial_dims,
        }


@keras.saving.register_keras_serializable("medzoo")
class Upsample(keras.layers.Layer):
    """Twice the resolution, with a convolution.

    Args:
        filters: int. Number of output channels.
        mode: `"nearest"` (repetition, then a convolution of kernel size 3: Latent Diffusion, diffusers, MONAI),
            `"linear"` (linear interpolation without aligned corners, then a convolution: MAISI), `"transposed-2"`
            (transposed convolution of kernel size 2: MONAI) or `"transposed-3"` (of kernel size 3: MAISI).
        learned: bool. `False` leaves the convolution after the interpolation out.
        spatial_dims: int. 2 for images, 3 for volumes.

    Call arguments:
        x: float tensor of shape `(batch, ..., channels)`.

    Returns:
        Float tensor of shape `(batch, ..., filters)`.
    """

    def __init__(self, filters, mode="nearest", learned=True, spatial_dims=2, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.mode, self.learned, self.spatial_dims = filters, mode, learned, spatial_dims
        if mode not in UPSAMPLING:
            raise ValueError(f"Upsample: mode={mode!r}; expected one of {', '.join(UPSAMPLING)}.")
        kernel = int(mode[-1]) if mode.startswith("transposed") else 3
        if mode.startswith("transposed"):
            self.conv = transposed_convolution(spatial_dims)(
                filters, kernel, strides=2, padding="valid", dtype=self.dtype_policy, name="conv"
            )
        elif learned:
            self.conv = convolution(spatial_dims)(filters, kernel, padding="same", dtype=self.dtype_policy, name="conv")
        else:
            self.conv = None

    def build(self, input_shape):
        if self.conv is not None:
            self.conv.build(input_shape)
        self.built = True

    def call(self, x):
        if self.mode == "nearest":
            x = enlarged(x, 2)
        elif self.mode == "linear":
            for axis in range(1, self.spatial_dims + 1):
                x = _interpolated(x, axis)
        if self.conv is not None:
            x = self.conv(x)
        if self.mode == "transposed-3":  # padding 1 and output padding 1 of PyTorch: the first position is cut off
            x = x[(slice(None), *(slice(1, None),) * self.spatial_dims)]
        return x

    def get_config(self):
        own = {name: getattr(self, name) for name in ("filters", "mode", "learned", "spatial_dims")}
        return {**super().get_config(), **own}


def _interpolated(x, axis):
    """Twice as many positions along an axis, linearly interpolated at quarters between them; the ends are repeated."""
    shape = list(ops.shape(x))
    ahead = (slice(None),) * axis
    before = ops.concatenate([x[(*ahead, slice(0, 1))], x[(*ahead, slice(0, -1))]], axis=axis)
    after = ops.concatenate([x[(*ahead, slice(1, None))], x[(*ahead, slice(-1, None))]], axis=axis)
    doubled = ops.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
    shape[axis] = 2 * shape[axis]
    return ops.reshape(doubled, shape)
