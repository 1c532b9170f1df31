"""Throughput and memory of a model on this machine."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from medzoo.utils.parallel import cores

if TYPE_CHECKING:
    import keras

SCRIPT = """
import json, resource, sys
import medzoo
from medzoo.evaluation.throughput import measure_throughput
model = medzoo.load(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size = tuple(int(n) for n in sys.argv[2].split("x"))
result = measure_throughput(model, size)
unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result["extra_memory_mib"] = round((after - before) * unit / 2**20, 1)
result["memory_mib"] = round(after * unit / 2**20, 1)
print(json.dumps(result))
"""


def measure_throughput(
    model: "keras.Model", size: Sequence[int], batch_size: int = 32, seconds: float = 3.0
) -> dict[str, float]:
    """Return the throughput of `encode` followed by `decode`, after one warm-up batch.

    Args:
        model: A medzoo model.
        size: `(height, width)` or `(depth, height, width)` of the images.
        batch_size: int. Images per batch. Default: 32.
        seconds: float. Minimum measuring time in seconds. Default: 3.

    Returns:
        Dict with `"images_per_second"` and `"batch_size"`.
    """
    x = np.random.default_rng(0).random((batch_size, *size, 1), dtype="float32")
    model.decode(model.encode(x))
    start, rounds = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < seconds or rounds < 2:
        model.decode(model.encode(x))
        rounds += 1
    return {"images_per_second": round(batch_size * rounds / spent, 1), "batch_size": batch_size}


def benchmark_preset(preset: str | os.PathLike, size: Sequence[int]) -> dict:
    """Return throughput and peak memory of a preset, measured in a new process.

    Args:
        preset: Anything `medzoo.load` takes.
        size: `(height, width)` or `(depth, height, width)` of the images.

    Returns:
        Dict, serializable as JSON, with throughput, backend and machine, and memory in MiB (not on Windows).

    Raises:
        RuntimeError: If the process fails.
    """
    import keras

    count = cores()
    machine = {
        "backend": keras.backend.backend(),
        "size": list(size),
        "machine": f"{platform.machine()}, {count} CPU core{'s' if count > 1 else ''}",
    }
    arguments = [sys.executable, "-c", SCRIPT, str(preset), "x".join(map(str, size))]
    if sys.platform == "win32":
        from medzoo.zoo.presets import load

        return {**machine, **measure_throughput(load(preset), size)}
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"benchmark_preset: the measurement of {preset} failed:\n{done.stderr[-2000:]}")
    return {**machine, **json.loads(done.stdout.strip().splitlines()[-1])}
