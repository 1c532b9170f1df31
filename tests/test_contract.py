"""Contract tests: properties of every model family and every preset."""

import functools

import keras
import numpy as np
import pytest
from conftest import FAMILIES, VOLUMES

import medzoo

EVERY = {**FAMILIES, **VOLUMES}


@functools.cache
def shared(name):
    """Return one model for all tests that do not change it."""
    return EVERY[name]() if name in EVERY else medzoo.load(name)


# By default one preset per kind is tested, all of them with -m slow.
KINDS = ("ae-chestxray-64", "vae-chestxray", "vqvae-chestxray", "codec-chestxray")
PRESETS = [pytest.param(n, marks=[] if n in KINDS else pytest.mark.slow) for n in medzoo.list_models()]


@pytest.fixture(params=[*EVERY, *PRESETS])
def model(request):
    return shared(request.param)


@pytest.fixture(params=[*EVERY, *(pytest.param(n, marks=pytest.mark.slow) for n in medzoo.list_models())])
def fresh(request):
    """Return a model that a test may train."""
    return EVERY[request.param]() if request.param in EVERY else medzoo.load(request.param)


@pytest.fixture
def batch(request):
    from medzoo.data.phantom import chest_phantom

    model = request.getfixturevalue("model" if "model" in request.fixturenames else "fresh")
    # Models with an open image size are tested with a size that is not square.
    sides = zip(model.image_shape[:-1], (2, 3, 2), model.downsampling_factors, strict=False)
    size = tuple(own or n * factor for own, n, factor in sides)
    images = np.stack([chest_phantom(64, seed) for seed in range(5)])
    if len(size) == 3:
        images = np.stack([images * f for f in np.linspace(0.5, 1, 32, dtype="float32")], axis=1)
    return medzoo.center_crop_resize(images, size)


def test_reconstruction_has_the_shape_and_range_of_the_input(model, batch):
    for result in (keras.ops.convert_to_numpy(model(batch)), model.reconstruct(batch), model.predict(batch, verbose=0)):
        assert result.shape == batch.shape
        assert result.dtype == "float32"
        assert result.min() >= 0
        assert result.max() <= 1


def test_decode_of_encode_equals_the_model(model, batch):
    assert model.decode(model.encode(batch)) == pytest.approx(keras.ops.convert_to_numpy(model(batch)), abs=1e-5)


def test_inference_is_deterministic(model, batch):
    assert np.array_equal(model.encode(batch), model.encode(batch))


def test_latents_have_the_shape_of_latent_shape(model, batch):
    assert model.encode(batch).shape == (5, *model.latent_shape(batch.shape[1:]))


def test_numpy_gives_numpy_and_tensors_give_tensors(model, batch):
    tensor = keras.ops.convert_to_tensor(batch)
    for function in (model.encode, model.reconstruct):
        assert isinstance(function(batch), np.ndarray)
        assert keras.ops.is_tensor(function(tensor))
        assert keras.ops.convert_to_numpy(function(tensor)) == pytest.approx(function(batch), abs=1e-5)


def test_config_rebuilds_the_model(model, batch):
    copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    copy.set_weights(model.get_weights())
    assert copy.reconstruct(batch) == pytest.approx(model.reconstruct(batch), abs=1e-6)


def test_keras_file_round_trip(fresh, batch, tmp_path):
    model = fresh
    model.compile("adam")
    model.fit(batch, verbose=0)
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert type(copy) is type(model)
    assert np.array_equal(copy.reconstruct(batch), model.reconstruct(batch))
    assert copy.evaluate(batch, verbose=0) == pytest.approx(model.evaluate(batch, verbose=0), rel=1e-4)
    assert copy.optimizer.iterations == model.optimizer.iterations == 1


def test_weights_file_round_trip(model, batch, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    copy = type(model).from_config(model.get_config())
    copy.load_weights(tmp_path / "model.weights.h5")
    assert np.array_equal(copy.reconstruct(batch), model.reconstruct(batch))


def test_float16_preset_is_close_and_smaller(model, batch, tmp_path):
    narrow, full = (medzoo.save_preset(model, tmp_path / d, dtype=d) for d in ("float16", "float32"))
    assert (narrow / "model.weights.h5").stat().st_size < (full / "model.weights.h5").stat().st_size
    copy = medzoo.load(narrow)
    assert all(w.dtype != "float16" for w in copy.weights)
    for ours, theirs in zip(copy.get_weights(), model.get_weights(), strict=True):
        assert np.allclose(ours, theirs, rtol=1e-3, atol=1e-6)


def test_saved_float32_preset_is_exact(model, batch, tmp_path):
    copy = medzoo.load(medzoo.save_preset(model, tmp_path / "preset", dtype="float32"))
    assert np.array_equal(copy.reconstruct(batch), model.reconstruct(batch))


def test_invalid_images_are_rejected_by_every_method(model, batch):
    if not model.compiled:
        model.compile("adam")
    for function in (model.encode, model.reconstruct, model.predict, model.evaluate, model.fit):
        with pytest.raises(ValueError, match=r"expected floats from 0 to 1.* Divide 8-bit images by 255"):
            function(batch * 255)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: (x * 255).astype("uint8"), "uint8.* expected floats from 0 to 1"),
        (lambda x: x - 1, "values from -"),
        (lambda x: np.where(x > 0.5, np.nan, x), "NaN"),
        (lambda x: x[:0], "empty batch"),
        (lambda x: x[0], r"expected \(batch, height, width, 1\)"),
        (lambda x: x[..., 0], r"expected \(batch, height, width, 1\)"),
        (lambda x: np.repeat(x, 3, axis=-1), r"expected \(batch, height, width, 1\)"),
        (lambda x: x[:, :-3], "pixels; "),
    ],
)
def test_error_messages_name_the_invalid_property(images, change, message):
    for family in ("ae-vector", "vae-spatial"):  # fixed and open image size
        model = shared(family)
        if not model.compiled:
            model.compile("adam")
        for function in (model.encode, model.predict, model.fit):
            with pytest.raises(ValueError, match=message):
                function(change(images[:5]))


def test_error_for_a_wrong_size_suggests_a_valid_size(model, batch):
    with pytest.raises(ValueError, match=r"Resize with medzoo.(read_image\(path, size=|center_crop_resize\(x, )\("):
        model.encode(batch[:, : model.downsampling_factors[0] + 1])


def test_one_gradient_step_lowers_the_loss(fresh, batch):
    model = fresh
    model.compile(keras.optimizers.SGD(1e-6))
    before = model.evaluate(batch, verbose=0, return_dict=True)
    model.fit(batch, batch_size=5, verbose=0)  # the first batch initializes a codebook
    initialized = model.evaluate(batch, verbose=0, return_dict=True)
    model.fit(batch, batch_size=5, verbose=0)
    after = model.evaluate(batch, verbose=0, return_dict=True)
    assert set(before) >= {"loss", "reconstruction_loss", "psnr"}
    assert after["loss"] < initialized["loss"]
