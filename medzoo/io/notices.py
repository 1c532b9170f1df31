"""Rate-limited log warnings about single files."""

import logging
import time
from pathlib import Path
from threading import Lock

log = logging.getLogger("medzoo")
MAX_PER_MINUTE = 40  # warnings of one kind; a folder may contain thousands of similar files
_lock, _given, _counts = Lock(), set(), {}


def warn(kind: str, path: str | Path, text: str) -> None:
    """Log a warning that names a file, unless the same warning was logged before.

    Args:
        kind: str. Kind of the warning; the rate limit applies to each kind separately.
        path: path of the file.
        text: str. Problem and its consequence.
    """
    now = time.monotonic()
    with _lock:
        start, count = _counts.get(kind, (now, 0))
        if now - start > 60:
            start, count = now, 0
        if (path, text) in _given or count > MAX_PER_MINUTE:
            return
        _counts[kind] = (start, count + 1)
        if count < MAX_PER_MINUTE:
            if len(_given) > 100_000:
                _given.clear()
            _given.add((path, text))
    if count < MAX_PER_MINUTE:
        log.warning("%s: %s", path, text)
    else:
        log.warning(
            "%s: more than %d files; further warnings of this kind are suppressed for one minute.", kind, MAX_PER_MINUTE
        )
