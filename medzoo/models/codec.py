"""The autoencoder for compression: whole-number latents, as few bits as possible for the error made."""

import math

import keras
from keras import ops

from medzoo import losses
from medzoo.layers import replicas
from medzoo.layers.entropy_model import InterlacedEntropyModel, between
from medzoo.models.base import Autoencoder
from medzoo.models.checks import check_shape
from medzoo.utils.arguments import COUNT, WIDTHS, checked, real, several

LARGEST = 1000  # latents are cut to this size; trained ones stay far below
BEST = 100  # quality of the largest files
ARGUMENTS = {
    "lambdas": several(real(above=0), ascending=True),
    "groups": WIDTHS,
    "hidden": COUNT,
    "quality": real(0, BEST),
}


@keras.saving.register_keras_serializable("medzoo")
class Codec(Autoencoder):
    """Autoencoder trained for rate and distortion (Ballé et al. 2017, arXiv:1611.01704).

    Loss per image: nats that the latents cost + trade-off * squared error summed over pixels, divided by the root of
    the trade-off so that all qualities count. Latents are multiplied by a learned gain for each channel and quality
    (Cui et al. 2020, arXiv:2003.02012) and rounded. In training the error sees rounded latents, straight through, and
    the cost latents with uniform noise, each given rounded ones (Minnen & Singh 2020, arXiv:2007.08739); every image
    has its own quality.
    `encode` gives int32 latents `(batch, height/f, width/f, latent_dim)`; `medzoo.tasks.compress` makes files of them.

    Args:
        image_shape: `(height, width, channels)`; the sides may be `None`.
        lambdas: nats that one unit of squared error is worth: at quality 0, at 100, and at even steps between; more
            means larger files. Between them gains and trade-offs are interpolated, in their logarithms.
        groups, hidden: see `InterlacedEntropyModel`; the groups add up to `latent_dim`.
        quality: from 0 to 100, that of `model(x)` and `predict`, and of `encode`, `decode` and `reconstruct` where they
            are given none. May be set at any time; files of the model keep it. `fit` and `evaluate` use all qualities.
        others: as in `Autoencoder`; the bottleneck is always spatial.
    """

    bottlenecks = ("spatial",)
    backbones = ("residual",)

    def __init__(
        self,
        image_shape=(None, None, 1),
        *,
        lambdas=(16, 50, 150, 450, 1300, 4000, 12000),
        groups=(1, 3, 4, 8, 24, 24),
        hidden=64,
        quality=BEST // 2,
        latent_dim=64,
        bottleneck="spatial",
        **kwargs,
    ):
        own = {"lambdas": lambdas, "groups": groups, "hidden": hidden, "quality": quality}
        lambdas, groups, hidden, quality = checked(type(self).__name__, ARGUMENTS, **own)
        super().__init__(image_shape, latent_dim=latent_dim, bottleneck=bottleneck, **kwargs)
        if self.spatial_dims != 2:
            raise ValueError(
                f"Codec: image_shape={image_shape}; expected (height, width, channels): volumes by slices."
            )
        if sum(groups) != latent_dim:
            raise ValueError(f"Codec: groups={groups} add up to {sum(groups)}; expected latent_dim={latent_dim}.")
        self.lambdas, self.groups, self.hidden, self.quality = lambdas, groups, hidden, quality
        self.prior = InterlacedEntropyModel(groups, len(self.lambdas), hidden, dtype="float32")
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.build()

    def build(self, input_shape=None):
        if not self.built:
            self.prior.build()
            # At high rates the best step for a trade-off t is sqrt(6 / t): a step's error is step^2 / 12.
            start = [[(t / 6) ** 0.5] * self.latent_dim for t in self.lambdas]
            self.log_gain = self.add_weight(
                (len(self.lambdas), self.latent_dim),
                lambda shape, dtype: ops.log(ops.array(start, dtype)),
                name="log_gain",
            )
        super().build(input_shape)

    @property
    def quality(self):
        """From 0 (smallest files) to 100, where a call is given none."""
        return self._quality

    @quality.setter
    def quality(self, value):
        self._quality = self._checked(value)

    def settings(self):
        """What compiled functions depend on beside the weights."""
        return (self.quality,)

    def reported(self):
        return (*super().reported(), "bits_per_pixel")

    def call(self, x, training=False, quality=None):
        check_shape(self, x)
        return self._reconstruct(x, quality=quality)

    def place(self, quality):
        """Where a quality lies among the levels: 0 is the first one of `lambdas`."""
        return quality / BEST * (len(self.lambdas) - 1)

    def gain(self, places):
        """Factors from latents to whole numbers, `(len(places), 1, 1, latent_dim)`."""
        return ops.exp(between(self.log_gain, places))[:, None, None]

    def encode(self, x, quality=None):
        """Images to int32 latents; see `Autoencoder.encode`.

        Args:
            x: images.
            quality: from 0 (smallest files) to 100; by default `self.quality`.
        """
        return self._in_batches("_encode", x, quality=self._checked(quality))

    def decode(self, latents, quality=None):
        """Latents of the same `quality` to images in [0, 1]."""
        return self._in_batches("_decode", latents, images=False, quality=self._checked(quality))

    def reconstruct(self, x, quality=None, **tiles):
        """`decode(encode(x))`; see `encode`, and for `tile` and `overlap` `Autoencoder.reconstruct`."""
        return super().reconstruct(x, quality=self._checked(quality), **tiles)

    def _checked(self, quality):
        return checked(self.name, ARGUMENTS, quality=self.quality if quality is None else quality)

    def _gain(self, quality):
        return self.gain(ops.array([self.place(self._checked(quality))], "float32"))

    def _encode(self, x, quality=None):
        quality = self._checked(quality)
        latents = ops.cast(self.encoder(x), "float32")
        if quality > BEST / 2:
            latents = self._corrected(latents, ops.array([quality], "float32"))
        latents = ops.round(latents * self._gain(quality))
        return ops.cast(ops.clip(latents, -LARGEST, LARGEST), "int32")

    def _corrected(self, latents, quality):
        """Latents whose picture is nearer to the one they are of: a step towards those that decoding and encoding leave
        as they are. Only above quality 50, where the decoder's own errors count beside those of rounding.

        That latents are chosen anew for each image is from Campos et al. 2019, arXiv:1906.01223, by descent.
        """
        step = ops.clip(2 * quality / BEST - 1, 0.0, 0.5)[:, None, None, None]
        return latents + step * (latents - ops.cast(self.encoder(self.decoder(latents)), "float32"))

    def _decode(self, latents, quality=None):
        return super()._decode(ops.cast(latents, "float32") / self._gain(quality))

    def loss_terms(self, x, target, training):
        batch = ops.shape(x)[0]
        # Qualities from all over the range in every batch, whichever replicas share it.
        where = replicas.uniform(replicas.normal((batch,), self.seed_generator)) if training else 0.5
        number = ops.cast(ops.arange(batch) + replicas.index() * batch, "float32")
        quality = BEST * (number + where) / ops.cast(batch * replicas.count(), "float32")
        places = self.place(quality)
        gain = self.gain(places)
        latents = ops.cast(self.encoder(x), "float32")
        if settled := not self.encoder.trainable:
            latents = self._corrected(latents, quality)
        latents = latents * gain
        rounded = latents + ops.stop_gradient(ops.round(latents) - latents)
        noise = replicas.normal(ops.shape(latents), self.seed_generator)
        rough = training and not settled
        counted = latents + 0.5 * ops.erf(noise / 2**0.5) if rough else rounded  # uniform from -1/2 to 1/2
        reconstruction = self.decoder(rounded / gain)
        nats = self.prior.nats(counted, places, rounded)
        error = losses.squared_error(target, reconstruction)
        worth = ops.exp(between(ops.log(ops.array(self.lambdas, "float32"))[:, None], places))[:, 0]
        pixels = ops.cast(ops.shape(x)[1] * ops.shape(x)[2], "float32")
        bits = nats / math.log(2.0) / pixels
        alike = (self.lambdas[0] / worth) ** 0.5  # or the best quality would drown the others
        return reconstruction, {
            "loss": (nats + worth * error) * alike,
            "reconstruction_loss": error,
            "bits_per_pixel": bits,
        }

    def train_entropy_model_only(self):
        """From the next `compile` on `fit` trains the prior alone, on latents as files hold them: rounded.

        The end of a training: what noise hid from the prior costs bits.
        """
        self.encoder.trainable = self.decoder.trainable = self.log_gain.trainable = False

    def quantize(self, mode=None, config=None, **kwargs):
        """Always raises: files are coded with exact weights, and another model's weights decode to another image."""
        raise ValueError(
            f"{self.name}: a codec's weights must be the same wherever its files are read, so quantize() changes none. "
            "Expected medzoo.export(model, 'model.tflite', quantize='int8'), which writes a quantized copy."
        )

    def pca_scales(self, eigenvalues, noise):
        """Not whitened: an error in the latents is then the same error in the pixels."""
        return 1.0, 1.0

    def get_config(self):
        own = {"lambdas": list(self.lambdas), "groups": list(self.groups), "hidden": self.hidden}
        own["quality"] = self.quality
        return {**super().get_config(), **own}
