"""Variational autoencoder."""

from collections.abc import Sequence
from typing import Any

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
    """Variational autoencoder (VAE, Kingma & Welling 2014, arXiv:1312.6114).

    Encoder: q(z|x) = N(mean, diag exp(log_var)); prior: p(z) = N(0, I); decoder: p(x|z) = N(decoder(z), variance). The
    loss per image, in nats, is -log p(x|z) summed over pixels plus beta * KL(q(z|x) || p(z)) summed over latents, with
    one sample z per step. With beta = 1 and free_bits = 0 it is the negative evidence lower bound.

    The variance of the decoder is learned by default (sigma-VAE, Rybkin et al. 2021, arXiv:2006.13202): it is a moving
    average of the mean squared error, its maximum-likelihood value. With a fixed variance of 1 and pixels in [0, 1], a
    whole image would contribute a few nats only and the posterior would collapse.

    In `fit`, `psnr` and other metrics are those of the sampled reconstruction. In `evaluate`, the loss uses one sample
    with fixed noise, and the metrics are those of `model(x)`, which decodes the posterior mean.

    Args:
        image_shape: As in `Autoencoder`.
        beta: float, 0 or larger. Weight of the KL term (Higgins et al. 2017); 1 gives the evidence lower bound.
        beta_warmup_steps: int. Number of training steps over which beta rises linearly from 0 (Bowman et al. 2016,
            arXiv:1511.06349).
        free_bits: float. Nats per latent without cost: the KL of a latent, averaged over the batch, counts as at least
            this value (Kingma et al. 2016, arXiv:1606.04934).
        decoder_variance: `"learned"`, or a float for a fixed variance.
        prior: Configuration (dict) of a learned prior over the latents, see `fit_prior`; `None`: N(0, I).
        **kwargs: Further arguments of `Autoencoder`.
    """

    outputs_per_latent = 2

    def __init__(
        self,
        image_shape: Sequence[int | None] = (64, 64, 1),
        *,
        beta: float = 1.0,
        beta_warmup_steps: int = 0,
        free_bits: float = 0.0,
        decoder_variance: str | float = "learned",
        prior: dict | None = None,
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
        self.prior: Any = None if prior is None else self._build_prior(prior)
        self.build()

    def build(self, input_shape=None) -> None:
        if not self.built:
            self.sampling.build()
        super().build(input_shape)

    @property
    def trainable(self) -> bool:
        """Whether `fit` trains the model. The learned prior is always excluded from it."""
        return super().trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        keras.Model.trainable.fset(self, value)
        if getattr(self, "prior", None) is not None:
            self.prior.trainable = False

    def reported(self) -> tuple[str, ...]:
        return (*super().reported(), "kl")

    def posterior(self, x) -> tuple:
        """Return mean and log-variance of q(z|x), each shaped like the latents.

        The log-variance is clipped to [-20, 10].
        """
        mean, log_var = ops.split(self.encoder(x), 2, axis=-1)
        return mean, ops.clip(log_var, -20.0, 10.0)

    @property
    def can_sample(self) -> bool:
        """Whether `sample` is available: with a learned prior, or with vector latents."""
        return self.prior is not None or self.bottleneck == "vector"

    def posteriors(self, images: np.ndarray, batch_size: int = 64) -> list[np.ndarray]:
        """Return posterior means and log-variances of many images.

        Args:
            images: uint8 array, or float32 array with values in [0, 1], `(N, height, width, channels)`. Batches of an
                `np.memmap` are read as needed.
            batch_size: int. Images per batch.

        Returns:
            List of two float32 arrays `(N, *latent_shape)`.
        """
        batch_size, parts = checked("posteriors", {"batch_size": whole(1)}, batch_size=batch_size), []
        if len(images) == 0:
            raise ValueError(f"{self.name}: an empty batch; expected at least one image.")
        for i in range(0, len(images), batch_size):
            batch = np.asarray(images[i : i + batch_size])
            scale = np.iinfo(batch.dtype).max if batch.dtype.kind == "u" else 1
            batch = batch.astype("float32") / np.float32(scale)
            parts.append(self._in_batches("_posterior", batch))
        return np.split(np.concatenate(parts), 2, axis=-1)

    def call(self, x, training=False):
        check_shape(self, x)
        return self._decode(self.sampling(*self.posterior(x), training=training))

    def encode(self, x, sample: bool = False):
        """Encode images to posterior means, or with `sample=True` to posterior samples.

        Args:
            x: Images as in `Autoencoder.encode`.
            sample: bool.

        Returns:
            float32 latents `(batch, *latent_shape)`.
        """
        if sample:
            return self._in_batches("_sample_posterior", x)
        return super().encode(x)

    def _encode(self, x):
        return self.posterior(x)[0]

    def _sample_posterior(self, x):
        return self.sampling(*self.posterior(x), training=True)

    def fit_prior(
        self,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        epochs: int = 50,
        *,
        batch_size: int = 32,
        learning_rate: float = 5e-4,
        filters: Sequence[int] | None = None,
        blocks_per_stage: int = 1,
        seed: int = 0,
        **fit,
    ) -> keras.callbacks.History:
        """Fit a prior to the latents of images, from which `sample` generates similar images.

        The aggregate posterior of a spatial VAE differs from N(0, I), so that decoded Gaussian noise does not resemble
        an image. A flow-matching model (`FlowPrior`) learns the distribution of the latents; the VAE itself is not
        changed. A second call with the same labels and filters continues the training of the existing prior. Presets
        and `.keras` files include the prior.

        Args:
            images: uint8 array, or float32 array with values in [0, 1], `(N, height, width, channels)`, all of one
                size.
            labels: int array `(N,)` of classes from 0 for class-conditional sampling, or `None`.
            epochs: int. Number of epochs.
            batch_size: int. Latents per batch.
            learning_rate: float. Initial learning rate of AdamW, with cosine decay. The prior gets the average of the
                weights over the last steps.
            filters: tuple of int, see `medzoo.layers.flow_network.VelocityNetwork`. Default: those of the existing
                prior, else (48, 96, 144) for grids and (192,) for vectors.
            blocks_per_stage: int, see `medzoo.layers.flow_network.VelocityNetwork`.
            seed: int.
            **fit: Further options of `keras.Model.fit`, e.g. `verbose` or `callbacks`.

        Returns:
            `keras.callbacks.History`; `loss` is that of the flow, summed over the latents of an image.

        Raises:
            ValueError: If the labels are not one integer from 0 per image, or an argument is out of range.
        """
        return fit_prior(self, images, labels, epochs, batch_size, learning_rate, filters, blocks_per_stage, seed, fit)

    def set_prior(self, prior: FlowPrior | None) -> None:
        """Set a copy of a `FlowPrior` as the model's prior, without its optimizer state.

        Args:
            prior: `FlowPrior` over this model's latents, or `None` for N(0, I).
        """
        copy = None
        if prior is not None:
            copy = self._build_prior(prior.get_config())
            copy.set_weights(prior.get_weights())
        self._tracker.unlock()  # Keras locks the layers of a built model
        if self.prior is not None:
            self._layers.remove(self.prior)  # otherwise both priors would be saved
        self.prior = copy
        self._tracker.lock()

    def _build_prior(self, config):
        """Return a frozen prior of that configuration, if it fits the model's latents."""
        shape, own = tuple(config.get("latent_shape", ())), self.latent_shape()
        if len(shape) != len(own) or shape[-1] != own[-1]:
            raise ValueError(f"{self.name}: the prior has latents of shape {shape}; expected {own}.")
        prior = FlowPrior(**config, dtype=self.dtype_policy)
        prior.trainable = False
        return prior

    def _posterior(self, x):
        return ops.concatenate(self.posterior(x), axis=-1)

    def sample(
        self,
        n: int,
        seed: int | None = None,
        size: Sequence[int] | None = None,
        temperature: float = 1.0,
        *,
        label: int | None = None,
        num_steps: int = 40,
        guidance_scale: float = 1.0,
        use_prior: bool = True,
    ) -> np.ndarray:
        """Generate images: sample latents from the prior and decode them.

        Args:
            n: int. Number of images.
            seed: int or `None`. Makes the samples reproducible.
            size: tuple `(height, width)` in pixels. Required if the model has an open image size and no learned prior.
            temperature: float. Standard deviation of the noise, or factor of the `noise_scale` of a learned prior.
                Values below 1 give more typical and less diverse images.
            label: int or `None`. Class, for a learned prior with classes; see `FlowPrior.sample`.
            num_steps: int. Steps of the learned prior's sampler; see `FlowPrior.sample`.
            guidance_scale: float. Classifier-free guidance of a learned prior; see `FlowPrior.sample`.
            use_prior: bool. `False` samples from N(0, temperature^2 I) although there is a learned prior.

        Returns:
            float32 array `(n, height, width, channels)` with values in [0, 1].

        Raises:
            ValueError: If the size is missing or does not fit the model or its prior, the class is unknown, or an
                argument is out of range.
        """
        given = {
            "n": n,
            "seed": seed,
            "temperature": temperature,
            "num_steps": num_steps,
            "guidance_scale": guidance_scale,
        }
        n, seed, temperature, num_steps, guidance_scale, label, size, use_prior = checked(
            self.name, flow_prior.SAMPLE_ARGUMENTS, **given, label=label, size=size, use_prior=use_prior
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
            raise ValueError(f"{self.name}: sample() needs size=(height, width), since the image size is open.")
        z = np.random.default_rng(seed).standard_normal((n, *shape)).astype("float32")
        return self.decode(temperature * z)

    def current_beta(self):
        """Return beta at the current training step, including warm-up."""
        if not self.beta_warmup_steps or getattr(self, "optimizer", None) is None:
            return self.beta
        step = ops.cast(self.optimizer.iterations, "float32")
        return self.beta * ops.minimum(1.0, (step + 1.0) / self.beta_warmup_steps)

    def kl(self, mean, log_var):
        """Return the KL term of the loss per image, with free bits if set."""
        if not self.free_bits:
            return losses.gaussian_kl(mean, log_var)
        per_latent = replicas.mean(ops.mean(losses.gaussian_kl_per_latent(mean, log_var), axis=0))
        return ops.broadcast_to(ops.sum(ops.maximum(per_latent, self.free_bits)), ops.shape(mean)[:1])

    def loss_terms(self, x, target, training: bool) -> tuple:
        mean, log_var = self.posterior(x)
        if training:
            z = self.sampling(mean, log_var, training=True)
        else:
            z = mean + ops.exp(log_var / 2) * replicas.normal(ops.shape(mean), 0)
        sampled = self.decoder(z)
        # The variance is a parameter of p(x|z): it is frozen with the model and with the decoder.
        if training and self.decoder_variance == "learned" and self.trainable and self.decoder.trainable:
            self._update_variance(ops.mean(ops.square(ops.stop_gradient(sampled) - target)))
        nll = losses.gaussian_nll(target, sampled, self.variance)
        beta = self.current_beta() if training else self.beta
        loss = nll + beta * self.kl(mean, log_var)
        terms = {"loss": loss, "reconstruction_loss": nll, "kl": losses.gaussian_kl(mean, log_var)}
        return sampled if training else self.decoder(mean), terms

    def _update_variance(self, squared_error):
        error = ops.maximum(replicas.mean(squared_error), 1e-6)
        self.variance.assign(0.98 * self.variance + 0.02 * error)

    def pca_scales(self, eigenvalues: np.ndarray, noise: float) -> tuple:
        """Return the scales of probabilistic PCA (Tipping & Bishop 1999), the optimal linear VAE.

        Lucas et al. 2019, arXiv:1911.02469.
        """
        signal = np.sqrt(np.maximum(eigenvalues - noise, 1e-8))
        return signal / eigenvalues, signal

    def initialize_from_pca(self, images, max_samples: int = 100_000) -> tuple[np.ndarray, float]:
        """Initialize linear path and variances; see `Autoencoder.initialize_from_pca`."""
        eigenvalues, noise = super().initialize_from_pca(images, max_samples)
        kernel, bias = self.encoder.head.get_weights()
        bias[self.latent_dim :] = np.log(noise / eigenvalues)
        self.encoder.head.set_weights([kernel, bias])
        if self.decoder_variance == "learned":
            self.variance.assign(noise)
        return eigenvalues, noise

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "beta": self.beta,
            "beta_warmup_steps": self.beta_warmup_steps,
            "free_bits": self.free_bits,
            "decoder_variance": self.decoder_variance,
            **({} if self.prior is None else {"prior": self.prior.get_config()}),
        }
