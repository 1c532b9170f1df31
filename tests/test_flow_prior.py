"""A learned prior samples from the distribution of the latents."""

import keras
import numpy as np
import pytest
from conftest import SMALL

import medzoo
from medzoo.models import VAE
from medzoo.models.fit_prior import optimizer
from medzoo.models.flow_prior import FlowPrior


def fitted(prior, x, labels=None, steps=500, batch=64):
    """Return a prior trained on given latents."""
    prior.standardize(x, np.zeros_like(x))
    prior.compile(optimizer(steps, 4e-3))
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(x), steps * batch)
    y = np.zeros(len(x), "int32") if labels is None else labels
    prior.fit(x[chosen], y[chosen], batch_size=batch, shuffle=False, verbose=0)
    return prior


@pytest.fixture(scope="module")
def rings():
    """Return two classes of points on two circles, which no Gaussian fits."""
    rng = np.random.default_rng(0)
    angle, labels = rng.uniform(0, 2 * np.pi, 4000), np.arange(4000) % 2
    radius = np.where(labels == 0, 1.0, 3.0) + 0.05 * rng.standard_normal(4000)
    return (radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype("float32"), labels.astype(
        "int32"
    )


@pytest.fixture(scope="module")
def prior(rings):
    keras.utils.set_random_seed(0)
    return fitted(FlowPrior((2,), num_classes=2, filters=(64, 64), seed=0), *rings)


@pytest.mark.slow
def test_samples_follow_the_distribution_of_the_latents(prior):
    for label, radius in ((0, 1.0), (1, 3.0)):
        radii = np.linalg.norm(prior.sample(400, label=label, seed=1, num_steps=20), axis=1)
        assert np.median(radii) == pytest.approx(radius, rel=0.3)
        assert (np.abs(radii - radius) < 0.8).mean() > 0.85
    both = np.linalg.norm(prior.sample(400, seed=2, num_steps=20), axis=1)
    assert 0.3 < (both > 2).mean() < 0.7


@pytest.mark.slow
def test_samples_repeat_with_the_seed_and_guidance_narrows_a_class(prior):
    assert np.array_equal(prior.sample(5, label=1, seed=3, num_steps=5), prior.sample(5, label=1, seed=3, num_steps=5))
    widths = [np.std(np.linalg.norm(prior.sample(300, 0, 0, 20, g), axis=1)) for g in (1.0, 2.0)]
    assert widths[1] < 1.5 * widths[0]
    with pytest.raises(ValueError, match="label=2; expected 0 to 1"):
        prior.sample(1, label=2)


def test_an_untrained_prior_is_the_standard_normal():
    samples = FlowPrior((4, 4, 3), filters=(8, 8), blocks_per_stage=1, seed=0).sample(
        200, seed=0, num_steps=1, batch_size=200
    )
    assert samples.shape == (200, 4, 4, 3)
    assert samples.mean() == pytest.approx(0, abs=0.05)
    assert samples.std() == pytest.approx(1, abs=0.05)


def test_noise_scale_widens_the_noise_and_is_part_of_the_config():
    prior = FlowPrior((4, 4, 3), filters=(8, 8), noise_scale=1.5, seed=0)
    copy = FlowPrior.from_config(prior.get_config())
    samples = copy.sample(200, seed=0, num_steps=1, temperature=2.0, batch_size=200)
    assert samples.std() == pytest.approx(3, abs=0.15)


@pytest.mark.slow
def test_fit_lowers_the_loss_over_a_grid_of_latents():
    rng = np.random.default_rng(0)
    x = np.repeat(np.repeat(rng.standard_normal((256, 2, 2, 2)), 2, axis=1), 2, axis=2).astype("float32")
    prior = FlowPrior((4, 4, 2), filters=(16, 16), blocks_per_stage=1, seed=0)
    prior.compile(optimizer(60, 3e-3))
    before = prior.evaluate(x, np.zeros(256, "int32"), verbose=0, return_dict=True)["loss"]
    prior.fit(x, np.zeros(256, "int32"), batch_size=32, epochs=8, verbose=0)
    after = prior.evaluate(x, np.zeros(256, "int32"), verbose=0, return_dict=True)["loss"]
    assert after < 0.7 * before


def test_presets_and_files_of_a_vae_include_its_prior_and_fit_does_not_change_it(images, tmp_path):
    vae = VAE((None, None, 1), latent_dim=3, bottleneck="spatial", **SMALL)
    own = {"filters": (8, 8), "blocks_per_stage": 1, "batch_size": 16, "verbose": 0}
    labels = np.arange(32) % 2
    with pytest.raises(ValueError, match="needs size"):
        vae.sample(1)
    history = vae.fit_prior(images, labels, epochs=1, **own)
    assert np.isfinite(history.history["loss"]).all()
    samples = vae.sample(3, seed=0, num_steps=2, label=1)
    assert samples.shape == (3, 32, 32, 1)
    with pytest.raises(ValueError, match="fitted to images of 32×32 pixels"):
        vae.sample(1, size=(64, 64))
    assert vae.sample(1, size=(64, 64), use_prior=False).shape == (1, 64, 64, 1)
    vae.save(tmp_path / "vae.keras")
    medzoo.save_preset(vae, tmp_path / "vae", dtype="float32")
    for twin in (medzoo.load(tmp_path / "vae"), keras.saving.load_model(tmp_path / "vae.keras")):
        assert twin.sample(3, seed=0, num_steps=2, label=1) == pytest.approx(samples, abs=1e-5)
    frozen = [w.copy() for w in vae.prior.get_weights()]
    vae.compile("adam")
    vae.fit(images, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(frozen, vae.prior.get_weights(), strict=True))
    before = vae.prior.get_weights()
    vae.fit_prior(images, labels, epochs=1, learning_rate=0.0, **own)  # continues from there
    assert all(np.allclose(a, b) for a, b in zip(before[:-1], vae.prior.get_weights()[:-1], strict=True))
    with pytest.raises(ValueError, match="expected integers from 0"):
        vae.fit_prior(images, labels[:5], **own)


def test_a_vae_with_vector_latents_can_have_a_prior(images):
    vae = VAE((32, 32, 1), latent_dim=6, **SMALL)
    vae.fit_prior(images, epochs=1, filters=(16,), blocks_per_stage=1, verbose=0)
    assert vae.sample(2, seed=0, num_steps=3).shape == (2, 32, 32, 1)
    with pytest.raises(ValueError, match="label=0; expected None: the prior was fitted without labels"):
        vae.sample(2, label=0)


@pytest.mark.slow
def test_a_resumed_training_of_a_prior_gives_the_same_result(tmp_path, monkeypatch):
    from conftest import write_npz

    from medzoo.models import fit_prior
    from medzoo.training.checkpoint import Checkpoints
    from medzoo.training.prior import train_prior

    monkeypatch.setitem(fit_prior.WIDTHS, True, (8, 8))
    data = write_npz(tmp_path / "images.npz", size=32, counts=(24, 8, 8))
    vae = VAE((None, None, 1), latent_dim=2, bottleneck="spatial", **SMALL)
    own = {"size": 32, "epochs": 2, "batch_size": 8}
    whole = medzoo.load(train_prior(vae, data, tmp_path / "whole", **own))
    vae.set_prior(None)
    end, seen = Checkpoints.on_train_batch_end, [0]

    def stop(self, batch, logs=None):
        end(self, batch, logs)
        seen[0] += 1
        if seen[0] == 2:
            self.save()
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        train_prior(vae, data, tmp_path / "cut", **own)
    with pytest.raises(ValueError, match="other settings"):
        train_prior(vae, data, tmp_path / "cut", **{**own, "epochs": 3})
    cut = medzoo.load(train_prior(vae, data, tmp_path / "cut", **own))
    for a, b in zip(whole.prior.weights, cut.prior.weights, strict=True):
        if "seed_generator" not in a.path:
            assert np.asarray(a) == pytest.approx(np.asarray(b), abs=1e-3), a.path
    assert cut.prior.num_classes == 2
    assert (tmp_path / "cut" / "prior.json").is_file()
    with pytest.raises(FileExistsError, match="holds no unfinished training"):
        train_prior(vae, data, tmp_path / "cut", **own)
