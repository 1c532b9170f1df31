"""Learned prior over a model's latents for image generation, by flow matching."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from medzoo.layers import replicas
from medzoo.layers.flow_network import GROUPS, VelocityNetwork
from medzoo.models.compiled_inference import Compiled
from medzoo.models.custom_loss import CustomLossMixin
from medzoo.utils.arguments import (
    COUNT,
    FLAG,
    NONE,
    SEED,
    SIDES,
    Rule,
    checked,
    either,
    policy,
    real,
    several,
    whole,
)

UNCONDITIONAL = 0.1  # fraction of labels replaced by "any class" in training
# Mean and standard deviation of logit(t) in training. Wider than the common (0, 1) and nearer to noise: neighboring
# latents are similar, so that coarse structure is determined at high noise levels and fine structure last.
TIMES = (-0.4, 1.4)
ARGUMENTS = {
    "latent_shape": Rule(
        lambda shape: isinstance(shape, (tuple, list)) and len(shape) in (1, 3) and all(map(COUNT.holds, shape)),
        "(channels,) or (height, width, channels); there is no prior of volumes on a grid",
    ),
    "num_classes": whole(0),
    "filters": several(Rule(lambda n: COUNT.holds(n) and n % GROUPS == 0, f"a multiple of {GROUPS}")),
    "blocks_per_stage": COUNT,
    "noise_scale": real(0),
    "seed": SEED,
}
SAMPLE_ARGUMENTS = {  # arguments of `sample`, here and of `VAE`
    "n": COUNT,
    "label": either(whole(0), NONE),
    "seed": SEED,
    "num_steps": COUNT,
    "guidance_scale": real(0),
    "temperature": real(0),
    "batch_size": COUNT,
    "size": either(SIDES, NONE),
    "use_prior": FLAG,
}


@keras.saving.register_keras_serializable("medzoo")
class FlowPrior(CustomLossMixin):
    """Flow-matching model that transports Gaussian noise to latents along straight lines.

    Lipman et al. 2023, arXiv:2210.02747. Training samples a latent x, noise e and a time t, and the network predicts
    the velocity x - e at (1 - t) e + t x. The loss is the squared error of the velocity, summed over the latents of an
    image. Times are logit-normal (Esser et al. 2024, arXiv:2403.03206). Sampling starts from noise and integrates the
    velocity from t = 0 to 1 with Heun's method. With classes, a `guidance_scale` above 1 amplifies what distinguishes a
    class (classifier-free guidance, Ho & Salimans 2022, arXiv:2207.12598).

    `VAE.fit_prior` creates it and standardizes the latents to mean 0 and standard deviation 1 per channel.

    Args:
        latent_shape: tuple `(h, w, channels)` or `(channels,)`.
        num_classes: int. Number of classes, 0 for none.
        filters: tuple of int, see `medzoo.layers.flow_network.VelocityNetwork`.
        blocks_per_stage: int, see `medzoo.layers.flow_network.VelocityNetwork`.
        noise_scale: float. Standard deviation of the initial noise of `sample`. An imperfectly trained network predicts
            averages, so that latents sampled from N(0, 1) vary less than real ones; a noise scale somewhat above 1
            compensates for it. Choose it on validation images; it can be set at any time.
        seed: int or `None`.
    """

    epochs_seen = 0  # epochs of posterior samples; see `VAE.fit_prior`

    built: bool  # by Keras

    def __init__(
        self,
        latent_shape: Sequence[int],
        num_classes: int = 0,
        filters: Sequence[int] = (64, 128, 256),
        blocks_per_stage: int = 1,
        noise_scale: float = 1.0,
        seed: int | None = None,
        **kwargs,
    ):
        own = {"latent_shape": latent_shape, "num_classes": num_classes, "filters": filters}
        own = checked(
            type(self).__name__, ARGUMENTS, **own, blocks_per_stage=blocks_per_stage, noise_scale=noise_scale, seed=seed
        )
        super().__init__(**{**kwargs, "dtype": policy(type(self).__name__, kwargs.get("dtype"))})
        self.latent_shape, self.num_classes, self.filters, self.blocks_per_stage, self.noise_scale, self.seed = own
        halved = 2 ** (len(self.filters) - 1)
        if any(side % halved for side in self.latent_shape[:-1]):
            raise ValueError(
                f"{type(self).__name__}: latent_shape={self.latent_shape}; expected height and width in multiples of "
                f"{halved}, or fewer than {len(self.filters)} filters."
            )
        self.velocity = VelocityNetwork(
            self.latent_shape, self.filters, blocks_per_stage, num_classes, name="velocity", dtype=self.dtype_policy
        )
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.compiled_method = Compiled(self)
        self.build()

    def build(self, input_shape=None) -> None:
        if self.built:
            return
        self.velocity.build()
        channels = self.latent_shape[-1:]

        def fixed(name, initializer):
            return self.add_weight(channels, initializer, name=name, trainable=False, dtype="float32")

        self.mean, self.std = fixed("mean", "zeros"), fixed("std", "ones")
        self.built = True

    def standardize(self, means: np.ndarray, variances: np.ndarray) -> None:
        """Set mean and standard deviation of each channel.

        Args:
            means: float array `(N, *latent_shape)`, posterior means of the training images.
            variances: float array `(N, *latent_shape)`, posterior variances.
        """
        axes = tuple(range(means.ndim - 1))
        total = means.astype("float64").var(axis=axes) + variances.astype("float64").mean(axis=axes)
        self.mean.assign(means.mean(axis=axes, dtype="float64").astype("float32"))
        self.std.assign(np.sqrt(np.maximum(total, 1e-12)).astype("float32"))

    def forward_loss(self, x, target, sample_weight, training: bool) -> tuple:
        """Return the mean loss of a batch of latents and the predicted velocities.

        `target` contains the class indices; it is ignored if there are no classes.
        """
        x = (ops.cast(x, "float32") - self.mean) / self.std
        batch = ops.shape(x)[0]
        seed = self.seed_generator if training else 0
        noise = replicas.normal(ops.shape(x), seed)
        samples = replicas.normal((batch, 2), seed if training else 1)
        t = ops.sigmoid(TIMES[0] + TIMES[1] * samples[:, 0])
        time = ops.reshape(t, (-1, *[1] * len(self.latent_shape)))
        labels = None
        if self.num_classes:
            hidden = replicas.uniform(samples[:, 1]) < (UNCONDITIONAL if training else 0.0)
            labels = ops.where(hidden, self.num_classes, ops.cast(ops.reshape(target, (-1,)), "int32"))
        predicted = self.velocity((1 - time) * noise + time * x, t, labels)
        error = ops.sum(ops.reshape(ops.square(predicted - (x - noise)), (batch, -1)), axis=1)
        return ops.mean(error), predicted

    def compile(self, optimizer="adam", **kwargs) -> None:
        """Configure the prior as `keras.Model.compile`, without a loss: it computes its own."""
        super().compile(optimizer=optimizer, **kwargs)

    def sample(
        self,
        n: int,
        label: int | None = None,
        seed: int | None = None,
        num_steps: int = 40,
        guidance_scale: float = 1.0,
        temperature: float = 1.0,
        batch_size: int = 16,
    ) -> np.ndarray:
        """Sample latents.

        Args:
            n: int. Number of samples.
            label: int. Class, or `None` for any.
            seed: int or `None`. Makes the samples reproducible.
            num_steps: int. Steps of Heun's method, with two evaluations of the network each.
            guidance_scale: float. 1 samples from the class distribution; larger values amplify the class.
            temperature: float. Factor of the standard deviation of the initial noise.
            batch_size: int. Samples per batch.

        Returns:
            float32 array `(n, *latent_shape)`.

        Raises:
            ValueError: If the prior was not fitted with the class, or an argument is out of range.
        """
        given = {"n": n, "label": label, "seed": seed, "num_steps": num_steps, "guidance_scale": guidance_scale}
        n, label, seed, num_steps, guidance_scale, temperature, batch_size = checked(
            self.name, SAMPLE_ARGUMENTS, **given, temperature=temperature, batch_size=batch_size
        )
        if label is not None and label >= self.num_classes:
            known = f"0 to {self.num_classes - 1}" if self.num_classes else "None: the prior was fitted without labels"
            raise ValueError(f"{self.name}: label={label}; expected {known}.")
        rng = np.random.default_rng(seed)
        start = temperature * self.noise_scale * rng.standard_normal((n, *self.latent_shape)).astype("float32")
        step = self.compiled_method("_heun", num_steps=num_steps, label=label, guidance_scale=guidance_scale)
        parts = []
        for i in range(0, n, batch_size):
            x = ops.convert_to_tensor(start[i : i + batch_size])
            for k in range(num_steps):
                x = step((x, ops.convert_to_tensor(np.float32(k / num_steps))))
            parts.append(ops.convert_to_numpy(x * self.std + self.mean))
        return np.concatenate(parts)

    def _heun(self, state, num_steps, label, guidance_scale):
        x, t = state
        first = self._direction(x, t, label, guidance_scale)
        second = self._direction(x + first / num_steps, t + 1 / num_steps, label, guidance_scale)
        return x + (first + second) / (2 * num_steps)

    def _direction(self, x, t, label, guidance_scale):
        batch = ops.shape(x)[0]
        times = ops.broadcast_to(t, (batch,))

        def velocity(label):
            labels = ops.full((batch,), label, dtype="int32") if self.num_classes else None
            return self.velocity(x, times, labels)

        if label is None or guidance_scale == 1.0:
            return velocity(self.num_classes if label is None else label)
        unconditional = velocity(self.num_classes)
        return unconditional + guidance_scale * (velocity(label) - unconditional)

    def get_config(self) -> dict:
        shapes = {"latent_shape": list(self.latent_shape), "filters": list(self.filters)}
        own = {
            "num_classes": self.num_classes,
            "blocks_per_stage": self.blocks_per_stage,
            "noise_scale": self.noise_scale,
            "seed": self.seed,
        }
        return {"name": self.name, **shapes, **own}
