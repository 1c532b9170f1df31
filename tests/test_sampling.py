import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from medzoo.layers import Sampling


def test_samples_have_the_given_mean_and_variance():
    n = 200_000
    mean, log_var = np.full((n, 1), 2.0, "float32"), np.full((n, 1), np.log(0.25), "float32")
    z = ops.convert_to_numpy(Sampling(seed=1)(mean, log_var, training=True))
    assert z.mean() == pytest.approx(2.0, abs=5 * 0.5 / np.sqrt(n))
    assert z.var() == pytest.approx(0.25, rel=5 * np.sqrt(2 / n))


def test_inference_returns_the_mean():
    mean = np.random.default_rng(0).random((4, 3)).astype("float32")
    assert np.array_equal(Sampling()(mean, np.ones_like(mean), training=False), mean)


def test_samples_differ_between_calls_and_repeat_with_the_seed():
    zeros = np.zeros((2, 3), "float32")
    first, second = Sampling(seed=7), Sampling(seed=7)
    a, b = first(zeros, zeros, training=True), first(zeros, zeros, training=True)
    assert not np.array_equal(a, b)
    assert np.array_equal(a, second(zeros, zeros, training=True))


def test_gradients_pass_through_the_sample():
    # z = mean + exp(log_var / 2) eps, so dz/dmean = 1 and dz/dlog_var = (z - mean) / 2.
    mean, log_var = tf.constant([[0.3, -1.0]]), tf.constant([[0.5, 1.5]])
    with tf.GradientTape() as tape:
        tape.watch([mean, log_var])
        z = Sampling(seed=3)(mean, log_var, training=True)
    d_mean, d_log_var = tape.gradient(z, [mean, log_var])
    assert d_mean.numpy() == pytest.approx(1)
    assert d_log_var.numpy() == pytest.approx((z - mean).numpy() / 2, rel=1e-5)
