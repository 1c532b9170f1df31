"""How a VAE's prior is learned from images."""

import keras
import numpy as np

from medzoo.models import flow_prior
from medzoo.models.checks import as_array
from medzoo.models.epochs import EpochDataset
from medzoo.models.flow_prior import FlowPrior
from medzoo.utils.arguments import COUNT, NONE, checked, either, real, whole
from medzoo.utils.schedules import cosine_schedule

WIDTHS = {True: (48, 96, 144), False: (192,)}  # of grids, of vectors
LEAST = 2  # images: one has no variance
ARGUMENTS = {
    "epochs": COUNT,
    "batch_size": COUNT,
    "learning_rate": real(0),
    "filters": either(flow_prior.ARGUMENTS["filters"], NONE),
    "blocks_per_stage": COUNT,
    "seed": whole(0),
}


class Draws(EpochDataset):
    """Batches of latents, drawn anew from the posteriors each epoch, and their labels.

    Args:
        means, deviations: of the posteriors, `(N, *latent_shape)`.
        labels: integers `(N,)`.
        batch_size: latents a batch; the last one of an epoch is left out if it is smaller.
        seed: int.

    Attributes: `epoch` and `skip`, as those of `medzoo.data.augmentation.AugmentedDataset`.
    """

    def __init__(self, means, deviations, labels, batch_size, seed):
        super().__init__()
        self.means, self.deviations, self.labels = means, deviations, labels
        self.batch_size, self.seed, self.skip = min(batch_size, len(means)), seed, 0

    def __len__(self):
        return len(self.means) // self.batch_size - self.skip

    def __getitem__(self, index):
        index += self.skip
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.means))
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        noise = np.random.default_rng((self.seed, self.epoch, index)).standard_normal(self.means[chosen].shape)
        z = self.means[chosen] + noise * self.deviations[chosen]
        return z.astype("float32"), self.labels[chosen]


def prepare(model, images, labels, batch_size, filters, blocks_per_stage, seed):
    """`(FlowPrior, Draws)` to be fitted; the prior is the model's own if it has one of that form."""
    images = as_array(model, images)
    if len(images) < LEAST or len(model.latent_shape()) not in (1, 3):
        raise ValueError(
            f"{model.name}: a prior from {len(images)} images and latents {model.latent_shape()}; expected at least "
            f"{LEAST} images, and latents that are a vector or of images: there is no prior of volumes on a grid."
        )
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or labels.min() < 0:
            raise ValueError(
                f"{model.name}: labels of {labels.dtype} {labels.shape} for {len(images)} images; expected integers "
                "from 0."
            )
    means, log_variances = model.posteriors(images)
    deviations = np.exp(log_variances / 2)
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
        prior.standardize(means, np.square(deviations))
    prior.trainable = True
    labels = np.zeros(len(means), "int32") if labels is None else labels.astype("int32")
    return prior, Draws(means, deviations, labels, batch_size, seed)


def optimizer(steps, learning_rate):
    """AdamW with a short warm-up, a cosine and an average of the weights over about the last twentieth of the steps."""
    warmup = min(100, steps // 10)
    rate = cosine_schedule(learning_rate, steps, warmup, final=0.02)
    momentum = min(0.999, max(0.0, 1 - 20 / steps))
    return keras.optimizers.AdamW(rate, weight_decay=0.01, global_clipnorm=1e3, use_ema=True, ema_momentum=momentum)


def fit_prior(model, images, labels, epochs, batch_size, learning_rate, filters, blocks_per_stage, seed, fit):
    """See `VAE.fit_prior`."""
    own = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "filters": filters}
    epochs, batch_size, learning_rate, filters, blocks_per_stage, seed = checked(
        "fit_prior", ARGUMENTS, **own, blocks_per_stage=blocks_per_stage, seed=seed
    )
    prior, draws = prepare(model, images, labels, batch_size, filters, blocks_per_stage, seed)
    prior.compile(optimizer(epochs * len(draws), learning_rate))
    draws.begun = prior.epochs_seen  # a further fit of the same prior draws further latents
    callbacks = [draws.counted(), *fit.pop("callbacks", ())]
    history = prior.fit(draws, epochs=epochs, shuffle=False, callbacks=callbacks, **fit)
    prior.epochs_seen = draws.begun
    model.set_prior(prior)
    return history
