"""The masked autoencoder: masked blocks do not influence visible ones and are inpainted."""

import keras
import numpy as np
import pytest
from conftest import SMALL

import medzoo
from medzoo.data.phantom import chest_phantom


@pytest.fixture
def mae():
    model = medzoo.MaskedAutoencoder(latent_dim=3, **SMALL)
    model.token.assign(np.ones(3))
    return model


@pytest.fixture
def batch():
    return np.stack([chest_phantom(32, i) for i in range(3)])


def test_masked_blocks_do_not_influence_visible_ones(mae, batch):
    visible = mae.random_mask(batch, 0.5, seed=0)
    assert visible.shape == (3, *mae.latent_shape(batch.shape[1:])[:2])
    assert np.all((~visible).sum(axis=(1, 2)) == round(0.5 * visible[0].size))
    other = np.where(np.kron(visible, np.ones((8, 8)))[..., None] > 0, batch, 1 - batch).astype("float32")
    assert other != pytest.approx(batch)
    latents = [
        keras.ops.convert_to_numpy(mae.encoder(x, visible=visible[..., None].astype("float32"))) for x in (batch, other)
    ]
    assert latents[0][visible] == pytest.approx(latents[1][visible], abs=1e-6)
    filled = mae.inpaint(batch, visible)
    assert np.all(mae.apply_mask(batch, visible)[np.kron(~visible, np.ones((8, 8))) > 0] == 0.5)
    masked = np.kron(~visible, np.ones((8, 8)))[..., None] > 0
    assert np.array_equal(np.where(masked, 0, filled), np.where(masked, 0, batch))
    assert np.abs(filled - batch)[masked].max() > 0
    assert mae.inpaint(other, visible)[masked] == pytest.approx(filled[masked], abs=1e-6)


def test_without_a_mask_the_encoder_equals_the_unmasked_one(mae, batch):
    everything = np.ones((3, *mae.latent_shape(batch.shape[1:])[:2], 1), "float32")
    plain, unmasked = (keras.ops.convert_to_numpy(mae.encoder(batch, visible=v)) for v in (None, everything))
    assert plain == pytest.approx(unmasked, abs=1e-6)


def test_invalid_masks_are_rejected(mae, batch):
    with pytest.raises(ValueError, match=r"visible has shape \(3, 2, 2\); expected"):
        mae.inpaint(batch, np.ones((3, 2, 2)))
    for ratio in (1.0, (0.5, 0.2), -0.1):
        with pytest.raises(ValueError, match="mask_ratio"):
            medzoo.MaskedAutoencoder(mask_ratio=ratio, **SMALL)


def test_training_improves_inpainting(batch):
    keras.utils.set_random_seed(0)
    model = medzoo.MaskedAutoencoder(latent_dim=4, mask_ratio=0.5, **SMALL)
    model.initialize_from_pca(batch)
    visible = model.random_mask(batch, 0.5, seed=1)
    before = np.square(model.inpaint(batch, visible) - batch).mean()
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(batch, epochs=30, verbose=0)
    assert np.square(model.inpaint(batch, visible) - batch).mean() < 0.7 * before
