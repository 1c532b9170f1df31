"""The manifest of all presets: weights_manifest.json."""

import difflib
import fnmatch
import json
from functools import cache
from pathlib import Path

from medzoo.errors import PresetError, PresetNotFoundError

BUNDLED = Path(__file__).parent / "weights"
FORMAT = 1


def manifest_path() -> Path:
    """Return the path of weights_manifest.json: in this package if installed, else at the top of the checkout."""
    installed = Path(__file__).parent / "weights_manifest.json"
    return installed if installed.is_file() else Path(__file__).parents[2] / "weights_manifest.json"


@cache
def manifest() -> dict[str, dict]:
    """Return the manifest entries by preset name.

    Raises:
        PresetError: If the manifest was written by a newer version of medzoo, or is damaged.
    """
    return _read()["presets"]


@cache
def converted_models():
    """Autoencoders of other libraries that `load` fetches and converts: name to entry.

    An entry holds `source`, `repo`, `revision`, `variant`, `license`, `citation` and `options` of `load`; no metrics.
    """
    return _read().get("converted", {})


def list_converted(pattern="*"):
    """Return the names of other libraries' autoencoders that `load` converts, e.g. `list_converted("medvae-*")`."""
    return [name for name in converted_models() if fnmatch.fnmatch(name, pattern)]


def _read():
    path = manifest_path()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise PresetError(
                f"{path}: format {content['format']}; this version of medzoo reads {FORMAT}. Run pip install -U medzoo."
            )
        if not isinstance(content["presets"], dict):
            raise TypeError("presets")
        return content
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise PresetError(f"{path}: invalid manifest ({type(error).__name__}: {error}). Reinstall medzoo.") from error


# Intended uses of presets; each is the name of a command.
TASKS = ("reconstruct", "classify", "anomaly", "segment", "generate", "encode", "retrieve", "compress", "denoise")
FAMILIES = {"ae": "ConvAutoencoder", "vae": "VAE", "vqvae": "VQVAE", "mae": "MaskedAutoencoder", "codec": "Codec"}


def list_models(
    pattern: str = "*",
    family: str | None = None,
    modality: str | None = None,
    size: int | None = None,
    task: str | None = None,
) -> list[str]:
    """Return the names of the presets that match all criteria.

    Args:
        pattern: Shell-style pattern of names, e.g. `"vae-*"`. Default: all names.
        family: `"ae"`, `"vae"`, `"vqvae"`, `"mae"`, `"codec"`, or a class name.
        modality: `"X-ray"`, `"CT"`, `"MR"` or `"ultrasound"`. Presets for several modalities match each of them.
        size: int. Side in pixels of square images that the model accepts without resizing.
        task: Intended use, one of `TASKS`, e.g. `"generate"`.

    Returns:
        List of names.

    Raises:
        ValueError: If the task is unknown.

    Examples:
        ```python
        medzoo.list_models("vae-*", modality="MR")
        ```
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"list_models: unknown task {task!r}. Expected one of {', '.join(TASKS)}.")
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


def entry(name: str) -> dict:
    """Return the manifest entry of a preset.

    Args:
        name: Name of a preset.

    Raises:
        PresetNotFoundError: If there is no such preset; the message lists the available ones.
    """
    if name not in manifest():
        near = difflib.get_close_matches(str(name), [*manifest(), *converted_models()], n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        known = ", ".join([*manifest(), *converted_models()])
        raise PresetNotFoundError(f"{name}: no such preset.{hint} Available presets: {known}.")
    return manifest()[name]


def input_size(entry: dict) -> str:
    """Return the input size of a preset as text, e.g. `64×64`, or `256×256, any` if it accepts any size.

    Args:
        entry: Manifest entry. Of models that accept any size, the evaluation size is given.
    """
    open_size = None in entry["input"]
    return "×".join(map(str, entry["metrics"]["image_size"])) + (", any" if open_size else "")
