"""What all recipes share: PCA start, augmentation, fit, resume, the best epoch, the preset."""

import json
import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from medzoo import metrics
from medzoo.errors import TrainingError
from medzoo.images.datasets import load_npz, to_float
from medzoo.images.phantom import chest_phantom
from medzoo.recipes.augment import Augmented
from medzoo.recipes.checkpoint import Checkpoints
from medzoo.recipes.strategy import devices
from medzoo.zoo.presets import load, save_preset

log = logging.getLogger("medzoo")
CLIP = 1000.0  # norm that gradients of a loss in nats per image are cut to
FLOAT16_COST = 0.05  # dB of PSNR that storing weights as float16 may cost at most


@dataclass(frozen=True)
class Recipe:
    """How a preset is trained, and what its card says about it.

    Fields:
        name: of the preset.
        model: function that builds the untrained model, called with `name=` and `seed=`.
        data: file name of the archive it was made for.
        classes: which classes of the archive it sees, `None` for all.
        source: the data's origin, see `medzoo.recipes.sources`.
        subject, limits: for the card: what is in the pictures, and what the model cannot do.
        epochs, batch_size, learning_rate: of the training; the rate is the peak of `schedule`.
        probe: a labelled archive to try the features on, see `medzoo.recipes.sources`; by default the training data's
            test split, if it has several classes.
        phantoms: functions that draw pictures for the card of a model that cannot draw its own.
        augment: arguments of `Augmented` that differ from its defaults.
    """

    name: str
    model: Callable
    data: str
    classes: list
    source: dict
    subject: str
    limits: str
    epochs: int
    batch_size: int = 32
    learning_rate: float = 1.5e-3
    probe: dict | None = None
    phantoms: tuple = (chest_phantom,)
    augment: dict = field(default_factory=dict)

    def train(self, data, out, *, epochs=None, seed=0, strategy="auto"):
        """Trains on an npz archive (MedMNIST convention) and writes the preset.

        Started again with the same arguments, it goes on where it stopped, in the middle of an epoch too, and ends as
        if it had not. The model starts from the PCA of the training images; the epoch with the lowest validation loss
        is kept. Several workers share the folder `out`; the first one writes.

        Args:
            data: the archive.
            out: folder to write; must not exist unless a training stopped in it.
            epochs: by default the recipe's.
            seed: int.
            strategy: see `devices`.

        Returns: path of the preset folder.

        Raises:
            TrainingError: the loss is not finite, the disk is full, or memory does not suffice for one image; the last
                good checkpoint is kept.
        """
        return _run(self, data, Path(out), epochs or self.epochs, seed, strategy)


def schedule(peak, steps, warmup=300):
    """Learning rate: linear warm-up to `peak`, then a cosine down to a hundredth of it."""
    warmup = min(warmup, steps // 10)
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), alpha=0.01, warmup_target=peak, warmup_steps=warmup
    )


def _run(recipe, data, out, epochs, seed, strategy):
    work = out / "training"
    if out.exists() and not work.is_dir():
        raise FileExistsError(f"{out}: exists and holds no unfinished training; choose another folder.")
    train = load_npz(data, "train", recipe.classes)
    validation = to_float(load_npz(data, "val", recipe.classes))
    work.mkdir(parents=True, exist_ok=True)
    settings = {
        "recipe": recipe.name,
        "seed": seed,
        "epochs": epochs,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
    }
    with devices(strategy) as place:
        if recipe.batch_size % place.replicas:
            raise ValueError(
                f"{recipe.name}: batches of {recipe.batch_size} cannot be shared by {place.replicas} devices."
            )
        if place.first:
            _check_same(work / "settings.json", settings)
        progress = _fit_in_memory(recipe, train, validation, work, settings, place)
    if not place.first:
        return out
    model = recipe.model(name=recipe.name, seed=seed)  # anew: that of several hosts does nothing without all of them
    progress.load_best(model)
    save_preset(model, out, overwrite=True)
    cost = _psnr(model, validation) - _psnr(load(out), validation)
    if cost > FLOAT16_COST:
        save_preset(model, out, overwrite=True, dtype="float32")
    losses = [row["val_loss"] for row in progress.history]
    facts = {
        **settings,
        "train_images": len(train),
        "validation_images": len(validation),
        "best_epoch": losses.index(min(losses)) + 1,
        "seconds": round(progress.seconds),
        "seconds_per_epoch": round(progress.seconds / epochs, 1),
        "device": _device(),
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "float16_cost_db": round(float(cost), 4),
        "command": f"medzoo train {recipe.name} --data {Path(data).name} --out {out.name} "
        f"--epochs {epochs} --seed {seed}",
    }
    (out / "training.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(work)
    return out


def _fit_in_memory(recipe, train, validation, work, settings, place):
    """`_fit`; where memory does not suffice, in smaller batches whose gradients are added up to the same step."""
    accumulation = 1
    while True:
        try:
            return _fit(recipe, train, validation, work, settings, place, accumulation)
        except Exception as error:
            if not _out_of_memory(error):
                raise
            reason = str(error).split("\n")[0][:200]
        accumulation *= 2
        if recipe.batch_size % (accumulation * place.replicas):
            raise TrainingError(f"{work}: out of memory even with the smallest batches ({reason}).")
        log.warning(
            "out of memory (%s); going on with batches of %d, gradients added up over %d of them: the same %d images a "
            "step",
            *(reason, recipe.batch_size // accumulation, accumulation, recipe.batch_size),
        )


def _fit(recipe, train, validation, work, settings, place, accumulation):
    """Trains to the end; gives the `Checkpoints`."""
    seed, epochs, batch_size = settings["seed"], settings["epochs"], recipe.batch_size // accumulation
    whole = place.replicas > 1 or accumulation > 1  # devices and gradients share batches of one size
    shared = {"drop_remainder": whole, "group": accumulation, "share": place.share}
    batches = Augmented(train, batch_size, seed, **recipe.augment, **shared)
    if whole:
        index, count = place.share
        validation = validation[: len(validation) // place.replicas * place.replicas][index::count]
    keras.utils.set_random_seed(seed)
    # Keras counts every batch here, also those whose gradients are only added up.
    rate = schedule(recipe.learning_rate, epochs * len(batches), warmup=300 * accumulation)
    gradients = accumulation if accumulation > 1 else None
    with place.scope():
        model = recipe.model(name=recipe.name, seed=seed)
        model.initialize_from_pca(to_float(train))
        optimizer = keras.optimizers.Adam(
            rate, beta_2=0.99, global_clipnorm=CLIP, gradient_accumulation_steps=gradients, name="adam"
        )
        model.compile(optimizer, jit_compile=_xla())
        optimizer.build(model.trainable_variables)
    progress = Checkpoints(work, batches, accumulation=accumulation, place=place)
    progress.restore(model)

    def fit(until):
        with progress.listening():
            model.fit(
                batches,
                validation_data=(validation,),
                validation_batch_size=batch_size // place.share[1],
                initial_epoch=progress.epoch,
                epochs=until,
                shuffle=False,
                callbacks=[progress],
                verbose=(1 if sys.stdout.isatty() else 2) if place.first else 0,
            )

    if progress.step:  # the rest of the epoch in which the training stopped
        batches.skip = progress.step * accumulation
        fit(progress.epoch + 1)
        batches.skip = 0
    if progress.epoch < epochs:
        fit(epochs)
    return progress


def _out_of_memory(error):
    kinds = ("ResourceExhaustedError", "OutOfMemoryError", "MemoryError")
    return type(error).__name__ in kinds or "RESOURCE_EXHAUSTED" in str(error)


def _xla():
    """Keras leaves XLA off on CPUs, where these models are quicker with it; with tf.distribute it must stay off."""
    if keras.backend.backend() != "tensorflow":
        return "auto"
    import tensorflow as tf

    return "auto" if tf.distribute.has_strategy() else True


def _check_same(path, settings):
    if path.is_file():
        before = json.loads(path.read_text())
        if before != settings:
            raise ValueError(f"{path.parent.parent}: an unfinished training with {before}; asked for {settings}.")
        log.info("going on with the training in %s", path.parent)
    path.write_text(json.dumps(settings))


def _psnr(model, images):
    return float(np.mean(keras.ops.convert_to_numpy(metrics.psnr(images, model.reconstruct(images)))))


def _device():
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            return f"{len(gpus)} x {tf.config.experimental.get_device_details(gpus[0]).get('device_name', 'GPU')}"
    elif keras.backend.backend() == "jax":
        import jax

        if jax.default_backend() != "cpu":
            return str(jax.devices()[0].device_kind)
    else:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name(0)
    import os

    return f"{os.cpu_count()} CPU cores"
