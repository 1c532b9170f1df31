"""The whole state of a training on disk, so that it goes on after anything: kill -9, a full disk, a preempted node."""

import contextlib
import hashlib
import io
import json
import logging
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np

from medzoo.errors import TrainingError
from medzoo.utils.files import written_whole

log = logging.getLogger("medzoo")
BEST = "best.ckpt"
WORK = "training"  # folder in the preset folder that a training works in, and leaves when it is done
PREEMPTED = 75  # exit status after SIGTERM: run the same command again (EX_TEMPFAIL of sysexits.h)


def begin(out):
    """The folder to work in, below the preset folder `out`, which must not hold anything but an unfinished training."""
    if out.exists() and not (out / WORK).is_dir():
        raise FileExistsError(f"{out}: exists and holds no unfinished training; choose another folder.")
    return out / WORK


class Checkpoints(keras.callbacks.Callback):
    """Saves model, optimizer, metrics, random states, history and place in the data every few steps and each epoch.

    The last two are kept. Each is written beside its place, flushed, then renamed, and carries its SHA-256: a torn one
    is noticed and the one before used. The best epoch's weights (by `val_loss`) lie beside them.

    On SIGTERM, as clusters send it before they take a machine away, the state is saved after the current step and the
    process exits with status 75. One of several workers cannot save alone; it exits, and the last checkpoint serves.

    Args:
        folder: for the files; exists.
        batches: the training data, with `epoch` and `skip` to set (see `AugmentedDataset`).
        every: steps between checkpoints.
        accumulation: batches to a step of the optimizer.
        place: see `devices`; only the first worker writes.
        first: int. Epochs of the same data that an earlier stage of the training used: the batches go on behind them.

    Attributes:
        epoch, step: where the training stands; the number of steps is in this epoch.
        history: a dict of logs for each finished epoch.
        seconds: spent in training, over interruptions.
    """

    def __init__(self, folder, batches, every=200, accumulation=1, place=None, first=0):
        super().__init__()
        self.folder, self.batches, self.every = Path(folder), batches, every
        self.accumulation, self.first = accumulation, first
        self.write, self.alone = (place.first, place.workers == 1) if place else (True, True)
        self.epoch, self.step, self.saved, self.history, self.seconds = 0, 0, 0, [], 0.0
        self.metrics_to_restore, self.terminated = None, False

    # --- going on -----------------------------------------------------------------------------------------------

    def restore(self, model):
        """Brings the model to the last sound checkpoint, if there is one, and says where in the data to go on."""
        for path in sorted(self.folder.glob("state-*.ckpt"), key=_count, reverse=True):
            try:
                facts, arrays = _read(path)
            except ValueError as error:
                log.warning("%s; using the checkpoint before", error)
                continue
            for variable, value in zip(_state(model), arrays["state"], strict=True):
                if variable is model.optimizer.variables[0]:  # batches seen, of which there may be more to a step now
                    value = value * self.accumulation // facts["accumulation"]
                variable.assign(value)
            self.metrics_to_restore = arrays["metrics"]
            self.epoch, self.step, self.saved = facts["epoch"], facts["step"], facts["saved"]
            self.history, self.seconds = facts["history"], facts["seconds"]
            log.info("going on in epoch %d at step %d, from %s", self.epoch + 1, self.step, path)
            return

    def load_best(self, model):
        """Gives the model the weights of the epoch with the lowest validation loss."""
        for variable, value in zip(_weights(model), _read(self.folder / BEST)[1]["state"], strict=True):
            variable.assign(value)

    def fit(self, model, epochs, **fit):
        """`model.fit` on the batches to the end, from the middle of an epoch where the training stopped there."""

        def until(epoch):
            with self.listening():
                model.fit(
                    self.batches,
                    initial_epoch=self.epoch,
                    epochs=epoch,
                    shuffle=False,
                    callbacks=[self],
                    verbose=(1 if sys.stdout.isatty() else 2) if self.write else 0,
                    **fit,
                )

        if self.step:
            self.batches.skip = self.step * self.accumulation
            until(self.epoch + 1)
            self.batches.skip = 0
            if model.optimizer.use_ema:  # Keras ends every fit with the averaged weights; training goes on from its own
                self.restore(model)
        if self.epoch < epochs:
            until(epochs)

    # --- callbacks ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def listening(self):
        """Takes SIGTERM for a sign to save and stop; to be entered around `fit`."""
        if threading.current_thread() is not threading.main_thread():  # where signals do not arrive
            yield
            return
        before = signal.signal(signal.SIGTERM, lambda *_: setattr(self, "terminated", True))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.epoch, self.started = self.first + epoch, time.perf_counter()
        self.passed, self.last = self.step * self.accumulation, self.batches.skip + len(self.batches)
        if self.step and self.metrics_to_restore is not None:
            for variable, value in zip(self.model.metrics_variables, self.metrics_to_restore, strict=True):
                variable.assign(value)
        self.metrics_to_restore = None

    def on_train_batch_end(self, batch, logs=None):
        self.passed += 1
        if self.passed % self.accumulation or self.passed == self.last:  # the end of the epoch saves, after validation
            return
        self.step = self.passed // self.accumulation
        if self.step % self.every == 0 or (self.terminated and self.alone):
            self._check(logs)
            self.save()
        self._leave()

    def _leave(self):
        if self.terminated:
            log.warning("SIGTERM in epoch %d, step %d; run the same command to go on", self.epoch + 1, self.step)
            raise SystemExit(PREEMPTED)

    def on_epoch_end(self, epoch, logs=None):
        self._check(logs)
        logs = {key: float(value) for key, value in logs.items()}
        best = min((row["val_loss"] for row in self.history), default=math.inf)
        if logs["val_loss"] < best:
            self._put(self.folder / BEST, {}, _weights(self.model), [])
        self.history.append(logs)
        self.epoch, self.step = epoch + 1, 0
        self.save()
        self._leave()

    def _check(self, logs):
        if not math.isfinite(float(logs["loss"])):
            raise TrainingError(
                f"{self.folder}: the loss is {float(logs['loss'])} in epoch {self.epoch + 1}, step {self.step}. The "
                "last good checkpoint is kept. Look at the images, or train with a lower learning rate."
            )

    # --- saving -------------------------------------------------------------------------------------------------

    def save(self):
        now = time.perf_counter()
        self.seconds, self.started = self.seconds + now - self.started, now
        self.saved += 1
        names = ("epoch", "step", "accumulation", "saved", "history", "seconds")
        facts = {name: getattr(self, name) for name in names}
        path = self.folder / f"state-{self.saved:06d}.ckpt"
        self._put(path, facts, _state(self.model), self.model.metrics_variables)
        if self.write:
            for old in sorted(self.folder.glob("state-*.ckpt"), key=_count)[:-2]:
                old.unlink()

    def _put(self, path, facts, state, metrics):
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        # All workers read, which may need all of them; one writes.
        state, metrics = ([keras.ops.convert_to_numpy(v) for v in variables] for variables in (state, metrics))
        if not self.write:
            return
        try:
            _write(path, facts, state, metrics)
        except OSError as error:
            raise TrainingError(
                f"{self.folder}: the checkpoint could not be written ({error}). The one before is kept. Make room or "
                "give permission, then run the same command to go on."
            ) from error


def _weights(model):
    """The model's variables, random states included."""
    metrics = {id(v) for v in model.metrics_variables}
    return [v for v in model.variables if id(v) not in metrics]


def _state(model):
    """Those and the optimizer's; gradients still being gathered left out."""
    return _weights(model) + [v for v in model.optimizer.variables if "gradient_accumulator" not in v.path]


def _count(path):
    return int(path.stem.split("-")[1])


def _write(path, facts, state, metrics):
    buffer = io.BytesIO()
    named = {f"state_{i:05d}": a for i, a in enumerate(state)} | {f"metrics_{i:05d}": a for i, a in enumerate(metrics)}
    np.savez(buffer, facts=np.array(json.dumps(facts)), **named)
    data = buffer.getvalue()
    with written_whole(path) as part, open(part, "wb") as file:
        file.write(hashlib.sha256(data).digest() + data)
        file.flush()
        os.fsync(file.fileno())


def _read(path):
    """`(facts, {"state": arrays, "metrics": arrays})`; raises ValueError for a file that is not whole."""
    content = path.read_bytes()
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        raise ValueError(f"{path}: torn or altered")
    archive = np.load(io.BytesIO(content[32:]), allow_pickle=False)
    groups = {
        group: [archive[key] for key in sorted(archive.files) if key.startswith(group)]
        for group in ("state", "metrics")
    }
    return json.loads(str(archive["facts"])), groups
