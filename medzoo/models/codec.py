"""Autoencoder for lossy compression: integer latents with a learned entropy model."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from medzoo import losses
from medzoo.layers import replicas
from medzoo.layers.entropy_model import InterlacedEntropyModel, between
from medzoo.models.base import Autoencoder
from medzoo.models.checks import check_shape
from medzoo.utils.arguments import COUNT, WIDTHS, checked, real, several

MAX_LATENT = 1000  # latents are clipped to this size; trained ones are far below
MAX_QUALITY = 100  # quality of the highest rate
ARGUMENTS = {
    "lambdas": several(real(above=0), ascending=True),
    "groups": WIDTHS,
    "hidden": COUNT,
    "quality": real(0, MAX_QUALITY),
}


@keras.saving.register_keras_serializable("medzoo")
class Codec(Autoencoder):
    """Learned image codec trained for rate and distortion.

    Ballé et al. 2017, arXiv:1611.01704. The loss per image is `nats of the latents + lambda * squared error summed over
    pixels`, divided by the square root of lambda so that all qualities contribute. Latents are multiplied by a learned
    gain per channel and quality (Cui et al. 2020, arXiv:2003.02012) and rounded. In training, the distortion is
    computed from rounded latents with a straight-through gradient. The rate is computed from latents with uniform
    noise, each conditioned on rounded ones (Minnen & Singh 2020, arXiv:2007.08739). Each image of a batch has a quality
    of its own.

    `encode` returns int32 latents `(batch, height/f, width/f, latent_dim)`; `medzoo.tasks.compress` writes them to
    files.

    Args:
        image_shape: tuple `(height, width, channels)`; the sides may be `None`.
        lambdas: tuple of float, ascending. Nats per unit of squared error: at quality 0, at quality 100, and at evenly
            spaced qualities between. Larger values give larger files. Gains and lambdas are interpolated
            logarithmically.
        groups: tuple of int. Channels of each group of `InterlacedEntropyModel`; their sum is `latent_dim`.
        hidden: int. Width of the entropy model's networks.
        quality: float from 0 (lowest rate) to 100 (highest rate). Quality of `model(x)` and `predict`, and default of
            `encode`, `decode` and `reconstruct`. It can be set at any time and is saved with the model. `fit` and
            `evaluate` use all qualities.
        latent_dim: int. Number of latent channels.
        bottleneck: `"spatial"`, the only one.
        **kwargs: Further arguments of `Autoencoder`.
    """

    bottlenecks = ("spatial",)
    backbones = ("residual",)

    def __init__(
        self,
        image_shape: Sequence[int | None] = (None, None, 1),
        *,
        lambdas: Sequence[float] = (16, 50, 150, 450, 1300, 4000, 12000),
        groups: Sequence[int] = (1, 3, 4, 8, 24, 24),
        hidden: int = 64,
        quality: float = MAX_QUALITY // 2,
        latent_dim: int = 64,
        bottleneck: str = "spatial",
        **kwargs,
    ):
        own = {"lambdas": lambdas, "groups": groups, "hidden": hidden, "quality": quality}
        lambdas, groups, hidden, quality = checked(type(self).__name__, ARGUMENTS, **own)
        super().__init__(image_shape, latent_dim=latent_dim, bottleneck=bottleneck, **kwargs)
        if self.spatial_dims != 2:
            raise ValueError(
                f"Codec: image_shape={image_shape}; expected (height, width, channels). Encode volumes slice by slice."
            )
        if sum(groups) != latent_dim:
            raise ValueError(f"Codec: groups={groups} add up to {sum(groups)}; expected latent_dim={latent_dim}.")
        self.lambdas, self.groups, self.hidden, self.quality = lambdas, groups, hidden, quality
        self.prior = InterlacedEntropyModel(groups, len(self.lambdas), hidden, dtype="float32")
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.build()

    def build(self, input_shape=None) -> None:
        if not self.built:
            self.prior.build()
            # At high rates the optimal step for lambda t is sqrt(6 / t): the error of a step is step^2 / 12.
            start = [[(t / 6) ** 0.5] * self.latent_dim for t in self.lambdas]
            self.log_gain = self.add_weight(
                (len(self.lambdas), self.latent_dim),
                lambda shape, dtype: ops.log(ops.array(start, dtype)),
                name="log_gain",
            )
        super().build(input_shape)

    @property
    def quality(self) -> float:
        """Default quality, from 0 (lowest rate) to 100 (highest rate)."""
        return self._quality

    @quality.setter
    def quality(self, value: float) -> None:
        self._quality = self._checked(value)

    def settings(self) -> tuple:
        """Return what compiled functions depend on besides the weights."""
        return (self.quality,)

    def reported(self) -> tuple[str, ...]:
        return (*super().reported(), "bits_per_pixel")

    def call(self, x, training=False, quality=None):
        check_shape(self, x)
        return self._reconstruct(x, quality=quality)

    def quality_index(self, quality):
        """Return the position of a quality among the levels, where 0 is the first of `lambdas`."""
        return quality / MAX_QUALITY * (len(self.lambdas) - 1)

    def gain(self, index):
        """Return the factors from latents to integers, `(len(index), 1, 1, latent_dim)`."""
        return ops.exp(between(self.log_gain, index))[:, None, None]

    def encode(self, x, quality: float | None = None):
        """Encode images to int32 latents, see `Autoencoder.encode`.

        Args:
            x: Images.
            quality: float from 0 (lowest rate) to 100 (highest rate). Default: `self.quality`.
        """
        return self._in_batches("_encode", x, quality=self._checked(quality))

    def decode(self, latents, quality: float | None = None):
        """Decode latents of the same `quality` to images in [0, 1]."""
        return self._in_batches("_decode", latents, images=False, quality=self._checked(quality))

    def reconstruct(self, x, quality: float | None = None, **tiles):  # type: ignore[override]
        """Return `decode(encode(x))` at a quality.

        See `encode`, and `Autoencoder.reconstruct` for `tile` and `overlap`.
        """
        return super().reconstruct(x, quality=self._checked(quality), **tiles)

    def _checked(self, quality):
        return checked(self.name, ARGUMENTS, quality=self.quality if quality is None else quality)

    def _gain(self, quality):
        return self.gain(ops.array([self.quality_index(self._checked(quality))], "float32"))

    def _encode(self, x, quality=None):
        quality = self._checked(quality)
        latents = ops.cast(self.encoder(x), "float32")
        if quality > MAX_QUALITY / 2:
            latents = self._corrected(latents, ops.array([quality], "float32"))
        latents = ops.round(latents * self._gain(quality))
        return ops.cast(ops.clip(latents, -MAX_LATENT, MAX_LATENT), "int32")

    def _corrected(self, latents, quality):
        """Return latents after one step towards the fixed point of decoding and encoding.

        The result reconstructs the image more exactly. The step is made above quality 50 only, where errors of the
        decoder are comparable to those of rounding. Optimizing latents per image is from Campos et al. 2019,
        arXiv:1906.01223, who use gradient descent.
        """
        step = ops.clip(2 * quality / MAX_QUALITY - 1, 0.0, 0.5)[:, None, None, None]
        return latents + step * (latents - ops.cast(self.encoder(self.decoder(latents)), "float32"))

    def _decode(self, latents, quality=None):
        return super()._decode(ops.cast(latents, "float32") / self._gain(quality))

    def loss_terms(self, x, target, training: bool) -> tuple:
        """Compute rate-distortion loss, squared error and bits per pixel."""
        quality = self._qualities(ops.shape(x)[0], training)
        index = self.quality_index(quality)
        gain = self.gain(index)
        counted, rounded = self._training_latents(x, quality, gain, training)
        reconstruction = self.decoder(rounded / gain)
        nats = self.prior.nats(counted, index, rounded)
        error = losses.squared_error(target, reconstruction)
        weight = ops.exp(between(ops.log(ops.array(self.lambdas, "float32"))[:, None], index))[:, 0]
        pixels = ops.cast(ops.shape(x)[1] * ops.shape(x)[2], "float32")
        bits = nats / math.log(2.0) / pixels
        scale = (self.lambdas[0] / weight) ** 0.5  # otherwise the highest quality would dominate the loss
        return reconstruction, {
            "loss": (nats + weight * error) * scale,
            "reconstruction_loss": error,
            "bits_per_pixel": bits,
        }

    def _qualities(self, batch, training):
        """Return qualities `(batch,)` spread over the whole range in every batch of all replicas."""
        offset = replicas.uniform(replicas.normal((batch,), self.seed_generator)) if training else 0.5
        number = ops.cast(ops.arange(batch) + replicas.index() * batch, "float32")
        return MAX_QUALITY * (number + offset) / ops.cast(batch * replicas.count(), "float32")

    def _training_latents(self, x, quality, gain, training):
        """Return the latents for the rate, and rounded ones with a straight-through gradient."""
        latents = ops.cast(self.encoder(x), "float32")
        if frozen := not self.encoder.trainable:
            latents = self._corrected(latents, quality)
        latents = latents * gain
        rounded = latents + ops.stop_gradient(ops.round(latents) - latents)
        noise = replicas.normal(ops.shape(latents), self.seed_generator)
        noisy = training and not frozen
        return (latents + 0.5 * ops.erf(noise / 2**0.5) if noisy else rounded), rounded  # uniform from -1/2 to 1/2

    def train_entropy_model_only(self) -> None:
        """Freeze all but the entropy model.

        `fit` then trains it on rounded latents, as files contain them. Used at the end of a training, since the noise
        in training makes the entropy model less exact. Takes effect with the next `compile`.
        """
        self.encoder.trainable = self.decoder.trainable = self.log_gain.trainable = False

    def quantize(self, mode: str | None = None, config=None, **kwargs) -> None:
        """Raise ValueError: quantized weights would decode existing files to other images."""
        raise ValueError(
            f"{self.name}: a codec decodes its files only with the weights that encoded them; quantize() is not "
            "available. Expected medzoo.export(model, 'model.tflite', quantize='int8'), which writes a quantized copy."
        )

    def pca_scales(self, eigenvalues, noise: float) -> tuple:
        """Return scales of 1, so that errors of latents and of pixels are equal."""
        return 1.0, 1.0

    def get_config(self) -> dict:
        own = {"lambdas": list(self.lambdas), "groups": list(self.groups), "hidden": self.hidden}
        own["quality"] = self.quality
        return {**super().get_config(), **own}
