"""On how many devices and machines a training runs: `tf.distribute`, or Keras' own data parallelism on JAX."""

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass

import keras

NAMES = ("auto", "default", "mirrored", "multiworker", "tpu", "dataparallel")


@contextlib.contextmanager
def distribution_scope(name="auto"):
    """A context manager to train in, to be entered before TensorFlow or JAX compute anything.

        with devices() as place:
            with place.scope():
                model = ...                             # build and compile
            model.fit(...)

    Args:
        name:
            `"auto"`: several workers where TF_CONFIG lists them, a TPU where TPU_NAME is set, mirrored over the GPUs
            where TensorFlow sees two or more, all devices where JAX sees two or more, else one device.
            `"default"`: one device.
            `"mirrored"`, `"multiworker"`, `"tpu"`: `tf.distribute`, TensorFlow backend only.
            `"dataparallel"`: `keras.distribution.DataParallel`, JAX backend only; over several hosts where Keras'
            KERAS_DISTRIBUTION_JOB_ADDRESSES (and _NUM_PROCESSES, _PROCESS_ID) say so.

    Yields: `Place`.

    Raises:
        ValueError: another name, or one for another backend.
    """
    if name not in NAMES:
        raise ValueError(f"strategy {name!r}; expected one of {', '.join(NAMES)}.")
    backend = keras.backend.backend()
    if name in ("mirrored", "multiworker", "tpu") and backend != "tensorflow":
        raise ValueError(f"strategy {name!r} needs the TensorFlow backend, not {backend}.")
    if name == "dataparallel" and backend != "jax":
        raise ValueError(f"strategy {name!r} needs the JAX backend, not {backend}.")
    if backend == "tensorflow":
        strategy, workers, index = _tensorflow(name)
        yield DistributionContext(strategy.num_replicas_in_sync, workers, index, strategy.scope)
    elif backend == "jax" and name != "default":
        yield from _jax(name)
    else:
        yield DistributionContext()


@dataclass(frozen=True)
class DistributionContext:
    """Where a training runs.

    Fields:
        replicas: devices that share a batch.
        workers: processes that do.
        index: which of them this is; the first writes the files.
        scope: function that gives the context manager to build and compile a model in. `fit` and saving belong outside:
            in the scope of several workers Keras would wait for all of them when one saves.
    """

    replicas: int = 1
    workers: int = 1
    index: int = 0
    scope: Callable = contextlib.nullcontext

    @property
    def first(self):
        return self.index == 0

    @property
    def share(self):
        """`(index, count)` of the part of each batch that this process reads; TensorFlow cuts whole batches itself."""
        return (self.index, self.workers) if keras.backend.backend() == "jax" else (0, 1)


def _tf_config():
    """Number of workers and which of them this is, from TF_CONFIG (a chief, where there is one, comes first)."""
    config = json.loads(os.environ.get("TF_CONFIG") or "{}")
    cluster, task = config.get("cluster", {}), config.get("task", {})
    chiefs, workers = len(cluster.get("chief", [])), len(cluster.get("worker", []))
    return max(1, chiefs + workers), task.get("index", 0) + (chiefs if task.get("type") == "worker" else 0)


def _tensorflow(name):
    import tensorflow as tf

    if name == "auto":
        if _tf_config()[0] > 1:
            name = "multiworker"
        elif "TPU_NAME" in os.environ:
            name = "tpu"
        elif len(tf.config.list_physical_devices("GPU")) > 1:
            name = "mirrored"
    if name == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy(), *_tf_config()
    if name == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(os.environ.get("TPU_NAME", ""))
        return tf.distribute.TPUStrategy(resolver), 1, 0
    return (tf.distribute.MirroredStrategy() if name == "mirrored" else tf.distribute.get_strategy()), 1, 0


def _jax(name):
    if "KERAS_DISTRIBUTION_JOB_ADDRESSES" in os.environ:
        keras.distribution.initialize()
    import jax

    if name == "auto" and jax.device_count() == 1:
        yield DistributionContext()
        return
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    try:
        yield DistributionContext(jax.device_count(), jax.process_count(), jax.process_index())
    finally:
        keras.distribution.set_distribution(before)
