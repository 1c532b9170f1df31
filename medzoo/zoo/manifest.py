"""The one list of what the zoo holds: weights_manifest.json."""

import difflib
import fnmatch
import json
from functools import cache
from pathlib import Path

from medzoo.errors import PresetError, PresetNotFoundError

BUNDLED = Path(__file__).parent / "weights"
FORMAT = 1


def manifest_path():
    """weights_manifest.json: beside this module in an installed wheel, at the top of the repository in a checkout."""
    installed = Path(__file__).parent / "weights_manifest.json"
    return installed if installed.is_file() else Path(__file__).parents[2] / "weights_manifest.json"


@cache
def manifest():
    """The manifest's presets: name to entry.

    Raises:
        PresetError: the manifest is of a newer medzoo, or damaged.
    """
    path = manifest_path()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise PresetError(
                f"{path}: format {content['format']}; this medzoo reads {FORMAT}. Try pip install -U medzoo."
            )
        return content["presets"]
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise PresetError(f"{path}: no manifest ({type(error).__name__}: {error}); reinstall medzoo.") from error


# What presets are chosen for: names of commands, or of pages in docs/tasks.
TASKS = ("reconstruct", "classify", "anomaly", "segment", "generate", "encode", "retrieve", "compress", "denoise")
FAMILIES = {"ae": "ConvAutoencoder", "vae": "VAE", "vqvae": "VQVAE", "mae": "MaskedAutoencoder", "codec": "Codec"}


def list_models(pattern="*", family=None, modality=None, size=None, task=None):
    """Names of the presets that match a pattern, e.g. `list_models("vae-*")`, and all that else is given.

    Args:
        pattern: of names, as in the shell.
        family: `"ae"`, `"vae"`, `"vqvae"`, `"mae"`, `"codec"`, or the name of a class.
        modality: `"X-ray"`, `"CT"`, `"MR"` or `"ultrasound"`; presets for several modalities are among the answers.
        size: side in pixels of square images that the model takes as they are.
        task: what the model was made for, one of `TASKS`, e.g. `"generate"`.

    Raises:
        ValueError: no such task.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"list_models: task={task!r}; expected one of {', '.join(TASKS)}.")
    names = []
    for name, e in manifest().items():
        of_family = family is None or e["family"].lower() == FAMILIES.get(family.lower(), family).lower()
        of_modality = modality is None or e["modality"].lower() in (modality.lower(), "several")
        sides = e["input"][:-1]
        of_size = size is None or sides == [size] * 2 or (sides == [None] * 2 and size % e["multiple_of"] == 0)
        of_task = task is None or task in e["tasks"]
        if fnmatch.fnmatch(name, pattern) and of_family and of_modality and of_size and of_task:
            names.append(name)
    return names


def entry(name):
    """The manifest's entry of a preset.

    Raises:
        PresetNotFoundError: no such preset; lists what there is.
    """
    if name not in manifest():
        near = difflib.get_close_matches(str(name), manifest(), n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise PresetNotFoundError(f"no preset {name!r}.{hint} There is: {', '.join(manifest())}.")
    return manifest()[name]


def input_size(entry):
    """`64×64`, or `256×256, any` where the size is open and was measured at 256x256."""
    open_size = None in entry["input"]
    return "×".join(map(str, entry["metrics"]["image_size"])) + (", any" if open_size else "")
