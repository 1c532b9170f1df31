"""What all recipes share: PCA start, augmentation, fit, resume, the best epoch, the preset."""

import csv
import json
import logging
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import keras

from medzoo.images.datasets import load_npz, to_float
from medzoo.images.phantom import chest_phantom
from medzoo.recipes.augment import Augmented
from medzoo.recipes.strategy import strategy_scope
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

        Started again with the same arguments, it goes on where it stopped. The model starts from the PCA of the
        training images; the epoch with the lowest validation loss is kept.

        Args:
            data: the archive.
            out: folder to write; must not exist unless a training stopped in it.
            epochs: by default the recipe's.
            seed: int.
            strategy: see `strategy_scope`.

        Returns: path of the preset folder.
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
    _check_same(work / "settings.json", settings)

    batches = Augmented(train, recipe.batch_size, seed, **recipe.augment)
    keras.utils.set_random_seed(seed)
    with strategy_scope(strategy):
        model = recipe.model(name=recipe.name, seed=seed)
        model.initialize_from_pca(to_float(train))
        rate = schedule(recipe.learning_rate, epochs * len(batches))
        optimizer = keras.optimizers.Adam(rate, beta_2=0.99, global_clipnorm=CLIP)
        model.compile(optimizer, jit_compile=_xla())
    history, best = work / "history.csv", work / "best.weights.h5"
    clock = Clock(work / "seconds.txt")
    callbacks = [
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(batches, "epoch", epoch)),
        keras.callbacks.BackupAndRestore(work / "backup", delete_checkpoint=False),
        keras.callbacks.CSVLogger(history, append=True),
        keras.callbacks.ModelCheckpoint(
            best,
            monitor="val_loss",
            save_best_only=True,
            save_weights_only=True,
            initial_value_threshold=_best_so_far(history),
        ),
        clock,
    ]
    model.fit(
        batches,
        validation_data=(validation,),
        validation_batch_size=recipe.batch_size,
        epochs=epochs,
        shuffle=False,
        callbacks=callbacks,
        verbose=1 if sys.stdout.isatty() else 2,
    )
    model.load_weights(best)

    save_preset(model, out, overwrite=True)
    cost = _psnr(model, validation) - _psnr(load(out), validation)
    if cost > FLOAT16_COST:
        save_preset(model, out, overwrite=True, dtype="float32")
    facts = {
        **settings,
        "train_images": len(train),
        "validation_images": len(validation),
        "best_epoch": _best_epoch(history),
        "seconds": round(clock.seconds),
        "seconds_per_epoch": round(clock.seconds / epochs, 1),
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


class Clock(keras.callbacks.Callback):
    """Adds up the seconds spent in training, over interruptions."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.seconds = float(path.read_text()) if path.is_file() else 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds += time.perf_counter() - self.started
        self.path.write_text(str(self.seconds))


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


def _rows(history):
    if not history.is_file():
        return []
    with open(history, newline="") as file:
        return [(int(row["epoch"]), float(row["val_loss"])) for row in csv.DictReader(file)]


def _best_so_far(history):
    return min((loss for _, loss in _rows(history)), default=None)


def _best_epoch(history):
    return min(_rows(history), key=lambda row: row[1])[0] + 1


def _psnr(model, images):
    if not model.compiled:
        model.compile()
    return model.evaluate(images, verbose=0, return_dict=True)["psnr"]


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
