"""Files of a preset: locating them in the package, the cache or the Hugging Face Hub, and checking them.

This module imports no framework: listing, describing and verifying presets needs files only.
"""

import json
import os
import re
from pathlib import Path

from medzoo.errors import PresetError, PresetNotFoundError
from medzoo.zoo.download import cache_folder, check_file, fetch
from medzoo.zoo.manifest import BUNDLED, entry, manifest

CONFIG, WEIGHTS, CARD = "config.json", "model.weights.h5", "README.md"
FORMAT = 1
LARGEST_CONFIG = 2**20  # bytes


def card(name):
    """The text of a preset's card, without its picture and the lines for the hub on top; raises as `load` does."""
    path = folder_of(name) / CARD
    if not path.is_file():
        raise PresetError(f"{name}: has no card ({CARD}).")
    text = re.sub(r"\A---\n.*?\n---\n", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"!\[[^\]]*\]\([^)]*\)\n+[^\n]*\n", "", text).strip()  # nor its picture, with what is said of it


def weights_digest(name):
    """SHA-256 of the weights that `load(name)` loads; raises as it does."""
    return read_config(folder_of(name))["weights"]["sha256"]


def image_shape_of(name):
    """`image_shape` of the model that `load(name)` builds, from its configuration; raises as it does."""
    try:
        return tuple(read_config(folder_of(name))["model"]["config"]["image_shape"])
    except (KeyError, TypeError) as error:
        raise PresetError(f"{name}: its configuration names no image_shape.") from error


def folder_of(name):
    """The folder of a preset, its files checked; arguments and errors as those of `load`."""
    name = os.fspath(name)
    if name.startswith("hf://"):
        return _from_hub(name)
    if name in manifest():
        return _from_zoo(name)
    if Path(name).is_dir():
        return _from_folder(Path(name))
    if "/" in name or "\\" in name:
        raise PresetNotFoundError(f"{name}: no such folder; for the hub write hf://user/repo.")
    entry(name)  # says which names there are


def verify(folders=()):
    """Yields `(preset or folder, None or what is wrong)` for all bundled presets, cached ones and given folders."""
    from huggingface_hub import try_to_load_from_cache

    for name, facts in manifest().items():
        hub = facts.get("hub")
        for file, expected in facts["files"].items():
            path = BUNDLED / name / file
            if hub and not path.is_file():
                path = try_to_load_from_cache(hub["repo"], file, cache_folder(), hub["commit"])
                if not isinstance(path, str):
                    continue  # never downloaded
            yield f"{name}/{file}", _problem(check_file, path, expected)
    for folder in folders:
        yield str(folder), _problem(_from_folder, Path(folder))


def _problem(function, *arguments):
    try:
        function(*arguments)
    except (PresetError, OSError) as error:
        return str(error)


def _from_zoo(name):
    """The folder of a preset of the manifest: in the package, else in the cache, else from the hub."""
    facts, folder = entry(name), BUNDLED / name
    hub = facts.get("hub")
    if hub and not folder.is_dir():
        paths = [fetch(hub["repo"], file, hub["commit"], expected) for file, expected in facts["files"].items()]
        return paths[0].parent
    for file, expected in facts["files"].items():
        if not (folder / file).is_file():
            raise PresetError(f"{folder / file}: missing from the installation; reinstall medzoo.")
        check_file(folder / file, expected)
    return folder


def _from_hub(uri):
    match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", uri)
    if not match or ".." in uri:
        raise PresetError(f"{uri}: expected hf://user/repo or hf://user/repo@revision.")
    repo, revision = match.groups()
    config = fetch(repo, CONFIG, revision)
    expected = read_config(config.parent)["weights"]
    # Both files from the commit that the config came from, whatever is pushed to the branch in between.
    commit = config.parent.name
    return fetch(repo, WEIGHTS, commit if re.fullmatch(r"[0-9a-f]{40}", commit) else revision, expected).parent


def _from_folder(folder):
    check_preset(folder)
    return folder


def check_preset(folder):
    """The configuration of a preset folder, once its weights are there and have the size and sha256 it says.

    Raises:
        PresetError: no preset folder, or a damaged one.
    """
    config = read_config(folder)
    if not (folder / WEIGHTS).is_file():
        raise PresetError(f"{folder}: has no {WEIGHTS}.")
    check_file(folder / WEIGHTS, config["weights"])
    return config


def read_config(folder):
    path = folder / CONFIG
    if not path.is_file():
        raise PresetError(f"{folder}: has no {CONFIG}; expected a preset folder as medzoo.save_preset writes it.")
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise ValueError(f"{path.stat().st_size:,} bytes, expected at most {LARGEST_CONFIG:,}")
        config = json.loads(path.read_text(encoding="utf-8"))
        missing = {"format", "model", "preprocessing", "weights"} - set(config)
        missing = missing or {"size", "sha256"} - set(config["weights"])
        if missing:
            raise KeyError(", ".join(sorted(missing)))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PresetError(f"{path}: not a preset's configuration ({type(error).__name__}: {error}).") from error
    if config["format"] != FORMAT:
        raise PresetError(f"{path}: format {config['format']}; this medzoo reads {FORMAT}. Try pip install -U medzoo.")
    return config
