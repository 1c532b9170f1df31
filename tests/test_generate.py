"""Drawn images come from where they should, and copies are noticed."""

import numpy as np
import pytest

import medzoo
from medzoo.data.phantom import chest_phantom
from medzoo.tasks.generate import (
    GaussianMixtureSampler,
    detect_copies,
    interpolate,
    nearest_training_distance,
    sample_without_copies,
)


@pytest.fixture(scope="module")
def vae():
    return medzoo.load("vae-chestxray-64")


@pytest.fixture(scope="module")
def films():
    return np.stack([chest_phantom(64, seed) for seed in range(80)])


def test_samples_of_the_aggregate_posterior_have_the_latents_mean_and_class(vae, films):
    labels = np.arange(80) % 2
    films = np.where(labels[:, None, None, None] == 1, films, 0.5 * films).astype("float32")
    generator = GaussianMixtureSampler(vae).fit(films, labels)
    for label in (0, 1):
        drawn = generator.sample(200, label, seed=0)
        assert drawn.shape == (200, 64, 64, 1)
        assert drawn.mean() == pytest.approx(vae.reconstruct(films[labels == label]).mean(), abs=0.03)
    assert np.array_equal(generator.sample(3, 0, seed=1), generator.sample(3, 0, seed=1))
    with pytest.raises(ValueError, match=r"label=7; fitted with \[0, 1\]"):
        generator.sample(1, 7)


def test_grids_of_latents_are_refused(films):
    with pytest.raises(ValueError, match="grid of latents"):
        GaussianMixtureSampler("ae-chestxray").fit(films)


def test_interpolation_begins_and_ends_at_the_reconstructions(vae, films):
    way = interpolate(vae, films[0], films[1], steps=5)
    assert way.shape == (5, 64, 64, 1)
    assert way[[0, -1]] == pytest.approx(vae.reconstruct(films[:2]), abs=1e-5)
    steps = np.abs(np.diff(way, axis=0)).mean(axis=(1, 2, 3))
    assert steps.max() < 3 * steps.min()  # no leaps
    with pytest.raises(ValueError, match="are codes"):
        interpolate(medzoo.load("vqvae-chestxray-64"), films[0], films[1])


def test_nearest_is_the_distance_to_the_nearest(films):
    assert nearest_training_distance(films, films[:3] + 0.1) == pytest.approx(0.1, abs=1e-4)
    assert nearest_training_distance(films, films[5:6])[0] == pytest.approx(0, abs=1e-3)


def test_copies_are_found_and_new_images_are_not_called_copies():
    rng = np.random.default_rng(0)
    training, held_out, others = (rng.random((100, 16, 16, 1)).astype("float32") for _ in range(3))
    assert detect_copies(training[:10] + 0.001, training, held_out).all()
    assert detect_copies(others, training, held_out).mean() <= 0.1


def test_a_generator_that_repeats_its_training_images_is_refused():
    rng = np.random.default_rng(0)
    training, held_out = (rng.random((100, 16, 16, 1)).astype("float32") for _ in range(2))

    def honest(n, seed):
        return np.random.default_rng(seed + 10).random((n, 16, 16, 1)).astype("float32")

    def thief(n, seed):
        return training[np.random.default_rng(seed).integers(0, 100, n)]

    assert sample_without_copies(honest, 30, training, held_out).shape == (30, 16, 16, 1)
    with pytest.raises(ValueError, match="repeats what it was trained on"):
        sample_without_copies(thief, 30, training, held_out)


def test_command_draws_from_the_prior_and_from_where_a_folder_lies(films, tmp_path):
    from click.testing import CliRunner
    from PIL import Image

    from medzoo.cli import main

    def run(*arguments):
        return CliRunner().invoke(main, ["generate", *map(str, arguments)])

    (tmp_path / "dark").mkdir()
    for i, film in enumerate(films[:40]):
        Image.fromarray(np.round(100 * film[..., 0]).astype("uint8")).save(tmp_path / "dark" / f"{i}.png")
    for out, more in (("prior", ()), ("like", ("--like", tmp_path / "dark"))):
        result = run("vae-chestxray-64", "-o", tmp_path / out, "-n", 4, *more)
        assert result.exit_code == 0, result.output
        assert len(list((tmp_path / out).glob("0*.png"))) == 4
    bright, dark = (np.asarray(Image.open(tmp_path / out / "00001.png")).mean() for out in ("prior", "like"))
    assert dark < 0.7 * bright
    assert run("vae-chestxray-64", "-o", tmp_path / "prior", "-n", 4).exit_code == 1  # never over what is there
    assert "has no prior" in run("ae-chestxray-64", "-o", tmp_path / "x").output


def test_command_draws_volumes_and_refuses_to_draw_noise(tmp_path):
    import nibabel
    from click.testing import CliRunner

    from medzoo.cli import main

    model = medzoo.VAE((8, 12, 16, 1), latent_dim=4, filters=(4,), seed=0, name="small")
    medzoo.save_preset(model, tmp_path / "small")
    result = CliRunner().invoke(main, ["generate", str(tmp_path / "small"), "-o", str(tmp_path / "out"), "-n", "2"])
    assert result.exit_code == 0, result.output
    drawn = model.sample(2, seed=0)
    back = medzoo.read_volume(tmp_path / "out" / "00001.nii.gz")
    assert back.spacing == (1.0, 1.0, 1.0)
    assert np.allclose(back.slices(), drawn[1, ..., 0], atol=1e-3)
    assert nibabel.load(tmp_path / "out" / "00000.nii.gz").shape == (16, 12, 8)
    assert (tmp_path / "out" / "all.png").is_file()
    result = CliRunner().invoke(main, ["generate", "vae-medical", "-o", str(tmp_path / "noise")])
    assert "medzoo fit-prior" in result.output
    assert not (tmp_path / "noise").exists()


def test_flagship_draws_films_of_its_size_by_class(tmp_path):
    from medzoo.tasks.generate import sampling as draw

    with pytest.raises(ValueError, match="label=9; expected 0 to 4"):
        draw("vae-chestxray", 1, label=9)
