"""Cross-validation holds every image out once and selects the expected value."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import write_npz

from medzoo.cli import main
from medzoo.data.phantom import chest_phantom
from medzoo.models import VQVAE, ConvAutoencoder
from medzoo.tasks.tune import Trial, choose, cross_validate, summarize

SMALL = {"filters": (8,), "blocks_per_stage": 1}


@pytest.fixture(scope="module")
def images():
    return np.stack([np.round(chest_phantom(32, seed) * 255).astype("uint8") for seed in range(48)])


@pytest.mark.slow
def test_more_latents_reconstruct_better_and_each_image_is_held_out_once(images):
    trials = list(
        cross_validate(lambda n: ConvAutoencoder((32, 32, 1), latent_dim=n, **SMALL), (1, 8), images, 2, epochs=2)
    )
    assert [(t.setting, t.fold) for t in trials] == [(1, 0), (1, 1), (8, 0), (8, 1)]
    few, many = summarize(trials)
    assert many["psnr"] > few["psnr"] + 1
    assert (few["latent_size"], many["latent_size"]) == (1, 8)
    assert "bits" not in few


def test_bits_per_pixel_of_a_codebook_are_at_most_the_logarithm_of_its_size(images):
    (trial, _) = cross_validate(
        lambda n: VQVAE((32, 32, 1), latent_dim=4, codebook_size=n, **SMALL), (16,), images, 2, epochs=2
    )
    assert 0 < trial.bits <= 1.1 * 4 * 64 / 32**2  # 64 codes of 4 bits; the estimate has a tolerance of 10%
    assert 0 < trial.usage <= 1


def test_folds_are_split_by_patient(images, monkeypatch):
    from medzoo.tasks import tune

    splits = []

    def record(model, value, fold, train, held_out):
        splits.append((train, held_out))
        return Trial(value, fold, 0.0, 0.0, 1)

    monkeypatch.setattr(tune, "_trial", record)
    monkeypatch.setattr(ConvAutoencoder, "fit", lambda *args, **kwargs: None)  # only the split is tested
    groups = np.arange(48) // 4
    marked = images.copy()
    marked[:, 0, 0, 0] = groups  # the patient index, stored in a pixel
    build = lambda n: ConvAutoencoder((32, 32, 1), latent_dim=n, **SMALL)  # noqa: E731
    list(tune.cross_validate(build, (2,), marked, 3, epochs=1, groups=groups))
    for train, held_out in splits:
        a, b = (set(np.round(x[:, 0, 0, 0] * 255).astype(int)) for x in (train, held_out))
        assert not a & b
    assert len(splits) == 3


def test_the_smallest_value_within_one_standard_error_is_chosen():
    def trials(setting, *psnr):
        return [Trial(setting, i, p, 0.9, 10) for i, p in enumerate(psnr)]

    all_trials = trials(64, 20, 21, 22) + trials(256, 25.0, 26.0, 27.0) + trials(1024, 25.2, 26.4, 27.3)
    assert choose(all_trials) == 256
    assert choose(trials(64, 20, 21, 22) + trials(256, 30.0, 30.1, 30.2)) == 256


@pytest.mark.slow
def test_command_writes_table_and_plot(tmp_path):
    data = write_npz(tmp_path / "images.npz", size=32, counts=(30, 4, 4))
    options = ["--data", data, "--values", "4", "--folds", 2, "--epochs", 1, "-o", tmp_path / "out"]
    result = CliRunner().invoke(main, [str(a) for a in ["tune", "vqvae", *options]])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "tune.json").read_text())
    assert [row["setting"] for row in found["settings"]] == [4]
    assert found["chosen"] == 4
    assert "| codebook size |" in (tmp_path / "out" / "tune.md").read_text()
    assert (tmp_path / "out" / "tune.png").is_file()
