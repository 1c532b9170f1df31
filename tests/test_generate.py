"""Generated images follow the intended distribution, and copies of training images are detected."""

import numpy as np
import pytest

import medzoo
from medzoo.data.phantom import chest_phantom
from medzoo.tasks.generate import (
    GaussianMixtureSampler,
    detect_copies,
    interpolate,
    nearest_training_distance,
    sample_images,
    sample_without_copies,
)


@pytest.fixture(scope="module")
def vae():
    return medzoo.load("vae-chestxray-64")


@pytest.fixture(scope="module")
def images():
    return np.stack([chest_phantom(64, seed) for seed in range(80)])


def test_samples_of_the_gaussian_mixture_have_the_mean_intensity_of_their_class(vae, images):
    labels = np.arange(80) % 2
    images = np.where(labels[:, None, None, None] == 1, images, 0.5 * images).astype("float32")
    sampler = GaussianMixtureSampler(vae).fit(images, labels)
    for label in (0, 1):
        samples = sampler.sample(200, label, seed=0)
        assert samples.shape == (200, 64, 64, 1)
        assert samples.mean() == pytest.approx(vae.reconstruct(images[labels == label]).mean(), abs=0.03)
    assert np.array_equal(sampler.sample(3, 0, seed=1), sampler.sample(3, 0, seed=1))
    with pytest.raises(ValueError, match=r"Expected one of \[0, 1\], got 7"):
        sampler.sample(1, 7)


def test_gaussian_mixture_of_spatial_latents_raises(images):
    with pytest.raises(ValueError, match="grid of latents"):
        GaussianMixtureSampler("ae-chestxray").fit(images)


def test_interpolation_begins_and_ends_at_the_reconstructions(vae, images):
    way = interpolate(vae, images[0], images[1], steps=5)
    assert way.shape == (5, 64, 64, 1)
    assert way[[0, -1]] == pytest.approx(vae.reconstruct(images[:2]), abs=1e-5)
    steps = np.abs(np.diff(way, axis=0)).mean(axis=(1, 2, 3))
    assert steps.max() < 3 * steps.min()  # no jumps
    with pytest.raises(ValueError, match="Expected continuous latents"):
        interpolate(medzoo.load("vqvae-chestxray-64"), images[0], images[1])


def test_nearest_training_distance_is_the_root_mean_square_difference(images):
    assert nearest_training_distance(images, images[:3] + 0.1) == pytest.approx(0.1, abs=1e-4)
    assert nearest_training_distance(images, images[5:6])[0] == pytest.approx(0, abs=1e-3)


def test_detect_copies_flags_near_copies_but_not_new_images():
    rng = np.random.default_rng(0)
    training, held_out, others = (rng.random((100, 16, 16, 1)).astype("float32") for _ in range(3))
    assert detect_copies(training[:10] + 0.001, training, held_out).all()
    assert detect_copies(others, training, held_out).mean() <= 0.1


def test_a_generator_that_repeats_its_training_images_raises():
    rng = np.random.default_rng(0)
    training, held_out = (rng.random((100, 16, 16, 1)).astype("float32") for _ in range(2))

    def generate(n, seed):
        return np.random.default_rng(seed + 10).random((n, 16, 16, 1)).astype("float32")

    def memorize(n, seed):
        return training[np.random.default_rng(seed).integers(0, 100, n)]

    assert sample_without_copies(generate, 30, training, held_out).shape == (30, 16, 16, 1)
    with pytest.raises(ValueError, match="repeats what it was trained on"):
        sample_without_copies(memorize, 30, training, held_out)


def test_generate_command_samples_the_prior_and_the_distribution_of_reference_images(images, tmp_path):
    from click.testing import CliRunner
    from PIL import Image

    from medzoo.cli import main

    def run(*arguments):
        return CliRunner().invoke(main, ["generate", *map(str, arguments)])

    (tmp_path / "dark").mkdir()
    for i, image in enumerate(images[:40]):
        Image.fromarray(np.round(100 * image[..., 0]).astype("uint8")).save(tmp_path / "dark" / f"{i}.png")
    for out, more in (("prior", ()), ("reference", ("--reference", tmp_path / "dark"))):
        result = run("vae-chestxray-64", "-o", tmp_path / out, "-n", 4, *more)
        assert result.exit_code == 0, result.output
        assert len(list((tmp_path / out).glob("0*.png"))) == 4
    bright, dark = (np.asarray(Image.open(tmp_path / out / "00001.png")).mean() for out in ("prior", "reference"))
    assert dark < 0.7 * bright
    assert run("vae-chestxray-64", "-o", tmp_path / "prior", "-n", 4).exit_code == 1  # existing files are not replaced
    assert "has no prior" in run("ae-chestxray-64", "-o", tmp_path / "x").output


def test_generate_command_writes_volumes_and_requires_a_prior_for_spatial_latents(tmp_path):
    import nibabel
    from click.testing import CliRunner

    from medzoo.cli import main

    model = medzoo.VAE((8, 12, 16, 1), latent_dim=4, filters=(4,), seed=0, name="small")
    medzoo.save_preset(model, tmp_path / "small")
    result = CliRunner().invoke(main, ["generate", str(tmp_path / "small"), "-o", str(tmp_path / "out"), "-n", "2"])
    assert result.exit_code == 0, result.output
    samples = model.sample(2, seed=0)
    back = medzoo.read_volume(tmp_path / "out" / "00001.nii.gz")
    assert back.spacing == (1.0, 1.0, 1.0)
    assert np.allclose(back.slices(), samples[1, ..., 0], atol=1e-3)
    assert nibabel.load(tmp_path / "out" / "00000.nii.gz").shape == (16, 12, 8)
    assert (tmp_path / "out" / "all.png").is_file()
    result = CliRunner().invoke(main, ["generate", "vae-medical", "-o", str(tmp_path / "noise")])
    assert "medzoo fit-prior" in result.output
    assert not (tmp_path / "noise").exists()


def test_unknown_class_of_a_learned_prior_raises():
    with pytest.raises(ValueError, match="0 to 4"):
        sample_images("vae-chestxray", 1, label=9)
