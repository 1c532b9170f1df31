"""Malicious presets are refused before memory is allocated or a link is followed."""

import hashlib
import json
import shutil
from functools import cache

import h5py
import numpy as np
import pytest
from conftest import FAMILIES, VOLUMES

import medzoo
from medzoo import PresetError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return medzoo.save_preset(FAMILIES["ae-vector"](), tmp_path_factory.mktemp("untrusted") / "saved")


def with_prior():
    model = FAMILIES["vae-spatial"]()
    images = np.random.default_rng(0).random((16, 32, 32, 1)).astype("float32")
    model.fit_prior(images, labels=np.arange(16) % 2, epochs=1, filters=(8, 8), verbose=0)
    return model


KINDS = {**FAMILIES, **VOLUMES, "prior": with_prior}


@pytest.fixture(scope="module")
def preset_of(tmp_path_factory):
    """Function that returns a valid preset of a kind, to be copied."""
    folder = tmp_path_factory.mktemp("kinds")
    return cache(lambda kind: medzoo.save_preset(KINDS[kind](), folder / kind))


# --- configurations ---------------------------------------------------------------------------------------------


def edit(folder, part, **changes):
    config = json.loads((folder / "config.json").read_text())
    section = config
    for key in part.split("/"):
        section = section[key]
    section.update(changes)
    (folder / "config.json").write_text(json.dumps(config))


ALL_FAMILIES = [
    ("model/config", {"filters": [4096, 4096], "blocks_per_stage": 8}, "weights, .* do not fit together"),
    ("model/config", {"latent_dim": 65536, "patch_size": 64, "image_shape": [None, None, 4096]}, "together"),
    ("model/config", {"filters": [[4, 4]]}, "filters="),
    ("model/config", {"latent_dim": "many"}, "do not fit together"),
    ("model/config", {"preprocess": {"module": "os", "class_name": "system"}}, "has no argument preprocess"),
    ("preprocessing", {"size": [10**9, 10**9]}, "size="),
    ("preprocessing", {"fetch": "http://"}, "Preprocessor has no argument fetch"),
]


@pytest.mark.parametrize(("part", "changes", "message"), ALL_FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_configurations_that_do_not_fit_the_weights_are_refused(kind, part, changes, message, preset_of, tmp_path):
    folder = shutil.copytree(preset_of(kind), tmp_path / "p")
    edit(folder, part, **changes)
    with pytest.raises(PresetError, match=message):
        medzoo.load(folder)


SOME_FAMILIES = [
    ("vqvae-ema", "model/config", {"codebook_size": 2**20, "latent_dim": 4096}, "do not fit together"),
    ("vqvae-ema", "model/config", {"codebook_size": 2**40}, "codebook_size="),
    ("mae", "model/config", {"mask_ratio": [0, 7]}, "mask_ratio="),
    ("codec", "model/config", {"hidden": 4096, "groups": [4]}, "do not fit together"),
    ("codec", "model/config", {"groups": [3, 3]}, "groups"),
    ("codec", "model/config", {"lambdas": ["a"]}, "do not fit together"),
    ("prior", "model/config/prior", {"filters": [4096, 4096], "blocks_per_stage": 64}, "do not fit together"),
    ("prior", "model/config/prior", {"latent_shape": [16384, 16384, 3]}, "do not fit together"),
    ("prior", "model/config/prior", {"num_classes": 4097}, "num_classes="),
    ("prior", "model/config/prior", {"run": "rm"}, "FlowPrior has no argument run"),
    ("prior", "model/config", {"prior": "rm"}, "do not fit together"),
    ("prior", "model/config/prior", {"prior": {"prior": {}}}, "FlowPrior has no argument prior"),
    ("vae-volume", "model/config", {"image_shape": [8, 8, 8, 8, 1]}, "do not fit together"),
]


@pytest.mark.parametrize(("kind", "part", "changes", "message"), SOME_FAMILIES)
def test_arguments_of_single_families_are_checked(kind, part, changes, message, preset_of, tmp_path):
    folder = shutil.copytree(preset_of(kind), tmp_path / "p")
    edit(folder, part, **changes)
    with pytest.raises(PresetError, match=message):
        medzoo.load(folder)


def test_counting_weights_leaves_no_uninitialized_variables(saved, tmp_path):
    import keras

    folder = tmp_path / "p"
    shutil.copytree(saved, folder)
    edit(folder, "model/config", filters=[4096, 4096], blocks_per_stage=16)
    with pytest.raises(PresetError, match="do not fit together"):
        medzoo.load(folder)
    with keras.StatelessScope():
        pass  # on exit, Keras initializes all pending variables of this thread: here gigabytes


# --- weights ----------------------------------------------------------------------------------------------------


def rehash(folder):
    config = json.loads((folder / "config.json").read_text())
    data = (folder / "model.weights.h5").read_bytes()
    config["weights"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "config.json").write_text(json.dumps(config))


def extra(file):
    file["more"] = np.zeros(3, "float32")


def huge(file):  # declares 4 TiB, stores nothing
    file.create_dataset("huge", (2**20, 2**20), "float32", chunks=(64, 64))


def soft_link(file):
    file["link"] = h5py.SoftLink("/layers")


def external_link(file):
    file["link"] = h5py.ExternalLink("/etc/passwd", "/")


def external_data(file):
    file.create_dataset("out", (4,), "float32", external=[("/etc/passwd", 0, 16)])


def text(file):
    file["text"] = "hello"


def deep(file):
    group = file
    for _ in range(50):
        group = group.create_group("x")


@pytest.mark.parametrize("corrupt", [extra, huge, soft_link, external_link, external_data, text, deep])
def test_weights_files_with_other_content_are_refused(saved, tmp_path, corrupt):
    folder = tmp_path / "preset"
    shutil.copytree(saved, folder)
    with h5py.File(folder / "model.weights.h5", "a") as file:
        corrupt(file)
    rehash(folder)
    with pytest.raises(PresetError, match=r"model\.weights\.h5 (contains|nests)"):
        medzoo.load(folder)


def test_files_that_are_not_hdf5_and_large_configurations_are_refused(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "a")
    (tmp_path / "a" / "model.weights.h5").write_bytes(b"PK\x03\x04 no HDF5" * 2**16)
    rehash(tmp_path / "a")
    with pytest.raises(PresetError, match="do not fit together"):
        medzoo.load(tmp_path / "a")
    (tmp_path / "a" / "config.json").write_text(" " * 2**21)
    with pytest.raises(PresetError, match="expected at most"):
        medzoo.load(tmp_path / "a")
    (tmp_path / "a" / "config.json").write_text("[" * 2**18)
    with pytest.raises(PresetError, match="not a preset's configuration"):
        medzoo.load(tmp_path / "a")
