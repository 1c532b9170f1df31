import numpy as np
import pytest
from keras import ops
from scipy import stats

from medzoo import losses

rng = np.random.default_rng(0)


def test_kl_of_standard_normal_is_zero():
    assert ops.convert_to_numpy(losses.gaussian_kl(np.zeros((3, 5)), np.zeros((3, 5)))) == pytest.approx(0)


def test_kl_equals_the_closed_form_and_is_summed_over_latents():
    # One latent N(1, 4) has KL (4 + 1 - 1 - ln 4) / 2; ten of them have ten times that, whatever the shape.
    one = (4 + 1 - 1 - np.log(4)) / 2
    for shape in ((2, 10), (2, 5, 2), (2, 1, 5, 2)):
        kl = losses.gaussian_kl(np.ones(shape, "float32"), np.full(shape, np.log(4), "float32"))
        assert ops.convert_to_numpy(kl) == pytest.approx([10 * one] * 2, rel=1e-6)


def test_kl_equals_a_monte_carlo_estimate():
    mean, std = np.array([0.5, -1.0, 2.0]), np.array([0.3, 1.0, 1.7])
    z = mean + std * rng.standard_normal((400_000, 3))
    samples = (stats.norm.logpdf(z, mean, std) - stats.norm.logpdf(z)).sum(axis=1)
    kl = float(losses.gaussian_kl(mean[None].astype("float32"), np.log(std**2)[None].astype("float32"))[0])
    assert kl == pytest.approx(samples.mean(), abs=5 * samples.std() / np.sqrt(len(samples)))


def test_gaussian_nll_equals_scipy_summed_over_pixels():
    x, r = rng.random((4, 6, 7, 1)).astype("float32"), rng.random((4, 6, 7, 1)).astype("float32")
    expected = -stats.norm.logpdf(x, r, np.sqrt(0.03)).sum(axis=(1, 2, 3))
    assert ops.convert_to_numpy(losses.gaussian_nll(x, r, 0.03)) == pytest.approx(expected, rel=1e-5)


def test_errors_are_sums_over_pixels():
    x, r = np.zeros((2, 4, 4, 1), "float32"), np.full((2, 4, 4, 1), 0.5, "float32")
    assert ops.convert_to_numpy(losses.squared_error(x, r)) == pytest.approx([4.0, 4.0])
    assert ops.convert_to_numpy(losses.absolute_error(x, r)) == pytest.approx([8.0, 8.0])
