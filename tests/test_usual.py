import json
import logging

import numpy as np
import pytest
from conftest import SMALL
from PIL import Image

import medzoo
from medzoo.errors import PresetError
from medzoo.evaluate.look import compare
from medzoo.images.phantom import chest_phantom
from medzoo.models import ConvAutoencoder


@pytest.fixture(scope="module")
def films():
    return np.stack([chest_phantom(32, seed) for seed in range(160)]).astype("float32")


@pytest.fixture(scope="module")
def model(films):
    model = ConvAutoencoder((None, None, 1), latent_dim=3, bottleneck="spatial", **SMALL)
    model.initialize_from_pca(films[:32])
    model.set_usual(films[32:80], films[80:112, :, 8:24])
    return model


def test_own_images_belong_and_others_do_not(model, films):
    own = model.belongs(films[112:])
    assert own.shape == (48,)
    assert own.dtype == np.float32
    assert (own < 0.01).mean() < 0.1
    noise = np.random.default_rng(0).random((8, 32, 32, 1)).astype("float32")
    for others in (noise, 1 - films[:8], np.ascontiguousarray(np.rot90(films[:8], axes=(1, 2)))):
        assert (model.belongs(others) < 0.01).mean() > 0.8


def test_a_set_of_images_may_be_shifted_although_each_looks_usual(model, films):
    own = ConvAutoencoder.from_config(model.get_config())
    own.set_usual(films[:112])
    assert own.shift(films[112:]) < 0.3
    assert own.shift(films[112:] ** 1.3) > 0.5
    with pytest.raises(ValueError, match="shift of 9 images"):
        model.shift(films[:9])


def test_presets_keep_it_and_training_forgets_it(model, films, tmp_path):
    copy = medzoo.load(medzoo.save_preset(model, tmp_path / "preset"))
    assert copy.belongs(films[:4]) == pytest.approx(model.belongs(films[:4]), abs=0.02)
    copy.compile("adam")
    copy.fit(films[:4], verbose=0)
    with pytest.raises(ValueError, match="set_usual"):
        copy.belongs(films[:4])
    with pytest.raises(ValueError, match="expected"):
        model.belongs(255 * films[:4])


@pytest.mark.parametrize(
    "change",
    [{"deep": {}}, {"psnr": [1.0]}, {"psnr": [20.0, -1.0]}, {"layout": [1.0]}, {"psnr": "x"}, {"more": 1}],
)
def test_numbers_that_do_not_fit_are_refused(change, model, tmp_path):
    folder = medzoo.save_preset(model, tmp_path / "preset")
    config = json.loads((folder / "config.json").read_text())
    config["usual"] |= change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PresetError, match="preset"):
        medzoo.load(folder)


def test_commands_warn_of_strange_images(model, films, tmp_path, caplog):
    copy = medzoo.load(medzoo.save_preset(model, tmp_path / "preset"))
    own = films[112 + int(model.belongs(films[112:]).argmax())]
    for name, film in (("own", own), ("inverted", 1 - own)):
        Image.fromarray(np.round(255 * film[..., 0]).astype("uint8")).save(tmp_path / f"{name}.png")
    with caplog.at_level(logging.WARNING, "medzoo"):
        compare(copy, tmp_path / "own.png", tmp_path / "a.png")
        assert not caplog.records
        compare(copy, tmp_path / "inverted.png", tmp_path / "b.png")
    assert "does not look like the images" in caplog.text


@pytest.mark.parametrize("name", medzoo.list_models())
def test_every_preset_knows_its_images(name):
    assert medzoo.load(name).usual is not None
