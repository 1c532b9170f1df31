"""Tiles leave no seams."""

import numpy as np
import pytest
from conftest import FAMILIES

import medzoo
from medzoo.data.phantom import chest_phantom
from medzoo.models.tiles import in_tiles

OPEN = ("ae-chestxray", "vae-chestxray", "vqvae-chestxray")


@pytest.fixture(scope="module")
def film():
    return chest_phantom(384, 1)[None].astype("float32")


@pytest.mark.parametrize("name", OPEN)
def test_tiled_equals_whole(name, film):
    model = medzoo.load(name)
    difference = np.abs(model.reconstruct(film, tile=256) - model.reconstruct(film))
    assert difference.max() < 0.005  # about one grey value of 256
    assert difference.mean() < 5e-5


@pytest.mark.parametrize("size", [(64, 200), (200, 64), (72, 72), (333, 257)])
def test_weights_add_up_whatever_the_size(size):
    images = np.random.default_rng(0).random((2, *size, 1)).astype("float32")
    model = FAMILIES["ae-spatial"]()
    assert in_tiles(lambda x: x, images, 72, 24, model) == pytest.approx(images, abs=1e-6)


def test_no_seam_where_each_tile_differs_a_little():
    model, count = FAMILIES["ae-spatial"](), iter(range(100))
    images = np.full((1, 200, 200, 1), 0.5, "float32")
    blended = in_tiles(lambda x: x + 0.1 * (next(count) % 2), images, 80, 32, model)
    assert np.abs(np.diff(blended, axis=1)).max() < 0.02
    assert np.abs(np.diff(blended, axis=2)).max() < 0.02


def test_tiles_that_cannot_be_are_refused(film):
    with pytest.raises(ValueError, match="no tiles"):
        medzoo.load("ae-chestxray-64").reconstruct(film[:, :64, :64], tile=32)
    model = medzoo.load("ae-chestxray")
    for tile, overlap in ((100, 64), (128, 64), (160, 30)):
        with pytest.raises(ValueError, match=f"tile={tile}, overlap={overlap}"):
            model.reconstruct(film, tile=tile, overlap=overlap)
    with pytest.raises(ValueError, match="expected floats"):
        model.reconstruct(film * 300, tile=160)


def test_tiles_keep_the_quality_that_was_asked_for(film):
    model = medzoo.load("codec-chestxray")
    best, worst = (model.reconstruct(film, quality, tile=256) for quality in (100, 0))
    assert np.abs(best - model.reconstruct(film, 100)).mean() < np.abs(worst - model.reconstruct(film, 100)).mean() / 2
