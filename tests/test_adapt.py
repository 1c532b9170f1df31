import numpy as np
import pytest
from conftest import SMALL
from keras import ops

from medzoo import metrics
from medzoo.models import VAE, VQVAE, ConvAutoencoder
from medzoo.tasks.adapt import adapt, coral, coral_distance, mmd


def test_coral_gives_the_mean_and_covariance_of_the_source_domain():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(20000, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0.2], [0, 0, 1.2]]) + 1
    target = 3 * rng.normal(size=(5000, 3)) - 2
    aligned = coral(source, target)
    assert aligned.mean(axis=0) == pytest.approx(source.mean(axis=0), abs=1e-6)
    assert np.cov(aligned.T) == pytest.approx(np.cov(source.T), abs=0.05, rel=0.05)
    assert coral(source, source) == pytest.approx(source, abs=1e-6)


def test_distances_are_zero_for_equal_batches_and_the_closed_form_for_shifted_ones():
    x = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")
    for distance in (coral_distance, mmd):
        assert float(distance(x, x)) == pytest.approx(0, abs=1e-5)
        assert float(distance(x, x + 1)) > 0.1
    assert float(coral_distance(x, x + 1)) == pytest.approx(1, abs=1e-4)  # 4 * 1 / 4
    expected = np.square(np.cov((2 * x).T) - np.cov(x.T)).sum() / 4 + np.square(x.mean(axis=0)).sum() / 4
    assert float(coral_distance(2 * x, x)) == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def domains():
    """Source and target images; the target has other brightness and contrast."""
    from medzoo.data.phantom import chest_phantom

    images = np.stack([chest_phantom(32, seed) for seed in range(80)])
    return images[:40], np.clip(0.15 + 0.6 * images[40:] ** 1.8, 0, 1).astype("float32")


@pytest.mark.parametrize(
    "build",
    [
        lambda: ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL),
        pytest.param(lambda: VAE((None, None, 1), latent_dim=3, bottleneck="spatial", **SMALL), marks=pytest.mark.slow),
        pytest.param(lambda: VQVAE(latent_dim=4, codebook_size=16, **SMALL), marks=pytest.mark.slow),
    ],
    ids=["ae", "vae", "vqvae"],
)
def test_adapted_copy_reconstructs_the_target_better_and_the_original_is_unchanged(build, domains):
    source, target = domains
    model = build()
    model.initialize_from_pca(source)
    model.compile("adam")
    model.fit(source, epochs=1, verbose=0)
    before = [w.copy() for w in model.get_weights()]
    copy = adapt(model, source, target, distance_weight=0.0, epochs=4, learning_rate=2e-3)
    psnr = [float(ops.mean(metrics.psnr(target, m.reconstruct(target)))) for m in (model, copy)]
    assert psnr[1] > psnr[0]
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.slow
def test_distance_weight_reduces_the_distance_between_the_latents_of_both_domains(domains):
    source, target = domains
    model = ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL)
    model.initialize_from_pca(source)
    options = {"epochs": 12, "learning_rate": 2e-3}
    adapted = [adapt(model, source, target, distance_weight=w, **options) for w in (0.0, 1.0)]
    distances = [float(coral_distance(m.encode(source), m.encode(target))) for m in adapted]
    assert distances[1] < 0.7 * distances[0]


def test_unequal_image_sizes_and_unknown_distances_raise(domains):
    source, target = domains
    model = ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL)
    with pytest.raises(ValueError, match="Expected one image size"):
        adapt(model, source, target[:, :16])
    with pytest.raises(ValueError, match="Expected one of coral, mmd"):
        adapt(model, source, target, distance="cosine")


def test_adapt_command_writes_a_preset_that_reconstructs_target_images_better(domains, preset, tmp_path):
    import re

    from click.testing import CliRunner
    from PIL import Image

    import medzoo
    from medzoo.cli import main

    for folder, images in zip(("source", "target"), domains, strict=True):
        (tmp_path / folder).mkdir()
        for i, image in enumerate(images[:40]):
            Image.fromarray(np.round(image[..., 0] * 255).astype("uint8")).save(tmp_path / folder / f"{i}.png")
    out = tmp_path / "adapted"
    arguments = ["adapt", preset, tmp_path / "source", tmp_path / "target", "-o", out, "--size", 32, "--epochs", 3]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    patterns = r"target: PSNR ([\d.]+)", r"target:.*-> ([\d.]+)"
    before, after = (float(re.search(pattern, result.output)[1]) for pattern in patterns)
    assert after > before
    images = domains[1][:4]
    psnr = [np.mean(metrics.psnr(images, medzoo.load(name).reconstruct(images))) for name in (preset, out)]
    assert psnr[1] > psnr[0]
    assert CliRunner().invoke(main, [str(a) for a in arguments]).exit_code == 1  # an existing folder is not replaced
