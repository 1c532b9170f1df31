"""Presets and the manifest; for the Hugging Face Hub see test_hub.py."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import FAMILIES

import medzoo
from medzoo import PresetError
from medzoo.zoo import manifest as manifest_module

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def preset(tmp_path):
    return medzoo.save_preset(FAMILIES["vae-vector"](), tmp_path / "preset", dtype="float32")


# --- the zoo ----------------------------------------------------------------------------------------------------


def test_presets_can_be_listed_by_pattern():
    assert "vae-chestxray-64" in medzoo.list_models()
    assert all(name.startswith("vae-") for name in medzoo.list_models("vae-*"))
    assert medzoo.list_models("nothing-*") == []


def test_an_unknown_name_raises_an_error_with_suggestions():
    with pytest.raises(PresetError, match=r"Did you mean .*vae-chestxray"):
        medzoo.load("vae-chestxrays")
    with pytest.raises(PresetError, match="no such folder"):
        medzoo.load("some/where")


def test_bundled_weights_are_float16_and_computed_in_float32():
    import h5py

    with h5py.File(manifest_module.BUNDLED / "vae-chestxray-64" / "model.weights.h5") as file:
        types = set()
        file.visititems(lambda _, item: types.add(str(item.dtype)) if isinstance(item, h5py.Dataset) else None)
    assert "float16" in types
    assert "float32" not in types
    assert {w.dtype for w in medzoo.load("vae-chestxray-64").trainable_weights} == {"float32"}


def test_pretrained_model_reconstructs_better_than_an_untrained_one():
    from medzoo.data.phantom import chest_phantom

    model = medzoo.load("vae-chestxray-64")
    x = np.stack([chest_phantom(64, seed) for seed in range(4)])
    new = type(model).from_config(model.get_config())
    assert np.square(model.reconstruct(x) - x).mean() < 0.1 * np.square(new.reconstruct(x) - x).mean()


def test_fine_tuning_with_the_default_adam_lowers_the_loss():
    from medzoo.data.phantom import chest_phantom

    model = medzoo.load("vae-chestxray-64")
    x = np.stack([chest_phantom(64, seed) for seed in range(16)])
    model.compile("adam")
    before = model.evaluate(x, verbose=0, return_dict=True)["loss"]
    model.fit(x, epochs=3, batch_size=8, verbose=0)
    assert model.evaluate(x, verbose=0, return_dict=True)["loss"] < before


# --- preprocessing ----------------------------------------------------------------------------------------------


def test_preprocess_returns_equal_batches_for_files_and_arrays(preset, tmp_path):
    from PIL import Image

    model = medzoo.load(preset)
    gray = np.random.default_rng(0).integers(0, 256, (32, 32), "uint8")
    Image.fromarray(gray).save(tmp_path / "a.png")
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), gray, gray[..., None], gray[None], gray / 255.0):
        batch = model.preprocess(given)
        assert batch.shape == (1, 32, 32, 1)
        assert batch.dtype == "float32"
        assert batch[0, ..., 0] == pytest.approx(gray / 255, abs=1e-6)
    assert model.preprocess([tmp_path / "a.png"] * 3).shape == (3, 32, 32, 1)
    Image.fromarray(np.zeros((50, 90), "uint8")).save(tmp_path / "wide.png")
    assert model.preprocess(tmp_path / "wide.png").shape == (1, 32, 32, 1)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((32, 32), 200.0), "values from 200 to 200"),
        (np.zeros((32, 32), "int16"), "int16 array. Expected uint8, or floats"),
        (np.zeros((64, 64), "uint8"), "this model takes 32x32 only"),
        (np.zeros(32, "uint8"), "expected"),
        (np.full((32, 32), np.nan), "NaN"),
        (np.zeros((0, 32, 32), "uint8"), "empty batch"),
    ],
)
def test_preprocess_refuses_arrays_that_do_not_fit(preset, array, message):
    with pytest.raises(ValueError, match=message):
        medzoo.load(preset).preprocess(array)


def test_images_of_any_size_are_cropped_to_multiples_of_the_downsampling(tmp_path):
    from PIL import Image

    model = medzoo.load(medzoo.save_preset(FAMILIES["ae-spatial"](), tmp_path / "p"))
    Image.fromarray(np.zeros((45, 70), "uint8")).save(tmp_path / "a.png")
    assert model.preprocess(tmp_path / "a.png").shape == (1, 40, 64, 1)


# --- folders ----------------------------------------------------------------------------------------------------


def test_an_existing_preset_is_not_overwritten_by_default(preset):
    before = (preset / "model.weights.h5").read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        medzoo.save_preset(FAMILIES["ae-vector"](), preset)
    assert (preset / "model.weights.h5").read_bytes() == before
    (preset / "notes.txt").write_text("mine")
    medzoo.save_preset(FAMILIES["ae-vector"](), preset, overwrite=True)
    assert type(medzoo.load(preset)).__name__ == "ConvAutoencoder"
    assert (preset / "notes.txt").read_text() == "mine"


def test_weights_outside_the_float16_range_are_refused_and_leave_no_files(tmp_path):
    model = FAMILIES["ae-vector"]()
    model.trainable_weights[0].assign(np.full(model.trainable_weights[0].shape, 1e6))
    with pytest.raises(ValueError, match="use dtype='float32'"):
        medzoo.save_preset(model, tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


def test_a_preset_of_a_trained_model_contains_no_optimizer_state(tmp_path, images):
    model = FAMILIES["vae-vector"]()
    sizes = []
    for name in ("new", "trained"):
        sizes.append((medzoo.save_preset(model, tmp_path / name) / "model.weights.h5").stat().st_size)
        model.compile("adam")
        model.fit(images, verbose=0)
    assert sizes[0] == sizes[1]
    copy = medzoo.load(medzoo.save_preset(model, tmp_path / "exact", dtype="float32"))
    assert np.array_equal(copy.reconstruct(images), model.reconstruct(images))


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (lambda p: (p / "model.weights.h5").write_bytes((p / "model.weights.h5").read_bytes()[:-9]), "truncated"),
        (lambda p: flip(p / "model.weights.h5"), "sha256 .* corrupted or altered"),
        (lambda p: (p / "model.weights.h5").unlink(), "has no model.weights.h5"),
        (lambda p: (p / "config.json").unlink(), "has no config.json"),
        (lambda p: (p / "config.json").write_text("{"), "not a preset's configuration"),
        (lambda p: (p / "config.json").write_text("{}"), "not a preset's configuration"),
        (lambda p: edit(p, format=99), "format 99"),
        (lambda p: edit(p, model={"class_name": "os.system", "config": {}}), "class 'os.system' is not allowed"),
        (lambda p: edit(p, model={"class_name": "VAE", "config": {"depth": 3}}), "VAE has no argument depth"),
        (lambda p: edit(p, model=["VAE"]), "Expected a JSON object"),
        (lambda p: edit(p, model={"class_name": ["VAE"], "config": {}}), r"class \['VAE'\]"),
        (lambda p: argument(p, latent_dim=10**9), "latent_dim=1000000000 is out of bounds. Expected 1 to 65536"),
        (lambda p: argument(p, latent_dim=float("nan")), "latent_dim=nan"),
        (lambda p: argument(p, filters=[8] * 1000), "filters has 1000 entries"),
        (lambda p: argument(p, filters="many"), "do not fit together"),
        (lambda p: argument(p, image_shape={"a": 1}), "image_shape="),
        (lambda p: argument(p, image_shape=[16384, 16384, 1], latent_dim=60000), "they do not fit together"),
        (lambda p: argument(p, name="x" * 10**6), "name="),
        (lambda p: edit(p, preprocessing={"size": [32, 32], "run": "rm"}), "Preprocessor has no argument run"),
    ],
)
def test_damaged_and_invalid_presets_are_refused(preset, corrupt, message):
    corrupt(preset)
    with pytest.raises(PresetError, match=message):
        medzoo.load(preset)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def argument(folder, **changes):
    model = json.loads((folder / "config.json").read_text())["model"]
    edit(folder, model={**model, "config": {**model["config"], **changes}})


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


# --- the package ------------------------------------------------------------------------------------------------


def python(code, cwd, executable=sys.executable, **env):
    return subprocess.run(
        [executable, "-c", code], cwd=cwd, capture_output=True, text=True, env={**os.environ, **env}, check=False
    )


def test_import_is_lazy(tmp_path):
    code = "import sys, medzoo; print([m for m in ('tensorflow', 'keras', 'numpy', 'torch') if m in sys.modules])"
    assert python(code, tmp_path).stdout.strip() == "[]"


def test_every_public_name_can_be_imported():
    assert set(medzoo.__all__) <= set(dir(medzoo))
    for name in [*medzoo.__all__, "__version__"]:
        assert getattr(medzoo, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = medzoo.nothing


def test_verify_checks_all_presets_and_reports_the_damaged_one(preset):
    from click.testing import CliRunner

    from medzoo.cli import main

    result = CliRunner().invoke(main, ["verify", str(preset)])
    assert result.exit_code == 0, result.output
    assert result.output.count("ok ") == 2 * len(medzoo.list_models()) + 1
    flip(preset / "model.weights.h5")
    result = CliRunner().invoke(main, ["verify", str(preset)])
    assert result.exit_code == 1
    assert "BAD" in result.output
    assert "sha256" in result.output
