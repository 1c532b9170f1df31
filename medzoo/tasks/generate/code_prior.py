"""A prior over the codes of a VQ-VAE, to draw new images from: a small causal transformer."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("medzoo")
class AutoregressivePrior(keras.Model):
    """Predicts each code of a grid from those before it, row by row (as in Esser et al. 2021, arXiv:2012.09841).

        prior = AutoregressivePrior(vqvae.quantizer.codebook_size, vqvae.latent_shape())
        prior.compile(keras.optimizers.Adam(1e-3))
        prior.fit(vqvae.encode(films), epochs=20)          # or fit((codes, labels), ...) with num_classes
        new = vqvae.decode(prior.sample(16, seed=0))

    Loss: cross-entropy, nats a code. An ideal coder needs so many bits (times 1.44) for each.

    Args:
        codebook_size: number of codes.
        grid: `(rows, columns)`.
        num_classes: for drawing by class; 0 for none.
        width, depth, heads: of the transformer.
        dropout: share of activations dropped in training.
    """

    def __init__(self, codebook_size, grid, num_classes=0, width=128, depth=4, heads=4, dropout=0.1, **kwargs):
        super().__init__(**kwargs)
        self.codebook_size, self.grid, self.num_classes = codebook_size, tuple(grid), num_classes
        self.width, self.depth, self.heads, self.dropout = width, depth, heads, dropout
        self.tokens = keras.layers.Embedding(codebook_size + max(1, num_classes), width, name="tokens")
        self.places = [keras.layers.Embedding(n, width, name=f"place_{i}") for i, n in enumerate(self.grid)]
        self.blocks = [_Block(width, heads, dropout, name=f"block_{i}") for i in range(depth)]
        self.norm = keras.layers.LayerNormalization(name="norm")
        self.head = keras.layers.Dense(codebook_size, dtype="float32", name="head")
        self.build()

    def build(self, input_shape=None):
        if self.built:
            return
        length = self.grid[0] * self.grid[1]
        for layer in (self.tokens, *self.places):
            layer.build((None, length))
        for layer in (*self.blocks, self.norm, self.head):
            layer.build((None, length, self.width))
        self.built = True

    def call(self, inputs, training=False):
        """Logits `(batch, length, codebook_size)` of the first `length` codes.

        Args:
            inputs: integers `(batch, length)`: the start token (`codebook_size` + label), then the codes but the last.
        """
        where = ops.arange(ops.shape(inputs)[1])
        x = self.tokens(inputs) + self.places[0](where // self.grid[1]) + self.places[1](where % self.grid[1])
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(self.norm(x))

    def compile(self, optimizer="adam", **kwargs):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        super().compile(optimizer=optimizer, loss=loss, **kwargs)

    def fit(self, x, *args, validation_data=None, **kwargs):
        """`keras.Model.fit` on codes `(N, rows, columns)`, or on `(codes, labels)`."""
        if validation_data is not None:
            validation_data = self._pairs(validation_data)
        return super().fit(*self._pairs(x), *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x, y=None, **kwargs):
        """As `fit` takes them; `fit` itself calls this with what `_pairs` made of its validation data."""
        x, y = self._pairs(x) if y is None else (x, y)
        return super().evaluate(x, y, **kwargs)

    def _pairs(self, x):
        codes, labels = x if isinstance(x, tuple) else (x, None)
        if codes.ndim != 3 or codes.shape[1:] != self.grid or codes.min() < 0 or codes.max() >= self.codebook_size:
            raise ValueError(
                f"AutoregressivePrior: codes {codes.shape} from {codes.min()} to {codes.max()}; expected (N, *{self.grid}) from "
                f"0 to {self.codebook_size - 1}."
            )
        if (labels is None) == (self.num_classes > 0):
            raise ValueError(
                f"AutoregressivePrior: num_classes={self.num_classes}; labels {'missing' if labels is None else 'given'}."
            )
        codes = codes.reshape(len(codes), -1).astype("int32")
        return np.concatenate([self._start(len(codes), labels), codes[:, :-1]], axis=1), codes

    def _start(self, n, labels):
        return np.full((n, 1), self.codebook_size, "int32") + (0 if labels is None else np.reshape(labels, (-1, 1)))

    def sample(self, n, label=None, seed=None, temperature=1.0):
        """n grids of codes, int32 `(n, rows, columns)`, one code after another.

        Args:
            label: the class, where there are some.
            seed: int or `None`; makes the draw repeatable.
            temperature: below 1 the likelier codes are preferred.
        """
        if (label is None) == (self.num_classes > 0):
            raise ValueError(
                f"AutoregressivePrior: label={label}; expected {f'0 to {self.num_classes - 1}' if self.num_classes else None}."
            )
        rng = np.random.default_rng(seed)
        length = self.grid[0] * self.grid[1]
        drawn = np.concatenate([self._start(n, label), np.zeros((n, length), "int32")], axis=1)
        for i in range(length):
            # Whole rows are given, so that a compiled graph sees few lengths; what comes later is not looked at.
            end = min(length, (i // self.grid[1] + 1) * self.grid[1])
            logits = ops.convert_to_numpy(self(drawn[:, :end]))[:, i] / temperature
            gumbel = -np.log(-np.log(rng.uniform(1e-12, 1, logits.shape)))
            drawn[:, i + 1] = np.argmax(logits + gumbel, axis=1)
        return drawn[:, 1:].reshape(n, *self.grid)

    def get_config(self):
        names = ("codebook_size", "grid", "num_classes", "width", "depth", "heads", "dropout")
        return {"name": self.name, **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("medzoo")
class _Block(keras.layers.Layer):
    """Attention to what came before, then a small network for each place (Vaswani et al. 2017, arXiv:1706.03762)."""

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
