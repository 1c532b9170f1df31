"""Denoising reduces the error of noisy images of any size."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import medzoo
from medzoo import metrics
from medzoo.cli import main
from medzoo.data.phantom import chest_phantom
from medzoo.tasks.denoise import denoise


@pytest.fixture(scope="module")
def model():
    return medzoo.load("dae-chestxray")


def noisy(image, std=0.08):
    return np.clip(image + np.random.default_rng(0).normal(0, std, image.shape), 0, 1).astype("float32")


@pytest.mark.parametrize("shape", [(128, 128), (101, 67, 1), (2, 64, 72, 1)])
def test_images_of_any_size_and_shape_are_denoised(model, shape):
    height, width = shape[:2] if len(shape) < 4 else shape[1:3]
    clean = np.broadcast_to(chest_phantom(128, 3)[:height, :width].reshape(height, width, 1), (2, height, width, 1))
    clean = clean.reshape(shape) if len(shape) == 4 else clean[0].reshape(shape)
    image = noisy(clean)
    result = denoise(image, model)
    assert result.shape == shape
    assert result.dtype == "float32"
    assert np.square(result - clean).mean() < 0.5 * np.square(image - clean).mean()


def test_strength_interpolates_between_image_and_result(model):
    image = noisy(chest_phantom(64, 1))
    assert denoise(image, model, strength=0) == pytest.approx(image, abs=1e-6)
    half = denoise(image, model, strength=0.5)
    assert half == pytest.approx((image + denoise(image, model)) / 2, abs=1e-6)
    with pytest.raises(ValueError, match="Expected 0 to 1, got 2"):
        denoise(image, model, strength=2)


def test_denoising_exceeds_the_psnr_of_gaussian_filters_on_a_synthetic_phantom(model):
    from scipy.ndimage import gaussian_filter

    clean = chest_phantom(256, 5)
    image = noisy(clean)
    best = max(
        float(metrics.psnr(clean[None], np.clip(gaussian_filter(image, (s, s, 0)), 0, 1)[None])[0])
        for s in (0.6, 0.8, 1.0, 1.3, 1.6)
    )
    assert float(metrics.psnr(clean[None], denoise(image, model)[None])[0]) > best


def test_values_out_of_range_raise(model):
    with pytest.raises(ValueError, match="0 to 1"):
        denoise(np.full((16, 16), 200.0, "float32"), model)


def test_denoise_command_writes_16_bit_png_and_does_not_replace_files(tmp_path):
    Image.fromarray(np.round(noisy(chest_phantom(90, 2))[..., 0] * 255).astype("uint8")).save(tmp_path / "image.png")
    arguments = ["denoise", str(tmp_path / "image.png"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    clean = np.asarray(Image.open(tmp_path / "out" / "00000-image.png"))
    assert clean.dtype == "uint16"
    assert clean.shape == (90, 90)
    assert (tmp_path / "out" / "00000-image-compared.png").is_file()
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert "--overwrite" in again.output
