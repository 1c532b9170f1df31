"""Train models, alone or as one of several workers; run by test_distribution.py.

    python tests/workers.py OUTPUT.npz FAMILY ...

With TF_CONFIG, the process is one of the workers listed there. Each family is trained with its own loss, a metric and
validation data; `mine` is a user's own model with a compiled loss.
"""

import os
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf

kind = tf.distribute.MultiWorkerMirroredStrategy if "TF_CONFIG" in os.environ else tf.distribute.get_strategy
strategy = kind()  # must precede any TensorFlow operation

from conftest import FAMILIES  # noqa: E402

import medzoo  # noqa: E402
from medzoo.data.phantom import chest_phantom  # noqa: E402


@keras.saving.register_keras_serializable("tests")
class Mine(medzoo.MultiWorkerMixin, keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = keras.layers.Dense(8, "relu"), keras.layers.Dense(1)

    def call(self, x):
        return self.out(self.hidden(keras.ops.reshape(x, (-1, 32 * 32))))


def batches(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(8, drop_remainder=True)


def main(out, names):
    images = np.stack([chest_phantom(32, seed) for seed in range(32)])
    results = {}
    for name in names:
        keras.utils.set_random_seed(0)
        own = (images, images.mean(axis=(1, 2))) if name == "mine" else (images,)
        data, other = batches(*own), batches(*(x[::-1].copy() for x in own))
        with strategy.scope():
            model = Mine() if name == "mine" else FAMILIES[name]()
            compiled = (
                {"loss": "mse", "metrics": ["mae"]} if name == "mine" else {"metrics": [medzoo.metrics.image.SSIM()]}
            )
            model.compile(keras.optimizers.SGD(1e-2 if name == "mine" else 1e-5), **compiled)
        history = model.fit(data, validation_data=other, epochs=2, verbose=0).history
        for i, weight in enumerate(model.weights):
            results[f"{name}/{i}/{weight.path}"] = keras.ops.convert_to_numpy(weight)
        for key, values in history.items():
            results[f"{name}/history/{key}"] = np.array(values)
        results[f"{name}/evaluated"] = np.array(model.evaluate(other, verbose=0))
        results[f"{name}/predicted"] = np.sort(model.predict(data, verbose=0), axis=0)
    np.savez(out, **results)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
