"""Unsupervised domain adaptation of a preset to images of another scanner or site."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from medzoo import metrics
from medzoo.data.patients import patients_of_files
from medzoo.io.image import read_image
from medzoo.metrics.bootstrap import bootstrap_mean_ci
from medzoo.models.checks import check_2d
from medzoo.models.custom_loss import CustomLossMixin
from medzoo.models.epochs import EpochDataset
from medzoo.tasks.shared.data import SIZE
from medzoo.utils.groups import encode_groups, group_indices, has_known_groups, take_groups
from medzoo.zoo.presets import loaded, save_preset


def coral(source: np.ndarray, target: np.ndarray, x: np.ndarray | None = None) -> np.ndarray:
    """Align target features with the mean and covariance of source features (CORAL).

    A classifier trained on source features can then be applied to the aligned target features (Sun et al. 2016,
    arXiv:1511.05547). Covariances are estimated with shrinkage (Ledoit & Wolf 2004), so that few images suffice.

    Args:
        source: Float array of shape `(N, D)`. Features of the source domain.
        target: Float array of shape `(M, D)`. Features of the target domain.
        x: Float array of shape `(K, D)`, or `None`. Further target features to align instead of `target`.

    Returns:
        Float array of shape `(M, D)`, or `(K, D)` if `x` is given.
    """
    from sklearn.covariance import LedoitWolf

    old, new = LedoitWolf().fit(source), LedoitWolf().fit(target)
    x = target if x is None else x
    return (x - new.location_) @ _power(new.covariance_, -0.5) @ _power(old.covariance_, 0.5) + old.location_


def _power(matrix, exponent):
    """Return a power of a symmetric positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-12) ** exponent) @ vectors.T


def coral_distance(a, b):
    """Return the squared difference between the means and covariances of two batches.

    Deep CORAL (Sun & Saenko 2016, arXiv:1607.01719), extended by the difference of the means.

    Args:
        a: Float tensor of shape `(N, D)`. Latents.
        b: Float tensor of shape `(M, D)`. Latents.

    Returns:
        Scalar float tensor, divided by D.
    """
    a, b = ops.convert_to_tensor(a), ops.convert_to_tensor(b)
    size = a.shape[-1]
    means = ops.sum(ops.square(ops.mean(a, axis=0) - ops.mean(b, axis=0)))
    return (means + ops.sum(ops.square(_covariance(a) - _covariance(b)))) / size


def _covariance(x):
    """Return the sample covariance matrix of a batch of latents."""
    centered = x - ops.mean(x, axis=0, keepdims=True)
    return ops.matmul(ops.transpose(centered), centered) / ops.cast(ops.shape(x)[0] - 1, x.dtype)


def mmd(a, b):
    """Return the squared maximum mean discrepancy of two batches (Gretton et al. 2012).

    The kernel is a sum of Gaussians with standard deviations of 0.5, 1 and 2 times the square root of D.

    Args:
        a: Float tensor of shape `(N, D)`. Latents.
        b: Float tensor of shape `(M, D)`. Latents.

    Returns:
        Scalar float tensor.
    """
    a, b = ops.convert_to_tensor(a), ops.convert_to_tensor(b)
    size = a.shape[-1]

    def kernel(x, y):
        squares = ops.sum(ops.square(x), axis=1)[:, None] + ops.sum(ops.square(y), axis=1)[None]
        distance = squares - 2 * ops.matmul(x, ops.transpose(y))
        return sum(ops.mean(ops.exp(-distance / (2 * size * width**2))) for width in (0.5, 1.0, 2.0))

    return kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)


DISTANCES = {"coral": coral_distance, "mmd": mmd}


class _Adaptation(CustomLossMixin):
    """Training loop on batches whose first half is from the target and whose second half is from the source domain."""

    def __init__(self, model, distance, distance_weight):
        super().__init__()
        self.model, self.distance, self.distance_weight = model, DISTANCES[distance], distance_weight
        self.built = True

    def forward_loss(self, x, target, sample_weight, training):
        loss, reconstruction = self.model.forward_loss(x, target, sample_weight, training)
        if not self.distance_weight:
            return loss, reconstruction
        latents = self.model.encoder(x)[..., : self.model.latent_dim]
        if self.model.bottleneck == "spatial":
            latents = ops.mean(latents, axis=(1, 2))
        half = ops.shape(x)[0] // 2
        # In units of the loss, so that the weight has the same meaning for nats and for squared errors.
        scale = ops.stop_gradient(ops.abs(loss))
        distance = self.distance(latents[:half], latents[half:])
        return loss + self.distance_weight * scale * distance, reconstruction


class _PairedBatches(EpochDataset):
    """Batches of which one half is target and one half source images, reshuffled every epoch."""

    def __init__(self, source, target, batch_size, seed):
        super().__init__()
        self.source, self.target, self.half, self.seed = source, target, batch_size // 2, seed

    def __len__(self):
        return max(1, len(self.target) // self.half)

    def __getitem__(self, index):
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.target))[index * self.half : (index + 1) * self.half]
        sampled = rng.integers(0, len(self.source), (len(self), len(order)))[index]
        return np.concatenate([self.target[order], self.source[sampled]])


def adapt(
    model: keras.Model,
    source: np.ndarray,
    target: np.ndarray,
    distance: str = "coral",
    distance_weight: float = 0.1,
    epochs: int = 5,
    learning_rate: float = 3e-4,
    batch_size: int = 32,
    seed: int = 0,
    verbose: int = 0,
) -> keras.Model:
    """Fine-tune a copy of a model on unlabeled images of a target domain.

    The loss is the model's own loss on images of both domains, plus a distance between the latents of the two domains.
    Source images are included so that the model does not forget them. The distance keeps the latents aligned, so that
    a classifier trained on source latents remains applicable.

    Args:
        model: A medzoo model of images. It is not changed.
        source: Float32 array of shape `(N, H, W, 1)` with values in [0, 1]. Images of the domain that the model was
            trained on.
        target: Float32 array of shape `(M, H, W, 1)` with values in [0, 1]. Unlabeled images of the new domain.
        distance: `"coral"` or `"mmd"`. Distance between the latents, which are averaged over positions for a spatial
            bottleneck.
        distance_weight: float. Weight of the distance in units of the loss; 0 fine-tunes without it.
        epochs: int. Number of passes over the target images.
        learning_rate: float. Initial learning rate of Adam; it decays as a cosine.
        batch_size: int. Number of images per batch, half of them from each domain.
        seed: int. Seed of the training.
        verbose: int. See `keras.Model.fit`.

    Returns:
        The adapted model, with the `preprocess` of the original.

    Raises:
        ValueError: If `distance` is unknown, the image sizes differ, or a domain has fewer than `batch_size / 2`
            images.
    """
    if distance not in DISTANCES:
        raise ValueError(f"adapt: unknown distance. Expected one of {', '.join(DISTANCES)}, got {distance!r}.")
    if target.shape[1:] != source.shape[1:] or min(len(target), len(source)) < batch_size // 2:
        raise ValueError(
            f"adapt: unsuitable images. Expected one image size and {batch_size // 2} or more images per domain, got "
            f"source {source.shape} and target {target.shape}."
        )
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    keras.utils.set_random_seed(seed)
    batches = _PairedBatches(source, target, batch_size, seed)
    trainer = _Adaptation(copy, distance, distance_weight)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * len(batches), alpha=0.02)
    trainer.compile(keras.optimizers.Adam(rate))
    trainer.fit(batches, epochs=epochs, verbose=verbose, shuffle=False)
    return copy


def adapt_folders(
    model: keras.Model | str | Path,
    source: Sequence[str | Path],
    target: Sequence[str | Path],
    out: str | Path,
    *,
    size: int = SIZE,
    groups: tuple[Sequence | np.ndarray | None, Sequence | np.ndarray | None] | None = None,
    seed: int = 0,
    **training: Any,
) -> dict[str, tuple[dict, dict, int]]:
    """Adapt a preset to image files, save it, and evaluate it before and after.

    One fifth of the images of each domain is held out for the evaluation. Where patients are known, one fifth of the
    patients is held out. A patient with images in both domains is held out from both or from neither.

    Args:
        model: A medzoo model, or anything `medzoo.load` takes.
        source: Paths of image files of the domain that the model was trained on.
        target: Paths of image files of the new domain.
        out: Preset folder to write; it must not exist.
        size: int. Side length in pixels, for a model that accepts any size.
        groups: Pair of sequences, of `source` and of `target`, with one patient identifier per file; each may be
            `None`. By default the PatientID of DICOM files.
        seed: int. Seed of the split and of the training.
        training: Further options of `adapt`.

    Returns:
        `{"target": (before, after, count), "source": (before, after, count)}`: mean PSNR in dB with its confidence
        interval before and after the adaptation, and the number of held-out images. Intervals are over patients where
        these are known, see `medzoo.metrics.bootstrap.bootstrap_ci`.

    Raises:
        ValueError: If there are too few images or patients to hold some out, or as for `adapt`.
    """
    model = loaded(model)
    check_2d(model, "adapt")
    sources, targets = (patients_of_files(source), patients_of_files(target)) if groups is None else groups
    files_of, groups_of = {"target": target, "source": source}, {"target": targets, "source": sources}
    parts = _hold_out_fifth([len(files) for files in files_of.values()], list(groups_of.values()), seed)
    held_out, rest_of, patients = {}, {}, {}
    for (domain, files), (kept, rest) in zip(files_of.items(), parts, strict=True):
        images = model.preprocess(files) if model.image_shape[0] else np.stack([read_image(f, size) for f in files])
        held_out[domain], rest_of[domain] = images[kept], images[rest]
        patients[domain] = take_groups(groups_of[domain], kept)
    adapted = adapt(model, rest_of["source"], rest_of["target"], seed=seed, **training)
    save_preset(adapted, out)
    return {
        domain: (*(_psnr(m, images, patients[domain]) for m in (model, adapted)), len(images))
        for domain, images in held_out.items()
    }


def _psnr(model, images, groups):
    """Return the mean PSNR of reconstructions with its confidence interval."""
    return bootstrap_mean_ci(metrics.per_image(metrics.psnr, images, model.reconstruct(images)), groups=groups)


def _hold_out_fifth(counts, groups, seed):
    """Return `[(held-out indices, other indices), ...]` of several sets of images, with a patient-level split."""
    every = [
        take_groups(own, slice(None)) if has_known_groups(own) else [None] * n
        for own, n in zip(groups, counts, strict=True)
    ]
    numbers = np.split(encode_groups([value for own in every for value in own], sum(counts)), np.cumsum(counts)[:-1])
    held_out, used, parts = set(), set(), []
    for own in numbers:
        patients = group_indices(own, len(own))
        order = [patients[k] for k in np.random.default_rng(seed).permutation(len(patients))]
        names = [int(own[images[0]]) for images in order]
        free = [name for name in names if name not in held_out | used]
        cut = max(0, max(1, len(names) // 5) - len(held_out.intersection(names)))
        held_out |= set(free[:cut])
        used |= set(free[cut:])
        chosen = [[images for name, images in zip(names, order, strict=True) if name in p] for p in (held_out, used)]
        if not all(chosen):
            raise ValueError(
                "adapt: too few patients. Expected 2 patients or more per domain, so that some can be held out from "
                f"each, got {len(own)} images of {len(names)} patients."
            )
        parts.append(tuple(np.concatenate(images) for images in chosen))
    return parts
