"""Fault tolerance of training: kill, preemption, damaged checkpoints, full disk, out of memory, NaN."""

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from conftest import free_port, write_npz
from small_training import small

import medzoo
from medzoo.errors import TrainingError
from medzoo.training import checkpoint
from medzoo.training import trainer as training

SCRIPT = Path(__file__).with_name("small_training.py")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_npz(tmp_path_factory.mktemp("data") / "images.npz", size=32, counts=(80, 16, 16))


@pytest.fixture(autouse=True)
def frequent_checkpoints(monkeypatch):
    """Write a checkpoint every three steps."""
    defaults = checkpoint.Checkpoints.__init__.__defaults__
    monkeypatch.setattr(checkpoint.Checkpoints.__init__, "__defaults__", (3, *defaults[1:]))


def weights(folder):
    arrays = {}
    with h5py.File(folder / "model.weights.h5") as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return arrays


def assert_equal(a, b, tolerance=1e-5):
    a, b = weights(a), weights(b)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name] == pytest.approx(b[name], abs=tolerance), name


def process(*arguments):
    env = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], env=env, capture_output=True, text=True)


@pytest.fixture
def stop(monkeypatch):
    """Function that stops training after a number of batches."""

    class Stop(Exception):
        pass

    def after(batches):
        seen, end = [0], checkpoint.Checkpoints.on_train_batch_end

        def on_train_batch_end(self, batch, logs=None):
            end(self, batch, logs)
            seen[0] += 1
            if seen[0] == batches:
                raise Stop

        monkeypatch.setattr(checkpoint.Checkpoints, "on_train_batch_end", on_train_batch_end)
        return Stop

    return after


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vqvae", "mae", "codec", "prior"])
def test_killed_or_preempted_training_resumes_with_identical_weights(kind, archive, tmp_path):
    # 10 batches per epoch: killed in epoch 2 after the checkpoint at step 3, then SIGTERM 4 batches after resuming.
    killed = process(kind, archive, tmp_path / "a", "kill", 14)
    assert killed.returncode == -9
    preempted = process(kind, archive, tmp_path / "a", "term", 4)
    assert preempted.returncode == checkpoint.PREEMPTED, preempted.stderr
    assert "rerun the command to resume" in preempted.stderr
    last = process(kind, archive, tmp_path / "a")
    assert last.returncode == 0, last.stderr
    assert process(kind, archive, tmp_path / "b").returncode == 0
    assert_equal(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "a" / "training").exists()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.backends)])
def test_killed_training_on_two_hosts_resumes_and_equals_one_host(archive, tmp_path, backend):
    pytest.importorskip(backend)

    def both(*fault):
        ports = [free_port() for _ in range(2)]
        running = []
        for index in range(2):
            if backend == "tensorflow":
                workers = {"worker": [f"127.0.0.1:{p}" for p in ports]}
                own = {"TF_CONFIG": json.dumps({"cluster": workers, "task": {"type": "worker", "index": index}})}
            else:
                own = {"JOB_ADDRESSES": f"127.0.0.1:{ports[0]}", "NUM_PROCESSES": "2", "PROCESS_ID": str(index)}
                own = {f"KERAS_DISTRIBUTION_{key}": value for key, value in own.items()}
            running.append(start(backend, archive, tmp_path / "two", *fault, **own))
        return [r.wait(timeout=600) for r in running]

    assert 0 not in both("kill", 14)
    assert both() == [0, 0]
    assert start(backend, archive, tmp_path / "one").wait(timeout=600) == 0
    assert_equal(tmp_path / "one", tmp_path / "two", tolerance=3e-4)  # float16 weights


def start(backend, *arguments, **environment):
    own = {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", **environment}
    return subprocess.Popen([sys.executable, SCRIPT, *map(str, arguments)], env={**os.environ, **own})


@pytest.mark.slow
def test_history_and_warm_up_resume_and_a_truncated_checkpoint_is_skipped(archive, tmp_path, stop, caplog, monkeypatch):
    whole, kept = [], checkpoint.Checkpoints.on_epoch_end

    def keep(self, epoch, logs=None):
        kept(self, epoch, logs)
        whole.append(self.history)

    monkeypatch.setattr(checkpoint.Checkpoints, "on_epoch_end", keep)
    small("vae").train(archive, tmp_path / "b")
    expected = whole[-1]
    with monkeypatch.context() as context:
        with pytest.raises(stop(18)):
            small("vae").train(archive, tmp_path / "a")
        context.undo()
    monkeypatch.setattr(checkpoint.Checkpoints, "on_epoch_end", keep)
    before, last = sorted((tmp_path / "a" / "training").glob("state-*.ckpt"))
    last.write_bytes(last.read_bytes()[:-1000])
    defaults = checkpoint.Checkpoints.__init__.__defaults__
    monkeypatch.setattr(checkpoint.Checkpoints.__init__, "__defaults__", (3, *defaults[1:]))
    with caplog.at_level(logging.INFO, logger="medzoo"):
        small("vae").train(archive, tmp_path / "a")
    assert f"{last}: truncated or altered; using the previous checkpoint" in caplog.text
    assert f"resuming in epoch 2 at step 3, from {before}" in caplog.text
    assert_equal(tmp_path / "a", tmp_path / "b")
    for row, other in zip(whole[-1], expected, strict=True):
        assert row == pytest.approx(other, rel=1e-5)


@pytest.mark.slow
def test_training_interrupted_during_validation_does_not_repeat_the_epoch(archive, tmp_path, stop, monkeypatch):
    monkeypatch.setattr(checkpoint.Checkpoints.__init__, "__defaults__", (5, 1, None, 0))  # 10 batches per epoch
    small("ae").train(archive, tmp_path / "b")
    with monkeypatch.context() as context:
        with pytest.raises(stop(10)):
            small("ae").train(archive, tmp_path / "a")
        context.undo()
    small("ae").train(archive, tmp_path / "a")
    assert_equal(tmp_path / "a", tmp_path / "b")


def test_non_finite_loss_stops_and_keeps_the_last_valid_state(archive, tmp_path):
    recipe = small("ae", learning_rate=1e35)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) in epoch 1.*lower learning rate"):
        recipe.train(archive, tmp_path / "a")
    assert not list((tmp_path / "a" / "training").glob("part*"))


def test_full_disk_stops_and_keeps_the_last_valid_state(archive, tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def full(file):
        synced.append(file)
        if len(synced) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    with monkeypatch.context() as context:
        context.setattr(checkpoint.os, "fsync", full)
        with pytest.raises(TrainingError, match=r"No space left on device.*Free disk space"):
            small("ae").train(archive, tmp_path / "a")
    assert [p.name for p in sorted((tmp_path / "a" / "training").glob("*.ckpt"))] == [
        "state-000001.ckpt",
        "state-000002.ckpt",
    ]
    small("ae").train(archive, tmp_path / "a")  # disk space is available again
    assert json.loads((tmp_path / "a" / "training.json").read_text())["epochs"] == 2


@pytest.mark.slow
def test_out_of_memory_halves_the_batch_and_accumulates_gradients(archive, tmp_path, monkeypatch, caplog):
    import tensorflow as tf

    fit, tried = training._fit, []

    def short(*arguments):
        tried.append(arguments[-2])
        if arguments[-2] < 4:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return fit(*arguments)

    monkeypatch.setattr(training, "_fit", short)
    small("ae").train(archive, tmp_path / "a")
    assert tried == [1, 2, 4]
    assert "batches of 2 images and gradients accumulated over 4 batches, still 8 images per step" in caplog.text
    assert json.loads((tmp_path / "a" / "training.json").read_text())["epochs"] == 2

    monkeypatch.setattr(training, "_fit", lambda *a: (_ for _ in ()).throw(MemoryError("no more")))
    with pytest.raises(TrainingError, match="out of memory even with the smallest batches"):
        small("ae").train(archive, tmp_path / "c")


def test_gradient_accumulation_equals_a_large_batch(images):
    one, two = (small("ae").model(seed=0) for _ in range(2))
    two.set_weights(one.get_weights())
    before = one.get_weights()
    one.compile(keras.optimizers.SGD(1e-3, global_clipnorm=10.0))
    two.compile(keras.optimizers.SGD(1e-3, global_clipnorm=10.0, gradient_accumulation_steps=4))
    one.fit(images, batch_size=8, shuffle=False, verbose=0)
    two.fit(images, batch_size=2, shuffle=False, verbose=0)
    changes = [np.abs(a - b).max() for a, b in zip(one.get_weights(), before, strict=True)]
    differences = [np.abs(a - b).max() for a, b in zip(one.get_weights(), two.get_weights(), strict=True)]
    assert max(changes) > 1e-3
    assert max(differences) < 1e-5


def test_unwritable_folder_error_contains_its_name(archive, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        small("ae").train(archive, tmp_path / "file" / "a")
    assert medzoo.load("vae-chestxray-64").name
