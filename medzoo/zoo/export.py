"""Models for use without Keras: TensorFlow SavedModel, ONNX, LiteRT.

The conversions are TensorFlow's and Keras' own; here stands what they need to know of an autoencoder: its three parts,
its size, and how to make it smaller.
"""

import contextlib
import io
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np

from medzoo.io.image import read_image
from medzoo.io.listing import list_images
from medzoo.models.checks import check_images, check_shape
from medzoo.utils.arguments import COUNT, NONE, checked, either, several

OUTPUTS = {"reconstruct": "reconstruction", "encode": "latents", "decode": "images"}
QUANTIZE = (None, "float16", "int8")


def export(model, path, part="reconstruct", size=None, quantize=None, images=None, overwrite=False):
    """Writes a model for use without Keras and medzoo.

    What is written takes and gives the same as the model: images `(batch, H, W, C)`, float32 in [0, 1], and latents as
    `encode` returns them. Reading files is not part of it; `model.preprocess` does that.

    Args:
        model: an autoencoder of this package.
        path: `name.onnx` (ONNX, for onnxruntime), `name.tflite` (LiteRT), or a folder without suffix (SavedModel).
            Needs the TensorFlow backend; `.onnx` and `.tflite` also `pip install "medzoo[export]"`.
        part: `"reconstruct"`, `"encode"` or `"decode"`. A SavedModel holds all three, as functions and as
            signatures of these names; the one that is named is its default signature.
        size: `(height, width)` of the images. By default that of the model; models that take any size then stay open
            in SavedModel and ONNX, and LiteRT wants it said.
        quantize: `.tflite` only. `"float16"`: weights of half the size. `"int8"`: weights of a quarter of the size.
            Inputs and outputs stay as they are.
        images: with `"int8"`, some hundred typical images `(N, H, W, C)` in [0, 1]: their ranges in each layer are
            taken, and all arithmetic is in whole numbers, for chips that have no other. That costs more quality.
        overwrite: replace what is there.

    Returns: `path`.

    Raises:
        FileExistsError: `path` exists and `overwrite` is not set, or is a folder that holds no SavedModel.
        ValueError: arguments that do not fit together; another backend.
        ImportError: the extra is not installed.
    """
    path = Path(path)
    kind = {".onnx": "onnx", ".tflite": "litert", "": "tf_saved_model"}.get(path.suffix)
    _check(model, path, kind, part, size, quantize, images)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: exists; choose another name or pass overwrite=True.")
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise FileExistsError(f"{path}: a folder that holds no SavedModel; it is not replaced. Choose another name.")
    one_part = _Part(model, part, size)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        made = Path(folder) / path.name
        if kind == "tf_saved_model":
            _saved_model(model, one_part, made, size)
        elif kind == "onnx":
            _onnx(one_part, made)
        else:
            _litert(one_part, made, quantize, images)
        if path.is_dir():
            shutil.rmtree(path)
        made.replace(path)
    return path


def _check(model, path, kind, part, size, quantize, images):
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"export: the {keras.backend.backend()} backend; expected tensorflow. Save the model with "
            "medzoo.save_preset and export it in a process with KERAS_BACKEND=tensorflow."
        )
    if kind is None:
        raise ValueError(f"{path}: suffix {path.suffix!r}; expected .onnx, .tflite, or none for a SavedModel folder.")
    if part not in OUTPUTS:
        raise ValueError(f"export: part={part!r}; expected one of {', '.join(OUTPUTS)}.")
    if quantize not in QUANTIZE or (quantize and kind != "litert"):
        raise ValueError(f"{path}: quantize={quantize!r}; expected 'float16' or 'int8', and a .tflite file.")
    checked("export", {"size": either(several(COUNT, model.spatial_dims, model.spatial_dims), NONE)}, size=size)
    if size is not None:
        check_shape(model, np.broadcast_to(np.float32(0), (1, *_shape(model, size))))
    if images is not None and quantize != "int8":
        raise ValueError(f"{path}: images= are for quantize='int8', not for quantize={quantize!r}.")
    if kind == "litert" and None in _shape(model, size):
        raise ValueError(f"{path}: {model.name} takes images of any size; a .tflite file wants one: size=(256, 256).")
    if images is not None:
        check_images(model, np.asarray(images))
        if np.shape(images)[1:] != _shape(model, size):
            raise ValueError(f"{path}: images= of {np.shape(images)[1:]}; expected {_shape(model, size)}.")


def _shape(model, size):
    *own, channels = model.image_shape
    return (*(size or own), channels)


class _Part(keras.Model):
    """One of an autoencoder's functions as a model, with the specification of its input."""

    def __init__(self, model, part, size):
        super().__init__(name=f"{model.name}-{part}".replace("-", "_"))
        self.model, self.part = model, part
        shape = _shape(model, size)
        decoding = part == "decode"
        # Codes and a codec's latents are whole numbers; what `encode` gives for one image tells.
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
        return {OUTPUTS[self.part]: getattr(self.model, self.part)(x)}


def _saved_model(model, part, path, size):
    """By TensorFlow itself: Keras' own export writes all weights twice."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    signatures = {}
    for one in (*(_Part(model, name, size) for name in OUTPUTS), part):
        (spec,) = one.signature
        spec = tf.TensorSpec(spec.shape, spec.dtype, spec.name)
        setattr(module, one.part, tf.function(getattr(model, one.part), input_signature=[spec]))
        signatures["serving_default" if one is part else one.part] = tf.function(one.call, input_signature=[spec])
    tf.saved_model.save(module, str(path), signatures=signatures)


def _onnx(part, path):
    try:
        import onnx
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise ImportError(f'{path}: needs tf2onnx and onnx: pip install "medzoo[export]".') from error
    part(_example(part))
    part.export(path, format="onnx", input_signature=part.signature, verbose=False)
    onnx.checker.check_model(path)  # tf2onnx only logs what it could not convert


def _litert(part, path, quantize, images):
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
                yield [part.model.encode(batch) if part.part == "decode" else batch]

        options["representative_dataset"] = samples
    part(_example(part))
    with contextlib.redirect_stderr(io.StringIO()):
        part.export(path, format="litert", input_signature=part.signature, verbose=False, **options)


def _example(part):
    (spec,) = part.signature
    return np.zeros(
        [n or (1 if i == 0 else 4 * max(part.model.downsampling_factors)) for i, n in enumerate(spec.shape)], spec.dtype
    )


def typical_images(model, folder, size=None):
    """Images of a folder as `export(images=...)` takes them, of the model's size or, where it takes any, of `size`.

    Raises:
        ValueError: the model takes any size and none is given.
    """
    own = (size, size) if size else model.image_shape[:2]
    if None in own:
        raise ValueError(f"{model.name} takes images of any size; say which with size (--size).")
    return np.stack([read_image(path, own, model.preprocess.window) for path in list_images(folder)])
