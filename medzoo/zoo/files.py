"""Files of a preset: locating them in the package, the cache or the Hugging Face Hub, and checking them.

This module imports no framework: listing, describing and verifying presets needs files only.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from medzoo.errors import PresetError, PresetNotFoundError
from medzoo.zoo.download import cache_folder, check_file, fetch
from medzoo.zoo.manifest import BUNDLED, converted_models, entry, manifest

CONFIG, WEIGHTS, CARD = "config.json", "model.weights.h5", "README.md"
FORMAT = 1
MAX_CONFIG_SIZE = 2**20  # bytes


def card(name: str | os.PathLike) -> str:
    """Return the text of a preset's model card, without metadata, figure and caption.

    Args:
        name: See `medzoo.load`.

    Raises:
        PresetError: See `medzoo.load`, or if the preset has no model card.
    """
    path = folder_of(name) / CARD
    if not path.is_file():
        raise PresetError(f"{name}: has no model card ({CARD}).")
    text = re.sub(r"\A---\n.*?\n---\n", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"!\[[^\]]*\]\([^)]*\)\n+[^\n]*\n", "", text).strip()  # figure and caption


def weights_digest(name: str | os.PathLike) -> str:
    """Return the SHA-256 of the weights that `load(name)` loads; arguments and errors as `medzoo.load`."""
    return read_config(folder_of(name))["weights"]["sha256"]


def image_shape_of(name: str | os.PathLike) -> tuple[int | None, ...]:
    """Return `image_shape` of a preset from its configuration; arguments and errors as `medzoo.load`."""
    try:
        return tuple(read_config(folder_of(name))["model"]["config"]["image_shape"])
    except (KeyError, TypeError) as error:
        raise PresetError(f"{name}: the configuration contains no image_shape.") from error


def folder_of(
    name: str | os.PathLike, source: str | None = None, variant: str | None = None, options: dict | None = None
) -> Path:
    """Return the folder of a preset after checking its files; arguments and errors as `medzoo.load`."""
    name = os.fspath(name)
    if name.startswith("hf://"):
        return _from_hub(name, source, variant, options)
    if name in converted_models():
        from medzoo.zoo.converters import hub

        return hub.by_name(name, source, variant, options)
    if name in manifest():
        return _from_zoo(name)
    if Path(name).is_dir():
        return _from_folder(Path(name))
    if "/" in name or "\\" in name:
        raise PresetNotFoundError(f"{name}: no such folder. For the Hugging Face Hub, use hf://user/repo.")
    entry(name)  # raises an error that lists the available presets
    raise AssertionError(name)


def verify(folders: Iterable[str | os.PathLike] = ()) -> Iterator[tuple[str, str | None]]:
    """Check the files of all bundled presets, cached presets and given folders.

    Args:
        folders: Further preset folders.

    Yields:
        Pairs `(file or folder, problem)`; the problem is `None` if the check passed.
    """
    from huggingface_hub import try_to_load_from_cache

    for name, own in manifest().items():
        hub = own.get("hub")
        for file, expected in own["files"].items():
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
    """The folder of a preset of the manifest: in the package, else in the cache, else from the Hub."""
    own, folder = entry(name), BUNDLED / name
    hub = own.get("hub")
    if hub and not folder.is_dir():
        paths = [fetch(hub["repo"], file, hub["commit"], expected) for file, expected in own["files"].items()]
        return paths[0].parent
    for file, expected in own["files"].items():
        if not (folder / file).is_file():
            raise PresetError(f"{folder / file}: missing from the installation. Reinstall medzoo.")
        check_file(folder / file, expected)
    return folder


def _from_hub(uri, source=None, variant=None, options=None):
    from medzoo.zoo.converters import hub
    from medzoo.zoo.converters.sources import is_other_config

    match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", uri)
    if not match or ".." in uri:
        raise PresetError(f"{uri}: expected hf://user/repo or hf://user/repo@revision.")
    repo, revision = match.groups()
    if source is not None or variant is not None or options:
        return hub.converted(repo, revision, source, variant, options)
    try:
        config = fetch(repo, CONFIG, revision)
    except PresetNotFoundError as error:
        if hub.no_such_entry(error):
            return hub.converted(repo, revision)
        raise
    if is_other_config(config):
        return hub.converted(repo, revision)
    expected = read_config(config.parent)["weights"]
    # Both files are taken from the same commit, even if the branch changes in between.
    commit = config.parent.name
    return fetch(repo, WEIGHTS, commit if re.fullmatch(r"[0-9a-f]{40}", commit) else revision, expected).parent


def _from_folder(folder):
    check_preset(folder)
    return folder


def check_preset(folder: Path) -> dict:
    """Return the configuration of a preset folder after checking size and SHA-256 of its weights.

    Args:
        folder: A preset folder.

    Raises:
        PresetError: If the folder is not a preset, or is damaged.
    """
    config = read_config(folder)
    if not (folder / WEIGHTS).is_file():
        raise PresetError(f"{folder}: has no {WEIGHTS}.")
    check_file(folder / WEIGHTS, config["weights"])
    return config


def read_config(folder: Path) -> dict:
    """Return the content of `config.json` of a preset folder; raises `PresetError` if it is invalid."""
    path = folder / CONFIG
    if not path.is_file():
        raise PresetError(f"{folder}: has no {CONFIG}. Expected a preset folder as medzoo.save_preset writes it.")
    try:
        if path.stat().st_size > MAX_CONFIG_SIZE:
            raise ValueError(f"{path.stat().st_size:,} bytes, expected at most {MAX_CONFIG_SIZE:,}")
        config = json.loads(path.read_text(encoding="utf-8"))
        missing = {"format", "model", "preprocessing", "weights"} - set(config)
        missing = missing or {"size", "sha256"} - set(config["weights"])
        if missing:
            raise KeyError(", ".join(sorted(missing)))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PresetError(f"{path}: not a preset's configuration ({type(error).__name__}: {error}).") from error
    if config["format"] != FORMAT:
        raise PresetError(
            f"{path}: format {config['format']}; this version of medzoo reads {FORMAT}. Run pip install -U medzoo."
        )
    return config
