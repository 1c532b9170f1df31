"""An exported model returns the outputs of the model."""

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import FAMILIES

import medzoo
from medzoo.cli import main
from medzoo.data.phantom import chest_phantom

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports with TensorFlow")
FAST = ("ae-spatial", "vqvae-ema")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("vae-vector", "codec")]


@pytest.fixture(scope="module", params=[*FAST, *SLOW])
def model(request):
    keras.utils.set_random_seed(0)
    return FAMILIES[request.param]()


def expected(model, images):
    latents = model.encode(images)
    return {"encode": (images, latents), "decode": (latents, model.decode(latents)), "reconstruct": (images, None)}


def close(ours, theirs):
    """Codes are equal; floats are equal up to the order of summation."""
    if ours.dtype.kind == "i":
        assert (ours == theirs).all()
    else:
        assert theirs == pytest.approx(ours, abs=2e-5)


def test_saved_model_has_all_endpoints(model, images, tmp_path):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(medzoo.export(model, tmp_path / "saved")))
    for endpoint, (given, wanted) in expected(model, images).items():
        wanted = model.reconstruct(images) if wanted is None else wanted
        close(wanted, getattr(loaded, endpoint)(given).numpy())
    assert set(loaded.signatures) == {"serving_default", "reconstruct", "encode", "decode"}
    weights = 4 * model.count_params()
    stored = sum(p.stat().st_size for p in (tmp_path / "saved" / "variables").iterdir())
    assert stored < weights + 20_000  # once, not twice


def test_a_folder_without_a_saved_model_is_never_replaced(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no SavedModel"):
        medzoo.export(FAMILIES["ae-spatial"](), tmp_path / "results", overwrite=True)
    assert (tmp_path / "results" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("endpoint", ["reconstruct", "encode"])
def test_onnxruntime_returns_equal_outputs(model, endpoint, images, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    path = medzoo.export(model, tmp_path / "model.onnx", endpoint=endpoint)
    session = onnxruntime.InferenceSession(str(path))
    name = {"reconstruct": "reconstruction", "encode": "latents"}[endpoint]
    for batch in (images, images[:1]) if None not in model.image_shape else (images, images[:2, :16, 8:]):
        close(getattr(model, endpoint)(batch), session.run([name], {"images": batch})[0])


@pytest.mark.parametrize(
    ("quantize", "tolerance"),
    [(None, 2e-5), *(pytest.param(*p, marks=pytest.mark.slow) for p in (("float16", 5e-3), ("int8", 0.1)))],
)
def test_litert_returns_equal_outputs(quantize, tolerance, images, tmp_path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    model = FAMILIES["vae-vector"]()
    path = medzoo.export(model, tmp_path / "model.tflite", quantize=quantize)
    run = interpreter.Interpreter(str(path)).get_signature_runner()
    assert run(images=images[:1])["reconstruction"] == pytest.approx(model.reconstruct(images[:1]), abs=tolerance)


@pytest.mark.slow
def test_int8_weights_have_a_quarter_of_the_size_and_a_small_error(tmp_path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    model = medzoo.load("vqvae-chestxray-64")
    images = np.stack([chest_phantom(64, seed) for seed in range(8)]).astype("float32")
    sizes = {}
    for quantize in (None, "int8"):
        path = medzoo.export(model, tmp_path / f"{quantize}.tflite", size=(64, 64), quantize=quantize)
        sizes[quantize] = path.stat().st_size
    run = interpreter.Interpreter(str(path)).get_signature_runner()
    outputs = np.concatenate([run(images=image[None])["reconstruction"] for image in images])
    assert sizes["int8"] < 0.45 * sizes[None]
    lost = np.mean((outputs - images) ** 2) / np.mean((model.reconstruct(images) - images) ** 2)
    assert 10 * np.log10(lost) < 0.3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": "model.pb"}, ValueError, "Expected .onnx, .tflite"),
        ({"path": "model.onnx", "endpoint": "sample"}, ValueError, "unknown endpoint 'sample'"),
        ({"path": "model.onnx", "quantize": "int8"}, ValueError, ".tflite"),
        ({"path": "model.tflite"}, ValueError, "any size"),
        ({"path": "model.tflite", "size": (32, 32), "images": "yes"}, ValueError, "quantize='int8'"),
        ({"path": "there.onnx"}, FileExistsError, "exists"),
    ],
)
def test_invalid_exports_raise_errors(arguments, error, message, tmp_path, images):
    (tmp_path / "there.onnx").write_text("mine")
    own = {**arguments, "path": tmp_path / arguments["path"]}
    if "images" in own:
        own["images"] = images
    with pytest.raises(error, match=message):
        medzoo.export(FAMILIES["ae-spatial"](), **own)
    assert (tmp_path / "there.onnx").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["there.onnx"]


def test_command_line_exports_with_representative_images(tmp_path):
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "images").mkdir()
    for seed in range(3):
        np.save(tmp_path / "images" / f"{seed}.npy", chest_phantom(64, seed).astype("float32"))
    arguments = ["export", "vqvae-chestxray-64", str(tmp_path / "m.tflite"), "--size", "64", "--quantize", "int8"]
    result = CliRunner().invoke(main, [*arguments, "--images", str(tmp_path / "images")])
    assert result.exit_code == 0, result.output
    assert "MiB" in result.output
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert "exists" in again.output
