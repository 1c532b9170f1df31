import keras
import numpy as np
import pytest
from conftest import FAMILIES, SMALL
from sklearn.decomposition import PCA

from medzoo import metrics
from medzoo.models import VAE, VQVAE, ConvAutoencoder


def test_training_reports_the_terms_of_the_loss(images):
    model = VAE((32, 32, 1), latent_dim=6, **SMALL)
    model.compile("adam", metrics=[metrics.SSIM()])
    history = model.fit(images, validation_data=(images,), epochs=2, batch_size=8, verbose=0).history
    for prefix in ("", "val_"):
        loss, nll, kl = (np.array(history[prefix + n]) for n in ("loss", "reconstruction_loss", "kl"))
        assert loss == pytest.approx(nll + kl, rel=1e-5)
        assert (kl > 0).all()
        assert len(history[prefix + "ssim"]) == 2
    assert history["val_ssim"][-1] == pytest.approx(np.mean(metrics.ssim(images, model.reconstruct(images))), abs=1e-4)
    assert history["val_psnr"][-1] == pytest.approx(np.mean(metrics.psnr(images, model.reconstruct(images))), abs=1e-3)


def test_fit_lowers_the_loss_of_every_family(make, images):
    model = make()
    model.compile("adam")
    history = model.fit(images, epochs=6, batch_size=8, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert history[-1] < history[0]


@pytest.mark.parametrize("family", ["ae-vector", "vae-vector", "vqvae-ema"])
def test_steps_per_execution_does_not_change_the_weights(family, images):
    weights = []
    for steps in (1, 4):
        keras.utils.set_random_seed(0)
        model = FAMILIES[family]()
        model.compile("sgd" if steps == 0 else keras.optimizers.SGD(1e-5), steps_per_execution=steps)
        model.fit(images, batch_size=8, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, four in zip(*weights, strict=True):
        assert one == pytest.approx(four, abs=1e-5)


def test_mixed_bfloat16_keeps_weights_latents_and_images_in_float32(images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        for model in (VAE((32, 32, 1), latent_dim=4, **SMALL), VQVAE(latent_dim=4, codebook_size=8, **SMALL)):
            assert {w.dtype for w in model.trainable_weights} == {"float32"}
            assert model.encoder.stages[0].compute_dtype == "bfloat16"
            model.compile("adam")
            losses = model.fit(images, epochs=4, batch_size=8, verbose=0).history["loss"]
            assert losses[-1] < losses[0]
            assert model.reconstruct(images).dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")


def test_sample_weights_scale_the_loss_of_images(images):
    model = ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL)
    model.compile("adam")
    x = images[:4]
    weight = np.array([1.0, 0.0, 0.0, 3.0], "float32")
    each = [model.evaluate(x[i : i + 1], verbose=0, return_dict=True)["loss"] for i in range(4)]
    weighted = model.evaluate(x, sample_weight=weight, verbose=0, return_dict=True)["loss"]
    assert weighted == pytest.approx((each[0] + 3 * each[3]) / 4, rel=1e-4)


def test_y_is_the_clean_target_and_labels_raise_an_error(images):
    model = ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL)
    model.compile("adam")
    noisy = np.clip(images + 0.1, 0, 1)
    expected = np.square(images - np.asarray(model(noisy))).sum(axis=(1, 2, 3)).mean()
    assert model.evaluate(noisy, images, verbose=0, return_dict=True)["psnr"] == pytest.approx(
        np.mean(metrics.psnr(images, model(noisy))), abs=1e-3
    )
    assert expected > 0
    with pytest.raises(ValueError, match="for labels, leave y out"):
        model.fit(images, np.zeros((32, 1)), verbose=0)


def test_another_loss_raises_an_error_with_instructions():
    with pytest.raises(ValueError, match="computes its own loss"):
        VAE((32, 32, 1), latent_dim=4, **SMALL).compile("adam", loss="mse")


def test_noise_is_added_in_fit_only(images):
    model = ConvAutoencoder((32, 32, 1), latent_dim=6, noise_std=0.2, **SMALL)
    noise = np.asarray(model.corrupt(np.full((4, 32, 32, 1), 0.5, "float32"))) - 0.5
    assert noise.std() == pytest.approx(0.2, rel=0.05)
    model.compile("sgd")
    assert model.evaluate(images, verbose=0, return_dict=True)["psnr"] == pytest.approx(
        np.mean(metrics.psnr(images, model(images))), abs=1e-3
    )


def test_noise_levels_are_uniform_over_the_range(images):
    model = ConvAutoencoder((32, 32, 1), latent_dim=6, noise_std=(0.05, 0.15), **SMALL)
    noise = np.asarray(model.corrupt(np.full((400, 32, 32, 1), 0.5, "float32"))) - 0.5
    levels = noise.std(axis=(1, 2, 3))
    assert levels.min() > 0.04
    assert levels.max() < 0.16
    assert levels.mean() == pytest.approx(0.1, abs=0.01)
    assert levels.std() == pytest.approx(0.1 / np.sqrt(12), rel=0.15)


def test_poisson_noise_grows_with_the_square_root_of_the_intensity():
    model = ConvAutoencoder((32, 32, 1), latent_dim=6, poisson_noise=0.1, **SMALL)
    for intensity, expected in ((0.25, 0.05), (0.64, 0.08)):
        noise = np.asarray(model.corrupt(np.full((8, 32, 32, 1), intensity, "float32"))) - intensity
        assert noise.std() == pytest.approx(expected, rel=0.05)


def test_k_sparse_model_keeps_the_largest_latents_and_is_initialized_from_pca(images):
    model = ConvAutoencoder((32, 32, 1), latent_dim=12, top_k=4, **SMALL)
    model.initialize_from_pca(images)
    z, full = model.encode(images), np.asarray(model.encoder(images))
    assert ((z != 0).sum(axis=1) == 4).all()
    for kept, all_ in zip(z, full, strict=True):
        assert set(np.flatnonzero(kept)) == set(np.argsort(-np.abs(all_))[:4])
        assert kept[kept != 0] == pytest.approx(all_[kept != 0])
    with pytest.raises(ValueError, match="top_k=13; expected 1 to latent_dim=12"):
        ConvAutoencoder((32, 32, 1), latent_dim=12, top_k=13, **SMALL)


def test_beta_warms_up_linearly(images):
    model = VAE((32, 32, 1), latent_dim=4, beta=2.0, beta_warmup_steps=10, **SMALL)
    assert float(model.current_beta()) == 2.0  # at inference: the final value
    model.compile("sgd")
    for step, beta in ((0, 0.2), (4, 1.0), (9, 2.0), (50, 2.0)):
        model.optimizer.iterations.assign(step)
        assert float(model.current_beta()) == pytest.approx(beta)


def test_free_bits_are_a_lower_bound_for_each_latent():
    model = VAE((32, 32, 1), latent_dim=4, free_bits=0.5, **SMALL)
    zeros = np.zeros((3, 4), "float32")
    assert np.asarray(model.kl(zeros, zeros)) == pytest.approx([2.0] * 3)  # four latents at the bound
    mean = np.array([[2.0, 0, 0, 0]] * 3, "float32")
    assert np.asarray(model.kl(mean, zeros)) == pytest.approx([2.0 + 1.5] * 3)


@pytest.mark.slow
def test_learned_variance_follows_the_squared_error(images):
    model = VAE((32, 32, 1), latent_dim=4, **SMALL)
    model.compile(keras.optimizers.SGD(0.0))
    model.fit(images, epochs=300, batch_size=32, verbose=0)
    z = model.encode(images, sample=True)
    error = np.square(np.asarray(model.decoder(z)) - images).mean()
    assert float(model.variance) == pytest.approx(error, rel=0.05)


def test_fixed_variance_is_not_trained(images):
    model = VAE((32, 32, 1), latent_dim=4, decoder_variance=0.01, **SMALL)
    model.compile("adam")
    model.fit(images, verbose=0)
    assert float(model.variance) == pytest.approx(0.01)


def test_pca_start_reconstructs_as_pca(images):
    flat = images.reshape(32, -1)
    pca = PCA(6).fit(flat)
    expected = np.clip(pca.inverse_transform(pca.transform(flat)), 0, 1).reshape(images.shape)
    expected = np.mean(metrics.psnr(images, expected.astype("float32")))
    for model in (ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL), VAE((32, 32, 1), latent_dim=6, **SMALL)):
        model.initialize_from_pca(images)
        assert np.mean(metrics.psnr(images, model.reconstruct(images))) == pytest.approx(expected, abs=0.3)


def test_spatial_pca_start_reconstructs_as_pca_of_patches(images):
    for model in (
        ConvAutoencoder((None, None, 1), latent_dim=3, bottleneck="spatial", **SMALL),
        VAE((None, None, 1), latent_dim=3, bottleneck="spatial", **SMALL),
    ):
        model.initialize_from_pca(images)
        patches = images.reshape(32, 4, 8, 4, 8).transpose(0, 1, 3, 2, 4).reshape(-1, 64)
        pca = PCA(3).fit(patches)
        error = np.square(pca.inverse_transform(pca.transform(patches)) - patches).mean()
        ours = np.square(model.reconstruct(images) - images).mean()
        assert ours == pytest.approx(error, rel=0.15)


def test_vae_samples_are_images_and_repeat_with_the_seed():
    model = VAE((32, 32, 1), latent_dim=4, **SMALL)
    samples = model.sample(3, seed=1)
    assert samples.shape == (3, 32, 32, 1)
    assert np.array_equal(samples, model.sample(3, seed=1))
    with pytest.raises(ValueError, match="needs size"):
        VAE((None, None, 1), latent_dim=2, bottleneck="spatial", **SMALL).sample(1)


def test_encoding_with_sample_spreads_by_the_posterior(images):
    model = VAE((32, 32, 1), latent_dim=4, **SMALL)
    mean, log_var = (np.asarray(a) for a in model.posterior(images[:1]))
    draws = model.encode(np.repeat(images[:1], 4000, axis=0), sample=True)
    assert draws.mean(axis=0) == pytest.approx(mean[0], abs=0.1)
    assert draws.std(axis=0) == pytest.approx(np.exp(log_var[0] / 2), rel=0.1)


def test_datasets_with_a_wrong_range_raise_an_error_at_the_first_batch(images):
    import tensorflow as tf

    model = ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL)
    model.compile("adam")
    with pytest.raises(ValueError, match=r"values from .* expected floats from 0 to 1"):
        model.fit(tf.data.Dataset.from_tensor_slices(images * 255).batch(4), verbose=0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: VAE((30, 32, 1)), "multiples of 8"),
        (lambda: VAE((None, None, 1)), "multiples of 8"),
        (lambda: VAE((32, 32)), r"expected a tuple of 3 to 4 entries"),
        (lambda: VAE((32, 32, 1), bottleneck="flat"), "expected one of 'vector', 'spatial'"),
        (lambda: VQVAE((32, 32, 1), bottleneck="vector"), "expected one of 'spatial'"),
        (lambda: ConvAutoencoder((32, 32, 1), reconstruction_loss="ssim"), r"expected one of .mse., .mae."),
    ],
)
def test_invalid_arguments_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_second_fit_uses_other_augmented_images():
    """Keras numbers the epochs of each `fit` from 0; augmentation must not restart with them."""
    from medzoo.data.augmentation import AugmentedDataset

    seen = []

    class Recorder(ConvAutoencoder):
        def train_step(self, data):
            seen.append(np.array(data[0] if isinstance(data, tuple) else data))
            return super().train_step(data)

    if keras.backend.backend() != "tensorflow":
        pytest.skip("reads batches in an eager step")
    images = np.random.default_rng(0).random((4, 16, 16, 1), dtype="float32")
    model = Recorder((16, 16, 1), latent_dim=4, patch_size=2, **SMALL)
    model.compile("adam", run_eagerly=True)
    batches = AugmentedDataset(images, 4, seed=3, identity_fraction=0.0)
    for epochs in (2, 1):
        model.fit(batches, epochs=epochs, callbacks=[batches.counted()], verbose=0, shuffle=False)
    model.fit(batches, epochs=2, verbose=0, shuffle=False)
    assert len(seen) == 5
    assert len({x.tobytes() for x in seen}) == 5
    fresh = AugmentedDataset(images, 4, seed=3, identity_fraction=0.0)
    assert np.array_equal(seen[0], fresh[0])  # the first epoch is number 0
    fresh.epoch = 2
    assert np.array_equal(seen[2], fresh[0])
