"""Resumable training of a prior for a trained VAE: `medzoo fit-prior`."""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from medzoo.data.augmentation import augmented_copies
from medzoo.data.image_dataset import ImageDataset, open_dataset
from medzoo.data.patients import warn_shared_patients
from medzoo.models.fit_prior import PosteriorSamples, optimizer, prepare
from medzoo.training.checkpoint import Checkpoints, begin
from medzoo.training.recipe import DEFAULT_SIZE
from medzoo.training.trainer import device_name, flush_denormals, resize_images
from medzoo.utils.files import check_settings, write_json
from medzoo.zoo.files import folder_of
from medzoo.zoo.presets import loaded, save_preset

if TYPE_CHECKING:
    from medzoo.models import VAE

log = logging.getLogger("medzoo")
MAX_VALIDATION_IMAGES = 256
MIN_IMAGES = 1000  # fewer images are augmented to about this number, to avoid overfitting of the prior


def train_prior(
    model: "VAE | str | os.PathLike",
    data: "str | Path | ImageDataset | Sequence",
    out: str | os.PathLike,
    *,
    size: int | None = None,
    epochs: int = 100,
    batch_size: int = 32,
    learning_rate: float = 5e-4,
    seed: int = 0,
    **reading: Any,
) -> Path:
    """Train a prior of a VAE on images and write the preset with it.

    Run again with the same arguments, an interrupted training resumes. Each class of each dataset is a class of the
    prior: adults and children, each with and without a finding, give four classes. Of unlabeled data, each dataset is a
    class.

    Args:
        model: A VAE, or anything `medzoo.load` takes. The training starts from its prior if that has the same
            configuration.
        data: One or several datasets, see `open_dataset`.
        out: Preset folder to write. It must not exist unless it contains an unfinished training.
        size: int. Side in pixels of all images, for a VAE that accepts any size. Default: the common size of the NPZ
            files, else 256; images of other sizes are resized.
        epochs: int. Number of training epochs. Default: 100.
        batch_size: int. Images per training step. Default: 32.
        learning_rate: float. Peak learning rate. Default: 5e-4.
        seed: int. Seed of initialization, sampling and data order. Default: 0.
        **reading: Options of `open_dataset`.

    Returns:
        Path of the preset folder.

    Raises:
        FileExistsError: If `out` exists and contains no unfinished training.
        TrainingError: If the loss is not finite or the disk is full. The last good checkpoint is kept.
    """
    out = Path(out)
    work = begin(out)
    original = None if hasattr(model, "prior") else folder_of(model)
    model = loaded(model)
    own = model.image_shape[:-1] if model.image_shape[0] else size and (size, size)
    given = [data] if isinstance(data, (str, Path, ImageDataset)) else list(data)
    datasets = [open_dataset(d, own or DEFAULT_SIZE, **reading) for d in given]
    warn_shared_patients(datasets)
    size = own or _common(d.images("train").shape[1:-1] for d in datasets) or (DEFAULT_SIZE, DEFAULT_SIZE)
    names = class_names(datasets)
    work.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "model": model.name,
        "data": [d.name for d in datasets],
        "classes": names,
        "size": list(size),
    }
    settings |= {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    if check_settings(work / "settings.json", settings):
        log.info("resuming the training in %s", out)
    flush_denormals()
    keras.utils.set_random_seed(seed)
    images, labels = _images_and_labels(datasets, "train", size)
    if model.bottleneck == "spatial":  # a prior of a latent vector does not overfit, and augmentation blurs its samples
        images, labels = _augmented(images, labels, seed)
    prior, batches = prepare(model, images, labels if len(names) > 1 else None, batch_size, None, 1, seed)
    validation, classes = _images_and_labels(datasets, "val", size, MAX_VALIDATION_IMAGES)
    means, log_variances = model.posteriors(validation)
    validation_batches = PosteriorSamples(means, np.exp(log_variances / 2), classes.astype("int32"), batch_size, seed)
    prior.compile(optimizer(epochs * len(batches), learning_rate))
    prior.optimizer.build(prior.trainable_variables)
    progress = Checkpoints(work, batches)
    progress.restore(prior)
    progress.fit(prior, epochs, validation_data=validation_batches)
    model.set_prior(prior)
    save_preset(model, out, overwrite=True)
    if original is not None:  # the reports on the model itself remain valid
        for file in ("training.json", "metrics.json"):
            if (original / file).is_file():
                shutil.copy(original / file, out)
    results = {
        **settings,
        "images": [len(d.images("train")) for d in datasets],
        "epochs": len(progress.history),
        "steps": len(progress.history) * len(batches),
        "loss_per_latent": [round(row["loss"] / means[0].size, 5) for row in progress.history],
        "validation_loss_per_latent": [round(row["val_loss"] / means[0].size, 5) for row in progress.history],
        "parameters": model.prior.count_params(),
        "seconds": round(progress.seconds),
        "device": device_name(),
        "backend": keras.backend.backend(),
    }
    write_json(out / "prior.json", results)
    shutil.rmtree(work)
    return out


def _augmented(images, labels, seed):
    """Images and labels, followed by augmented copies if there are fewer than `MIN_IMAGES`."""
    copies = max(0, -(-MIN_IMAGES // len(images)) - 1)
    changes = {"translation": 2.0, "affine": 0.08, "contrast": 0.1}
    augmented = (np.round(255 * x).astype("uint8") for x in augmented_copies(images, copies, seed, **changes))
    return np.concatenate([images, *augmented]), np.tile(labels, 1 + copies)


def _common(values):
    """The value that all of them have, or `None`."""
    first, *others = set(values)
    return None if others else first


def class_names(datasets: Sequence[ImageDataset]) -> list[str]:
    """Return the classes of all datasets, e.g. `["chestxray_256: no_finding", ...]`."""
    names = []
    for dataset in datasets:
        own = dataset.class_names if dataset.class_names and not dataset.multi_label else [None]
        stem = Path(dataset.name).stem
        names += [stem if name is None else f"{stem}: {name}" for name in own]
    return names


def _images_and_labels(datasets, split, size, limit=None):
    """Images of all datasets, resized to one size, and the class index of each image."""
    images, labels, first = [], [], 0
    for dataset in datasets:
        own = dataset.images(split)
        several = dataset.class_names and not dataset.multi_label
        classes = dataset.labels(split) if several else np.zeros(len(own), int)
        step = 1 if limit is None else max(1, -(-len(own) * len(datasets) // limit))
        own, classes = own[::step], classes[::step]
        images.append(resize_images(own, size))
        labels.append(first + classes)
        first += len(dataset.class_names) if several else 1
    return np.concatenate(images), np.concatenate(labels)
