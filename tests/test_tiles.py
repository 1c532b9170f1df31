"""Tiles are blended without visible borders."""

import numpy as np
import pytest
from conftest import FAMILIES

import medzoo
from medzoo.data.phantom import chest_phantom
from medzoo.models.tiles import apply_in_tiles

OPEN = ("ae-chestxray", "vae-chestxray", "vqvae-chestxray")


@pytest.fixture(scope="module")
def image():
    return chest_phantom(384, 1)[None].astype("float32")


@pytest.mark.parametrize("name", OPEN)
def test_a_tiled_reconstruction_equals_the_untiled_one(name, image):
    model = medzoo.load(name)
    difference = np.abs(model.reconstruct(image, tile=256) - model.reconstruct(image))
    assert difference.max() < 0.005  # about one intensity level of 256
    assert difference.mean() < 5e-5


@pytest.mark.parametrize("size", [(64, 200), (200, 64), (72, 72), (333, 257)])
def test_blending_weights_add_up_to_one_for_any_size(size):
    images = np.random.default_rng(0).random((2, *size, 1)).astype("float32")
    model = FAMILIES["ae-spatial"]()
    assert apply_in_tiles(lambda x: x, images, 72, 24, model) == pytest.approx(images, abs=1e-6)


def test_no_visible_border_between_tiles_that_differ():
    model, count = FAMILIES["ae-spatial"](), iter(range(100))
    images = np.full((1, 200, 200, 1), 0.5, "float32")
    blended = apply_in_tiles(lambda x: x + 0.1 * (next(count) % 2), images, 80, 32, model)
    assert np.abs(np.diff(blended, axis=1)).max() < 0.02
    assert np.abs(np.diff(blended, axis=2)).max() < 0.02


def test_invalid_tiles_are_rejected(image):
    with pytest.raises(ValueError, match="no tiles"):
        medzoo.load("ae-chestxray-64").reconstruct(image[:, :64, :64], tile=32)
    model = medzoo.load("ae-chestxray")
    for tile, overlap in ((100, 64), (128, 64), (160, 30)):
        with pytest.raises(ValueError, match=f"tile={tile}, overlap={overlap}"):
            model.reconstruct(image, tile=tile, overlap=overlap)
    with pytest.raises(ValueError, match="expected floats"):
        model.reconstruct(image * 300, tile=160)


def test_tiles_use_the_requested_quality(image):
    model = medzoo.load("codec-chestxray")
    best, worst = (model.reconstruct(image, quality, tile=256) for quality in (100, 0))
    assert (
        np.abs(best - model.reconstruct(image, 100)).mean() < np.abs(worst - model.reconstruct(image, 100)).mean() / 2
    )
