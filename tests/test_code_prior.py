"""The autoregressive prior is causal and learns a distribution up to its entropy."""

import keras
import numpy as np
import pytest
from keras import ops

from medzoo.tasks.generate.code_prior import AutoregressivePrior

TINY = {"width": 16, "depth": 1, "heads": 2, "dropout": 0.0}


def test_logits_do_not_depend_on_later_codes():
    prior = AutoregressivePrior(7, (3, 4), **TINY)
    codes = np.random.default_rng(0).integers(0, 7, (2, 12)).astype("int32")
    changed = codes.copy()
    changed[:, 6] = (changed[:, 6] + 1) % 7
    a, b = (ops.convert_to_numpy(prior(x)) for x in (codes, changed))
    assert a[:, :6] == pytest.approx(b[:, :6], abs=1e-5)
    assert np.abs(a[:, 6] - b[:, 6]).max() > 1e-3


@pytest.mark.slow
def test_prior_learns_a_markov_chain_up_to_its_entropy_and_samples_it_by_class():
    # Each code follows from the previous one with probability 3/4 and is uniform otherwise: the entropy is known.
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    codes = np.empty((600, 12), "int64")
    codes[:, 0] = rng.integers(0, 4, 600)
    for i in range(1, 12):
        step = np.where(labels == 1, 1, -1)  # class 1 counts upwards, class 0 downwards
        follows = rng.random(600) < 0.75
        codes[:, i] = np.where(follows, (codes[:, i - 1] + step) % 4, rng.integers(0, 4, 600))
    codes = codes.reshape(600, 3, 4)
    p = np.array([0.75 + 0.0625, 0.0625, 0.0625, 0.0625])
    entropy = (np.log(4) - 11 * (p * np.log(p)).sum()) / 12
    prior = AutoregressivePrior(4, (3, 4), num_classes=2, **TINY)
    prior.compile(keras.optimizers.Adam(1e-2))
    history = prior.fit((codes, labels), validation_data=(codes, labels), epochs=12, verbose=0).history
    assert prior.evaluate((codes, labels), verbose=0) == pytest.approx(entropy, abs=0.1)
    assert history["val_loss"][-1] == pytest.approx(entropy, abs=0.1)
    for label, step in ((0, -1), (1, 1)):
        samples = prior.sample(100, label, seed=0).reshape(100, 12)
        assert ((samples[:, 1:] - samples[:, :-1]) % 4 == step % 4).mean() == pytest.approx(p[0], abs=0.1)
    assert np.array_equal(prior.sample(3, 1, seed=5), prior.sample(3, 1, seed=5))


def test_keras_file_round_trip(tmp_path):
    prior = AutoregressivePrior(7, (3, 4), **TINY)
    prior.save(tmp_path / "prior.keras")
    again = keras.saving.load_model(tmp_path / "prior.keras")
    codes = np.zeros((1, 12), "int32")
    assert ops.convert_to_numpy(again(codes)) == pytest.approx(ops.convert_to_numpy(prior(codes)), abs=1e-6)


@pytest.mark.parametrize(
    ("codes", "message"),
    [(np.zeros((2, 4, 3), int), r"Expected shape \(N, \*\(3, 4\)\)"), (np.full((2, 3, 4), 7), "from 0 to 6")],
)
def test_codes_of_another_shape_or_range_raise(codes, message):
    prior = AutoregressivePrior(7, (3, 4), **TINY)
    prior.compile()
    with pytest.raises(ValueError, match=message):
        prior.fit(codes)


def test_class_conditional_prior_requires_a_label():
    with pytest.raises(ValueError, match="Expected 0 to 1, got None"):
        AutoregressivePrior(7, (3, 4), num_classes=2, **TINY).sample(1)
