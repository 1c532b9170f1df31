"""Keeps off the screen what TensorFlow and its libraries say of themselves when they start."""

import atexit
import os
import re
import sys
import threading

# Lines of absl's log below the level of errors, and its remark about itself, written before any level can be set.
# That there is no GPU counts among them as an error.
NOISE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} [\d:.]+ +\d+ \S+:\d+\]"
    rb"|E\d{4} [\d:.]+ +\d+ cuda_\S+:\d+\]"
)


def silence():
    """From now on drops such lines from the process's standard error, and passes all others.

    Python's own `sys.stderr` goes around it, so that tracebacks and messages are not delayed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reports missing GPUs as errors
    try:
        screen = os.dup(2)
        reading, writing = os.pipe()
        os.dup2(writing, 2)
    except OSError:  # no standard error at all
        return
    os.close(writing)
    sys.stderr = os.fdopen(os.dup(screen), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")

    def pass_on():
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                if not NOISE.match(line):
                    os.write(screen, line)

    thread = threading.Thread(target=pass_on, daemon=True)
    thread.start()

    def finish():
        os.dup2(screen, 2)  # the pipe's last writer: the thread comes to its end
        thread.join(timeout=1)

    atexit.register(finish)
