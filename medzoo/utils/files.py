"""Atomic writing of files, and checks of the settings of resumable work."""

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without an error.

        with atomic_write("images.npz") as part:
            np.savez(part, images=images)

    If the block fails, the temporary file is removed and an existing file at `path` is kept. The temporary path has the
    same extension, since some writers depend on it.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_atomically(path: str | Path, data: bytes | str) -> None:
    """Write bytes or text (UTF-8) completely or not at all."""
    with atomic_write(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: str | Path, content: dict | list) -> None:
    """Write JSON with indentation, completely or not at all."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def check_settings(path: str | Path, settings: dict) -> bool:
    """Write the settings of resumable work as JSON, or compare them with an existing file.

    Args:
        path: Path of the JSON file.
        settings: JSON-ready dict.

    Returns:
        bool, whether the file existed.

    Raises:
        ValueError: If the file contains other settings; the message names those that differ.
    """
    path = Path(path)
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    if before is not None and before != settings:
        changed = sorted(k for k in {*before, *settings} if before.get(k) != settings.get(k))
        stored, requested = ({k: s.get(k) for k in changed} for s in (before, settings))
        raise ValueError(
            f"{path.parent}: contains unfinished work with other settings. Expected {stored}, got {requested}. Choose "
            "another folder."
        )
    write_json(path, settings)
    return before is not None


def unique_names(names: Sequence[str]) -> list[str]:
    """Return names that are all different, in the same order.

    Names that occur several times get their index as a prefix: `["a", "b", "a"]` becomes `["00000-a", "b", "00002-a"]`.
        If
    the result is another name, all names get a prefix.
    """
    counts = Counter(names)
    prefixed = [f"{i:05d}-{name}" if counts[name] > 1 else name for i, name in enumerate(names)]
    if len(set(prefixed)) == len(prefixed):
        return prefixed
    return [f"{i:05d}-{name}" for i, name in enumerate(names)]
