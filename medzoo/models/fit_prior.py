"""Training of a VAE's learned prior."""

import keras
import numpy as np

from medzoo.models import flow_prior
from medzoo.models.checks import as_array
from medzoo.models.epochs import EpochDataset
from medzoo.models.flow_prior import FlowPrior
from medzoo.utils.arguments import COUNT, NONE, checked, either, real, whole
from medzoo.utils.schedules import cosine_schedule

WIDTHS = {True: (48, 96, 144), False: (192,)}  # filters for grids and for vectors
MIN_IMAGES = 2  # one image has no variance
ARGUMENTS = {
    "epochs": COUNT,
    "batch_size": COUNT,
    "learning_rate": real(0),
    "filters": either(flow_prior.ARGUMENTS["filters"], NONE),
    "blocks_per_stage": COUNT,
    "seed": whole(0),
}


class PosteriorSamples(EpochDataset):
    """Batches of latents, sampled from the posteriors again in each epoch, and their labels.

    Args:
        means: float array `(N, *latent_shape)`, posterior means.
        stds: float array `(N, *latent_shape)`, posterior standard deviations.
        labels: int array `(N,)`.
        batch_size: int. Latents per batch; the last batch of an epoch is omitted if it is smaller.
        seed: int.

    Attributes:
        epoch: int. Epoch of the next batch.
        skip: int. Number of batches that a resumed epoch skips, as in `medzoo.data.augmentation.AugmentedDataset`.
    """

    def __init__(self, means: np.ndarray, stds: np.ndarray, labels: np.ndarray, batch_size: int, seed: int):
        super().__init__()
        self.means, self.stds, self.labels = means, stds, labels
        self.batch_size, self.seed, self.skip = min(batch_size, len(means)), seed, 0

    def __len__(self):
        return len(self.means) // self.batch_size - self.skip

    def __getitem__(self, index):
        index += self.skip
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.means))
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        noise = np.random.default_rng((self.seed, self.epoch, index)).standard_normal(self.means[chosen].shape)
        z = self.means[chosen] + noise * self.stds[chosen]
        return z.astype("float32"), self.labels[chosen]


def prepare(
    model: keras.Model, images, labels, batch_size: int, filters, blocks_per_stage: int, seed: int
) -> tuple[FlowPrior, PosteriorSamples]:
    """Return the prior to be fitted and its training data.

    The prior is the model's own if its configuration is equal, else a new one.
    """
    images = as_array(model, images)
    if len(images) < MIN_IMAGES or len(model.latent_shape()) not in (1, 3):
        raise ValueError(
            f"{model.name}: a prior from {len(images)} images and latents {model.latent_shape()}; expected at least "
            f"{MIN_IMAGES} images, and latents that are a vector or the grid of an image: there is no prior of volumes "
            "on a grid."
        )
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or labels.min() < 0:
            raise ValueError(
                f"{model.name}: labels of {labels.dtype} {labels.shape} for {len(images)} images; expected integers "
                "from 0."
            )
    means, log_variances = model.posteriors(images)
    stds = np.exp(log_variances / 2)
    shape, num_classes = means.shape[1:], 0 if labels is None else int(labels.max()) + 1
    prior = model.prior
    filters = filters or (prior.filters if prior is not None else WIDTHS[len(shape) == 3])
    form = {
        "latent_shape": shape,
        "num_classes": num_classes,
        "filters": tuple(filters),
        "blocks_per_stage": blocks_per_stage,
    }
    if prior is None or any(getattr(prior, key) != value for key, value in form.items()):
        prior = FlowPrior(**form, seed=seed, name="prior", dtype=model.dtype_policy)
        prior.standardize(means, np.square(stds))
    prior.trainable = True
    labels = np.zeros(len(means), "int32") if labels is None else labels.astype("int32")
    return prior, PosteriorSamples(means, stds, labels, batch_size, seed)


def optimizer(steps: int, learning_rate: float) -> keras.optimizers.Optimizer:
    """Return AdamW with warm-up, cosine decay and an average of the weights.

    The average is over about the last twentieth of the steps.
    """
    warmup = min(100, steps // 10)
    rate = cosine_schedule(learning_rate, steps, warmup, final=0.02)
    momentum = min(0.999, max(0.0, 1 - 20 / steps))
    return keras.optimizers.AdamW(rate, weight_decay=0.01, global_clipnorm=1e3, use_ema=True, ema_momentum=momentum)


def fit_prior(
    model: keras.Model,
    images,
    labels,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    filters,
    blocks_per_stage: int,
    seed: int,
    fit: dict,
) -> keras.callbacks.History:
    """Fit the prior of a VAE; see `VAE.fit_prior`."""
    own = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "filters": filters}
    epochs, batch_size, learning_rate, filters, blocks_per_stage, seed = checked(
        "fit_prior", ARGUMENTS, **own, blocks_per_stage=blocks_per_stage, seed=seed
    )
    prior, samples = prepare(model, images, labels, batch_size, filters, blocks_per_stage, seed)
    prior.compile(optimizer(epochs * len(samples), learning_rate))
    samples.begun = prior.epochs_seen  # a further fit of the same prior uses further samples
    callbacks = [samples.counted(), *fit.pop("callbacks", ())]
    history = prior.fit(samples, epochs=epochs, shuffle=False, callbacks=callbacks, **fit)
    prior.epochs_seen = samples.begun
    model.set_prior(prior)
    return history
