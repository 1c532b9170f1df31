"""The variational autoencoder."""

import keras
import numpy as np
from keras import ops

from medzoo import losses
from medzoo.layers import replicas
from medzoo.layers.sampling import Sampling
from medzoo.models import flow_prior
from medzoo.models.base import Autoencoder
from medzoo.models.checks import check_shape
from medzoo.models.fit_prior import fit_prior
from medzoo.models.flow_prior import FlowPrior
from medzoo.utils.arguments import NONE, Rule, checked, choice, either, real, whole

ARGUMENTS = {
    "beta": real(0),
    "beta_warmup_steps": whole(0),
    "free_bits": real(0),
    "prior": either(Rule(lambda value: isinstance(value, dict), "a configuration of FlowPrior"), NONE),
    "decoder_variance": either(choice("learned"), real(above=0)),
}


@keras.saving.register_keras_serializable("medzoo")
class VAE(Autoencoder):
    """Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114).

    encoder: q(z|x) = N(mean, diag exp(log_var)); prior: p(z) = N(0, I); decoder: p(x|z) = N(decoder(z), variance).
    Loss per image, in nats: -log p(x|z) summed over pixels + beta * KL(q(z|x) || p(z)) summed over latents, with one
    sample z a step: the negative evidence lower bound when beta = 1 and free_bits = 0.

    The decoder's variance is learned by default (sigma-VAE, Rybkin et al. 2021, arXiv:2006.13202): it follows the mean
    squared error by a moving average, since that is its maximum-likelihood value. With a fixed variance of 1 on pixels
    in [0, 1] a whole picture would be worth a few nats and the posterior would collapse.

    In `fit`, `psnr` and other metrics are those of the sampled reconstruction. In `evaluate`, the loss uses one sample
    drawn with fixed noise, and the metrics are those of `model(x)`, which decodes the posterior mean.

    Args:
        beta: weight of the KL term (Higgins et al. 2017); 1 is the evidence lower bound.
        beta_warmup_steps: beta rises linearly from 0 over so many training steps (Bowman et al. 2016,
            arXiv:1511.06349).
        free_bits: nats per latent that cost nothing: the KL of a latent, averaged over the batch, counts as at least
            that much (Kingma et al. 2016, arXiv:1606.04934).
        decoder_variance: `"learned"`, or a number to keep it fixed.
        prior: configuration of a learned prior over the latents, see `fit_prior`; `None`: N(0, I).
        others: as in `Autoencoder`.
    """

    numbers_per_latent = 2

    def __init__(
        self,
        image_shape=(64, 64, 1),
        *,
        beta=1.0,
        beta_warmup_steps=0,
        free_bits=0.0,
        decoder_variance="learned",
        prior=None,
        **kwargs,
    ):
        own = {"beta": beta, "beta_warmup_steps": beta_warmup_steps, "free_bits": free_bits, "prior": prior}
        own = checked(type(self).__name__, ARGUMENTS, **own, decoder_variance=decoder_variance)
        super().__init__(image_shape, **kwargs)
        self.beta, self.beta_warmup_steps, self.free_bits, prior, decoder_variance = own
        self.decoder_variance = decoder_variance
        self.sampling = Sampling(self.seed, dtype="float32")
        self.variance = self.add_weight(
            name="variance",
            shape=(),
            initializer=keras.initializers.Constant(0.05 if decoder_variance == "learned" else decoder_variance),
            trainable=False,
            dtype="float32",
            aggregation="only_first_replica",
        )
        self.prior = None if prior is None else self._own(prior)
        self.build()

    def build(self, input_shape=None):
        if not self.built:
            self.sampling.build()
        super().build(input_shape)

    @property
    def trainable(self):
        """Whether `fit` trains the model; its prior is never trained by it."""
        return super().trainable

    @trainable.setter
    def trainable(self, value):
        keras.Model.trainable.fset(self, value)
        if getattr(self, "prior", None) is not None:
            self.prior.trainable = False

    def reported(self):
        return (*super().reported(), "kl")

    def posterior(self, x):
        """q(z|x) as `(mean, log_var)`, each shaped like the latents; log_var is clipped to [-20, 10]."""
        mean, log_var = ops.split(self.encoder(x), 2, axis=-1)
        return mean, ops.clip(log_var, -20.0, 10.0)

    @property
    def can_sample(self):
        """Whether `sample` draws images: from a learned prior, or from N(0, I) if the latents are a vector."""
        return self.prior is not None or self.bottleneck == "vector"

    def posteriors(self, images, batch_size=64):
        """`posterior` of many images: means and log-variances, float32 NumPy arrays `(N, *latent_shape)`.

        Args:
            images: `(N, height, width, channels)`, uint8 or float32 in [0, 1]; an `np.memmap` is read as needed.
            batch_size: images at once.
        """
        batch_size, parts = checked("posteriors", {"batch_size": whole(1)}, batch_size=batch_size), []
        if len(images) == 0:
            raise ValueError(f"{self.name}: an empty batch; expected at least one image.")
        for i in range(0, len(images), batch_size):
            batch = np.asarray(images[i : i + batch_size])
            batch = batch.astype("float32") / (255 if batch.dtype == np.uint8 else 1)
            parts.append(self._in_batches("_posterior", batch))
        return np.split(np.concatenate(parts), 2, axis=-1)

    def call(self, x, training=False):
        check_shape(self, x)
        return self._decode(self.sampling(*self.posterior(x), training=training))

    def encode(self, x, sample=False):
        """Images to latents: the posterior mean, or with `sample=True` a draw from the posterior.

        For the rest see `Autoencoder.encode`.
        """
        if sample:
            return self._in_batches("_draw", x)
        return super().encode(x)

    def _encode(self, x):
        return self.posterior(x)[0]

    def _draw(self, x):
        return self.sampling(*self.posterior(x), training=True)

    def fit_prior(
        self,
        images,
        labels=None,
        epochs=50,
        *,
        batch_size=32,
        learning_rate=5e-4,
        filters=None,
        blocks_per_stage=1,
        seed=0,
        **fit,
    ):
        """Learns where in the latents real images lie, so that `sample` draws images like them.

        The posterior of a spatial VAE is nothing like N(0, I): noise decodes to noise. A flow (see `FlowPrior`) learns
        what it is like; the model itself stays as it is. Called again with the same labels and widths, it goes on from
        the prior there is. The prior is part of the model: presets and `.keras` files keep it.

        Args:
            images: `(N, height, width, channels)` of one size, uint8 or float32 in [0, 1].
            labels: integers `(N,)` from 0, for drawing by class, or `None`.
            epochs, batch_size, learning_rate: of the training by AdamW, whose rate falls along a cosine; the average of
                the weights over the last steps is kept.
            filters, blocks: of the network, see `medzoo.layers.flow_network.Velocity`; by default as wide as the prior
                there is, else (48, 96, 144) for grids and (192,) for vectors.
            seed: int.
            fit: further options of `keras.Model.fit`, e.g. `verbose`, `callbacks`.

        Returns: Keras' History; `loss` is the flow's, summed over the latents of an image.

        Raises:
            ValueError: labels that are not as many as images or not integers from 0.
        """
        return fit_prior(self, images, labels, epochs, batch_size, learning_rate, filters, blocks_per_stage, seed, fit)

    def set_prior(self, prior):
        """Takes a copy of a `FlowPrior` over this model's latents, without what training left in it; `None`: back to
        N(0, I)."""
        copy = None
        if prior is not None:
            copy = self._own(prior.get_config())
            copy.set_weights(prior.get_weights())
        self._tracker.unlock()  # Keras lets nobody add layers to a built model by accident
        if self.prior is not None:
            self._layers.remove(self.prior)  # or both would be saved
        self.prior = copy
        self._tracker.lock()

    def _own(self, config):
        """A prior of that configuration, once it fits the model's latents, frozen: `fit` leaves it alone."""
        shape, own = tuple(config.get("latent_shape", ())), self.latent_shape()
        if len(shape) != len(own) or shape[-1] != own[-1]:
            raise ValueError(f"{self.name}: a prior of latents {shape}; expected {own}.")
        prior = FlowPrior(**config, dtype=self.dtype_policy)
        prior.trainable = False
        return prior

    def _posterior(self, x):
        return ops.concatenate(self.posterior(x), axis=-1)

    def sample(
        self, n, seed=None, size=None, temperature=1.0, *, label=None, num_steps=40, guidance_scale=1.0, use_prior=True
    ):
        """Draws n images: z from the prior, decoded.

        Args:
            n: how many.
            seed: int or `None`; makes the draw repeatable.
            size: `(height, width)`, needed where the model leaves it open and no prior was fitted.
            temperature: standard deviation of the noise (of a learned prior: what its own `spread` is multiplied by);
                below 1 gives more typical, less varied images.
            label, num_steps, guidance_scale: of a learned prior, see `FlowPrior.sample`.
            use_prior: `False` draws from N(0, temperature^2 I) although there is a learned prior.

        Returns: float32 NumPy array `(n, height, width, channels)` in [0, 1].

        Raises:
            ValueError: no size, a size that the model or its prior does not take, a class it does not know; numbers
                out of range.
        """
        given = {
            "n": n,
            "seed": seed,
            "temperature": temperature,
            "num_steps": num_steps,
            "guidance_scale": guidance_scale,
        }
        n, seed, temperature, num_steps, guidance_scale, label, size, use_prior = checked(
            self.name, flow_prior.DRAWS, **given, label=label, size=size, use_prior=use_prior
        )
        *own, channels = self.image_shape
        if size is not None:
            check_shape(self, keras.KerasTensor((n, *size, channels)))
        shape = self.latent_shape((*(size or own), channels))
        if self.prior is not None and use_prior:
            own = self.prior.latent_shape
            if size is not None and shape != own:
                sides = "×".join(str(side * f) for side, f in zip(own, self.downsampling_factors, strict=False))
                raise ValueError(f"{self.name}: size={size}; the prior was fitted to images of {sides} pixels.")
            return self.decode(self.prior.sample(n, label, seed, num_steps, guidance_scale, temperature))
        if label is not None:
            raise ValueError(f"{self.name}: label={label}, but no prior was fitted with labels; see fit_prior.")
        if None in shape:
            raise ValueError(f"{self.name}: sample() needs size=(height, width), since the model takes any.")
        z = np.random.default_rng(seed).standard_normal((n, *shape)).astype("float32")
        return self.decode(temperature * z)

    def current_beta(self):
        """beta at this step of the training, warm-up included."""
        if not self.beta_warmup_steps or getattr(self, "optimizer", None) is None:
            return self.beta
        step = ops.cast(self.optimizer.iterations, "float32")
        return self.beta * ops.minimum(1.0, (step + 1.0) / self.beta_warmup_steps)

    def kl(self, mean, log_var):
        """KL term of the loss, per image: the Gaussian KL, with free bits where asked for."""
        if not self.free_bits:
            return losses.gaussian_kl(mean, log_var)
        per_latent = replicas.mean(ops.mean(losses.gaussian_kl_per_latent(mean, log_var), axis=0))
        return ops.broadcast_to(ops.sum(ops.maximum(per_latent, self.free_bits)), ops.shape(mean)[:1])

    def loss_terms(self, x, target, training):
        mean, log_var = self.posterior(x)
        if training:
            z = self.sampling(mean, log_var, training=True)
        else:
            z = mean + ops.exp(log_var / 2) * replicas.normal(ops.shape(mean), 0)
        sampled = self.decoder(z)
        # The variance is a part of p(x|z): frozen with the model, and with the decoder.
        if training and self.decoder_variance == "learned" and self.trainable and self.decoder.trainable:
            self._follow_variance(ops.mean(ops.square(ops.stop_gradient(sampled) - target)))
        nll = losses.gaussian_nll(target, sampled, self.variance)
        beta = self.current_beta() if training else self.beta
        loss = nll + beta * self.kl(mean, log_var)
        terms = {"loss": loss, "reconstruction_loss": nll, "kl": losses.gaussian_kl(mean, log_var)}
        return sampled if training else self.decoder(mean), terms

    def _follow_variance(self, squared_error):
        error = ops.maximum(replicas.mean(squared_error), 1e-6)
        self.variance.assign(0.98 * self.variance + 0.02 * error)

    def pca_scales(self, eigenvalues, noise):
        """Probabilistic PCA (Tipping & Bishop 1999), the best linear VAE (Lucas et al. 2019, arXiv:1911.02469)."""
        signal = np.sqrt(np.maximum(eigenvalues - noise, 1e-8))
        return signal / eigenvalues, signal

    def initialize_from_pca(self, images, max_samples=100_000):
        """As `Autoencoder.initialize_from_pca`; the posterior's and the decoder's variance start there too."""
        eigenvalues, noise = super().initialize_from_pca(images, max_samples)
        kernel, bias = self.encoder.head.get_weights()
        bias[self.latent_dim :] = np.log(noise / eigenvalues)
        self.encoder.head.set_weights([kernel, bias])
        if self.decoder_variance == "learned":
            self.variance.assign(noise)
        return eigenvalues, noise

    def get_config(self):
        return {
            **super().get_config(),
            "beta": self.beta,
            "beta_warmup_steps": self.beta_warmup_steps,
            "free_bits": self.free_bits,
            "decoder_variance": self.decoder_variance,
            **({} if self.prior is None else {"prior": self.prior.get_config()}),
        }
