"""Checkpoints of other libraries from the hub, through the real client against a server on loopback."""

import hashlib
import logging

import numpy as np
import pytest
from click.testing import CliRunner
from converter_cases import errors, write
from loopback_hub import COMMIT
from test_hub import hub, saved  # noqa: F401  (fixtures)

import medzoo
from medzoo.cli import main
from medzoo.errors import CheckpointError, DamagedPresetError, PresetError, PresetNotFoundError
from medzoo.zoo import manifest as manifest_module
from medzoo.zoo.converters import hub as converted_hub
from medzoo.zoo.download import fetch

URI = "hf://user/repo"


def served(hub, folder):  # noqa: F811
    """Let the server have the files of a folder."""
    hub.files = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    hub.requests.clear()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("diffusers_flux", {}), ("monai_3d", {"source": "monai"}), ("medvae_4_1_3d", {"variant": "medvae_4_1_3d"})],
)
def test_layouts_are_recognized_and_converted_once(name, arguments, hub, tmp_path, monkeypatch):  # noqa: F811
    path, _ = write(name, tmp_path / name)
    served(hub, path)
    model = medzoo.load(URI, **arguments)
    assert max(errors(model, name).values()) < 1e-5
    presets = [p.parent for p in (tmp_path / "cache" / converted_hub.FOLDER).rglob("config.json")]
    assert len(presets) == 1
    monkeypatch.setattr("medzoo.zoo.converters.convert.convert", None)  # a second conversion would fail
    again = medzoo.load(URI, **arguments)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), again.get_weights(), strict=True))
    hub.requests.clear()
    assert medzoo.load(presets[0]).preprocess.get_config() == model.preprocess.get_config()
    hub.shutdown()
    hub.server_close()
    offline = medzoo.load(URI, **arguments)
    assert np.array_equal(offline.get_weights()[0], model.get_weights()[0])


def test_a_full_commit_hash_costs_no_request_the_second_time(hub, tmp_path):  # noqa: F811
    served(hub, write("diffusers_flux", tmp_path / "flux")[0])
    medzoo.load(f"{URI}@{COMMIT}", source="diffusers")
    hub.requests.clear()
    medzoo.load(f"{URI}@{COMMIT}", source="diffusers")
    assert hub.requests == []


def test_weights_are_held_against_the_checksum_of_the_hub(hub, tmp_path):  # noqa: F811
    served(hub, write("diffusers_flux", tmp_path / "flux")[0])
    name = "diffusion_pytorch_model.safetensors"
    blob = fetch("user/repo", name, COMMIT).resolve()
    assert blob.name == hashlib.sha256(hub.files[name]).hexdigest()
    blob.write_bytes(b"rotten" + blob.read_bytes()[6:])
    with pytest.raises(DamagedPresetError, match="removed from the cache"):
        medzoo.load(URI)
    assert medzoo.load(URI).latent_dim == 16


def test_a_repository_of_several_networks_asks_which(hub, tmp_path):  # noqa: F811
    served(hub, write("medvae_4_1_2d", tmp_path / "medvae")[0])
    with pytest.raises(CheckpointError, match=r"holds several networks\. Expected variant= one of medvae_4_1_2d"):
        medzoo.load(URI)
    with pytest.raises(PresetNotFoundError, match=r"has no file model_weights/vae_8x_4c_2D\.ckpt"):
        medzoo.load(URI, variant="medvae_8_4_2d")


def test_what_is_of_no_known_layout_is_named(hub):  # noqa: F811
    hub.files = {"README.md": b"# nothing"}
    with pytest.raises(PresetNotFoundError, match=r"has no file config\.json of medzoo or diffusers"):
        medzoo.load(URI)


def test_names_of_the_manifest_lead_to_the_hub(hub, tmp_path, monkeypatch, caplog):  # noqa: F811
    served(hub, write("medvae_4_1_3d", tmp_path / "medvae")[0])
    entry = {**manifest_module.converted_models()["medvae-4-1-3d"], "repo": "user/repo", "revision": None}
    listed = {"medvae-4-1-3d": entry}
    monkeypatch.setattr(converted_hub, "converted_models", lambda: listed)
    with caplog.at_level(logging.INFO, logger="medzoo"):
        model = medzoo.load("medvae-4-1-3d")
    assert model.spatial_dims == 3
    assert "license" in caplog.text
    with pytest.raises(PresetError, match=r"vae-chestxray-64: a preset of medzoo"):
        medzoo.load("vae-chestxray-64", source="diffusers")


def test_the_manifest_says_where_converted_models_come_from():
    entries = manifest_module.converted_models()
    assert set(entries) == set(medzoo.list_converted())
    assert {f"medvae-{n}" for n in ("4-1-2d", "4-3-2d", "4-4-2d", "8-1-2d", "8-4-2d", "4-1-3d", "8-1-3d")} <= set(
        entries
    )
    for entry in entries.values():
        assert {"source", "repo", "license", "citation", "files"} <= set(entry)
    assert CliRunner().invoke(main, ["list", "--converted"]).output.count("medvae-") == 7
