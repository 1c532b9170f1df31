"""CT goes into a model and comes out of it in Hounsfield units, without losing depth."""

import numpy as np
import pytest
from dicom_files import write_dicom

import medzoo

CT = {"size": None, "window": None, "intensity": "range", "limits": [-1024, 3071]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    net = medzoo.ConvAutoencoder(
        (None, None, 1), latent_dim=4, bottleneck="spatial", filters=(4,), blocks_per_stage=1, seed=0
    )
    return medzoo.load(medzoo.save_preset(net, tmp_path_factory.mktemp("ct") / "ct", preprocessing=CT))


def test_hounsfield_units_survive_the_way_in_and_out(model):
    values = np.random.default_rng(0).integers(-1024, 3072, (2, 16, 16)).astype("int16")
    x = model.preprocess(values)
    assert x.shape == (2, 16, 16, 1)
    assert np.array_equal(np.rint(model.postprocess(x))[..., 0], values)


def test_values_beyond_the_interval_become_its_ends(model):
    x = model.preprocess(np.array([[-2000, 5000] * 8] * 16, "int16"))
    assert set(np.rint(model.postprocess(x)).ravel().tolist()) == {-1024, 3071}


def test_a_dicom_slice_is_read_in_hounsfield_units(model, tmp_path):
    stored = np.random.default_rng(0).integers(0, 4096, (16, 16)).astype("uint16")
    path = write_dicom(tmp_path / "ct.dcm", stored, RescaleSlope=1, RescaleIntercept=-1024, Modality="CT")
    assert np.array_equal(np.rint(model.postprocess(model.preprocess(path)))[0, ..., 0], stored.astype(int) - 1024)


def test_images_without_a_unit_are_returned_as_they_are():
    x = np.random.default_rng(0).random((1, 16, 16, 1), dtype="float32")
    net = medzoo.ConvAutoencoder((16, 16, 1), latent_dim=4, filters=(4,), blocks_per_stage=1, patch_size=2, seed=0)
    assert np.array_equal(net.postprocess(x), x)
