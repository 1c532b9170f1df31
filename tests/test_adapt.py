import numpy as np
import pytest
from conftest import SMALL
from keras import ops

from medzoo import metrics
from medzoo.models import VAE, VQVAE, ConvAutoencoder
from medzoo.tasks.adapt import adapt, coral, coral_distance, mmd


def test_coral_gives_the_old_mean_and_covariance():
    rng = np.random.default_rng(0)
    old = rng.normal(size=(20000, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0.2], [0, 0, 1.2]]) + 1
    new = 3 * rng.normal(size=(5000, 3)) - 2
    moved = coral(old, new)
    assert moved.mean(axis=0) == pytest.approx(old.mean(axis=0), abs=1e-6)
    assert np.cov(moved.T) == pytest.approx(np.cov(old.T), abs=0.05, rel=0.05)
    assert coral(old, old) == pytest.approx(old, abs=1e-6)


def test_distances_are_zero_for_equal_batches_and_the_closed_form_for_shifted_ones():
    x = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")
    for distance in (coral_distance, mmd):
        assert float(distance(x, x)) == pytest.approx(0, abs=1e-5)
        assert float(distance(x, x + 1)) > 0.1
    assert float(coral_distance(x, x + 1)) == pytest.approx(1, abs=1e-4)  # 4 * 1 / 4
    expected = np.square(np.cov((2 * x).T) - np.cov(x.T)).sum() / 4 + np.square(x.mean(axis=0)).sum() / 4
    assert float(coral_distance(2 * x, x)) == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def hospitals():
    from medzoo.data.phantom import chest_phantom

    films = np.stack([chest_phantom(32, seed) for seed in range(80)])
    return films[:40], np.clip(0.15 + 0.6 * films[40:] ** 1.8, 0, 1).astype("float32")


@pytest.mark.parametrize(
    "build",
    [
        lambda: ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL),
        pytest.param(lambda: VAE((None, None, 1), latent_dim=3, bottleneck="spatial", **SMALL), marks=pytest.mark.slow),
        pytest.param(lambda: VQVAE(latent_dim=4, codebook_size=16, **SMALL), marks=pytest.mark.slow),
    ],
    ids=["ae", "vae", "vqvae"],
)
def test_adapted_copy_fits_the_new_hospital_better_and_the_original_stays(build, hospitals):
    old, new = hospitals
    model = build()
    model.initialize_from_pca(old)
    model.compile("adam")
    model.fit(old, epochs=1, verbose=0)
    before = [w.copy() for w in model.get_weights()]
    copy = adapt(model, new, old, weight=0.0, epochs=4, learning_rate=2e-3)
    psnr = [float(ops.mean(metrics.psnr(new, m.reconstruct(new)))) for m in (model, copy)]
    assert psnr[1] > psnr[0]
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.slow
def test_the_distance_draws_the_latents_together(hospitals):
    old, new = hospitals
    model = ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL)
    model.initialize_from_pca(old)
    free, drawn = (adapt(model, new, old, weight=w, epochs=12, learning_rate=2e-3) for w in (0.0, 1.0))
    gap = [float(coral_distance(m.encode(old), m.encode(new))) for m in (free, drawn)]
    assert gap[1] < 0.7 * gap[0]


def test_sizes_that_do_not_fit_are_refused(hospitals):
    old, new = hospitals
    model = ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL)
    with pytest.raises(ValueError, match="expected one size"):
        adapt(model, new[:, :16], old)
    with pytest.raises(ValueError, match="expected one of coral, mmd"):
        adapt(model, new, old, distance="cosine")


def test_command_writes_a_preset_that_suits_the_new_films_better(hospitals, preset, tmp_path):
    import re

    from click.testing import CliRunner
    from PIL import Image

    import medzoo
    from medzoo.cli import main

    for folder, films in zip(("old", "new"), hospitals, strict=True):
        (tmp_path / folder).mkdir()
        for i, film in enumerate(films[:40]):
            Image.fromarray(np.round(film[..., 0] * 255).astype("uint8")).save(tmp_path / folder / f"{i}.png")
    out = tmp_path / "adapted"
    arguments = ["adapt", preset, tmp_path / "new", tmp_path / "old", "-o", out, "--size", 32, "--epochs", 3]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    before, after = (
        float(re.search(pattern, result.output)[1]) for pattern in (r"new: PSNR ([\d.]+)", r"new:.*-> ([\d.]+)")
    )
    assert after > before
    films = hospitals[1][:4]
    psnr = [np.mean(metrics.psnr(films, medzoo.load(name).reconstruct(films))) for name in (preset, out)]
    assert psnr[1] > psnr[0]
    assert CliRunner().invoke(main, [str(a) for a in arguments]).exit_code == 1  # never over what is there
