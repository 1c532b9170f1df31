import json

import keras
import numpy as np
import pytest
from conftest import write_npz

from medzoo import recipes
from medzoo.data.augmentation import PAD, AugmentedDataset, random_acquisition
from medzoo.data.phantom import chest_phantom
from medzoo.zoo.manifest import manifest


@pytest.fixture(scope="module")
def phantoms():
    return np.round(np.stack([chest_phantom(64, seed) for seed in range(6)]) * 255).astype("uint8")


def test_every_preset_has_a_recipe():
    assert set(manifest()) <= set(recipes.names())


def test_an_unknown_recipe_raises_an_error_that_lists_the_recipes():
    with pytest.raises(ValueError, match="vae-chestxray-64"):
        recipes.recipe("vae-chest")


@pytest.mark.parametrize("options", [{}, {"crop": 32, "flip": True}, {"aspect_ratio": 0.3, "acquisition": 0.4}])
def test_augmentation_is_repeatable_and_changes_with_the_epoch(phantoms, options):
    a, b = (AugmentedDataset(phantoms, 4, seed=3, **options) for _ in range(2))
    assert np.array_equal(a[0], b[0])
    assert a[0].dtype == "float32"
    assert 0 <= a[0].min() <= a[0].max() <= 1
    b.epoch = 1
    assert not np.array_equal(a[0], b[0])


def test_changes_of_aspect_ratio_preserve_the_area_and_leave_no_border():
    square = np.full((1, 64, 64, 1), 100, "uint8")
    square[:, 24:40, 24:40] = 255
    still = {"translation": 0.0, "affine": 0.0, "contrast": 0.0, "identity_fraction": 0.0}
    batches, ratios = AugmentedDataset(square, 1, aspect_ratio=0.4, **still), []
    for epoch in range(30):
        batches.epoch = epoch
        image = batches[0][0, ..., 0]
        height, width = ((image[:, 32] > 0.7).sum(), (image[32] > 0.7).sum())
        assert height * width == pytest.approx(256, rel=0.15)
        assert image.min() > 0.2  # no black; bicubic overshoots a little
        ratios.append(height / width)
    assert 0.65 < min(ratios) < 0.85
    assert 1.2 < max(ratios) < 1.55


def test_random_acquisition_preserves_the_order_of_intensities():
    rng = np.random.default_rng(0)
    ramp = np.tile(np.linspace(0.1, 0.9, 64, dtype="float32"), (64, 1))
    for _ in range(50):
        changed = random_acquisition(ramp, rng, 0.5)
        assert 0 <= changed.min() <= changed.max() <= 1
        assert (np.diff(changed.mean(axis=0)[2:-2]) > -0.02).all()


def test_crops_are_windows_of_the_images_and_an_epoch_has_as_many_pixels(phantoms):
    batches = AugmentedDataset(phantoms, 4, crop=32, zoom=1.0, contrast=0.0)
    crops = np.concatenate([batches[i] for i in range(len(batches))])
    assert crops.shape == (6 * 4, 32, 32, 1)
    padded = np.pad(phantoms[..., 0], ((0, 0), (PAD, PAD), (PAD, PAD)), mode="edge").astype("float32") / 255
    windows = np.lib.stride_tricks.sliding_window_view(padded, (32, 32), axis=(1, 2))
    for crop in crops:
        assert np.abs(windows - crop[..., 0]).max(axis=(3, 4)).min() < 1e-6


def test_crops_stay_within_a_small_image(phantoms):
    batches = AugmentedDataset(phantoms[:, :32, :32], 4, crop=32, zoom=2.0)
    assert batches[0].shape == (4, 32, 32, 1)


def test_a_mixture_keeps_its_sampling_weights_and_samples_without_replacement():
    dark, bright = (np.full((n, 32, 32, 1), value, "uint8") for n, value in ((10, 10), (40, 240)))
    batches = AugmentedDataset([dark, bright], 8, crop=16, contrast=0.0, sampling_weights=(3, 1), steps=10)
    assert len(batches) == 10
    values = np.concatenate([batches[i] for i in range(10)])[:, 0, 0, 0]
    assert (values < 0.5).sum() == 60
    order = batches._order()
    assert np.bincount(order[order[:, 0] == 0, 1], minlength=10).tolist() == [6] * 10
    assert np.bincount(order[order[:, 0] == 1, 1], minlength=40).max() == 1
    with pytest.raises(ValueError, match="pass crop="):
        AugmentedDataset([dark, bright[:, :16]], 8)


def test_a_recipe_can_resize_its_images_to_one_size(tmp_path, monkeypatch):
    from conftest import SMALL

    import medzoo
    from medzoo.training import trainer
    from medzoo.training.recipe import Recipe, TrainingSource

    resized = []
    monkeypatch.setattr(
        trainer, "_fit_in_memory", lambda recipe, train, validation, *rest: resized.extend(train) or 1 / 0
    )
    own = {"modality": "X-ray", "domain": "", "description": "", "epochs": 1, "size": 24}
    recipe = Recipe(
        "mae", lambda **k: medzoo.MaskedAutoencoder(**{**SMALL, **k}), (TrainingSource({"file": "mine.npz"}),), **own
    )
    with pytest.raises(ZeroDivisionError):
        recipe.train(write_npz(tmp_path / "mine.npz", size=16, counts=(4, 2, 2)), tmp_path / "out")
    assert resized[0].shape[1:3] == (24, 24)
    assert resized[0].dtype == "uint8"
    assert recipe.file_image_size == (24, 24)


def test_recipes_identify_their_own_datasets_by_name_and_accept_others(tmp_path):
    recipe = recipes.recipe("vae-chestxray")
    for name in ("chestxray_256.npz", "adult_cxr_256.npz", "mine.npz"):
        write_npz(tmp_path / name, size=16, counts=(4, 2, 2))
    with pytest.raises(ValueError, match=r"also needs pediatric_cxr\."):
        recipe.open_datasets([tmp_path / "chestxray_256.npz", tmp_path / "adult_cxr_256.npz"])
    ((mine, weight),) = recipe.open_datasets(tmp_path / "mine.npz")
    assert (mine.name, weight) == ("mine.npz", 1.0)
    ((chests, _),) = recipes.recipe("vae-chestxray-64").open_datasets(tmp_path / "mine.npz")
    assert chests.selected_classes == ["chest_xray"]


def test_a_recipe_starts_from_a_preset_and_records_the_final_improvement(phantoms, tmp_path, monkeypatch):
    from conftest import SMALL

    import medzoo
    from medzoo.training import trainer
    from medzoo.training.recipe import Recipe, TrainingSource

    spatial = {"image_shape": (None, None, 1), "bottleneck": "spatial", "latent_dim": 2, **SMALL}
    vae = medzoo.VAE(**spatial)
    vae.initialize_from_pca(phantoms.astype("float32") / 255)
    start = str(medzoo.save_preset(vae, tmp_path / "vae", dtype="float32"))
    ae = medzoo.ConvAutoencoder(**spatial)
    trainer.start_from(ae, vae)
    x = phantoms[:2] / np.float32(255)
    assert ae.encode(x) == pytest.approx(vae.encode(x), abs=1e-5)
    vq = medzoo.VQVAE(codebook_size=4, **{**spatial, "filters": SMALL["filters"]})
    trainer.start_from(vq, vae)
    whole = [keras.ops.convert_to_numpy(m.decoder(m.encoder(x)[..., :2])) for m in (vq, vae)]
    assert whole[0] == pytest.approx(whole[1], abs=1e-4)  # another scale of the latents, equal images
    wider = medzoo.ConvAutoencoder(**{**spatial, "latent_dim": 3})
    wider.initialize_from_pca(phantoms.astype("float32") / 255)
    before = wider.encoder.linear.get_weights()[0]
    trainer.start_from(wider, vae)
    assert np.array_equal(wider.encoder.linear.get_weights()[0], before)
    assert np.array_equal(wider.encoder.stages[0].get_weights()[0], vae.encoder.stages[0].get_weights()[0])
    monkeypatch.setattr(trainer, "_jit_compile", lambda model: False)
    data = write_npz(tmp_path / "mine.npz", size=16, counts=(8, 2, 2))
    own = {"modality": "X-ray", "domain": "", "description": "", "epochs": 2, "batch_size": 4, "learning_rate": 1e-9}
    recipe = Recipe(
        "ae",
        lambda **k: medzoo.ConvAutoencoder(**{**spatial, **k}),
        (TrainingSource({"file": "mine.npz"}),),
        initial_weights=start,
        **own,
    )
    trained = medzoo.load(recipe.train(data, tmp_path / "ae"))
    assert trained.reconstruct(phantoms / np.float32(255)) == pytest.approx(
        ae.reconstruct(phantoms / np.float32(255)), abs=5e-3
    )
    assert json.loads((tmp_path / "ae" / "training.json").read_text())["final_20_percent"]["psnr"] < 0.05


def test_the_license_of_a_mixture_is_the_most_restrictive_one():
    from medzoo.evaluation.model_card import strictest_license
    from medzoo.recipes import datasets

    assert strictest_license([datasets.CHESTXRAY14, datasets.PEDIATRIC_CXR, datasets.ADULT_CXR]) == "cc-by-4.0"
    assert strictest_license([datasets.MEDICAL_MNIST, datasets.CHESTXRAY14]) == "cc-by-sa-4.0"
