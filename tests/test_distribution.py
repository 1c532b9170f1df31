"""Two replicas train like one device on the same global batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import FAMILIES, each, free_port


@pytest.fixture(scope="module")
def strategy():
    # One for all tests: a second MirroredStrategy in a process reuses the collective keys of the first.
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def trained(name, images, strategy=None):
    keras.utils.set_random_seed(0)
    if strategy is None:
        model = FAMILIES[name]()
        model.compile(keras.optimizers.SGD(1e-5))
    else:
        with strategy.scope():
            model = FAMILIES[name]()
            model.compile(keras.optimizers.SGD(1e-5))
    data = tf.data.Dataset.from_tensor_slices(images).batch(8, drop_remainder=True)
    history = model.fit(data, epochs=2, verbose=0).history
    return model, history


@pytest.mark.parametrize("name", each(default=("vqvae-ema",)))
def test_two_replicas_train_as_one(name, images, strategy):
    one, history_one = trained(name, images)
    two, history_two = trained(name, images, strategy)
    assert strategy.num_replicas_in_sync == 2
    for a, b in zip(one.weights, two.weights, strict=True):
        assert np.asarray(a) == pytest.approx(np.asarray(b), abs=1e-5), a.path
    # The step is large enough to detect a step of twice the size.
    keras.utils.set_random_seed(0)
    moved = [np.abs(np.subtract(w, w0)).max() for w, w0 in zip(one.weights, FAMILIES[name]().weights, strict=True)]
    assert max(moved) > 1e-3
    for key, values in history_one.items():
        assert values == pytest.approx(history_two[key], rel=1e-3), key


@pytest.mark.slow
@pytest.mark.backends
@pytest.mark.parametrize("names", [tuple(FAMILIES)])
def test_two_jax_devices_train_as_one(names):
    pytest.importorskip("jax")
    script = Path(__file__).with_name("data_parallel.py")
    flags = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    environment = {**os.environ, **flags}
    done = subprocess.run(
        [sys.executable, script, *names], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(names)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("mine",), tuple(FAMILIES)], ids=["own", "whole"])
def test_two_workers_train_as_one_by_fit(names, tmp_path):
    script = Path(__file__).with_name("workers.py")
    workers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    environments = [{}]
    for index in range(2):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        environments.append({"TF_CONFIG": json.dumps(config)})
    processes = [
        subprocess.Popen([sys.executable, script, tmp_path / f"{i}.npz", *names], env={**os.environ, **own})
        for i, own in enumerate(environments)
    ]
    assert [process.wait(timeout=900) for process in processes] == [0, 0, 0]
    one, *two = (np.load(tmp_path / f"{i}.npz") for i in range(3))
    keys = [key.split("/")[1] for key in one.files]
    assert {"history", "evaluated", "predicted", "0"} <= set(keys)
    for other in two:
        assert one.files == other.files
        for key in one.files:
            weight = key.split("/")[1].isdigit()
            expected = pytest.approx(one[key], abs=1e-5) if weight else pytest.approx(one[key], rel=1e-3, abs=1e-5)
            assert other[key] == expected, key
            if weight and len(names) > 1:
                print(f"{key}: {np.abs(other[key] - one[key]).max():.1e}")


def test_replicas_sample_different_slices_of_the_noise_of_one_device(strategy):
    from medzoo.layers import replicas

    with strategy.scope():
        generator = keras.random.SeedGenerator(5)

    @tf.function
    def sample():
        return strategy.run(lambda: replicas.normal((3, 4), generator))

    slices = [np.asarray(t) for t in strategy.experimental_local_results(sample())]
    whole = np.asarray(replicas.normal((6, 4), keras.random.SeedGenerator(5)))
    assert np.array_equal(np.concatenate(slices), whole)
