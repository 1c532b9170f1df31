"""Bring a preset to a new scanner or hospital with images alone, no labels."""

import keras
import numpy as np
from keras import ops

from medzoo import metrics
from medzoo.data.patients import encode_groups, group_indices, has_known_groups, patients_of_files, take_groups
from medzoo.io.image import read_image
from medzoo.metrics.bootstrap import bootstrap_mean_ci
from medzoo.models.checks import images_only
from medzoo.models.custom_loss import CustomLossMixin
from medzoo.models.epochs import EpochDataset
from medzoo.tasks.shared.data import SIZE
from medzoo.zoo.presets import loaded, save_preset


def coral(source, target, x=None):
    """Features of a new hospital with the mean and covariance of the old one's (CORAL, Sun et al. 2016,
    arXiv:1511.05547), so that a classifier fitted on the old ones can be used on them.

    Args:
        source, target: of the old and the new hospital, `(N, D)` and `(M, D)`; covariances are shrunk (Ledoit & Wolf
            2004), so few images are enough.
        x: further features of the new hospital, `(K, D)`, to bring over in the place of `target`.

    Returns: float array `(M, D)` or `(K, D)`.
    """
    from sklearn.covariance import LedoitWolf

    old, new = LedoitWolf().fit(source), LedoitWolf().fit(target)
    x = target if x is None else x
    return (x - new.location_) @ _power(new.covariance_, -0.5) @ _power(old.covariance_, 0.5) + old.location_


def _power(matrix, exponent):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-12) ** exponent) @ vectors.T


def coral_distance(a, b):
    """Squared difference of means and covariances of two batches of latents `(N, D)`, over D (after Sun & Saenko 2016,
    arXiv:1607.01719)."""
    a, b = ops.convert_to_tensor(a), ops.convert_to_tensor(b)
    size = a.shape[-1]
    means = ops.sum(ops.square(ops.mean(a, axis=0) - ops.mean(b, axis=0)))
    return (means + ops.sum(ops.square(_covariance(a) - _covariance(b)))) / size


def _covariance(x):
    centred = x - ops.mean(x, axis=0, keepdims=True)
    return ops.matmul(ops.transpose(centred), centred) / ops.cast(ops.shape(x)[0] - 1, x.dtype)


def mmd(a, b):
    """Squared maximum mean discrepancy of two batches of latents `(N, D)` (Gretton et al. 2012), Gaussian kernels of
    half, once and twice the root of D."""
    a, b = ops.convert_to_tensor(a), ops.convert_to_tensor(b)
    size = a.shape[-1]

    def kernel(x, y):
        squares = ops.sum(ops.square(x), axis=1)[:, None] + ops.sum(ops.square(y), axis=1)[None]
        distance = squares - 2 * ops.matmul(x, ops.transpose(y))
        return sum(ops.mean(ops.exp(-distance / (2 * size * width**2))) for width in (0.5, 1.0, 2.0))

    return kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)


DISTANCES = {"coral": coral_distance, "mmd": mmd}


class _Adaptation(CustomLossMixin):
    """Trains a model on batches whose first half is from the new hospital and whose second is from the old one."""

    def __init__(self, model, distance, weight):
        super().__init__()
        self.model, self.distance, self.weight = model, DISTANCES[distance], weight
        self.built = True

    def forward_loss(self, x, target, sample_weight, training):
        loss, reconstruction = self.model.forward_loss(x, target, sample_weight, training)
        if not self.weight:
            return loss, reconstruction
        latents = self.model.encoder(x)[..., : self.model.latent_dim]
        if self.model.bottleneck == "spatial":
            latents = ops.mean(latents, axis=(1, 2))
        half = ops.shape(x)[0] // 2
        # In units of the loss, so that the weight means the same for nats and for squared errors.
        scale = ops.stop_gradient(ops.abs(loss))
        return loss + self.weight * scale * self.distance(latents[:half], latents[half:]), reconstruction


class _Halves(EpochDataset):
    """Batches of new and old images, half and half, in a new order each epoch."""

    def __init__(self, new, old, batch_size, seed):
        super().__init__()
        self.new, self.old, self.half, self.seed = new, old, batch_size // 2, seed

    def __len__(self):
        return max(1, len(self.new) // self.half)

    def __getitem__(self, index):
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.new))[index * self.half : (index + 1) * self.half]
        return np.concatenate(
            [self.new[order], self.old[rng.integers(0, len(self.old), (len(self), len(order)))[index]]]
        )


def adapt(
    model, images, source, distance="coral", weight=0.1, epochs=5, learning_rate=3e-4, batch_size=32, seed=0, verbose=0
):
    """A copy of a model fine-tuned on a new hospital's images, its latents kept like those of the old one.

    The loss is the model's own on both hospitals' images (so that the old ones are not forgotten) plus a distance
    between their latents, so that what was learned on the old latents still holds on the new.

    Args:
        model: a medzoo model; it stays as it is.
        images: the new hospital's, float32 `(N, H, W, 1)` in [0, 1], without labels.
        source: images like those the model was trained on, of the same size.
        distance: `"coral"` or `"mmd"`; of the pooled latents for a spatial bottleneck.
        weight: of the distance, in units of the loss; 0 only fine-tunes.
        epochs, learning_rate, batch_size, seed, verbose: of the training.

    Returns: the adapted model, with the original's `preprocess`.
    """
    if distance not in DISTANCES:
        raise ValueError(f"adapt: distance={distance!r}; expected one of {', '.join(DISTANCES)}.")
    if images.shape[1:] != source.shape[1:] or min(len(images), len(source)) < batch_size // 2:
        raise ValueError(
            f"adapt: images {images.shape} and source {source.shape}; expected one size, and {batch_size // 2} or more."
        )
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    keras.utils.set_random_seed(seed)
    batches = _Halves(images, source, batch_size, seed)
    trainer = _Adaptation(copy, distance, weight)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * len(batches), alpha=0.02)
    trainer.compile(keras.optimizers.Adam(rate))
    trainer.fit(batches, epochs=epochs, verbose=verbose, shuffle=False)
    return copy


def adapt_folders(model, new, old, out, *, size=SIZE, groups=None, seed=0, **training):
    """`adapt` to image files, saved as a preset; a fifth of each kind is held out to measure PSNR before and after.

    Where patients are known, a fifth of the patients is held out. A patient with images of both kinds is held out from
    both, or from neither.

    Args:
        model: a medzoo model, or anything `medzoo.load` takes.
        new, old: lists of image files.
        out: preset folder to write; must not exist.
        size: side in pixels, for a model that takes any.
        groups: Pair of sequences, of `new` and of `old`, that tell patients apart, one value per file; each may be
            `None`. By default the PatientID of DICOM files.
        seed, training: options of `adapt`.

    Returns: `{"new": (before, after, count), "old": ...}`, means of PSNR in dB with intervals (over patients where
        these are known, see `medzoo.metrics.bootstrap.bootstrap_ci`), and how many images were held out.

    Raises:
        ValueError: If there are too few images or patients to hold some out; or as `adapt`.
    """
    model = loaded(model)
    images_only(model, "adapt")
    groups = (patients_of_files(new), patients_of_files(old)) if groups is None else groups
    parts = _hold_out_fifth((len(new), len(old)), groups, seed)
    held_out, known, whose = {}, {}, {}
    for title, files, own, (kept, rest) in zip(("new", "old"), (new, old), groups, parts, strict=True):
        images = model.preprocess(files) if model.image_shape[0] else np.stack([read_image(f, size) for f in files])
        held_out[title], known[title], whose[title] = images[kept], images[rest], take_groups(own, kept)
    adapted = adapt(model, known["new"], known["old"], seed=seed, **training)
    save_preset(adapted, out)
    return {
        title: (*(_psnr(m, images, whose[title]) for m in (model, adapted)), len(images))
        for title, images in held_out.items()
    }


def _psnr(model, images, groups):
    return bootstrap_mean_ci(metrics.per_image(metrics.psnr, images, model.reconstruct(images)), groups=groups)


def _hold_out_fifth(counts, groups, seed):
    """`[(indices held out, all others), ...]` of several sets of images; no patient is held out from one of them and
    learned from in another."""
    every = [
        take_groups(own, slice(None)) if has_known_groups(own) else [None] * n
        for own, n in zip(groups, counts, strict=True)
    ]
    numbers = np.split(encode_groups([value for own in every for value in own], sum(counts)), np.cumsum(counts)[:-1])
    held_out, learned, parts = set(), set(), []
    for own in numbers:
        patients = group_indices(own, len(own))
        order = [patients[k] for k in np.random.default_rng(seed).permutation(len(patients))]
        names = [int(own[images[0]]) for images in order]
        free = [name for name in names if name not in held_out | learned]
        cut = max(0, max(1, len(names) // 5) - len(held_out.intersection(names)))
        held_out |= set(free[:cut])
        learned |= set(free[cut:])
        chosen = [[images for name, images in zip(names, order, strict=True) if name in p] for p in (held_out, learned)]
        if not all(chosen):
            raise ValueError(
                f"adapt: {len(own)} images of {len(names)} patients. Expected 2 patients or more, so that some can be "
                "held out from old and new images alike."
            )
        parts.append(tuple(np.concatenate(images) for images in chosen))
    return parts
