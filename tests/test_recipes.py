import numpy as np
import pytest

from medzoo import recipes
from medzoo.images.phantom import chest_phantom
from medzoo.recipes.augment import Augmented
from medzoo.zoo.manifest import manifest


@pytest.fixture(scope="module")
def films():
    return np.round(np.stack([chest_phantom(64, seed) for seed in range(6)]) * 255).astype("uint8")


def test_every_preset_has_a_recipe():
    assert set(manifest()) <= set(recipes.names())


def test_an_unknown_recipe_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="vae-chestxray"):
        recipes.recipe("vae-chest")


@pytest.mark.parametrize("options", [{}, {"crop": 32, "flip": True}])
def test_augmentation_is_repeatable_and_changes_with_the_epoch(films, options):
    a, b = (Augmented(films, 4, seed=3, **options) for _ in range(2))
    assert np.array_equal(a[0], b[0])
    assert a[0].dtype == "float32"
    assert 0 <= a[0].min() <= a[0].max() <= 1
    b.epoch = 1
    assert not np.array_equal(a[0], b[0])


def test_crops_are_parts_of_the_images_and_an_epoch_holds_as_many_pixels(films):
    batches = Augmented(films, 4, crop=32, zoom=1.0, contrast=0.0)
    crops = np.concatenate([batches[i] for i in range(len(batches))])
    assert crops.shape == (6 * 4, 32, 32, 1)
    padded = batches.images.astype("float32") / 255
    windows = np.lib.stride_tricks.sliding_window_view(padded, (32, 32), axis=(1, 2))
    for crop in crops:
        assert np.abs(windows - crop[..., 0]).max(axis=(3, 4)).min() < 1e-6


def test_crops_never_reach_beyond_a_small_image(films):
    batches = Augmented(films[:, :32, :32], 4, crop=32, zoom=2.0)
    assert batches[0].shape == (4, 32, 32, 1)
