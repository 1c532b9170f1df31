"""Vector quantization with a learned codebook."""

from typing import Any

import keras
from keras import ops

from medzoo.layers import replicas
from medzoo.utils.arguments import SEED, checked, choice, real, whole

ARGUMENTS = {
    "codebook_size": whole(2),
    "commitment_cost": real(0),
    "codebook_update": choice("ema", "gradient"),
    "decay": real(0, below=1),
    "restart_threshold": real(0, below=1),
    "seed": SEED,
}


@keras.saving.register_keras_serializable("medzoo")
class VectorQuantizer(keras.layers.Layer):
    """Vector quantization of latents by the nearest entry of a learned codebook.

    Van den Oord et al. 2017, arXiv:1711.00937, with a straight-through gradient. The codebook is initialized by
    k-means++ on the first training batch (Arthur & Vassilvitskii 2007). It is then updated by an exponential moving
    average of the latents (`codebook_update="ema"`, appendix A of the paper) or by the gradient of the codebook loss
    (`codebook_update="gradient"`). Entries that fall out of use are reset to latents of the current batch (Dhariwal et
    al. 2020, arXiv:2005.00341).

    All statistics are summed over the replicas of `tf.distribute`, and all random choices are the same on each replica,
    so that the codebooks stay equal.

    Args:
        codebook_size: int. Number of entries, K.
        commitment_cost: float. Weight of the commitment loss (beta in the paper).
        codebook_update: `"ema"` or `"gradient"`.
        decay: float from 0 to below 1. Decay of the moving averages.
        restart_threshold: float from 0 to below 1. An entry that is used less than this fraction of the average use is
            reset; 0 disables resets.
        seed: int or `None`.

    Call arguments:
        latents: float tensor `(batch, ..., D)`.
        training: bool. `True` uses the straight-through gradient and, unless `trainable` is `False`, updates the
            codebook (statistics in `call`, as in batch normalization).

    Returns:
        Tuple `(quantized, codes, loss)`: a float tensor shaped like `latents`, an int32 tensor `(batch, ...)`, and a
        float tensor `(batch,)` with the commitment (and codebook) loss summed over the latents of each image.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        codebook_size: int,
        commitment_cost: float = 0.25,
        codebook_update: str = "ema",
        decay: float = 0.99,
        restart_threshold: float = 0.01,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        (
            self.codebook_size,
            self.commitment_cost,
            self.codebook_update,
            self.decay,
            self.restart_threshold,
            self.seed,
        ) = checked(
            type(self).__name__,
            ARGUMENTS,
            codebook_size=codebook_size,
            commitment_cost=commitment_cost,
            codebook_update=codebook_update,
            decay=decay,
            restart_threshold=restart_threshold,
            seed=seed,
        )
        self.seed_generator = keras.random.SeedGenerator(self.seed)

    def build(self, input_shape) -> None:
        size, dim = self.codebook_size, input_shape[-1]

        def state(name, shape, initializer):
            return self.add_weight(
                name=name,
                shape=shape,
                initializer=initializer,
                trainable=False,
                dtype="float32",
                aggregation="only_first_replica",
            )

        start = keras.initializers.RandomUniform(-1 / size, 1 / size, seed=self.seed)
        self.entries = state("entries", (size, dim), start)
        self.usage = state("usage", (size,), "zeros")  # moving average of the number of latents assigned to each entry
        self.started = state("started", (), "zeros")
        self._rule = RULES[self.codebook_update](self)
        self._rule.build(size, dim, state)
        self.built = True

    @property
    def codebook(self):
        """Codebook entries, float32 tensor `(codebook_size, D)`."""
        return self._rule.codebook()

    def lookup(self, codes):
        """Return the codebook entries of integer codes: `(...)` to `(..., D)`."""
        return ops.take(self.codebook, codes, axis=0)

    def nearest(self, latents):
        """Return the index of the nearest entry of each latent.

        The shapes are `(batch, ..., D)` and int32 `(batch, ...)`.
        |z - e|^2 = |z|^2 - 2 z.e + |e|^2, and |z|^2 is the same for all entries. So one matrix product is enough and no
        `(N, K, D)` tensor is formed. Images are processed one by one, so that the scores of one image fit the
        processor's cache.
        """
        of_image = _nearest_of(self.codebook)
        return _image_by_image(of_image, latents) if len(latents.shape) > 2 else of_image(latents)

    def call(self, latents, training=False):
        latents = ops.cast(latents, "float32")
        if not training:
            codes = self.nearest(latents)
            quantized = self.lookup(codes)
            return quantized, codes, self._loss(latents, quantized)

        updates = self.trainable  # a frozen layer keeps also what no optimizer updates
        if updates:
            flat = ops.reshape(ops.stop_gradient(latents), (-1, latents.shape[-1]))
            sample = self._sample(flat)
            self._start(sample)
        codes = self.nearest(latents)
        quantized = self.lookup(codes)
        loss = self._loss(latents, quantized)
        if updates:
            self._update(flat, ops.reshape(codes, (-1,)), sample)
        return latents + ops.stop_gradient(quantized - latents), codes, loss

    def _loss(self, latents, quantized):
        commitment_loss = self.commitment_cost * _distance(latents, ops.stop_gradient(quantized))
        return self._rule.add_codebook_loss(commitment_loss, latents, quantized)

    def _sample(self, flat):
        """Return `8 * codebook_size` latents sampled from the batches of all replicas, the same on each replica."""
        local = ops.shape(flat)[0]
        everywhere = local * replicas.count()
        index = keras.random.uniform((8 * self.codebook_size,), dtype="float32", seed=self.seed_generator)
        index = ops.cast(index * ops.cast(everywhere, "float32"), "int32")
        index = ops.minimum(index, ops.cast(everywhere - 1, "int32")) - ops.cast(replicas.index() * local, "int32")
        ours = ops.logical_and(index >= 0, index < local)
        picked = ops.take(flat, ops.clip(index, 0, local - 1), axis=0)
        return replicas.total(ops.where(ours[:, None], picked, ops.zeros_like(picked)))

    def _start(self, sample):
        """Initialize the codebook on the first training batch by k-means++ and some iterations of k-means."""
        uniform_samples = keras.random.uniform((self.codebook_size,), dtype="float32", seed=self.seed_generator)
        now = [ops.convert_to_tensor(v) for v in (self.entries, self.usage, getattr(self, "sums", self.entries))]
        entries, usage, sums = ops.cond(
            self.started > 0, lambda: now, lambda: list(kmeans(sample, self.codebook_size, uniform_samples))
        )
        self.entries.assign(entries)
        self.usage.assign(usage)
        self._rule.start(sums)
        self.started.assign(1.0)

    def _update(self, flat, codes, sample):
        """Update the moving averages with this batch and reset unused entries."""
        size, decay = self.codebook_size, self.decay
        counts = replicas.total(ops.segment_sum(ops.ones_like(flat[:, 0]), codes, num_segments=size))
        usage = decay * self.usage + (1 - decay) * counts
        mean_usage = ops.mean(usage)
        dead = usage < self.restart_threshold * mean_usage
        # A reset entry gets the average use, so that it has time to acquire latents of its own.
        fresh = sample[:size]
        self.usage.assign(ops.where(dead, mean_usage, usage))
        self._rule.update(flat, codes, dead, fresh, mean_usage)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "codebook_size": self.codebook_size,
            "commitment_cost": self.commitment_cost,
            "codebook_update": self.codebook_update,
            "decay": self.decay,
            "restart_threshold": self.restart_threshold,
            "seed": self.seed,
        }


class _MovingAverage:
    """Codebook update by moving averages: an entry is the mean of the latents assigned to it."""

    def __init__(self, layer):
        self.layer = layer

    def build(self, size, dim, state):
        self.layer.sums = state("sums", (size, dim), "zeros")  # moving average of the sum of the assigned latents

    def codebook(self):
        return ops.convert_to_tensor(self.layer.entries)

    def add_codebook_loss(self, commitment_loss, latents, quantized):
        return commitment_loss

    def start(self, sums):
        self.layer.sums.assign(sums)

    def update(self, flat, codes, dead, fresh, mean_usage):
        layer, decay = self.layer, self.layer.decay
        batch = replicas.total(ops.segment_sum(flat, codes, num_segments=layer.codebook_size))
        sums = decay * layer.sums + (1 - decay) * batch
        sums = ops.where(dead[:, None], fresh * mean_usage, sums)
        layer.sums.assign(sums)
        layer.entries.assign(sums / ops.maximum(layer.usage, 1e-8)[:, None])


class _Gradient:
    """Codebook update by the gradient of the codebook loss.

    The optimizer updates an offset to the entries that k-means and resets assign: on every backend a forward pass may
    change non-trainable state only.
    """

    def __init__(self, layer):
        self.layer = layer

    def build(self, size, dim, state):
        self.layer.offset = self.layer.add_weight(
            name="offset", shape=(size, dim), initializer="zeros", dtype="float32"
        )

    def codebook(self):
        return self.layer.entries + self.layer.offset

    def add_codebook_loss(self, commitment_loss, latents, quantized):
        return commitment_loss + _distance(ops.stop_gradient(latents), quantized)

    def start(self, sums):
        pass

    def update(self, flat, codes, dead, fresh, mean_usage):
        layer = self.layer
        layer.entries.assign(ops.where(dead[:, None], fresh - layer.offset, layer.entries * 1.0))


RULES: dict[str, Any] = {"ema": _MovingAverage, "gradient": _Gradient}


def _distance(a, b):
    """Return the sum of squared differences per image, `(batch,)`."""
    return ops.sum(ops.square(a - b), axis=tuple(range(1, len(a.shape))))


def _nearest_of(entries):
    """Return a function from vectors `(..., D)` to the index of the nearest entry, int32 `(...)`."""
    half = 0.5 * ops.sum(ops.square(entries), axis=1)
    return lambda vectors: _argmax(ops.matmul(vectors, ops.transpose(entries)) - half)


def _image_by_image(function, latents):
    """Apply `function` to the latents of each image; to all at once where TensorFlow runs eagerly."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.executing_eagerly():
            return function(latents)
    return ops.map(function, latents)


def _argmax(scores):
    """Return the index of the maximum along the last axis, int32.

    On TensorFlow, `ops.argmax` makes three further passes over the scores to distinguish -0 from 0, and ONNX cannot
    express that.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.argmax(scores, axis=-1, output_type="int32")
    return ops.cast(ops.argmax(scores, axis=-1), "int32")


def kmeans(points, size: int, uniform_samples, rounds: int = 5) -> tuple:
    """Compute k-means centers: k-means++ initialization and Lloyd's algorithm.

    Arthur & Vassilvitskii 2007.

    Args:
        points: float32 tensor `(N, D)`.
        size: int. Number of centers.
        uniform_samples: float32 tensor `(size,)` of uniform random numbers in [0, 1) for the random choices.
        rounds: int. Number of iterations of Lloyd's algorithm.

    Returns:
        Tuple of the centers `(size, D)`, the number of points of each center `(size,)`, and their sums `(size, D)`.
    """

    def choose(i, state):
        centers, nearest = state
        # Inverse transform sampling of a point with probability proportional to its squared distance.
        cumulative = ops.cumsum(nearest)
        chosen = ops.sum(ops.cast(cumulative < uniform_samples[i] * cumulative[-1], "int32"))
        center = ops.take(points, ops.minimum(chosen, points.shape[0] - 1), axis=0)
        centers = ops.where((ops.arange(size, dtype="int32") == i)[:, None], center, centers)
        distance = ops.sum(ops.square(points - center), axis=1)
        return centers, ops.where(i == 0, distance, ops.minimum(nearest, distance))

    start = (ops.zeros((size, points.shape[1]), "float32"), ops.ones((points.shape[0],), "float32"))
    centers, _ = ops.fori_loop(0, size, choose, start)

    def assign(centers):
        codes = _nearest_of(centers)(points)
        counts = ops.segment_sum(ops.ones_like(points[:, 0]), codes, num_segments=size)
        return counts, ops.segment_sum(points, codes, num_segments=size)

    for _ in range(rounds):
        counts, sums = assign(centers)
        centers = ops.where(counts[:, None] > 0, sums / ops.maximum(counts, 1.0)[:, None], centers)
    counts, sums = assign(centers)
    # An entry without points keeps a small weight, so that it keeps its value until it counts as unused.
    few = ops.maximum(counts, 1e-3)
    return centers, few, ops.where(counts[:, None] > 0, sums, centers * few[:, None])
