import json
import logging

import keras
import numpy as np
import pytest
from conftest import SMALL
from PIL import Image

import medzoo
from medzoo.data.phantom import chest_phantom
from medzoo.errors import PresetError
from medzoo.metrics.conformal import conformal_pvalues
from medzoo.metrics.two_sample import two_sample_test
from medzoo.models import ConvAutoencoder
from medzoo.models.ood import ReferenceStatistics
from medzoo.tasks.reconstruct import reconstruct_file


@pytest.fixture(scope="module")
def images():
    return np.stack([chest_phantom(32, seed) for seed in range(200)]).astype("float32")


@pytest.fixture(scope="module")
def model(images):
    keras.utils.set_random_seed(0)
    model = ConvAutoencoder((None, None, 1), latent_dim=3, bottleneck="spatial", **SMALL)
    model.initialize_from_pca(images[:32])
    model.fit_reference(images[32:110], images[110:152, :, 8:24])
    return model


def test_p_values_of_in_distribution_images_are_higher_than_those_of_ood_images(model, images):
    own = model.ood_pvalue(images[152:])
    assert own.shape == (48,)
    assert own.dtype == np.float32
    assert (own <= 0.01).mean() < 0.1
    assert own.min() >= np.float32(1 / 121)
    noise = np.random.default_rng(0).random((8, 32, 32, 1)).astype("float32")
    for others in (noise, 1 - images[:8], np.ascontiguousarray(np.rot90(images[:8], axes=(1, 2)))):
        assert (model.ood_pvalue(others) == np.float32(1 / 121)).mean() > 0.8


def test_a_set_of_images_can_be_shifted_although_each_image_is_typical(model, images):
    own = ConvAutoencoder.from_config(model.get_config())
    own.fit_reference(images[:112])
    assert own.distribution_shift(images[112:]) < 0.3
    assert own.distribution_shift_pvalue(images[112:]) > 0.05
    assert own.distribution_shift(images[112:] ** 1.3) > 0.5
    assert own.distribution_shift_pvalue(1 - images[112:124]) < 0.01
    with pytest.raises(ValueError, match="shift of 9 images"):
        model.distribution_shift(images[:9])


def test_presets_include_reference_statistics_and_training_removes_them(model, images, tmp_path):
    copy = medzoo.load(medzoo.save_preset(model, tmp_path / "preset"))
    assert copy.ood_pvalue(images[:4]) == pytest.approx(model.ood_pvalue(images[:4]), abs=0.02)
    assert np.array_equal(copy.reference_statistics.scores, model.reference_statistics.scores)
    copy.compile("adam")
    copy.fit(images[:4], verbose=0)
    with pytest.raises(ValueError, match="fit_reference"):
        copy.ood_pvalue(images[:4])
    with pytest.raises(ValueError, match="expected"):
        model.ood_pvalue(255 * images[:4])


@pytest.mark.parametrize(
    "change",
    [
        {"deep": {}},
        {"psnr": [1.0]},
        {"psnr": [20.0, -1.0]},
        {"layout": [1.0]},
        {"psnr": "x"},
        {"more": 1},
        {"scores": []},
        {"scores": [float("nan")] * 20},
        {"scores": [0.0] * 513},
        {"images": 3},
    ],
)
def test_inconsistent_reference_statistics_are_rejected(change, model, tmp_path):
    folder = medzoo.save_preset(model, tmp_path / "preset")
    config = json.loads((folder / "config.json").read_text())
    config["reference_statistics"] |= change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PresetError, match="preset"):
        medzoo.load(folder)


def test_commands_warn_of_ood_images(model, images, tmp_path, caplog):
    copy = medzoo.load(medzoo.save_preset(model, tmp_path / "preset"))
    own = images[152 + int(model.ood_pvalue(images[152:]).argmax())]
    for name, image in (("own", own), ("inverted", 1 - own)):
        Image.fromarray(np.round(255 * image[..., 0]).astype("uint8")).save(tmp_path / f"{name}.png")
    with caplog.at_level(logging.WARNING, "medzoo"):
        reconstruct_file(copy, tmp_path / "own.png", tmp_path / "a.png")
        assert not caplog.records
        reconstruct_file(copy, tmp_path / "inverted.png", tmp_path / "b.png")
    assert "is out of distribution for" in caplog.text


@pytest.mark.parametrize("name", medzoo.list_models())
def test_every_preset_has_reference_statistics(name):
    assert medzoo.load(name).reference_statistics is not None


def test_few_reference_images_limit_the_p_value_and_a_warning_is_logged(images, caplog):
    model = ConvAutoencoder((None, None, 1), latent_dim=3, bottleneck="spatial", **SMALL)
    with caplog.at_level(logging.WARNING, "medzoo"):
        model.fit_reference(images[:12])
    assert "12 reference images: no p-value is below 1/13" in caplog.text
    assert model.ood_pvalue(1 - images[12:14]) == pytest.approx(1 / 13)
    assert "as 1 in 13 in-distribution images is" in model.ood_warning(1 - images[:1])
    caplog.clear()
    with caplog.at_level(logging.WARNING, "medzoo"):
        model.fit_reference(images[:99])
    assert not caplog.records
    assert float(model.ood_pvalue(1 - images[99:100])[0]) <= 0.01
    with pytest.raises(ValueError, match="fit_reference of 1 images"):
        model.fit_reference(images[:1])


def rows(count, seed):
    """Return PSNR, encoder activations and layout of `count` images: more features than images."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(count, 4))
    mixing = np.random.default_rng(0).normal(size=(4, 60))
    deep, layout = (hidden @ mixing + rng.normal(size=(count, 60)) for _ in range(2))
    return 30 + rng.normal(size=count), deep, layout


def test_of_many_reference_images_a_sample_of_the_scores_is_stored():
    reference = ReferenceStatistics.from_components(*rows(600, 0))
    assert len(reference.scores) == 512
    assert reference.images == 600
    assert len(ReferenceStatistics(**reference.get_config()).scores) == 512


@pytest.mark.parametrize("count", [10, 19, 99])
def test_p_values_are_valid_although_mean_and_scale_are_estimated_from_the_references(count):
    """P(p <= a) <= a over sets of references, whose scores must be leave-one-out scores."""
    pvalues, tests = [], []
    for seed in range(150):
        reference = ReferenceStatistics.from_components(*rows(count, seed))
        scores = reference.scores_from_components(*rows(20, 1000 + seed))
        pvalues.append(conformal_pvalues(reference.scores, scores))
        tests.append(two_sample_test(reference.scores, scores, permutations=99, seed=seed) <= 0.05)
    pvalues = np.concatenate(pvalues)
    for alpha in (1 / (count + 1), 0.1, 0.3):
        assert (pvalues <= alpha + 1e-9).mean() <= alpha + 3 * (alpha * (1 - alpha) / 1000) ** 0.5
    assert np.mean(tests) <= 0.05 + 3 * (0.05 * 0.95 / 150) ** 0.5
