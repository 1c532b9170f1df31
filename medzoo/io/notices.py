"""Warnings about single files in the log: each once, and a bounded number per minute."""

import logging
import time
from threading import Lock

log = logging.getLogger("medzoo")
MOST = 40  # warnings of one kind per minute; a folder may hold thousands of files of the same kind
_lock, _given, _counts = Lock(), set(), {}


def warn(kind, path, text):
    """Log a warning that names a file, unless the same one was logged before.

    Args:
        kind: str that tells what sort of warning this is; each kind is counted by itself.
        path: the file.
        text: str, what was found and what follows from it.
    """
    now = time.monotonic()
    with _lock:
        start, count = _counts.get(kind, (now, 0))
        if now - start > 60:
            start, count = now, 0
        if (path, text) in _given or count > MOST:
            return
        _counts[kind] = (start, count + 1)
        if count < MOST:
            if len(_given) > 100_000:
                _given.clear()
            _given.add((path, text))
    if count < MOST:
        log.warning("%s: %s", path, text)
    else:
        log.warning("%s: more than %d files; others are not named for a minute.", kind, MOST)
