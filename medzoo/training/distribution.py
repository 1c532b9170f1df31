"""Distributed training: `tf.distribute` on TensorFlow, Keras' data parallelism on JAX."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import keras

STRATEGIES = ("auto", "default", "mirrored", "multiworker", "tpu", "dataparallel")


@dataclass(frozen=True)
class DistributionContext:
    """Devices and processes of a training.

    Attributes:
        replicas: int. Number of devices that share a batch.
        workers: int. Number of processes that share a batch.
        index: int. Index of this process; the first process writes the files.
        scope: Function that returns the context manager to build and compile a model in. Call `fit` and save outside
            of it: in the scope of several workers, Keras waits for all of them when one saves.
    """

    replicas: int = 1
    workers: int = 1
    index: int = 0
    scope: Callable = contextlib.nullcontext

    @property
    def first(self) -> bool:
        """Whether this is the first process, which writes the files."""
        return self.index == 0

    @property
    def shard(self) -> tuple[int, int]:
        """`(index, count)` of the part of each batch that this process reads; TensorFlow splits batches itself."""
        return (self.index, self.workers) if keras.backend.backend() == "jax" else (0, 1)


@contextlib.contextmanager
def distribution_scope(name: str = "auto") -> Iterator[DistributionContext]:
    """Select devices and processes for a training.

    Enter this context manager before TensorFlow or JAX run any computation.

    Args:
        name: Strategy, one of

            - `"auto"`: several workers if TF_CONFIG lists them, a TPU if TPU_NAME is set, all GPUs if TensorFlow
              detects two or more, all devices if JAX detects two or more, else one device.
            - `"default"`: one device.
            - `"mirrored"`, `"multiworker"`, `"tpu"`: `tf.distribute`, TensorFlow backend only.
            - `"dataparallel"`: `keras.distribution.DataParallel`, JAX backend only; over several hosts if Keras'
              environment variable KERAS_DISTRIBUTION_JOB_ADDRESSES (with _NUM_PROCESSES and _PROCESS_ID) is set.

    Yields:
        A `DistributionContext`.

    Raises:
        ValueError: If the strategy is unknown or requires another backend.

    Examples:
        ```python
        with distribution_scope() as context:
            with context.scope():
                model = ...  # build and compile
            model.fit(...)
        ```
    """
    if name not in STRATEGIES:
        raise ValueError(f"distribution_scope: unknown strategy {name!r}. Expected one of {', '.join(STRATEGIES)}.")
    backend = keras.backend.backend()
    if name in ("mirrored", "multiworker", "tpu") and backend != "tensorflow":
        raise ValueError(f"distribution_scope: strategy {name!r} needs the TensorFlow backend, got {backend}.")
    if name == "dataparallel" and backend != "jax":
        raise ValueError(f"distribution_scope: strategy {name!r} needs the JAX backend, got {backend}.")
    if backend == "tensorflow":
        strategy, workers, index = _tensorflow(name)
        yield DistributionContext(strategy.num_replicas_in_sync, workers, index, strategy.scope)
    elif backend == "jax" and name != "default":
        yield from _jax(name)
    else:
        yield DistributionContext()


def _tf_config():
    """Number of workers and the index of this one, from TF_CONFIG; a chief comes first."""
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
