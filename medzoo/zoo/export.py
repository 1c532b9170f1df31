"""Export to formats that need neither Keras nor medzoo: TensorFlow SavedModel, ONNX, LiteRT.

The conversions are TensorFlow's and Keras' own. This module adds the three endpoints of an autoencoder, its input size
and quantization.
"""

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from medzoo.io.image import read_image
from medzoo.io.listing import list_images
from medzoo.models.checks import check_images, check_shape
from medzoo.utils.arguments import COUNT, NONE, checked, either, several

OUTPUTS = {"reconstruct": "reconstruction", "encode": "latents", "decode": "images"}
QUANTIZE = (None, "float16", "int8")


def export(
    model: keras.Model,
    path: str | os.PathLike,
    endpoint: str = "reconstruct",
    size: Sequence[int] | None = None,
    quantize: str | None = None,
    images: np.ndarray | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model for use without Keras and medzoo.

    Inputs and outputs are those of the model: images of shape `(batch, height, width, channels)`, float32 with values
    in [0, 1], and latents as `encode` returns them. Reading files is not part of the exported model; use
    `model.preprocess`.

    Args:
        model: A medzoo model.
        path: `name.onnx` (ONNX, for onnxruntime), `name.tflite` (LiteRT), or a folder without suffix (SavedModel).
            Requires the TensorFlow backend; `.onnx` and `.tflite` also require `pip install "medzoo[export]"`.
        endpoint: `"reconstruct"`, `"encode"` or `"decode"`. A SavedModel contains all three, as functions and as
            signatures of these names; this one is its default signature. Default: `"reconstruct"`.
        size: `(height, width)` of the images. Default: the size of the model. Models that accept any size keep this in
            SavedModel and ONNX; LiteRT requires a size.
        quantize: `.tflite` only. `"float16"`: weights of half the size. `"int8"`: weights of a quarter of the size.
            Inputs and outputs are not quantized. Default: `None`, float32 weights.
        images: With `"int8"`, a few hundred representative images of shape `(N, height, width, channels)` with values
            in [0, 1]. They calibrate the range of each layer, so that all arithmetic uses integers, for hardware
            without floating-point units. The quality loss is larger.
        overwrite: bool. Replace an existing file or SavedModel. Default: `False`.

    Returns:
        `path`.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is false, or is a folder that contains no SavedModel.
        ValueError: If arguments do not fit together, or the backend is not TensorFlow.
        ImportError: If the extra is not installed.
    """
    path = Path(path)
    kind = {".onnx": "onnx", ".tflite": "litert", "": "tf_saved_model"}.get(path.suffix)
    _check(model, path, kind, endpoint, size, quantize, images)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: exists; choose another name or pass overwrite=True.")
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise FileExistsError(f"{path}: a folder that contains no SavedModel is not replaced. Choose another name.")
    exported = _Endpoint(model, endpoint, size)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        written = Path(folder) / path.name
        if kind == "tf_saved_model":
            _saved_model(model, exported, written, size)
        elif kind == "onnx":
            _onnx(exported, written)
        else:
            _litert(exported, written, quantize, images)
        if path.is_dir():
            shutil.rmtree(path)
        written.replace(path)
    return path


def _check(model, path, kind, endpoint, size, quantize, images):
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"export: expected the tensorflow backend, got {keras.backend.backend()}. Save the model with "
            "medzoo.save_preset and export it in a process with KERAS_BACKEND=tensorflow."
        )
    if kind is None:
        raise ValueError(
            f"{path}: unknown suffix {path.suffix!r}. Expected .onnx, .tflite, or no suffix for a SavedModel folder."
        )
    if endpoint not in OUTPUTS:
        raise ValueError(f"export: unknown endpoint {endpoint!r}. Expected one of {', '.join(OUTPUTS)}.")
    if quantize not in QUANTIZE or (quantize and kind != "litert"):
        raise ValueError(
            f"{path}: quantize={quantize!r} does not apply. Expected 'float16' or 'int8', and a .tflite file."
        )
    checked("export", {"size": either(several(COUNT, model.spatial_dims, model.spatial_dims), NONE)}, size=size)
    if size is not None:
        check_shape(model, np.broadcast_to(np.float32(0), (1, *_shape(model, size))))
    if images is not None and quantize != "int8":
        raise ValueError(f"{path}: `images` require quantize='int8', got quantize={quantize!r}.")
    if kind == "litert" and None in _shape(model, size):
        raise ValueError(
            f"{path}: {model.name} accepts any size, a .tflite file needs a fixed one. Set e.g. size=(256, 256)."
        )
    if images is not None:
        check_images(model, np.asarray(images))
        if np.shape(images)[1:] != _shape(model, size):
            raise ValueError(f"{path}: expected `images` of shape {_shape(model, size)}, got {np.shape(images)[1:]}.")


def _shape(model, size):
    *own, channels = model.image_shape
    return (*(size or own), channels)


class _Endpoint(keras.Model):
    """One of an autoencoder's functions as a model, with the specification of its input."""

    def __init__(self, model, endpoint, size):
        super().__init__(name=f"{model.name}-{endpoint}".replace("-", "_"))
        self.model, self.endpoint = model, endpoint
        shape = _shape(model, size)
        decoding = endpoint == "decode"
        # VQ-VAE codes and codec latents are integers; encoding one image determines the dtype.
        example = (
            model.image_shape
            if None not in model.image_shape
            else (*(4 * f for f in model.downsampling_factors), shape[-1])
        )
        dtype = model.encode(np.zeros((1, *example), "float32")).dtype.name if decoding else "float32"
        self.signature = [
            keras.InputSpec(shape=(None, *(model.latent_shape(shape) if decoding else shape)), dtype=dtype)
        ]
        self.signature[0].name = "latents" if decoding else "images"

    def call(self, x, training=False):
        return {OUTPUTS[self.endpoint]: getattr(self.model, self.endpoint)(x)}


def _saved_model(model, exported, path, size):
    """Write a SavedModel with TensorFlow, because the export of Keras writes all weights twice."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    signatures = {}
    for one in (*(_Endpoint(model, name, size) for name in OUTPUTS), exported):
        (spec,) = one.signature
        spec = tf.TensorSpec(spec.shape, spec.dtype, spec.name)
        setattr(module, one.endpoint, tf.function(getattr(model, one.endpoint), input_signature=[spec]))
        signatures["serving_default" if one is exported else one.endpoint] = tf.function(
            one.call, input_signature=[spec]
        )
    tf.saved_model.save(module, str(path), signatures=signatures)


def _onnx(exported, path):
    try:
        import onnx
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise ImportError(f'{path}: ONNX export requires tf2onnx and onnx: pip install "medzoo[export]".') from error
    exported(_example(exported))
    exported.export(path, format="onnx", input_signature=exported.signature, verbose=False)
    onnx.checker.check_model(path)  # tf2onnx only logs operations that it cannot convert


def _litert(exported, path, quantize, images):
    import tensorflow as tf

    options = {}
    if quantize:
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        options["target_spec"] = {"supported_types": [tf.float16]}
    if images is not None:

        def samples():
            for image in np.asarray(images, "float32"):
                batch = image[None]
                yield [exported.model.encode(batch) if exported.endpoint == "decode" else batch]

        options["representative_dataset"] = samples
    exported(_example(exported))
    with contextlib.redirect_stderr(io.StringIO()):
        exported.export(path, format="litert", input_signature=exported.signature, verbose=False, **options)


def _example(exported):
    (spec,) = exported.signature
    return np.zeros(
        [n or (1 if i == 0 else 4 * max(exported.model.downsampling_factors)) for i, n in enumerate(spec.shape)],
        spec.dtype,
    )


def representative_images(model: keras.Model, folder: str | os.PathLike, size: int | None = None) -> np.ndarray:
    """Read the images of a folder for `export(images=...)`.

    Args:
        model: A medzoo model.
        folder: Folder of image files.
        size: int. Side in pixels, for a model that accepts any size. Default: the size of the model.

    Returns:
        float32 array of shape `(N, height, width, 1)` with values in [0, 1].

    Raises:
        ValueError: If the model accepts any size and `size` is `None`.
    """
    own = (size, size) if size else model.image_shape[:2]
    if None in own:
        raise ValueError(f"{model.name}: accepts any size. Set the size of the images with size (--size).")
    return np.stack([read_image(path, own, model.preprocess.window) for path in list_images(folder)])
