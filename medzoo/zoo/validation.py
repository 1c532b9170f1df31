"""A preset from elsewhere is data: its configuration and weights are checked before anything is made from them."""

import collections
import inspect
import math
import numbers
from concurrent.futures import ThreadPoolExecutor

import keras

from medzoo.errors import PresetError
from medzoo.models.flow_prior import FlowPrior

# name: (smallest, largest) of numbers, alone or in lists; None where a number may be missing
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
    "latent_shape": (1, 16384),
    "num_classes": (0, 4096),
    "size": (1, 16384),
    "noise_scale": (0, 100),
}
LONGEST = 16  # of lists
REFERENCE = {"psnr": 2, "deep": 2**20, "layout": 2**20, "images": 1, "scores": 512}  # numbers at most in each list
LARGEST = 1e9  # of any other number
DEEPEST = 32  # of groups in a weights file


def check_config(config, families, name):
    """The class and arguments of a model's configuration, once nothing in it is out of bounds.

    Args:
        config: `config.json`'s `"model"`.
        families: classes that presets may be of, by name.
        name: of the preset, for errors.

    Raises:
        PresetError: another class, unknown arguments, values out of bounds.
    """
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise PresetError(f"{name}: the model's configuration is no JSON object with class_name and config.")
    family = config.get("class_name")
    if not isinstance(family, str) or family not in families:
        raise PresetError(f"{name}: class {family!r}; expected one of {', '.join(families)}.")
    check_arguments(config["config"], families[family], name)
    return families[family], config["config"]


def _arguments(cls):
    names = {"name"}
    for parent in cls.__mro__:
        if parent.__module__.startswith("medzoo."):
            names |= {n for n, p in inspect.signature(parent.__init__).parameters.items() if p.kind != p.VAR_KEYWORD}
    return names - {"self"}


def check_arguments(arguments, cls, name):
    """Refuses arguments of one of our classes that are unknown or out of bounds; raises as `check_config`."""
    if not isinstance(arguments, dict):
        raise PresetError(f"{name}: {str(arguments)[:100]}; expected arguments of {cls.__name__}, a JSON object.")
    if unknown := set(arguments) - _arguments(cls):
        raise PresetError(f"{name}: {cls.__name__} has no {', '.join(sorted(map(str, unknown)))}.")
    for key, value in arguments.items():
        if key == "prior" and isinstance(value, dict):
            check_arguments(value, FlowPrior, name)
        else:
            _check_value(name, key, value)


def _check_value(name, key, value):
    values = value if isinstance(value, list) else [value]
    if len(values) > LONGEST:
        raise PresetError(f"{name}: {key} has {len(values)} entries; at most {LONGEST} are taken.")
    low, high = BOUNDS.get(key, (-LARGEST, LARGEST))
    for v in values:
        if v is None or isinstance(v, bool) or (isinstance(v, str) and len(v) <= 200):
            continue
        if not isinstance(v, numbers.Real) or not math.isfinite(v) or not low <= v <= high:
            raise PresetError(f"{name}: {key}={str(value)[:100]}; expected {low:g} to {high:g}.")


def check_reference_statistics(usual, name):
    """Refuses reference statistics (see `medzoo.models.ood.Usual`) with unknown keys, lists that are too long, or
    numbers that are no finite numbers within bounds; raises as `check_config`."""
    if not isinstance(usual, dict) or set(usual) != set(REFERENCE):
        found = sorted(map(str, usual)) if isinstance(usual, dict) else str(usual)[:100]
        raise PresetError(
            f"{name}: usual holds {found}. Expected {', '.join(REFERENCE)}. A preset of an older medzoo needs "
            "model.fit_reference(images) and medzoo.save_preset."
        )
    for key, value in usual.items():
        parts = value if isinstance(value, dict) else {key: value}
        if set(parts) not in ({key}, {"mean", "deviation", "distance"}):
            raise PresetError(
                f"{name}: usual: {key} holds {sorted(map(str, parts))}. Expected mean, deviation, distance."
            )
        for part, numbers_ in parts.items():
            _check_numbers(name, f"usual: {part}", numbers_, REFERENCE[key], none=key == "psnr")


def _check_numbers(name, key, value, longest, none):
    if none and value is None:
        return
    values = value if isinstance(value, list) else [value]
    if len(values) > longest:
        raise PresetError(f"{name}: {key} has {len(values)} entries; at most {longest} are taken.")
    for v in values:
        if isinstance(v, bool) or not isinstance(v, numbers.Real) or not math.isfinite(v) or abs(v) > LARGEST:
            raise PresetError(f"{name}: {key} holds {str(v)[:100]}. Expected finite numbers up to {LARGEST:g}.")


def check_count(family, arguments, weights_size, name):
    """Refuses a model of more weights than its file can hold, before memory is taken for them.

    Args:
        family, arguments: as `check_config` gives them.
        weights_size: bytes of the weights file.
        name: of the preset, for errors.

    Raises:
        PresetError: so many weights; whatever the class raises for arguments that do not fit together.
    """

    def count():
        with keras.StatelessScope(initialize_variables=False):  # variables without values
            return sum(math.prod(v.shape) for v in family.from_config(arguments).variables)

    # In a thread of its own, which takes with it Keras' list of variables that still have to get values.
    with ThreadPoolExecutor(1) as thread:
        weights = thread.submit(count).result()
    if 2 * weights > weights_size:
        raise PresetError(
            f"{name}: a model of {weights:,} weights, and {weights_size:,} bytes of weights; they do not belong "
            "together."
        )


def check_weights(path, shapes, name):
    """Refuses a weights file that holds anything but plain arrays of the model's own shapes.

    Only the file's directory is read: what an array announces is compared before memory is taken for it.

    Args:
        path: HDF5 file.
        shapes: of the model's variables; each can be stored at most as often as it is there.
        name: of the preset, for errors.

    Raises:
        PresetError: links, arrays kept in other files, other shapes or types, too many.
    """
    import h5py

    left = collections.Counter(map(tuple, shapes))

    def visit(group, depth):
        if depth > DEEPEST:
            raise PresetError(f"{name}: {path.name} nests groups deeper than {DEEPEST}.")
        for key in group:
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise PresetError(f"{name}: {path.name} holds a link at {group.name}/{key}; expected plain arrays.")
            item = group[key]
            if isinstance(item, h5py.Group):
                visit(item, depth + 1)
                continue
            plain = isinstance(item, h5py.Dataset) and not item.is_virtual and not item.external
            if not plain or item.dtype.kind not in "fiu":
                raise PresetError(f"{name}: {path.name} holds {item!r} at {item.name}; expected plain arrays.")
            if not left[tuple(item.shape or ())]:
                raise PresetError(
                    f"{name}: {path.name} holds an array {item.shape} at {item.name} that the model has no place for."
                )
            left[tuple(item.shape or ())] -= 1

    with h5py.File(path, "r") as file:
        visit(file, 0)
