"""Test that two virtual devices train like one with `keras.distribution.DataParallel`.

Run by test_distribution.py under JAX:

    KERAS_BACKEND=jax XLA_FLAGS=--xla_force_host_platform_device_count=2 python tests/data_parallel.py FAMILY ...
"""

import json
import sys

sys.modules["tensorflow"] = None  # as on a machine with one framework only

import jax  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from conftest import FAMILIES  # noqa: E402

import medzoo  # noqa: E402
from medzoo.data.phantom import chest_phantom  # noqa: E402
from medzoo.training.distribution import distribution_scope  # noqa: E402

assert jax.device_count() == 2


def trained(build, images, strategy):
    with distribution_scope(strategy) as context:
        keras.utils.set_random_seed(0)
        model = build()
        model.compile(keras.optimizers.SGD(1e-5), metrics=[medzoo.metrics.image.SSIM()])
        options = {"epochs": 2, "batch_size": 8, "shuffle": False, "verbose": 0}
        history = model.fit(images, validation_data=(images[::-1].copy(),), **options).history
        devices = len(model.weights[0].value.sharding.device_set)
        return [np.asarray(w) for w in model.weights], history, devices, context.replicas


def main(names):
    images = np.stack([chest_phantom(32, seed) for seed in range(32)])
    for name in names:
        one, history_one, *single = trained(FAMILIES[name], images, "default")
        two, history_two, *both = trained(FAMILIES[name], images, "auto")
        assert (single, both) == ([1, 1], [2, 2]), (single, both)
        difference = max(np.abs(a - b).max() for a, b in zip(one, two, strict=True))
        print(json.dumps({"family": name, "difference": float(difference)}))
        assert difference < 1e-5, (name, difference)
        for key, values in history_one.items():
            assert np.allclose(values, history_two[key], rtol=1e-3), (key, values, history_two[key])


if __name__ == "__main__":
    main(sys.argv[1:])
