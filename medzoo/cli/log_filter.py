"""Removal of the startup messages of TensorFlow and its libraries from the standard error."""

import atexit
import os
import re
import sys
import threading

# Messages of absl below the level of errors, and its warning about itself, which are written before a level can be set.
# TensorFlow reports a missing GPU as an error.
NOISE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} [\d:.]+ +\d+ \S+:\d+\]"
    rb"|E\d{4} [\d:.]+ +\d+ cuda_\S+:\d+\]"
)


def filter_stderr() -> None:
    """Remove lines that match `NOISE` from the standard error of this process from now on.

    Python's `sys.stderr` bypasses the filter, so tracebacks and messages are not delayed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reports missing GPUs as errors
    try:
        screen = os.dup(2)
        reading, writing = os.pipe()
        os.dup2(writing, 2)
    except OSError:  # the process has no standard error
        return
    os.close(writing)
    sys.stderr = os.fdopen(os.dup(screen), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")

    def forward():
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                if not NOISE.match(line):
                    os.write(screen, line)

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()

    def restore():
        os.dup2(screen, 2)  # closes the last writer of the pipe, which ends the thread
        thread.join(timeout=1)

    atexit.register(restore)
