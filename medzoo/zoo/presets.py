"""Presets: folders that hold a model, its weights, its preprocessing and its card.

    config.json        class and configuration of the model, preprocessing, size and sha256 of the weights
    model.weights.h5   float16 or float32
    README.md          model card in the hub's format
    samples.png        a picture for the card

The same folder ships in the package, lies in the cache and is pushed to a hub repository. Nothing in it is executed:
the class is looked up among our own, its configuration is plain JSON, the weights are HDF5 arrays.
"""

import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from medzoo.errors import PresetError
from medzoo.models.checks import check_shape
from medzoo.utils.arguments import checked, choice
from medzoo.utils.files import written_whole
from medzoo.zoo.download import sha256
from medzoo.zoo.files import CONFIG, FORMAT, WEIGHTS, folder_of, read_config
from medzoo.zoo.manifest import manifest
from medzoo.zoo.preprocessor import Preprocessor
from medzoo.zoo.validation import check_arguments, check_config, check_count, check_reference_statistics, check_weights


def load(name):
    """Loads a pretrained model, ready for inference or for `compile` and `fit`.

    Args:
        name: a preset of the zoo (`list_models()`), a preset folder, or `hf://user/repo[@revision]`. A folder called
            like a preset is meant by `./name`.

    Returns: the model (of one of `medzoo.models.FAMILIES`), with `model.preprocess` attached.

    Raises:
        PresetError: no preset of that name, not to be had from the hub, damaged, or not ours; its kinds and what each
            means are in `medzoo.errors`.
    """
    return _build(folder_of(name), os.fspath(name))


def loaded(model):
    """`load(model)` for a name or path; a model as it is."""
    return load(model) if isinstance(model, (str, os.PathLike)) else model


def _build(folder, name):
    """The model of a folder whose files were checked where they came from: manifest, hub or the folder itself."""
    from medzoo import models
    from medzoo.models.ood import ReferenceStatistics

    config = read_config(folder)
    families = {cls.__name__: cls for cls in models.FAMILIES}
    family, arguments = check_config(config["model"], families, name)
    check_arguments(config["preprocessing"], Preprocessor, name)
    if "reference_statistics" in config:
        check_reference_statistics(config["reference_statistics"], name)
    try:
        if name not in manifest():  # whose files were held against its checksums
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


def save_preset(model, folder, *, preprocessing=None, dtype="float16", overwrite=False):
    """Writes a model as a preset folder that `load` reads.

    Args:
        model: a medzoo model.
        folder: written whole or not at all: files go to a temporary folder first.
        preprocessing: `{"size": (height, width) or None, "window": (center, width) or None}`; by default that of a
            loaded model, else the model's own size.
        dtype: `"float16"` halves the file; loaded models compute in float32 all the same.
        overwrite: replace `config.json` and the weights in an existing folder; its other files stay.

    Returns: the folder's path.

    Raises:
        FileExistsError: the folder exists and `overwrite` is false.
        ValueError: weights that float16 cannot hold.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder}: exists; pass overwrite=True to replace the preset in it.")
    if preprocessing is None:
        known = model.preprocess.get_config() if model.preprocess else {}
        preprocessing = known or {"size": None if None in model.image_shape else model.image_shape[:-1], "window": None}
    checked("save_preset", {"dtype": choice("float16", "float32")}, dtype=dtype)
    preprocess = _preprocess(model, preprocessing)
    if model.quantized:
        raise ValueError(f"save_preset: {model.name} is quantized; expected float32 weights. Save it with model.save.")
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
    """The `Preprocessor` of those arguments, once it gives images that the model takes."""
    names = set(Preprocessor().get_config())
    if not isinstance(arguments, dict) or set(arguments) - names:
        raise ValueError(
            f"save_preset: preprocessing={arguments!r:.80}; expected a dict of {', '.join(sorted(names))}."
        )
    preprocess = Preprocessor(**arguments)
    if preprocess.size:
        check_shape(model, np.broadcast_to(np.float32(0), (1, *preprocess.size, model.image_shape[-1])))
    return preprocess


def _without_preprocess(config):
    """A model's configuration; a preset says in one place how images are prepared, and holds no dtype policy."""
    return {key: value for key, value in config.items() if key not in ("preprocess", "dtype")}


def _compact(path, dtype):
    """Rewrites a weights file: without the state of the optimizer, and with its float32 arrays in another type."""
    import h5py

    limit = np.finfo(dtype).max
    with written_whole(path) as part, h5py.File(path, "r") as source, h5py.File(part, "w") as target:

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
                    raise ValueError(f"save_preset: {name} holds values beyond {limit:g} or NaN; use dtype='float32'.")
                values = values.astype(dtype)
            target[name] = values
            target[name].attrs.update(item.attrs)

        target.attrs.update(source.attrs)
        source.visititems(copy)
