"""Weights of other libraries give what those libraries compute; tests/fixtures holds what they computed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from converter_cases import CASES, KL, arrays_of, case_of, channels_last, errors, inputs, save_safetensors, write
from converter_weights import image

import medzoo
from medzoo.cli import main
from medzoo.errors import CheckpointError

CLOSE = 1e-5  # of the output's range; a wrong epsilon is at 2e-4
DEFAULT = (
    "medvae_4_3_2d",
    "medvae_4_1_3d",
    "ldm_attention",
    "diffusers_attention",
    "diffusers_flux",
    "monai_attention_2d",
)
DEFAULT += ("monai_combined_3d", "monai_generative_2d", "maisi_ct", "maisi_mask")
TAEF2 = Path(__file__).parents[2] / "shared" / "peers"


def shown(names, default=DEFAULT):
    return [pytest.param(name, marks=[] if name in default else pytest.mark.slow) for name in names]


# --- equal outputs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shown(KL))
def test_mean_log_variance_and_decoding_equal_those_of_the_source(name, tmp_path):
    path, arguments = write(name, tmp_path / name)
    model = medzoo.load(path, **arguments)
    found = errors(model, name)
    assert len(found) >= 6  # even and odd sizes
    assert max(found.values()) < CLOSE, found


@pytest.mark.parametrize("name", ["vqvae_2d", "vqvae_3d"])
def test_codes_and_decoding_of_monai_vqvae_are_equal(name, tmp_path):
    case, outputs = case_of(name)
    path, arguments = write(name, tmp_path / name)
    model = medzoo.load(path, **arguments)
    x = inputs(case, (32, 24) if case["axes"] == 2 else (8, 12, 8))
    assert np.array_equal(model.encode(x), outputs["codes"].astype(int))
    before = keras.ops.convert_to_numpy(model.encoder(x))
    assert before == pytest.approx(channels_last(outputs["latents"]), abs=CLOSE)
    decoded = np.clip(channels_last(outputs["decoded"]), 0, 1)
    assert model.decode(model.encode(x)) == pytest.approx(decoded, abs=CLOSE)


def test_latents_and_decoding_of_diffusers_tiny_autoencoder_are_equal(tmp_path):
    _, outputs = case_of("diffusers_tiny")
    model = medzoo.load(write("diffusers_tiny", tmp_path / "tiny")[0])
    for tag, size in (("", (32, 24)), ("_odd", (25, 31))):
        x = channels_last((image((2, 3, *size), 0) + 1) / 2)
        latents = channels_last(outputs[f"latents{tag}"])
        assert keras.ops.convert_to_numpy(model.encoder(x)) == pytest.approx(latents, abs=CLOSE)
        decoded = np.clip(channels_last(outputs[f"decoded{tag}"]) / 2 + 0.5, 0, 1)
        assert model.decode(latents) == pytest.approx(decoded, abs=CLOSE)


def test_the_original_names_of_tiny_autoencoders_are_read(tmp_path):
    """Two files; the decoder's list begins with a layer without weights."""
    arrays = arrays_of(case_of("diffusers_tiny")[0])
    for side, shift in (("encoder", 0), ("decoder", 1)):
        part = {n.split(".", 2)[2]: v for n, v in arrays.items() if n.startswith(side)}
        part = {f"{int(n.split('.')[0]) + shift}.{n.split('.', 1)[1]}": v for n, v in part.items()}
        save_safetensors(part, tmp_path / "pair" / f"tae_{side}.safetensors")
    pair = medzoo.load(tmp_path / "pair")
    one = medzoo.load(write("diffusers_tiny", tmp_path / "tiny")[0])
    x = channels_last((image((2, 3, 32, 24), 0) + 1) / 2)
    assert np.array_equal(pair.reconstruct(x), one.reconstruct(x))


def test_latents_and_decoding_of_resnet_autoencoder_are_equal(tmp_path):
    _, outputs = case_of("resnetae50")
    path, arguments = write("resnetae50", tmp_path)
    model = medzoo.load(path, **arguments)
    x = channels_last((image((1, 1, 224, 224), 0) + 1) / 2)
    latents = channels_last(outputs["latents"])
    assert np.abs(model.encode(x) - latents).max() < CLOSE * np.abs(latents).max()
    decoded = 2048 * keras.ops.convert_to_numpy(model.decoder(latents)) - 1024
    expected = channels_last(outputs["decoded"])
    assert np.abs(decoded[:, ::8, ::8] - expected).max() < CLOSE * np.abs(expected).max()
    with pytest.raises(ValueError, match="takes 224x224 only"):
        model.encode(np.zeros((1, 256, 256, 1), "float32"))


@pytest.mark.skipif(not (TAEF2 / "taef2_encoder.pth").is_file(), reason="the trained weights of TAEF2 are not here")
def test_trained_weights_of_taef2_reconstruct_images():
    from medzoo.data.phantom import chest_phantom

    model = medzoo.load(TAEF2, variant="taef2")
    x = model.preprocess(np.stack([chest_phantom(256, seed) for seed in range(2)])[..., 0])
    assert x.shape == (2, 256, 256, 3)
    assert model.encode(x).shape == (2, 32, 32, 32)
    assert keras.ops.convert_to_numpy(medzoo.metrics.psnr(x, model.reconstruct(x))).min() > 35


def test_color_goes_through_the_one_reader_of_image_files(tmp_path):
    from PIL import Image

    from medzoo.zoo.normalization import read_normalized

    values, exif = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype="uint8"), Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(values).save(tmp_path / "turned.png", exif=exif)
    expected = np.rot90(values, -1) / np.float32(255)
    assert np.allclose(read_normalized(tmp_path / "turned.png", 2, 3, "file"), expected)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_outputs_are_equal_on_other_backends(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    names = ["medvae_4_3_2d", "diffusers_attention", "monai_combined_3d", "maisi_ct"]
    here = Path(__file__).parent
    code = f"import sys, pathlib; sys.path.insert(0, {str(here)!r}); import medzoo, converter_cases as c\n"
    code += f"for n in {names}:\n p, a = c.write(n, pathlib.Path({str(tmp_path)!r}) / n)\n"
    code += f" e = c.errors(medzoo.load(p, **a), n); assert max(e.values()) < {CLOSE}, e\n"
    environment = {**os.environ, "KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=600)


@pytest.mark.slow
@pytest.mark.skipif("MEDZOO_PEERS" not in os.environ, reason="MEDZOO_PEERS names no Python with the sources' packages")
def test_networks_of_full_width_equal_the_packages_of_the_sources(tmp_path):
    """`MEDZOO_PEERS=peers/bin/python pytest -m slow`; see tests/fixtures/make_converter_fixtures.py."""
    script = Path(__file__).parent / "fixtures" / "make_converter_fixtures.py"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([os.environ["MEDZOO_PEERS"], script, "full", tmp_path], check=True, env=environment, timeout=1200)
    root = tmp_path / "converters"
    for name in sorted(path.name for path in root.iterdir()):
        path, arguments = write(name, tmp_path / "files" / name, root=root)
        found = errors(medzoo.load(path, **arguments), name, root)
        assert max(found.values()) < CLOSE, (name, found)
        keras.backend.clear_session()


def test_encoders_of_other_libraries_serve_the_tasks(tmp_path):
    x = np.random.default_rng(0).random((4, 32, 32, 1)).astype("float32")
    for name in ("monai_axial_2d", "vqvae_2d"):
        model = medzoo.load(write(name, tmp_path / name)[0])
        assert medzoo.FeatureExtractor(model, feature_type="encoder").fit_transform(x).shape[0] == 4
        assert medzoo.Classifier.from_pretrained(model, 2).predict(x, verbose=0).shape == (4, 2)
        assert medzoo.Segmenter.from_pretrained(model, 2).predict(x, verbose=0).shape == (4, 32, 32, 2)


# --- what is said of the model ----------------------------------------------------------------------------------


def test_configuration_and_shapes_alone_give_the_same_network(tmp_path):
    """Without config.json, what tensors do not tell must be passed."""
    path, _ = write("diffusers_attention", tmp_path / "a")
    whole = medzoo.load(path)
    (path / "config.json").unlink()
    file = path / "diffusion_pytorch_model.safetensors"
    with pytest.raises(CheckpointError, match=r"groups .*scaling_factor .*Pass groups=\.\.\., scaling_factor=\.\.\."):
        medzoo.load(file)
    alone = medzoo.load(file, groups=8, scaling_factor=0.18215)
    assert alone.scaling_factor == whole.scaling_factor == 0.18215
    assert all(np.array_equal(a, b) for a, b in zip(alone.get_weights(), whole.get_weights(), strict=True))
    path, _ = write("monai_attention_2d", tmp_path / "b")
    with pytest.raises(CheckpointError, match=r"groups .*epsilon "):
        medzoo.load(path / "models" / "model.pt", source="monai")
    alone = medzoo.load(path / "models" / "model.pt", source="monai", groups=4, epsilon=1e-5)
    assert max(errors(alone, "monai_attention_2d").values()) < CLOSE


def test_maisi_without_configuration_asks_for_its_upsampling(tmp_path):
    path, _ = write("maisi_mask", tmp_path / "m")
    file = path / "models" / "model.pt"
    with pytest.raises(CheckpointError, match="upsampling"):
        medzoo.load(file, source="monai", groups=4, epsilon=1e-6)
    model = medzoo.load(file, source="monai", groups=4, epsilon=1e-6, upsampling="transposed-3")
    assert max(errors(model, "maisi_mask").values()) < CLOSE


def test_scaling_and_shift_are_attributes_and_not_applied(tmp_path):
    model = medzoo.load(write("diffusers_flux", tmp_path / "f")[0])
    assert (model.scaling_factor, model.shift_factor) == (0.3611, 0.1159)
    _, outputs = case_of("diffusers_flux")
    x = inputs(case_of("diffusers_flux")[0], (32, 24))
    assert model.encode(x) == pytest.approx(channels_last(outputs["mean"]), abs=1e-4)
    decoded = np.clip(channels_last(outputs["decoded"]) / 2 + 0.5, 0, 1)
    assert model.decode(channels_last(outputs["mean"])) == pytest.approx(decoded, abs=1e-4)


@pytest.mark.parametrize("name", ["medvae_4_1_3d", "diffusers_flux", "monai_3d", "diffusers_tiny", "vqvae_2d"])
def test_converted_models_are_models_like_any_other(name, tmp_path):
    """Presets, .keras files, configuration and training."""
    path, arguments = write(name, tmp_path / name)
    model = medzoo.load(path, **arguments)
    axes = case_of(name)[0]["axes"]
    sides = [2 * f for f in (model.downsampling_factors * 2)[:axes]]
    x = np.random.default_rng(0).random((2, *sides, model.image_shape[-1])).astype("float32")
    expected = model.reconstruct(x)
    assert expected.shape == x.shape
    assert np.array_equal(keras.ops.convert_to_numpy(model(x)), model.decode(model.encode(x)))
    copy = medzoo.load(medzoo.save_preset(model, tmp_path / "preset", dtype="float32"))
    assert np.array_equal(copy.reconstruct(x), expected)
    assert copy.preprocess.get_config() == model.preprocess.get_config()
    model.compile(keras.optimizers.SGD(1e-9))
    assert np.isfinite(model.fit(x, verbose=0).history["loss"]).all()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(again.reconstruct(x), model.reconstruct(x))


# --- files ------------------------------------------------------------------------------------------------------


def test_missing_and_left_over_weights_are_listed(tmp_path):
    arrays = arrays_of(case_of("diffusers_attention")[0])
    arrays["encoder.extra.weight"] = np.zeros(3, "float32")
    del arrays["decoder.mid_block.resnets.1.norm2.bias"]
    path, _ = write("diffusers_attention", tmp_path / "x", arrays)
    message = r"missing: decoder\.mid_block\.resnets\.1\.norm2\.bias; left over: encoder\.extra\.weight"
    with pytest.raises(CheckpointError, match=message):
        medzoo.load(path)


@pytest.mark.parametrize("name", ["ldm_attention", "medvae_4_1_2d", "monai_axial_2d", "diffusers_flux", "vqvae_2d"])
def test_a_missing_block_is_no_smaller_network(name, tmp_path):
    arrays = arrays_of(case_of(name)[0])
    blocks = ("down.0.block.0.", "down_blocks.0.resnets.0.", "blocks.1.")
    kept = {n: v for n, v in arrays.items() if not any(f"encoder.{block}" in n for block in blocks)}
    assert len(kept) < len(arrays)
    path, arguments = write(name, tmp_path / name, kept)
    with pytest.raises(CheckpointError):
        medzoo.load(path, **arguments)


def test_weights_of_another_shape_are_refused(tmp_path):
    arrays = arrays_of(case_of("monai_3d")[0])
    arrays["encoder.blocks.0.conv.weight"] = arrays["encoder.blocks.0.conv.weight"][:, :, :2]
    path, _ = write("monai_3d", tmp_path / "m", arrays)
    with pytest.raises(CheckpointError, match=r"encoder\.blocks\.0\.conv\.weight has shape \(8, 1, 2, 3, 3\)"):
        medzoo.load(path)


def test_half_precision_and_shards_are_read(tmp_path):
    arrays = arrays_of(case_of("diffusers_flux")[0])
    path, _ = write("diffusers_flux", tmp_path / "whole", {n: v.astype("float16") for n, v in arrays.items()})
    whole = medzoo.load(path)
    split = tmp_path / "split" / "vae"
    names = list(arrays)
    listed = {}
    for i, part in enumerate((names[::2], names[1::2])):
        shard = f"diffusion_pytorch_model-0000{i + 1}-of-00002.safetensors"
        save_safetensors({n: arrays[n].astype("float16") for n in part}, split / shard)
        listed |= dict.fromkeys(part, shard)
    index = split / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    (split / "config.json").write_text((path / "config.json").read_text())
    shards = medzoo.load(tmp_path / "split")  # the autoencoder's folder of a whole pipeline
    assert all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), shards.get_weights(), strict=True))
    index.write_text(json.dumps({"weight_map": {"a": "../../outside.safetensors"}}))
    with pytest.raises(CheckpointError, match="Expected files of weights beside it"):
        medzoo.load(tmp_path / "split")


def test_several_networks_in_a_folder_ask_for_the_variant(tmp_path):
    for name in ("medvae_4_1_2d", "medvae_4_1_3d"):
        write(name, tmp_path / "medvae")
    with pytest.raises(CheckpointError, match=r"holds medvae_4_1_2d, medvae_4_1_3d\. Expected variant="):
        medzoo.load(tmp_path / "medvae")
    assert medzoo.load(tmp_path / "medvae", variant="medvae_4_1_3d").spatial_dims == 3


def test_references_of_a_bundle_are_followed_and_expressions_are_not(tmp_path):
    path, _ = write("monai_3d", tmp_path / "bundle")
    config = path / "configs" / "inference.json"
    content = json.loads(config.read_text())
    network = content["network_def"]
    content |= {"spatial_dims": 3, "latent": {"channels": network["latent_channels"]}}
    network |= {"spatial_dims": "@spatial_dims", "latent_channels": "$@latent#channels"}
    config.write_text(json.dumps(content))
    assert max(errors(medzoo.load(path), "monai_3d").values()) < CLOSE
    network["latent_channels"] = "$__import__('os').getpid()"
    config.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="expressions are not evaluated"):
        medzoo.load(path)


def test_intensities_of_a_bundle_are_those_of_its_transforms(tmp_path):
    path, _ = write("monai_axial_2d", tmp_path / "bundle")
    config = path / "configs" / "inference.json"
    content = json.loads(config.read_text())
    scale = {"_target_": "ScaleIntensityRangePercentilesd", "keys": "image", "lower": 0, "upper": 99.5}
    content["preprocessing"] = {"transforms": [{"_target_": "LoadImaged"}, {**scale, "b_min": 0, "b_max": 1}]}
    config.write_text(json.dumps(content))
    model = medzoo.load(path)
    assert model.preprocess.get_config() == {
        "size": None,
        "window": None,
        "intensity": "percentiles",
        "limits": [0, 99.5],
    }


def test_files_of_no_known_source_are_named(tmp_path):
    path = save_safetensors({"layer.weight": np.zeros((2, 2), "float32")}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"tensors layer\.weight .* are of no known source"):
        medzoo.load(path)
    with pytest.raises(CheckpointError, match=r"source='keras'\. Expected one of diffusers, monai"):
        medzoo.load(path, source="keras")
    with pytest.raises(FileNotFoundError):
        medzoo.load(tmp_path / "nothing.ckpt", source="ldm")


def test_small_tensors_that_announce_a_huge_network_are_refused(tmp_path):
    arrays = arrays_of(case_of("diffusers_flux")[0])
    path, _ = write("diffusers_flux", tmp_path / "x", arrays)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "block_out_channels": [4096] * 3, "layers_per_block": 60}))
    with pytest.raises(CheckpointError, match="do not make a network"):
        medzoo.load(path)


# --- preprocessing ----------------------------------------------------------------------------------------------


def test_medvae_scales_each_image_from_its_minimum_and_maximum(tmp_path):
    from PIL import Image

    path, arguments = write("medvae_4_1_2d", tmp_path / "medvae")
    model = medzoo.load(path, **arguments)
    gray = np.random.default_rng(0).integers(40, 200, (32, 48), "uint8")
    Image.fromarray(gray).save(tmp_path / "gray.png")
    expected = (gray.astype("float64") - gray.min()) / (gray.max() - gray.min())
    assert model.preprocess(tmp_path / "gray.png")[0, ..., 0] == pytest.approx(expected, abs=1e-6)
    color = np.random.default_rng(0).integers(40, 200, (32, 48, 3), "uint8")
    Image.fromarray(color).save(tmp_path / "color.png")
    low, high = color.min(axis=(0, 1)), color.max(axis=(0, 1))
    expected = ((color - low.astype("float64")) / (high - low)).mean(axis=-1)
    assert model.preprocess(tmp_path / "color.png")[0, ..., 0] == pytest.approx(expected, abs=1e-6)


def test_gray_becomes_three_equal_channels_and_color_stays(tmp_path):
    from PIL import Image

    from medzoo.zoo.normalization import channels_to_gray

    model = medzoo.load(write("diffusers_flux", tmp_path / "flux")[0])
    color = np.random.default_rng(0).integers(0, 256, (32, 32, 3), "uint8")
    Image.fromarray(color).save(tmp_path / "color.png")
    Image.fromarray(color[..., 0]).save(tmp_path / "gray.png")
    assert model.preprocess(tmp_path / "color.png")[0] == pytest.approx(color / 255, abs=1e-6)
    x = model.preprocess(tmp_path / "gray.png")
    assert np.array_equal(x, model.preprocess(color[..., 0]))
    assert x[0] == pytest.approx(np.repeat(color[..., :1] / 255, 3, axis=-1), abs=1e-6)
    assert channels_to_gray(x)[0] == pytest.approx(color[..., :1] / 255, abs=1e-6)


def test_ct_volumes_are_scaled_from_hounsfield_units(tmp_path):
    import nibabel

    path, arguments = write("medvae_4_1_3d", tmp_path / "medvae")
    model = medzoo.load(path, modality="ct", **arguments)
    values = np.random.default_rng(0).uniform(-1500, 1500, (8, 12, 16)).astype("float32")
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "ct.nii.gz")
    x = model.preprocess(tmp_path / "ct.nii.gz")
    expected = np.clip((values + 1000) / 2000, 0, 1)  # axes as MONAI's Orientation("RAS") leaves them
    assert x[0, ..., 0] == pytest.approx(expected, abs=1e-5)


def test_a_volume_is_reconstructed_on_its_own_grid_with_the_normalization_of_the_source(tmp_path):
    import nibabel

    from medzoo.tasks.reconstruct import reconstruct_volume_file

    path, arguments = write("medvae_4_1_3d", tmp_path / "medvae")
    model = medzoo.load(path, modality="ct", **arguments)
    values = np.random.default_rng(0).uniform(-900, 900, (8, 12, 16)).astype("float32")
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "ct.nii.gz")
    reconstruct_volume_file(model, tmp_path / "ct.nii.gz", tmp_path / "out" / "ct.png")
    written = nibabel.load(tmp_path / "out" / "ct.nii.gz").get_fdata()
    expected = 2000 * model.reconstruct(model.preprocess(tmp_path / "ct.nii.gz"))[0, ..., 0] - 1000
    assert written == pytest.approx(expected, abs=0.1)


# --- the command ------------------------------------------------------------------------------------------------


def test_convert_writes_a_preset(tmp_path):
    path, _ = write("monai_attention_2d", tmp_path / "m")
    arguments = ["convert", str(path / "models" / "model.pt"), str(tmp_path / "out"), "--source", "monai"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "groups" in result.output
    result = CliRunner().invoke(main, [*arguments, "--option", "groups=4", "--option", "epsilon=1e-5"])
    assert result.exit_code == 0, result.output
    assert "AutoencoderKL" in result.output
    assert max(errors(medzoo.load(tmp_path / "out"), "monai_attention_2d").values()) < CLOSE


def test_every_stored_case_is_tested():
    assert set(CASES) == {*KL, "vqvae_2d", "vqvae_3d", "diffusers_tiny", "resnetae50"}
