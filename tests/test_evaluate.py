import json

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import SMALL, write_npz
from PIL import Image
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

import medzoo
from medzoo.data.datasets import open_dataset
from medzoo.data.phantom import chest_phantom
from medzoo.evaluation.generation import frechet_distance, sample_quality
from medzoo.evaluation.latent_statistics import kl_per_latent, latent_statistics, log_likelihood
from medzoo.evaluation.linear_probe import probe
from medzoo.evaluation.markdown import sections
from medzoo.evaluation.reconstruction import from_rows, pca_baseline, pca_reconstruct, to_rows
from medzoo.evaluation.robustness import PERTURBATIONS, evaluate_robustness
from medzoo.metrics.bootstrap import bootstrap_mean_ci
from medzoo.models import VAE, VQVAE, ConvAutoencoder


@pytest.fixture(scope="module")
def linear_vae():
    """A VAE without its nonlinear part, i.e. the probabilistic PCA of its initialization, on 16×16 images."""
    images = np.stack([chest_phantom(16, seed) for seed in range(300)])
    model = VAE((16, 16, 1), latent_dim=5, filters=(4,), blocks_per_stage=0, seed=0)
    for layer in (model.encoder.head, model.decoder.head):
        layer.kernel.assign(np.zeros(layer.kernel.shape))
    model.initialize_from_pca(images)
    return model, images


def test_bootstrap_interval_is_that_of_the_standard_error():
    values = np.random.default_rng(1).normal(3, 2, 900)
    result = bootstrap_mean_ci(values)
    assert result["mean"] == pytest.approx(values.mean(), abs=1e-4)
    low, high = result["interval"]
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 30, rel=0.05)


def test_importance_weighted_likelihood_of_a_linear_vae_is_that_of_probabilistic_pca(linear_vae):
    model, images = linear_vae
    flat = images.reshape(300, -1)
    pca = PCA(5).fit(flat)
    noise = float(model.variance)
    loadings = pca.components_.T * np.sqrt(pca.explained_variance_ - noise)
    exact = multivariate_normal(pca.mean_, loadings @ loadings.T + noise * np.eye(256)).logpdf(flat[:20])
    bound, elbo = log_likelihood(model, images[:20], samples=200)
    assert bound == pytest.approx(exact, abs=0.5)  # the posterior is exact, so the bound is tight
    assert elbo == pytest.approx(exact, abs=0.5)


def test_more_samples_tighten_the_bound(linear_vae):
    model, images = linear_vae
    head = model.encoder.head
    kernel, bias = head.get_weights()
    head.set_weights([kernel, bias + np.r_[np.full(5, 0.5), np.zeros(5)]])  # a wrong posterior
    bound, elbo = log_likelihood(model, images[:10], samples=300)
    head.set_weights([kernel, bias])
    assert (bound > elbo + 1).all()


def test_kl_per_latent_sums_to_the_kl_of_the_image(images):
    for model in (
        VAE((32, 32, 1), latent_dim=6, **SMALL),
        VAE((None, None, 1), latent_dim=3, bottleneck="spatial", **SMALL),
    ):
        model.compile()
        kl = model.evaluate(images, verbose=0, return_dict=True)["kl"]
        assert kl_per_latent(model, images).sum() == pytest.approx(kl, rel=1e-4)
        assert latent_statistics(model, images)["kl"] == pytest.approx(kl, rel=1e-3)


def test_active_units_are_latents_with_varying_means(linear_vae):
    model, images = linear_vae
    head = model.encoder.linear
    kernel, bias = head.get_weights()
    changed = kernel.copy()
    changed[:, 2:] = 0
    head.set_weights([changed, bias])
    statistics = latent_statistics(model, images)
    head.set_weights([kernel, bias])
    assert (statistics["active_units"], statistics["latent_dim"]) == (2, 5)
    assert latent_statistics(model, images)["active_units"] == 5


def test_aggregate_posterior_of_probabilistic_pca_is_the_prior(linear_vae):
    aggregate = latent_statistics(*linear_vae)["aggregate_posterior"]
    assert aggregate["variance"]["least"] == pytest.approx(1, abs=0.01)
    assert aggregate["variance"]["most"] == pytest.approx(1, abs=0.01)
    assert aggregate["kl_to_prior_as_gaussian"] == pytest.approx(0, abs=0.01)


def test_codebook_statistics_count_codes(images):
    model = VQVAE(latent_dim=4, codebook_size=16, **SMALL)
    model.initialize_from_pca(images)
    model.compile("adam")
    model.fit(images, epochs=2, verbose=0)
    codes = model.encode(images)
    statistics = latent_statistics(model, images, images)
    p = np.bincount(codes.ravel(), minlength=16) / codes.size
    entropy = -(p[p > 0] * np.log2(p[p > 0])).sum()
    assert statistics["usage"] == pytest.approx((p > 0).mean(), abs=1e-3)
    assert statistics["perplexity"] == pytest.approx(2**entropy, abs=0.01)
    assert statistics["bits_per_pixel"] == 4 / 64
    assert statistics["bits_per_pixel_entropy_coded"] == pytest.approx(entropy / 64, abs=1e-3)


def test_patches_are_extracted_and_combined_without_loss(images):
    assert np.array_equal(from_rows(to_rows(images, 8), images.shape, 8), images)
    assert to_rows(images, 8).shape == (32 * 16, 64)
    assert np.array_equal(to_rows(images, 8)[1], images[0, :8, 8:16, 0].ravel())


def test_pca_baseline_of_a_spatial_model_equals_its_initialization(images):
    model = ConvAutoencoder((None, None, 1), latent_dim=3, bottleneck="spatial", **SMALL)
    for layer in (model.encoder.head, model.decoder.head):
        layer.kernel.assign(np.zeros(layer.kernel.shape))
    model.initialize_from_pca(images)
    assert model.reconstruct(images) == pytest.approx(pca_reconstruct(images, images, 3, 8), abs=1e-3)
    assert pca_baseline(model, images, images)["patch"] == 8
    assert pca_baseline(VQVAE(latent_dim=4, codebook_size=16, **SMALL), images, images) is None


def test_frechet_distance_of_gaussians_is_the_closed_form():
    rng = np.random.default_rng(0)
    a = rng.normal(0, 1, (200_000, 3))
    b = rng.normal((1, 0, 0), (1, 2, 1), (200_000, 3))
    assert frechet_distance(a, b) == pytest.approx(1 + 1, rel=0.02)  # |mean|^2 + (2 - 1)^2
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


class MemorizingVAE(VAE):
    """Returns stored images as samples."""

    def sample(self, n, seed=None, size=None, temperature=1.0):
        return self.stored[:n]


def test_copies_of_training_images_are_detected_and_new_images_are_not():
    phantoms = np.stack([chest_phantom(32, seed) for seed in range(300)])
    train, test, fresh = phantoms[:100], phantoms[100:200], phantoms[200:]
    model = MemorizingVAE((32, 32, 1), latent_dim=6, **SMALL)
    model.initialize_from_pca(train)
    encoder = ConvAutoencoder((32, 32, 1), latent_dim=4, **SMALL)
    encoder.initialize_from_pca(phantoms)
    model.stored = train
    copies = sample_quality(model, train, test, encoder)
    model.stored = fresh
    new = sample_quality(model, train, test, encoder)
    assert copies["novelty"]["share_nearer_than_1_percent"] == 1
    assert new["novelty"]["share_nearer_than_1_percent"] < 0.1
    assert min(new["precision"], new["recall"]) > 0.7
    model.stored = np.broadcast_to(test.mean(axis=0), (100, 32, 32, 1))
    mean = sample_quality(model, train, test, encoder)
    assert mean["recall"] < 0.1
    assert mean["frechet"]["model"] > 3 * new["frechet"]["model"]


def test_robustness_includes_the_psnr_without_perturbation(images):
    model = ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL)
    model.initialize_from_pca(images)
    result = evaluate_robustness(model, images)
    assert set(result) == set(PERTURBATIONS)
    model.compile()
    psnr = model.evaluate(images, verbose=0, return_dict=True)["psnr"]
    assert result["none"]["psnr"]["mean"] == pytest.approx(psnr, abs=1e-3)
    assert result["noise 0.10"]["input_psnr"] == pytest.approx(20, abs=1.5)


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory):
    return write_npz(tmp_path_factory.mktemp("data") / "images.npz", size=32)


def test_probe_equals_a_scikit_learn_pipeline_and_separates_simple_classes(two_classes):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = (medzoo.datasets.load_npz(two_classes, s).astype("float32") / 255 for s in ("train", "test"))
    labels, truth = (medzoo.datasets.load_npz_labels(two_classes, s) for s in ("train", "test"))
    model = ConvAutoencoder((32, 32, 1), latent_dim=3, **SMALL)
    model.initialize_from_pca(train)
    result = probe(model, open_dataset(two_classes))
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)).fit(model.encode(train), labels)
    assert result["linear"]["accuracy"]["mean"] == pytest.approx(plain.score(model.encode(test), truth), abs=1e-4)
    assert result["linear"]["auc"]["mean"] > 0.9  # one class is darker
    assert result["knn"]["accuracy"]["mean"] > 0.9


@pytest.mark.parametrize(
    ("name", "build"),
    [
        pytest.param("vae", lambda: VAE((32, 32, 1), latent_dim=4, **SMALL), marks=pytest.mark.slow),
        pytest.param("vqvae", lambda: VQVAE(latent_dim=4, codebook_size=16, **SMALL), marks=pytest.mark.slow),
        pytest.param(
            "ae",
            lambda: ConvAutoencoder((None, None, 1), latent_dim=3, bottleneck="spatial", **SMALL),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["vae", "vqvae", "ae"],
)
def test_report_consists_of_json_markdown_and_figures(name, build, two_classes, tmp_path):
    from medzoo.evaluation.report import evaluate

    model, out = build(), tmp_path / name
    model.initialize_from_pca(medzoo.datasets.load_npz(two_classes).astype("float32") / 255)
    result = evaluate(medzoo.save_preset(model, tmp_path / f"{name}-preset"), two_classes, out=out)
    assert json.loads((out / "metrics.json").read_text()) == result
    text = (out / "report.md").read_text()
    assert sections(result) in text
    assert f"{result['psnr']['mean']:.2f}" in text
    assert ("pca" in result) == (name != "vqvae")
    assert ("prior_samples" in result) == ("log_likelihood" in result) == (name == "vae")
    assert result["speed"]["images_per_second"] > 0
    assert Image.open(out / "reconstructions.png").size[0] > 300


def test_evaluate_command_does_not_overwrite_a_report(tmp_path):
    from medzoo.cli import main

    (tmp_path / "metrics.json").write_text("mine")
    arguments = ["evaluate", "vae-chestxray-64", "--data", str(tmp_path), "-o", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert "pass --overwrite" in result.output
    assert (tmp_path / "metrics.json").read_text() == "mine"
