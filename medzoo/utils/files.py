"""Files that are written whole or not at all, and settings that must not change under an unfinished work."""

import contextlib
import json
import os
from collections import Counter
from pathlib import Path


@contextlib.contextmanager
def written_whole(path):
    """A path beside `path` to write to; it takes its place when the block ends, and is removed when the block fails.

        with written_whole("films.npz") as part:
            np.savez(part, films=films)

    What stood at `path` before stays until then. The ending is kept, since some writers go by it.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path, data):
    """Writes bytes or text (UTF-8) whole or not at all."""
    with written_whole(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path, content):
    """Writes a dict as readable JSON, whole or not at all."""
    write_whole(path, json.dumps(content, indent=2) + "\n")


def check_settings(path, settings):
    """Keeps the settings of a work that can be interrupted, as JSON; says whether there was such a file before.

    Raises:
        ValueError: the file holds others; names those that differ.
    """
    path = Path(path)
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    if before is not None and before != settings:
        changed = sorted(k for k in {*before, *settings} if before.get(k) != settings.get(k))
        found, asked = ({k: s.get(k) for k in changed} for s in (before, settings))
        raise ValueError(
            f"{path.parent}: holds unfinished work with other settings, {found}; asked for {asked}. Choose another "
            "folder."
        )
    write_json(path, settings)
    return before is not None


def unique_names(names):
    """The names, those that stand several times with their place before them: `["a", "b", "a"]` to `00000-a` ...; all
    of them, where that would be another's name."""
    counts = Counter(names)
    apart = [f"{i:05d}-{name}" if counts[name] > 1 else name for i, name in enumerate(names)]
    return apart if len(set(apart)) == len(apart) else [f"{i:05d}-{name}" for i, name in enumerate(names)]
