"""A prior for a trained VAE, as a training that can be interrupted: `medzoo fit-prior`."""

import logging
import shutil
from pathlib import Path

import keras
import numpy as np

from medzoo.data.augmentation import augmented_copies
from medzoo.data.image_dataset import ImageDataset, open_dataset
from medzoo.data.patients import warn_shared_patients
from medzoo.models.fit_prior import Draws, optimizer, prepare
from medzoo.training.checkpoint import Checkpoints, begin
from medzoo.training.recipe import SIDE
from medzoo.training.trainer import brought_to, device_name, flush_denormals
from medzoo.utils.files import check_settings, write_json
from medzoo.zoo.files import folder_of
from medzoo.zoo.presets import loaded, save_preset

log = logging.getLogger("medzoo")
FOR_VALIDATION = 256  # images at most whose loss is watched
FEW = 1000  # images below which moved copies are added up to about as many, or the prior learns them by heart


def train_prior(model, data, out, *, size=None, epochs=100, batch_size=32, learning_rate=5e-4, seed=0, **reading):
    """Fits a prior to images and writes the preset anew, with it; started again, it goes on where it stopped.

    A class of the prior is a class of a collection: with adults and children, each with and without a finding, four.
    Where nothing has labels, each collection is a class.

    Args:
        model: a VAE, or anything `medzoo.load` takes. The training starts from its prior, if it has one of that form.
        data: one or several, see `open_dataset`.
        out: preset folder to write; must not exist unless a training stopped in it.
        size: side in pixels of all images, for a VAE that takes any; by default that of the archives if they agree,
            else 256. Archives of other sizes are resized.
        epochs, batch_size, learning_rate, seed: see `VAE.fit_prior`.
        reading: options of `open_dataset`.

    Returns: path of the preset folder.
    """
    out = Path(out)
    work = begin(out)
    facts_of_model = None if hasattr(model, "prior") else folder_of(model)
    model = loaded(model)
    own = model.image_shape[:-1] if model.image_shape[0] else size and (size, size)
    given = [data] if isinstance(data, (str, Path, ImageDataset)) else list(data)
    collections = [open_dataset(d, own or SIDE, **reading) for d in given]
    warn_shared_patients(collections)
    size = own or _common(c.images("train").shape[1:-1] for c in collections) or (SIDE, SIDE)
    names = class_names(collections)
    work.mkdir(parents=True, exist_ok=True)
    settings = {"model": model.name, "data": [c.name for c in collections], "num_classes": names, "size": list(size)}
    settings |= {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    if check_settings(work / "settings.json", settings):
        log.info("going on with the training in %s", out)
    flush_denormals()
    keras.utils.set_random_seed(seed)
    images, labels = _gathered(collections, "train", size)
    if model.bottleneck == "spatial":  # of a vector's few numbers nothing is learned by heart, and copies draw blurs
        images, labels = _with_moved(images, labels, seed)
    prior, draws = prepare(model, images, labels if len(names) > 1 else None, batch_size, None, 1, seed)
    few, some = _gathered(collections, "val", size, FOR_VALIDATION)
    means, log_variances = model.posteriors(few)
    watched = Draws(means, np.exp(log_variances / 2), some.astype("int32"), batch_size, seed)
    prior.compile(optimizer(epochs * len(draws), learning_rate))
    prior.optimizer.build(prior.trainable_variables)
    progress = Checkpoints(work, draws)
    progress.restore(prior)
    progress.fit(prior, epochs, validation_data=watched)
    model.set_prior(prior)
    save_preset(model, out, overwrite=True)
    if facts_of_model is not None:  # what its card says of the model itself still holds
        for file in ("training.json", "metrics.json"):
            if (facts_of_model / file).is_file():
                shutil.copy(facts_of_model / file, out)
    facts = {
        **settings,
        "images": [len(c.images("train")) for c in collections],
        "epochs": len(progress.history),
        "steps": len(progress.history) * len(draws),
        "loss_per_latent": [round(row["loss"] / means[0].size, 5) for row in progress.history],
        "validation_loss_per_latent": [round(row["val_loss"] / means[0].size, 5) for row in progress.history],
        "parameters": model.prior.count_params(),
        "seconds": round(progress.seconds),
        "device": device_name(),
        "backend": keras.backend.backend(),
    }
    write_json(out / "prior.json", facts)
    shutil.rmtree(work)
    return out


def _with_moved(images, labels, seed):
    """Few images and their labels, with moved copies behind them."""
    copies = max(0, -(-FEW // len(images)) - 1)
    changes = {"translation": 2.0, "affine": 0.08, "contrast": 0.1}
    moved = (np.round(255 * x).astype("uint8") for x in augmented_copies(images, copies, seed, **changes))
    return np.concatenate([images, *moved]), np.tile(labels, 1 + copies)


def _common(values):
    """The value that all of them have, or `None`."""
    first, *others = set(values)
    return None if others else first


def class_names(collections):
    """`["chestxray_256: no_finding", ...]`: the classes of all collections, one after another."""
    names = []
    for collection in collections:
        own = collection.class_names if collection.class_names and not collection.multi_label else [None]
        stem = Path(collection.name).stem
        names += [stem if name is None else f"{stem}: {name}" for name in own]
    return names


def _gathered(collections, split, size, most=None):
    """Images of one size of all collections, and the number of each one's class."""
    images, labels, first = [], [], 0
    for collection in collections:
        own = collection.images(split)
        several = collection.class_names and not collection.multi_label
        numbers = collection.labels(split) if several else np.zeros(len(own), int)
        step = 1 if most is None else max(1, -(-len(own) * len(collections) // most))
        own, numbers = own[::step], numbers[::step]
        images.append(brought_to(size, own))
        labels.append(first + numbers)
        first += len(collection.class_names) if several else 1
    return np.concatenate(images), np.concatenate(labels)
