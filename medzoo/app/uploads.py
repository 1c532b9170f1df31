"""Removal of uploaded files shortly after they were read."""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GRACE = 5.0  # maximum number of seconds between an upload and the start of its reading


class Uploads:
    """Temporary folders of uploads, each removed `grace` seconds after its last use.

    Gradio names the folder of an upload after the hash of the file, so that the same file uploaded by two visitors is
    stored once. If it were removed immediately, the second visitor's upload would be missing.

    Args:
        grace: float. Delay of the removal in seconds.

    Attributes:
        readers: Number of current readers by folder.
    """

    def __init__(self, grace: float = GRACE):
        self.grace, self.readers, self.lock = grace, Counter(), threading.Lock()

    @contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        """Keep a file while it is read, and schedule the removal of its folder."""
        with self.lock:
            self.readers[path.parent] += 1
        try:
            yield
        finally:
            with self.lock:
                self.readers[path.parent] -= 1
            self._schedule_removal(path.parent)

    def _schedule_removal(self, folder):
        timer = threading.Timer(self.grace, self._remove, [folder])
        timer.daemon = True  # the server removes its whole temporary folder when it ends
        timer.start()

    def _remove(self, folder):
        with self.lock:
            if self.readers[folder]:
                return  # the current reader schedules the removal
            del self.readers[folder]
            newest = max((file.stat().st_mtime for file in folder.glob("*")), default=0.0)
            if time.time() - newest >= self.grace:
                shutil.rmtree(folder, ignore_errors=True)
                return
        self._schedule_removal(folder)  # uploaded again and not read yet
