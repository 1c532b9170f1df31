"""Checkpoints with the complete training state, to resume after SIGKILL, a full disk or a preempted node."""

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
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from medzoo.errors import TrainingError
from medzoo.utils.files import atomic_write

if TYPE_CHECKING:
    from medzoo.training.distribution import DistributionContext

log = logging.getLogger("medzoo")
BEST = "best.ckpt"
WORK = "training"  # subfolder of the preset folder with the files of an unfinished training
PREEMPTED = 75  # exit status after SIGTERM; rerun the command to resume (EX_TEMPFAIL of sysexits.h)


def begin(out: Path) -> Path:
    """Return the working folder below a preset folder, after checking that nothing is overwritten.

    Args:
        out: The preset folder. It must not exist unless it contains an unfinished training.

    Returns:
        Path of the working folder, which may not exist yet.

    Raises:
        FileExistsError: If `out` exists and contains no unfinished training.
    """
    if out.exists() and not (out / WORK).is_dir():
        raise FileExistsError(f"{out}: exists and holds no unfinished training. Choose another folder.")
    return out / WORK


class Checkpoints(keras.callbacks.Callback):
    """Callback that saves the training state regularly, and restores it.

    The state consists of model, optimizer, metrics, random states, history and position in the data. It is saved every
    `every` steps and after each epoch; the last two checkpoints are kept. Each file is written under a temporary name,
    flushed and renamed, and contains its SHA-256: a truncated or altered file is detected and the one before is used.
    The weights of the epoch with the lowest `val_loss` are saved in the same folder.

    On SIGTERM, which cluster schedulers send before they preempt a node, the state is saved after the current step and
    the process exits with status 75. One of several workers cannot save alone; it exits, and the training resumes from
    the last checkpoint.

    Args:
        folder: Existing folder for the files.
        batches: The training data, with the attributes `epoch` and `skip`, see `AugmentedDataset`.
        every: int. Optimizer steps between checkpoints. Default: 200.
        accumulation: int. Batches per optimizer step. Default: 1.
        context: A `DistributionContext`; only its first worker writes. `None` means one process.
        first: int. Epochs of the same data that an earlier stage of the training used; the batches continue after
            them. Default: 0.

    Attributes:
        epoch: int. Number of finished epochs.
        step: int. Number of finished steps of the current epoch.
        history: List of Keras logs, one dict per finished epoch.
        seconds: float. Training time, summed over interruptions.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        batches: Any,
        every: int = 200,
        accumulation: int = 1,
        context: "DistributionContext | None" = None,
        first: int = 0,
    ):
        super().__init__()
        self.folder, self.batches, self.every = Path(folder), batches, every
        self.accumulation, self.first = accumulation, first
        self.write, self.alone = (context.first, context.workers == 1) if context else (True, True)
        self.epoch, self.step, self.saved, self.history, self.seconds = 0, 0, 0, [], 0.0
        self.metrics_to_restore, self.terminated = None, False

    # --- resuming -----------------------------------------------------------------------------------------------

    def restore(self, model: keras.Model) -> None:
        """Restore the last valid checkpoint, if there is one, and the position in the data."""
        for path in sorted(self.folder.glob("state-*.ckpt"), key=_count, reverse=True):
            try:
                state, arrays = _read(path)
            except ValueError as error:
                log.warning("%s; using the previous checkpoint", error)
                continue
            for variable, value in zip(_state(model), arrays["state"], strict=True):
                if variable is model.optimizer.variables[0]:  # counts batches, whose number per step may differ now
                    value = value * self.accumulation // state["accumulation"]
                variable.assign(value)
            self.metrics_to_restore = arrays["metrics"]
            self.epoch, self.step, self.saved = state["epoch"], state["step"], state["saved"]
            self.history, self.seconds = state["history"], state["seconds"]
            log.info("resuming in epoch %d at step %d, from %s", self.epoch + 1, self.step, path)
            return

    def load_best(self, model: keras.Model) -> None:
        """Load the weights of the epoch with the lowest validation loss."""
        for variable, value in zip(_weights(model), _read(self.folder / BEST)[1]["state"], strict=True):
            variable.assign(value)

    def fit(self, model: keras.Model, epochs: int, **fit: Any) -> None:
        """Call `model.fit` on the batches up to the last epoch, starting within an epoch if it was interrupted there.

        Args:
            model: A compiled model.
            epochs: int. Total number of epochs.
            **fit: Further arguments of `model.fit`.
        """

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
            if model.optimizer.use_ema:  # Keras ends fit with the averaged weights; training continues from the others
                self.restore(model)
        if self.epoch < epochs:
            until(epochs)

    # --- callbacks ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def listening(self):
        """Handle SIGTERM by saving and stopping; a context manager around `fit`."""
        if threading.current_thread() is not threading.main_thread():  # other threads receive no signals
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
        if self.passed % self.accumulation or self.passed == self.last:  # saved after validation
            return
        self.step = self.passed // self.accumulation
        if self.step % self.every == 0 or (self.terminated and self.alone):
            self._check(logs)
            self.save()
        self._leave()

    def _leave(self):
        if self.terminated:
            log.warning("SIGTERM in epoch %d, step %d; rerun the command to resume", self.epoch + 1, self.step)
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
                "last good checkpoint is kept. Check the images, or train with a lower learning rate."
            )

    # --- saving -------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint and delete all but the last two."""
        now = time.perf_counter()
        self.seconds, self.started = self.seconds + now - self.started, now
        self.saved += 1
        names = ("epoch", "step", "accumulation", "saved", "history", "seconds")
        progress = {name: getattr(self, name) for name in names}
        path = self.folder / f"state-{self.saved:06d}.ckpt"
        self._put(path, progress, _state(self.model), self.model.metrics_variables)
        if self.write:
            for old in sorted(self.folder.glob("state-*.ckpt"), key=_count)[:-2]:
                old.unlink()

    def _put(self, path, progress, state, metrics):
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        # All workers read, because reading may need all of them; one writes.
        state, metrics = ([keras.ops.convert_to_numpy(v) for v in variables] for variables in (state, metrics))
        if not self.write:
            return
        try:
            _write(path, progress, state, metrics)
        except OSError as error:
            raise TrainingError(
                f"{self.folder}: the checkpoint could not be written ({error}). The previous one is kept. "
                "Free disk space or fix the permissions, then rerun the command to resume."
            ) from error


def _weights(model):
    """The model's variables, including random states."""
    metrics = {id(v) for v in model.metrics_variables}
    return [v for v in model.variables if id(v) not in metrics]


def _state(model):
    """The model's and the optimizer's variables, without accumulated gradients."""
    return _weights(model) + [v for v in model.optimizer.variables if "gradient_accumulator" not in v.path]


def _count(path):
    return int(path.stem.split("-")[1])


def _write(path, progress, state, metrics):
    buffer = io.BytesIO()
    named = {f"state_{i:05d}": a for i, a in enumerate(state)} | {f"metrics_{i:05d}": a for i, a in enumerate(metrics)}
    np.savez(buffer, progress=np.array(json.dumps(progress)), **named)
    data = buffer.getvalue()
    with atomic_write(path) as part, open(part, "wb") as file:
        file.write(hashlib.sha256(data).digest() + data)
        file.flush()
        os.fsync(file.fileno())


def _read(path):
    """`(progress, {"state": arrays, "metrics": arrays})`; raises ValueError if the SHA-256 does not match."""
    content = path.read_bytes()
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        raise ValueError(f"{path}: truncated or altered")
    stored = np.load(io.BytesIO(content[32:]), allow_pickle=False)
    groups = {
        group: [stored[key] for key in sorted(stored.files) if key.startswith(group)] for group in ("state", "metrics")
    }
    return json.loads(str(stored["progress"])), groups
