"""Vector quantisation with a learned codebook."""

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
    """Replaces each latent vector by the nearest entry of a learned codebook.

    van den Oord et al. 2017, arXiv:1711.00937. The gradient passes straight through. The codebook starts from
    k-means++ on the first training batch (Arthur & Vassilvitskii 2007), follows the latents by an exponential moving
    average (`codebook_update="ema"`, appendix A of the paper) or by the codebook loss (`codebook_update="gradient"`), and entries that
    fall out of use come back as latents of the current batch (Dhariwal et al. 2020, arXiv:2005.00341).

    All statistics are summed over the replicas of `tf.distribute`, and all random choices are the same on each, so
    the codebooks stay equal.

    Args:
        codebook_size: number of entries, K.
        commitment_cost: weight of the pull of the latents towards their entries (beta in the paper).
        codebook_update: `"ema"` or `"gradient"`.
        decay: of the moving averages.
        restart_threshold: an entry used less than this share of the average use starts anew; 0 switches it off.
        seed: int or `None`.

    Call arguments:
        latents: float tensor `(batch, ..., D)`.
        training: `True` passes the gradient straight through and, unless `trainable` is `False`, updates the codebook
            (statistics in call, like batch normalization).

    Returns: `(quantized, codes, loss)`: shaped like `latents`; int32 `(batch, ...)`; and `(batch,)`, the
        commitment (and codebook) loss summed over the latents of each image.
    """

    def __init__(
        self,
        codebook_size,
        commitment_cost=0.25,
        codebook_update="ema",
        decay=0.99,
        restart_threshold=0.01,
        seed=None,
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

    def build(self, input_shape):
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
        self.usage = state("usage", (size,), "zeros")  # moving average of how many latents chose each entry
        self.started = state("started", (), "zeros")
        if self.codebook_update == "ema":
            self.sums = state("sums", (size, dim), "zeros")  # moving average of the sum of those latents
        else:
            # What the optimiser moves stands beside what k-means and restarts set: on every backend a forward pass may
            # change non-trainable state only.
            self.offset = self.add_weight(name="offset", shape=(size, dim), initializer="zeros", dtype="float32")
        self.built = True

    @property
    def codebook(self):
        """The entries, float32 `(codebook_size, D)`."""
        return self.entries + self.offset if self.codebook_update == "gradient" else ops.convert_to_tensor(self.entries)

    def lookup(self, codes):
        """Codebook entries for integer codes: `(...)` to `(..., D)`."""
        return ops.take(self.codebook, codes, axis=0)

    def nearest(self, latents):
        """Index of the entry nearest to each latent: `(batch, ..., D)` to int32 `(batch, ...)`.

        |z - e|^2 = |z|^2 - 2 z.e + |e|^2, and |z|^2 is the same for all entries: one matrix product, never an
        (N, K, D) tensor; and one image at a time, so that its scores stay in the processor's cache.
        """
        of_image = _nearest_of(self.codebook)
        return _image_by_image(of_image, latents) if len(latents.shape) > 2 else of_image(latents)

    def call(self, latents, training=False):
        latents = ops.cast(latents, "float32")
        if not training:
            codes = self.nearest(latents)
            quantized = self.lookup(codes)
            return quantized, codes, self._loss(latents, quantized)

        learns = self.trainable  # what no optimizer moves must stay as it is in a frozen layer too
        if learns:
            flat = ops.reshape(ops.stop_gradient(latents), (-1, latents.shape[-1]))
            sample = self._sample(flat)
            self._start(sample)
        codes = self.nearest(latents)
        quantized = self.lookup(codes)
        loss = self._loss(latents, quantized)
        if learns:
            self._update(flat, ops.reshape(codes, (-1,)), sample)
        return latents + ops.stop_gradient(quantized - latents), codes, loss

    def _loss(self, latents, quantized):
        def distance(a, b):
            return ops.sum(ops.square(a - b), axis=tuple(range(1, len(a.shape))))

        loss = self.commitment_cost * distance(latents, ops.stop_gradient(quantized))
        if self.codebook_update == "gradient":
            loss = loss + distance(ops.stop_gradient(latents), quantized)
        return loss

    def _sample(self, flat):
        """`8 * codebook_size` latents drawn from the batches of all replicas together, the same on each."""
        share = ops.shape(flat)[0]
        everywhere = share * replicas.count()
        where = keras.random.uniform((8 * self.codebook_size,), dtype="float32", seed=self.seed_generator)
        where = ops.cast(where * ops.cast(everywhere, "float32"), "int32")
        where = ops.minimum(where, ops.cast(everywhere - 1, "int32")) - ops.cast(replicas.index() * share, "int32")
        ours = ops.logical_and(where >= 0, where < share)
        picked = ops.take(flat, ops.clip(where, 0, share - 1), axis=0)
        return replicas.total(ops.where(ours[:, None], picked, ops.zeros_like(picked)))

    def _start(self, sample):
        """On the first batch of all, sets the codebook by k-means++ and some rounds of k-means."""
        draws = keras.random.uniform((self.codebook_size,), dtype="float32", seed=self.seed_generator)
        now = [ops.convert_to_tensor(v) for v in (self.entries, self.usage, getattr(self, "sums", self.entries))]
        entries, usage, sums = ops.cond(
            self.started > 0, lambda: now, lambda: list(kmeans(sample, self.codebook_size, draws))
        )
        self.entries.assign(entries)
        self.usage.assign(usage)
        if self.codebook_update == "ema":
            self.sums.assign(sums)
        self.started.assign(1.0)

    def _update(self, flat, codes, sample):
        """Moves the averages towards this batch and brings back entries that nothing chose for long."""
        size, decay = self.codebook_size, self.decay
        counts = replicas.total(ops.segment_sum(ops.ones_like(flat[:, 0]), codes, num_segments=size))
        usage = decay * self.usage + (1 - decay) * counts
        mean_usage = ops.mean(usage)
        dead = usage < self.restart_threshold * mean_usage
        # A restarted entry gets the average use, so that it is given the time to gather latents of its own.
        fresh = sample[:size]
        self.usage.assign(ops.where(dead, mean_usage, usage))
        if self.codebook_update == "ema":
            sums = decay * self.sums + (1 - decay) * replicas.total(ops.segment_sum(flat, codes, num_segments=size))
            sums = ops.where(dead[:, None], fresh * mean_usage, sums)
            self.sums.assign(sums)
            self.entries.assign(sums / ops.maximum(self.usage, 1e-8)[:, None])
        else:
            self.entries.assign(ops.where(dead[:, None], fresh - self.offset, self.entries * 1.0))

    def get_config(self):
        return {
            **super().get_config(),
            "codebook_size": self.codebook_size,
            "commitment_cost": self.commitment_cost,
            "codebook_update": self.codebook_update,
            "decay": self.decay,
            "restart_threshold": self.restart_threshold,
            "seed": self.seed,
        }


def _nearest_of(entries):
    """A function from vectors `(..., D)` to the index of the nearest entry, int32 `(...)`."""
    half = 0.5 * ops.sum(ops.square(entries), axis=1)
    return lambda vectors: _argmax(ops.matmul(vectors, ops.transpose(entries)) - half)


def _image_by_image(function, latents):
    """`function` of each image's latents; of all at once where TensorFlow runs eagerly and the loop would cost more."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.executing_eagerly():
            return function(latents)
    return ops.map(function, latents)


def _argmax(scores):
    """Index of the largest of the last axis, int32.

    On TensorFlow `ops.argmax` passes over the scores three times more, to tell -0 from 0, and ONNX cannot express that.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.argmax(scores, axis=-1, output_type="int32")
    return ops.cast(ops.argmax(scores, axis=-1), "int32")


def kmeans(points, size, draws, rounds=5):
    """k-means++ seeding (Arthur & Vassilvitskii 2007) and a few rounds of Lloyd's algorithm, in `keras.ops`.

    Args:
        points: float32 `(N, D)`.
        size: number of centres.
        draws: `(size,)` uniform random numbers in [0, 1), which make the choices.

    Returns: centres `(size, D)`, points of each `(size,)`, sum of the points of each `(size, D)`.
    """

    def choose(i, state):
        centres, nearest = state
        # Inverse transform sampling of a point with probability proportional to its squared distance.
        cumulative = ops.cumsum(nearest)
        chosen = ops.sum(ops.cast(cumulative < draws[i] * cumulative[-1], "int32"))
        centre = ops.take(points, ops.minimum(chosen, points.shape[0] - 1), axis=0)
        centres = ops.where((ops.arange(size) == i)[:, None], centre, centres)
        distance = ops.sum(ops.square(points - centre), axis=1)
        return centres, ops.where(i == 0, distance, ops.minimum(nearest, distance))

    start = (ops.zeros((size, points.shape[1]), "float32"), ops.ones((points.shape[0],), "float32"))
    centres, _ = ops.fori_loop(0, size, choose, start)

    def assign(centres):
        codes = _nearest_of(centres)(points)
        counts = ops.segment_sum(ops.ones_like(points[:, 0]), codes, num_segments=size)
        return counts, ops.segment_sum(points, codes, num_segments=size)

    for _ in range(rounds):
        counts, sums = assign(centres)
        centres = ops.where(counts[:, None] > 0, sums / ops.maximum(counts, 1.0)[:, None], centres)
    counts, sums = assign(centres)
    # An entry that no point chose keeps a little weight, so that it keeps its place until it is judged dead.
    few = ops.maximum(counts, 1e-3)
    return centres, few, ops.where(counts[:, None] > 0, sums, centres * few[:, None])
