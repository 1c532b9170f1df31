"""Validation of untrusted presets: configurations and weight files are checked before a model is built."""

import collections
import inspect
import math
import numbers
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras

from medzoo.errors import PresetError
from medzoo.models.flow_prior import FlowPrior

# name: (smallest, largest) of numbers, single or in lists
BOUNDS = {
    "image_shape": (1, 16384),
    "latent_dim": (1, 65536),
    "filters": (1, 4096),
    "blocks_per_stage": (0, 64),
    "patch_size": (1, 64),
    "seed": (0, 2**63),
    "top_k": (1, 65536),
    "codebook_size": (2, 2**20),
    "hidden": (1, 4096),
    "mask_ratio": (0, 1),
    "groups": (1, 4096),
    "stem": (1, 4096),
    "downsample_parameters": (0, 64),
    "upsample_parameters": (0, 64),
    "moments": (1, 65536),
    "decoder_width": (1, 65536),
    "decoder_blocks": (0, 64),
    "out_channels": (1, 16384),
    "latent_shape": (1, 16384),
    "num_classes": (0, 4096),
    "size": (1, 16384),
    "noise_scale": (0, 100),
}
MAX_LENGTH = 16  # of lists
REFERENCE = {
    "psnr": 2,
    "deep": 2**20,
    "layout": 2**20,
    "images": 1,
    "scores": 512,
}  # maximum number of entries of each list
NESTED = ("downsample_parameters", "upsample_parameters")  # lists of lists
MAX_NUMBER = 1e9  # of any other number
MAX_DEPTH = 32  # of nested groups in a weights file


def check_config(config: dict, families: dict[str, type], name: str) -> tuple[type, dict]:
    """Validate the configuration of a model.

    Args:
        config: The value of `"model"` in `config.json`.
        families: Allowed classes by name.
        name: Name of the preset, for errors.

    Returns:
        The class and its arguments.

    Raises:
        PresetError: If the class is not allowed, or an argument is unknown or out of bounds.
    """
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise PresetError(
            f"{name}: the model configuration is invalid. Expected a JSON object with class_name and config."
        )
    family = config.get("class_name")
    if not isinstance(family, str) or family not in families:
        raise PresetError(f"{name}: class {family!r} is not allowed. Expected one of {', '.join(families)}.")
    check_arguments(config["config"], families[family], name)
    return families[family], config["config"]


def _arguments(cls):
    names = {"name"}
    for parent in cls.__mro__:
        if parent.__module__.startswith("medzoo."):
            names |= {n for n, p in inspect.signature(parent.__init__).parameters.items() if p.kind != p.VAR_KEYWORD}
    return names - {"self"}


def check_arguments(arguments: dict, cls: type, name: str) -> None:
    """Validate the arguments of a class.

    Args:
        arguments: Dict from a JSON file.
        cls: A class of medzoo.
        name: Name of the preset, for errors.

    Raises:
        PresetError: If an argument is unknown or out of bounds.
    """
    if not isinstance(arguments, dict):
        raise PresetError(
            f"{name}: expected a JSON object with arguments of {cls.__name__}, got {str(arguments)[:100]}."
        )
    if unknown := set(arguments) - _arguments(cls):
        raise PresetError(f"{name}: {cls.__name__} has no argument {', '.join(sorted(map(str, unknown)))}.")
    for key, value in arguments.items():
        if key == "prior" and isinstance(value, dict):
            check_arguments(value, FlowPrior, name)
        else:
            _check_value(name, key, value)


def _check_value(name, key, value):
    values = value if isinstance(value, list) else [value]
    if key in NESTED and all(isinstance(v, list) for v in values):
        for v in values[: MAX_LENGTH + 1]:
            _check_value(name, f"{key} ", v)  # each is a list of numbers
        values = []
    if len(values) > MAX_LENGTH:
        raise PresetError(f"{name}: {key} has {len(values)} entries. Expected at most {MAX_LENGTH}.")
    low, high = BOUNDS.get(key, (-MAX_NUMBER, MAX_NUMBER))
    for v in values:
        if v is None or isinstance(v, bool) or (isinstance(v, str) and len(v) <= 200):
            continue
        if not isinstance(v, numbers.Real) or not math.isfinite(v) or not low <= v <= high:
            raise PresetError(f"{name}: {key}={str(value)[:100]} is out of bounds. Expected {low:g} to {high:g}.")


def check_reference_statistics(statistics: dict, name: str) -> None:
    """Validate reference statistics, see `medzoo.models.ood.ReferenceStatistics`.

    Args:
        statistics: The value of `"reference_statistics"` in `config.json`.
        name: Name of the preset, for errors.

    Raises:
        PresetError: If keys are unknown, lists are too long, or values are not finite numbers within bounds.
    """
    if not isinstance(statistics, dict) or set(statistics) != set(REFERENCE):
        keys = sorted(map(str, statistics)) if isinstance(statistics, dict) else str(statistics)[:100]
        raise PresetError(
            f"{name}: reference_statistics contains {keys}. Expected {', '.join(REFERENCE)}. Recompute them with "
            "model.fit_reference(images) and save the preset."
        )
    for key, value in statistics.items():
        parts = value if isinstance(value, dict) else {key: value}
        if set(parts) not in ({key}, {"mean", "deviation", "distance"}):
            raise PresetError(
                f"{name}: reference_statistics: {key} contains {sorted(map(str, parts))}. "
                "Expected mean, deviation, distance."
            )
        for part, numbers_ in parts.items():
            _check_numbers(name, f"reference_statistics: {part}", numbers_, REFERENCE[key], none=key == "psnr")


def _check_numbers(name, key, value, longest, none):
    if none and value is None:
        return
    values = value if isinstance(value, list) else [value]
    if len(values) > longest:
        raise PresetError(f"{name}: {key} has {len(values)} entries. Expected at most {longest}.")
    for v in values:
        if isinstance(v, bool) or not isinstance(v, numbers.Real) or not math.isfinite(v) or abs(v) > MAX_NUMBER:
            raise PresetError(f"{name}: {key} contains {str(v)[:100]}. Expected finite numbers up to {MAX_NUMBER:g}.")


def check_count(family: type, arguments: dict, weights_size: int, name: str) -> None:
    """Check that the weights file can contain the model's weights, before memory is allocated for them.

    Args:
        family: Class of the model, see `check_config`.
        arguments: Its arguments.
        weights_size: int. Size of the weights file in bytes.
        name: Name of the preset, for errors.

    Raises:
        PresetError: If the model has more weights than the file. The class raises its own errors for arguments that do
            not fit together.
    """

    def count():
        with keras.StatelessScope(initialize_variables=False):  # variables without values
            return sum(math.prod(v.shape) for v in family.from_config(arguments).variables)

    # Keras keeps a thread-local list of uninitialized variables; it ends with this separate thread.
    with ThreadPoolExecutor(1) as thread:
        weights = thread.submit(count).result()
    if 2 * weights > weights_size:
        raise PresetError(
            f"{name}: the configuration describes {weights:,} weights, the weights file has {weights_size:,} bytes; "
            "they do not fit together."
        )


def check_weights(path: Path, shapes: Sequence[tuple], name: str) -> None:
    """Check that a weights file contains only plain arrays with the shapes of the model's variables.

    Only the metadata of the file is read: shapes are compared before memory is allocated.

    Args:
        path: HDF5 file.
        shapes: Shapes of the model's variables; each shape may occur at most as often as in the model.
        name: Name of the preset, for errors.

    Raises:
        PresetError: If the file contains links, external arrays, other shapes or dtypes, or too many arrays.
    """
    import h5py

    left = collections.Counter(map(tuple, shapes))

    def visit(group, depth):
        if depth > MAX_DEPTH:
            raise PresetError(f"{name}: {path.name} nests groups deeper than {MAX_DEPTH} levels.")
        for key in group:
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise PresetError(f"{name}: {path.name} contains a link at {group.name}/{key}. Expected plain arrays.")
            item = group[key]
            if isinstance(item, h5py.Group):
                visit(item, depth + 1)
                continue
            plain = isinstance(item, h5py.Dataset) and not item.is_virtual and not item.external
            if not plain or item.dtype.kind not in "fiu":
                raise PresetError(f"{name}: {path.name} contains {item!r} at {item.name}. Expected plain arrays.")
            if not left[tuple(item.shape or ())]:
                raise PresetError(
                    f"{name}: {path.name} contains an array of shape {item.shape} at {item.name}, unlike the model."
                )
            left[tuple(item.shape or ())] -= 1

    with h5py.File(path, "r") as file:
        visit(file, 0)
