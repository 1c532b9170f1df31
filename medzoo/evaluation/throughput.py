"""What a model costs on this machine."""

import json
import platform
import subprocess
import sys
import time

import numpy as np

from medzoo.utils.parallel import cores

SCRIPT = """
import json, resource, sys
import medzoo
from medzoo.evaluation.throughput import throughput
model = medzoo.load(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size = tuple(int(n) for n in sys.argv[2].split("x"))
result = throughput(model, size)
unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result["extra_memory_mib"] = round((after - before) * unit / 2**20, 1)
result["memory_mib"] = round(after * unit / 2**20, 1)
print(json.dumps(result))
"""


def throughput(model, size, batch_size=32, seconds=3.0):
    """Images a second through `encode` + `decode`, in batches, after one for warming up."""
    x = np.random.default_rng(0).random((batch_size, *size, 1), dtype="float32")
    model.decode(model.encode(x))
    start, rounds = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < seconds or rounds < 2:
        model.decode(model.encode(x))
        rounds += 1
    return {"images_per_second": round(batch_size * rounds / spent, 1), "batch_size": batch_size}


def speed(preset, size):
    """`throughput` and peak memory of a preset in a fresh process, JSON-ready; memory is left out on Windows.

    Args:
        preset: anything `medzoo.load` takes.
        size: `(height, width)`.
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

        return {**machine, **throughput(load(preset), size)}
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring the speed of {preset} failed:\n{done.stderr[-2000:]}")
    return {**machine, **json.loads(done.stdout.strip().splitlines()[-1])}
