"""A learned prior over a model's latents, to draw new images from: flow matching."""

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

ANY = 0.1  # share of the labels that training hides, so that the network also knows "any class"
# Mean and deviation of logit(t) in training. Wider than the usual (0, 1), and nearer to noise: neighbouring latents are
# alike, so that what is large in an image is settled while there is still much noise, and what is finest last.
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
DRAWS = {  # arguments of `sample`, here and of `VAE`
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
    """Moves noise to latents along straight lines (flow matching, Lipman et al. 2023, arXiv:2210.02747).

    Training draws a latent x, noise e and a time t, and asks the network at (1 - t) e + t x for the direction x - e.
    The loss is the squared error of that direction, summed over the latents of an image. Times are logit-normal
    (Esser et al. 2024, arXiv:2403.03206). Sampling starts from noise and follows the direction
    from t = 0 to 1 by Heun's method. With num_classes, `guidance` above 1 exaggerates what a class has that others have not
    (classifier-free guidance_scale, Ho & Salimans 2022, arXiv:2207.12598).

    Made by `VAE.fit_prior`, which also brings the latents to mean 0 and deviation 1, channel by channel.

    Args:
        latent_shape: `(h, w, channels)` or `(channels,)`.
        num_classes: how many, 0 for none.
        filters, blocks: see `medzoo.layers.flow_network.Velocity`.
        noise_scale: standard deviation of the noise that sampling starts from. A network that has not learned all of the
            directions answers with averages, and latents drawn from N(0, 1) vary less than real ones: somewhat wider
            noise makes up for it. To be chosen on validation images, may be set at any time.
        seed: int or `None`.
    """

    epochs_seen = 0  # of draws of latents; see `VAE.fit_prior`

    def __init__(
        self,
        latent_shape,
        num_classes=0,
        filters=(64, 128, 256),
        blocks_per_stage=1,
        noise_scale=1.0,
        seed=None,
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

    def build(self, input_shape=None):
        if self.built:
            return
        self.velocity.build()
        channels = self.latent_shape[-1:]

        def fixed(name, initializer):
            return self.add_weight(channels, initializer, name=name, trainable=False, dtype="float32")

        self.mean, self.std = fixed("mean", "zeros"), fixed("deviation", "ones")
        self.built = True

    def standardize(self, means, variances):
        """Sets mean and deviation of each channel from the posteriors of the training images, `(N, *latent_shape)`."""
        axes = tuple(range(means.ndim - 1))
        total = means.astype("float64").var(axis=axes) + variances.astype("float64").mean(axis=axes)
        self.mean.assign(means.mean(axis=axes, dtype="float64").astype("float32"))
        self.std.assign(np.sqrt(np.maximum(total, 1e-12)).astype("float32"))

    def forward_loss(self, x, target, sample_weight, training):
        """Mean loss of a batch of latents x; `target` are their num_classes, or anything where there are none."""
        x = (ops.cast(x, "float32") - self.mean) / self.std
        batch = ops.shape(x)[0]
        seed = self.seed_generator if training else 0
        noise = replicas.normal(ops.shape(x), seed)
        draws = replicas.normal((batch, 2), seed if training else 1)
        t = ops.sigmoid(TIMES[0] + TIMES[1] * draws[:, 0])
        way = ops.reshape(t, (-1, *[1] * len(self.latent_shape)))
        labels = None
        if self.num_classes:
            hidden = replicas.uniform(draws[:, 1]) < (ANY if training else 0.0)
            labels = ops.where(hidden, self.num_classes, ops.cast(ops.reshape(target, (-1,)), "int32"))
        found = self.velocity((1 - way) * noise + way * x, t, labels)
        error = ops.sum(ops.reshape(ops.square(found - (x - noise)), (batch, -1)), axis=1)
        return ops.mean(error), found

    def compile(self, optimizer="adam", **kwargs):
        """As `keras.Model.compile`, without a loss: it is the prior's own."""
        super().compile(optimizer=optimizer, **kwargs)

    def sample(self, n, label=None, seed=None, num_steps=40, guidance_scale=1.0, temperature=1.0, batch_size=16):
        """n latents.

        Args:
            n: how many.
            label: class, or `None` for any.
            seed: int or `None`; makes the draw repeatable.
            num_steps: of Heun's method, two evaluations of the network each.
            guidance_scale: 1 draws as the class lies, more exaggerates it.
            temperature: of the noise that is started from, whose standard deviation it multiplies.
            batch_size: drawn at once.

        Returns: float32 `(n, *latent_shape)`.

        Raises:
            ValueError: a class that the prior was not fitted with.
        """
        given = {"n": n, "label": label, "seed": seed, "num_steps": num_steps, "guidance_scale": guidance_scale}
        n, label, seed, num_steps, guidance_scale, temperature, batch_size = checked(
            self.name, DRAWS, **given, temperature=temperature, batch_size=batch_size
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

        def towards(which):
            labels = ops.full((batch,), which, dtype="int32") if self.num_classes else None
            return self.velocity(x, times, labels)

        if label is None or guidance_scale == 1.0:
            return towards(self.num_classes if label is None else label)
        anything = towards(self.num_classes)
        return anything + guidance_scale * (towards(label) - anything)

    def get_config(self):
        shapes = {"latent_shape": list(self.latent_shape), "filters": list(self.filters)}
        own = {
            "num_classes": self.num_classes,
            "blocks_per_stage": self.blocks_per_stage,
            "noise_scale": self.noise_scale,
            "seed": self.seed,
        }
        return {"name": self.name, **shapes, **own}
