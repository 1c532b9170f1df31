"""An autoregressive prior over the codes of a VQ-VAE: a small causal transformer."""

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("medzoo")
class AutoregressivePrior(keras.Model):
    """Autoregressive transformer over the codes of a VQ-VAE.

    It predicts each code of a grid from the preceding codes in row-major order. The architecture follows Esser et al.
    (2021, arXiv:2012.09841). The loss is the cross-entropy in nats per code. Divided by ln 2, it is the mean number of
    bits per code of an ideal entropy coder.

    Args:
        codebook_size: int. Number of codes.
        grid_shape: Tuple `(rows, columns)`. Shape of the code grids.
        num_classes: int. Number of classes for conditional generation; 0 for an unconditional prior.
        width: int. Embedding dimension of the transformer.
        depth: int. Number of transformer blocks.
        heads: int. Number of attention heads.
        dropout: float in [0, 1). Dropout rate during training.

    Examples:
        ```python
        prior = AutoregressivePrior(vqvae.quantizer.codebook_size, vqvae.latent_shape())
        prior.compile(keras.optimizers.Adam(1e-3))
        prior.fit(vqvae.encode(images), epochs=20)  # or fit((codes, labels), ...) with num_classes
        samples = vqvae.decode(prior.sample(16, seed=0))
        ```
    """

    def __init__(
        self,
        codebook_size: int,
        grid_shape: tuple[int, int],
        num_classes: int = 0,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.codebook_size, self.grid_shape, self.num_classes = codebook_size, tuple(grid_shape), num_classes
        self.width, self.depth, self.heads, self.dropout = width, depth, heads, dropout
        self.tokens = keras.layers.Embedding(codebook_size + max(1, num_classes), width, name="tokens")
        sides = enumerate(self.grid_shape)
        self.positions = [keras.layers.Embedding(n, width, name=f"position_{i}") for i, n in sides]
        self.blocks = [_Block(width, heads, dropout, name=f"block_{i}") for i in range(depth)]
        self.norm = keras.layers.LayerNormalization(name="norm")
        self.head = keras.layers.Dense(codebook_size, dtype="float32", name="head")
        self.build()

    def build(self, input_shape=None):
        if self.built:
            return
        length = self.grid_shape[0] * self.grid_shape[1]
        for layer in (self.tokens, *self.positions):
            layer.build((None, length))
        for layer in (*self.blocks, self.norm, self.head):
            layer.build((None, length, self.width))
        self.built = True

    def call(self, inputs, training: bool = False):
        """Return the logits of the first `length` codes.

        Args:
            inputs: Integer tensor of shape `(batch, length)`: the start token (`codebook_size` + label), then all codes
                but the last.
            training: bool. Whether to apply dropout.

        Returns:
            Float tensor of shape `(batch, length, codebook_size)`.
        """
        where = ops.arange(ops.shape(inputs)[1])
        x = (
            self.tokens(inputs)
            + self.positions[0](where // self.grid_shape[1])
            + self.positions[1](where % self.grid_shape[1])
        )
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(self.norm(x))

    def compile(self, optimizer: str | keras.optimizers.Optimizer = "adam", **kwargs: Any) -> None:
        """Configure the model for training with the cross-entropy loss.

        Args:
            optimizer: A Keras optimizer.
            kwargs: Further options of `keras.Model.compile`.
        """
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        super().compile(optimizer=optimizer, loss=loss, **kwargs)

    def fit(self, x: Any, *args: Any, validation_data: Any = None, **kwargs: Any) -> keras.callbacks.History:
        """Train the prior.

        Args:
            x: Integer array of codes of shape `(N, rows, columns)`, or a tuple `(codes, labels)` with `num_classes`.
            args: Further arguments of `keras.Model.fit`.
            validation_data: Codes or a tuple, as for `x`, or `None`.
            kwargs: Further options of `keras.Model.fit`.

        Returns:
            The history of `keras.Model.fit`.

        Raises:
            ValueError: If the codes have another shape or range, or labels are missing or superfluous.
        """
        if validation_data is not None:
            validation_data = self._pairs(validation_data)
        return super().fit(*self._pairs(x), *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x: Any, y: Any = None, **kwargs: Any) -> float:
        """Return the cross-entropy in nats per code.

        Args:
            x: Codes or a tuple, see `fit`; Keras passes prepared inputs during `fit`.
            y: Prepared targets, or `None`.
            kwargs: Further options of `keras.Model.evaluate`.

        Returns:
            The loss.
        """
        x, y = self._pairs(x) if y is None else (x, y)
        return super().evaluate(x, y, **kwargs)

    def _pairs(self, x):
        """Return inputs and targets of the transformer from codes and labels."""
        codes, labels = x if isinstance(x, tuple) else (x, None)
        if (
            codes.ndim != 3
            or codes.shape[1:] != self.grid_shape
            or codes.min() < 0
            or codes.max() >= self.codebook_size
        ):
            raise ValueError(
                f"AutoregressivePrior: invalid codes. Expected shape (N, *{self.grid_shape}) and values from 0 to "
                f"{self.codebook_size - 1}, got {codes.shape} and {codes.min()} to {codes.max()}."
            )
        if (labels is None) == (self.num_classes > 0):
            raise ValueError(
                f"AutoregressivePrior: labels are {'missing' if labels is None else 'superfluous'}. Expected labels if "
                f"and only if num_classes > 0, got num_classes={self.num_classes}."
            )
        codes = codes.reshape(len(codes), -1).astype("int32")
        return np.concatenate([self._start(len(codes), labels), codes[:, :-1]], axis=1), codes

    def _start(self, n, labels):
        """Return the start token of each grid."""
        return np.full((n, 1), self.codebook_size, "int32") + (0 if labels is None else np.reshape(labels, (-1, 1)))

    def sample(self, n: int, label: int | None = None, seed: int | None = None, temperature: float = 1.0) -> np.ndarray:
        """Sample grids of codes, one code after another.

        Args:
            n: int. Number of grids.
            label: int. Class, from 0 to `num_classes` - 1; required if and only if the prior has classes.
            seed: int, or `None`. With a seed the result is reproducible.
            temperature: float. Divides the logits; values below 1 favor more probable codes.

        Returns:
            int32 array of shape `(n, rows, columns)`.

        Raises:
            ValueError: If the label is missing or superfluous.
        """
        if (label is None) == (self.num_classes > 0):
            raise ValueError(
                "AutoregressivePrior: invalid label. Expected "
                f"{f'0 to {self.num_classes - 1}' if self.num_classes else None}, got {label}."
            )
        rng = np.random.default_rng(seed)
        length = self.grid_shape[0] * self.grid_shape[1]
        tokens = np.concatenate([self._start(n, label), np.zeros((n, length), "int32")], axis=1)
        for i in range(length):
            # Complete rows are passed, so that few input lengths are compiled; attention ignores later positions.
            end = min(length, (i // self.grid_shape[1] + 1) * self.grid_shape[1])
            logits = ops.convert_to_numpy(self(tokens[:, :end]))[:, i] / temperature
            gumbel = -np.log(-np.log(rng.uniform(1e-12, 1, logits.shape)))
            tokens[:, i + 1] = np.argmax(logits + gumbel, axis=1)
        return tokens[:, 1:].reshape(n, *self.grid_shape)

    def get_config(self):
        names = ("codebook_size", "grid_shape", "num_classes", "width", "depth", "heads", "dropout")
        return {"name": self.name, **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("medzoo")
class _Block(keras.layers.Layer):
    """Transformer block: causal self-attention, then an MLP per position (Vaswani et al. 2017, arXiv:1706.03762)."""

    def __init__(self, width, heads, dropout, **kwargs):
        super().__init__(**kwargs)
        self.attention = keras.layers.MultiHeadAttention(heads, width // heads, dropout=dropout)
        self.norms = [keras.layers.LayerNormalization() for _ in range(2)]
        self.wide = keras.layers.Dense(4 * width, activation="gelu")
        self.narrow = keras.layers.Dense(width)
        self.drop = keras.layers.Dropout(dropout)

    def build(self, input_shape):
        for norm in self.norms:
            norm.build(input_shape)
        self.attention.build(input_shape, input_shape)
        self.wide.build(input_shape)
        self.narrow.build((*input_shape[:-1], 4 * input_shape[-1]))
        self.built = True

    def call(self, x, training=False):
        normed = self.norms[0](x)
        x = x + self.drop(self.attention(normed, normed, use_causal_mask=True, training=training), training=training)
        return x + self.drop(self.narrow(self.wide(self.norms[1](x))), training=training)
