"""The one list of what the zoo holds: weights_manifest.json."""

import difflib
import fnmatch
import json
from functools import cache
from pathlib import Path

from medzoo.errors import PresetError

BUNDLED = Path(__file__).parent / "weights"


def manifest_path():
    """weights_manifest.json: beside this module in an installed wheel, at the top of the repository in a checkout."""
    installed = Path(__file__).parent / "weights_manifest.json"
    return installed if installed.is_file() else Path(__file__).parents[2] / "weights_manifest.json"


@cache
def manifest():
    """The manifest's presets: name to entry."""
    return json.loads(manifest_path().read_text(encoding="utf-8"))["presets"]


def list_models(pattern="*"):
    """Names of the presets that match a pattern, e.g. `list_models("vae-*")`."""
    return [name for name in manifest() if fnmatch.fnmatch(name, pattern)]


def entry(name):
    """The manifest's entry of a preset.

    Raises:
        PresetError: no such preset; lists what there is.
    """
    if name not in manifest():
        near = difflib.get_close_matches(str(name), manifest(), n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise PresetError(f"no preset {name!r}.{hint} There is: {', '.join(manifest())}.")
    return manifest()[name]


def input_size(entry):
    """`64×64`, or `256×256, any` where the size is open and was measured at 256x256."""
    open_size = None in entry["input"]
    return "×".join(map(str, entry["metrics"]["image_size"])) + (", any" if open_size else "")
