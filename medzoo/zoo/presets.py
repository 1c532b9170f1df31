"""Loading and saving of presets.

A preset is a folder:

    config.json        class and configuration of the model, preprocessing, size and SHA-256 of the weights
    model.weights.h5   weights, float16 or float32
    README.md          model card in the format of the Hugging Face Hub
    samples.png        figure of the model card

The package, the cache and repositories on the Hub contain the same folders. A preset contains no executable code: the
class is one of medzoo, its configuration is plain JSON, the weights are HDF5 arrays.
"""

import inspect
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medzoo.errors import PresetError
from medzoo.models.checks import check_shape
from medzoo.utils.arguments import checked, choice
from medzoo.utils.files import atomic_write
from medzoo.zoo.converters.sources import is_checkpoint
from medzoo.zoo.download import sha256
from medzoo.zoo.files import CONFIG, FORMAT, WEIGHTS, folder_of, read_config
from medzoo.zoo.manifest import converted_models, manifest
from medzoo.zoo.preprocessor import Preprocessor
from medzoo.zoo.validation import check_arguments, check_config, check_count, check_reference_statistics, check_weights

if TYPE_CHECKING:
    from medzoo.models.base import Autoencoder


def load(name: str | os.PathLike, *, source: str | None = None, variant: str | None = None, **options) -> "Autoencoder":
    """Load a pretrained model for inference or for `compile` and `fit`.

    Args:
        name: Name of a preset (see `list_models()`), a preset folder, or `hf://user/repo[@revision]`. Use `./name` for
            a folder with the name of a preset. Or an autoencoder of another library: a name of `list_converted()`, a
            file of weights or a folder, or its repository; see `medzoo.zoo.converters.convert.convert`.
        source: Library that the weights are from, where files and tensors do not tell.
        variant: Which network of several, e.g. `"medvae_4_1_2d"`.
        **options: What the weights do not tell; the error that asks for them names them.

    Returns:
        A model of one of the classes in `medzoo.models.FAMILIES`, with `model.preprocess` attached.

    Raises:
        PresetError: If the preset does not exist, cannot be downloaded, or is damaged or invalid; the subclasses are in
            `medzoo.errors`.

    Examples:
        ```python
        model = medzoo.load("vae-chestxray")
        x = model.preprocess("image.dcm")
        z = model.encode(x)
        ```
    """
    name = os.fspath(name)
    asked = source is not None or variant is not None or bool(options)
    if name in manifest() and asked:
        raise PresetError(f"{name}: a preset of medzoo. source, variant and options are for other libraries' weights.")
    listed = name.startswith("hf://") or name in manifest() or name in converted_models()
    if not listed and (asked or is_checkpoint(name)):
        from medzoo.zoo.converters.convert import convert

        return convert(name, source, variant, **options)
    return _build(folder_of(name, source, variant, options), name)


def loaded(model: "Autoencoder | str | os.PathLike") -> "Autoencoder":
    """Return `load(model)` for a name or path, and a model unchanged."""
    return load(model) if isinstance(model, (str, os.PathLike)) else model


def _build(folder, name):
    """The model of a folder whose files were checked against the manifest, the Hub or its own configuration."""
    from medzoo import models
    from medzoo.models.ood import ReferenceStatistics

    config = read_config(folder)
    families = {cls.__name__: cls for cls in models.FAMILIES}
    family, arguments = check_config(config["model"], families, name)
    check_arguments(config["preprocessing"], Preprocessor, name)
    if "reference_statistics" in config:
        check_reference_statistics(config["reference_statistics"], name)
    try:
        if name not in manifest():  # other presets are checked against its checksums
            check_count(family, arguments, config["weights"]["size"], name)
        model = family.from_config(arguments)
        check_weights(folder / WEIGHTS, [v.shape for v in model.variables], name)
        model.load_weights(folder / WEIGHTS)
        model.preprocess = Preprocessor(**config["preprocessing"])
        model.reference_statistics = (
            ReferenceStatistics(**config["reference_statistics"]) if "reference_statistics" in config else None
        )
    except PresetError:
        raise
    except (ValueError, TypeError, KeyError, OSError, RuntimeError) as error:
        raise PresetError(f"{name}: weights and configuration do not fit together ({error}).") from error
    return model


def save_preset(
    model: "Autoencoder",
    folder: str | os.PathLike,
    *,
    preprocessing: dict | None = None,
    dtype: str = "float16",
    overwrite: bool = False,
) -> Path:
    """Write a model as a preset folder that `load` reads.

    Args:
        model: A medzoo model.
        folder: Folder to write. Files are written to a temporary folder first, so an error leaves nothing incomplete.
        preprocessing: Dict `{"size": (height, width) or None, "window": (center, width) or None}`. Default: the
            preprocessing of a loaded model, else the size of the model.
        dtype: Storage dtype of the weights, `"float16"` (half the size) or `"float32"`. Loaded models compute in
            float32. Default: `"float16"`.
        overwrite: bool. Replace `config.json` and the weights in an existing folder; its other files are kept.
            Default: `False`.

    Returns:
        Path of the folder.

    Raises:
        FileExistsError: If the folder exists and `overwrite` is false.
        ValueError: If float16 cannot represent the weights, the preprocessing is invalid, or the model is quantized.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder}: exists. Pass overwrite=True to replace the preset in it.")
    if preprocessing is None:
        known = model.preprocess.get_config() if model.preprocess else {}
        preprocessing = known or {"size": None if None in model.image_shape else model.image_shape[:-1], "window": None}
    checked("save_preset", {"dtype": choice("float16", "float32")}, dtype=dtype)
    preprocess = _preprocess(model, preprocessing)
    if model.quantized:
        raise ValueError(
            f"save_preset: {model.name} is quantized. Expected float32 weights; use model.save for a quantized model."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        temporary = Path(temporary)
        model.save_weights(temporary / WEIGHTS)
        _compact(temporary / WEIGHTS, dtype)
        config = {
            "format": FORMAT,
            "medzoo_version": version("medzoo"),
            "model": {"class_name": type(model).__name__, "config": _without_preprocess(model.get_config())},
            "preprocessing": preprocess.get_config(),
            "weights": {"size": (temporary / WEIGHTS).stat().st_size, "sha256": sha256(temporary / WEIGHTS)},
            **({"reference_statistics": model.reference_statistics.get_config()} if model.reference_statistics else {}),
        }
        (temporary / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        folder.mkdir(exist_ok=True)
        for file in (WEIGHTS, CONFIG):
            os.replace(temporary / file, folder / file)
    return folder


def _preprocess(model, arguments):
    """The `Preprocessor` with these arguments, after checking that the model accepts its images."""
    names = set(inspect.signature(Preprocessor).parameters)
    if not isinstance(arguments, dict) or set(arguments) - names:
        raise ValueError(
            f"save_preset: invalid preprocessing {arguments!r:.80}. Expected a dict of {', '.join(sorted(names))}."
        )
    preprocess = Preprocessor(**arguments)
    if preprocess.size:
        check_shape(model, np.broadcast_to(np.float32(0), (1, *preprocess.size, model.image_shape[-1])))
    return preprocess


def _without_preprocess(config):
    """A model's configuration without preprocessing, which a preset stores separately, and dtype policy."""
    return {key: value for key, value in config.items() if key not in ("preprocess", "dtype")}


def _compact(path, dtype):
    """Rewrite a weights file without optimizer state and with another dtype of its float32 arrays."""
    import h5py

    limit = np.finfo(dtype).max
    with atomic_write(path) as part, h5py.File(path, "r") as source, h5py.File(part, "w") as target:

        def copy(name, item):
            if "optimizer" in name.split("/"):
                return
            if not isinstance(item, h5py.Dataset):
                group = target.require_group(name)
                group.attrs.update(item.attrs)
                return
            values = item[()]
            if item.dtype == np.float32:
                if not (np.abs(values) <= limit).all():
                    raise ValueError(
                        f"save_preset: {name} contains values beyond {limit:g} or NaN; use dtype='float32'."
                    )
                values = values.astype(dtype)
            target[name] = values
            target[name].attrs.update(item.attrs)

        target.attrs.update(source.attrs)
        source.visititems(copy)
