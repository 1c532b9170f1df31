"""Files on their way in: each is removed soon after it was read."""

import shutil
import threading
import time
from collections import Counter
from contextlib import contextmanager

GRACE = 5.0  # seconds between an upload and the reading of it, at most


class Uploads:
    """Removes an upload's folder `grace` seconds after it was read last, and not before.

    Gradio names an upload's folder after what is in the file, so the same file from two visitors is one file on disk:
    were it removed at once, the second would find nothing.
    """

    def __init__(self, grace=GRACE):
        self.grace, self.readers, self.lock = grace, Counter(), threading.Lock()

    @contextmanager
    def reading(self, path):
        """While a file, a `Path`, is read."""
        with self.lock:
            self.readers[path.parent] += 1
        try:
            yield
        finally:
            with self.lock:
                self.readers[path.parent] -= 1
            self._later(path.parent)

    def _later(self, folder):
        timer = threading.Timer(self.grace, self._remove, [folder])
        timer.daemon = True  # when the server ends, all that is left goes with its folder
        timer.start()

    def _remove(self, folder):
        with self.lock:
            if self.readers[folder]:
                return  # comes here when it has read
            del self.readers[folder]
            newest = max((file.stat().st_mtime for file in folder.glob("*")), default=0.0)
            if time.time() - newest >= self.grace:
                shutil.rmtree(folder, ignore_errors=True)
                return
        self._later(folder)  # uploaded again, and not read yet
