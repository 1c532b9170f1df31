"""Functions that the benchmarks share: timing, caching, and results as JSON and as a Markdown page with a figure."""

import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import keras
import numpy as np
from PIL import Image

from medzoo.training.trainer import flush_denormals
from medzoo.utils.files import write_atomically, write_json
from medzoo.utils.tables import table


def write_page(out: Path, title: str, tables: Sequence[tuple], results: dict, text: str | None = None) -> None:
    """Write OUT.json and OUT.md; the page shows OUT.png, which the benchmark has saved before.

    Args:
        out: Path without a file extension.
        title: Title of the page.
        tables: Sequence of `(heading, header, rows)`.
        results: JSON-serializable results for OUT.json.
        text: Markdown paragraphs of the page. Default: the docstring of the running benchmark after its command.
    """
    command = command_line()
    if text is None:
        text = description()
    write_json(out.with_suffix(".json"), {"command": command, **results})
    quantize_png(out.with_suffix(".png"))
    parts = [f"# {title}", text, f"Command: `{command}`", f"![{title}]({out.name}.png)"]
    for heading, header, rows in tables:
        parts += [f"## {heading}"] if heading else []
        parts.append(table(header, rows))
    write_atomically(out.with_suffix(".md"), "\n\n".join(parts) + "\n")


def quantize_png(path: Path) -> None:
    """Reduce a color PNG to 256 colors, a third of the bytes, because every clone contains it."""
    with Image.open(path) as image:
        if image.mode in ("RGB", "RGBA"):
            image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def description() -> str:
    """Return the docstring of the running benchmark after its command."""
    return click.get_current_context().command.help.split("\n\n", 2)[2].replace("\n", " ").strip()


def command_line() -> str:
    """Return the command of the running benchmark: folders as DIR, files by name, options that were given."""
    context = click.get_current_context()
    script = Path(inspect.getsourcefile(context.command.callback)).stem
    words = [f"python benchmarks/{script}.py"]
    for option in context.command.params:
        value = context.params[option.name]
        given = context.get_parameter_source(option.name) != click.core.ParameterSource.DEFAULT
        if not given or value is False:
            continue
        if option.name == "out":
            value = f"benchmarks/{Path(value).name}"
        elif isinstance(value, Path) or "/" in str(value):
            value = "DIR" if Path(value).is_dir() else Path(value).name
        words.append(option.opts[-1] if value is True else f"{option.opts[-1]} {value}")
    return " ".join(words)


def bar_chart(out: Path, names: Sequence[str], values: Sequence[float], label: str) -> None:
    """Save OUT.png: horizontal bars with their values, the first name on top."""
    from matplotlib.figure import Figure

    plot = Figure(figsize=(8, 0.8 + 0.3 * len(names)), layout="constrained")
    axis = plot.subplots()
    axis.bar_label(axis.barh(names[::-1], values[::-1], color="tab:blue", height=0.7), padding=3)
    axis.set_xlabel(label)
    axis.margins(x=0.12)
    axis.spines[["top", "right"]].set_visible(False)
    out.parent.mkdir(parents=True, exist_ok=True)
    plot.savefig(out.with_suffix(".png"), dpi=120)


def run_in_process(code: str, backend: str):
    """Run code in a new process, in this folder, on a Keras backend; return the JSON of its last output line."""
    env = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parent, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def seconds(function: Callable[[], object]) -> float:
    """Return the time of one call in seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def min_seconds(function: Callable[[], object], rounds: int) -> float:
    """Return the minimum time of several calls in seconds, after one call that is not timed."""
    function()
    return min(seconds(function) for _ in range(rounds))


def measure_throughput(cases: dict[str, tuple], unit: str) -> dict:
    """Measure the throughput of presets on Keras' PyTorch backend relative to a matrix product.

    Args:
        cases: `{preset: shape of a batch}`.
        unit: `"pixel"` or `"voxel"`, for the names.

    Returns:
        dict with the throughput of the matrix product in GFLOP/s (`ceiling_gflops`) and, per preset (`of`), MACs per
        pixel (or voxel), and pixels (or voxels) per second of reconstruction and of training, also as a fraction of
        the matrix product.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    import medzoo

    a = torch.rand(2048, 2048)
    ceiling = 2 * 2048**3 / min_seconds(lambda: a @ a, 10) / 1e9
    found = {}
    for name, shape in cases.items():
        model = medzoo.load(name)
        x = np.random.default_rng(0).random(shape, dtype="float32")
        with FlopCounterMode(display=False) as counter:
            model.reconstruct(x)
        work = counter.get_total_flops()
        model.compile("adam")
        took = {
            "reconstruction": (min_seconds(lambda m=model, x=x: m.reconstruct(x), 10), work),
            "training": (min_seconds(lambda m=model, x=x: m.train_on_batch(x), 10), 3 * work),
        }
        found[name] = {f"macs_per_{unit}": round(work / 2 / x.size)}
        for which, (time_taken, flops) in took.items():
            fraction = round(flops / time_taken / 1e9 / ceiling, 3)
            found[name][which] = {f"{unit}s_per_second": round(x.size / time_taken), "fraction": fraction}
    return {"ceiling_gflops": round(ceiling, 1), "of": found}


def throughput_table(throughput: dict, unit: str) -> tuple[str, list, list]:
    """Return `(heading, header, rows)` of the result of `measure_throughput`."""
    header = ["Preset", f"MACs per {unit}"]
    header += [f"reconstruction, {unit}s per second", "fraction", f"training, {unit}s per second", "fraction"]
    rows = [
        [
            name,
            f"{own[f'macs_per_{unit}']:,}",
            f"{own['reconstruction'][f'{unit}s_per_second']:,}",
            f"{own['reconstruction']['fraction']:.0%}",
            f"{own['training'][f'{unit}s_per_second']:,}",
            f"{own['training']['fraction']:.0%}",
        ]
        for name, own in throughput["of"].items()
    ]
    return f"Throughput relative to a matrix product of {throughput['ceiling_gflops']:.0f} GFLOP/s", header, rows


def bootstrap_over_seeds(
    runs: Sequence[np.ndarray],
    truth: np.ndarray,
    statistic: Callable[[np.ndarray, np.ndarray], float],
    others: Sequence[np.ndarray] | None = None,
    resamples: int = 1000,
) -> dict:
    """Return the mean of a statistic over runs, with a 95% bootstrap interval over images and runs.

    Args:
        runs: Scores, one array of shape `(N, ...)` per run.
        truth: Labels, shape `(N,)`.
        statistic: Function of scores and labels.
        others: Scores of a baseline, one array per run; the statistic is then the paired difference to the baseline.
        resamples: Number of bootstrap resamples.

    Returns:
        dict with `mean` and `interval`.
    """
    rng, n, every = np.random.default_rng(0), len(truth), np.arange(len(runs))

    def value(images, seeds):
        def mean(of):
            return np.mean([statistic(of[k][images], truth[images]) for k in seeds])

        return mean(runs) - (0 if others is None else mean(others))

    samples = [value(rng.integers(0, n, n), rng.choice(every, len(every))) for _ in range(resamples)]
    low, high = np.nanpercentile(samples, (2.5, 97.5))
    return {"mean": round(float(value(np.arange(n), every)), 4), "interval": [round(low, 4), round(high, 4)]}


def use_one_core() -> None:
    """Configure a process, before any other work, to use one core."""
    flush_denormals()
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)


def cached(cache: Path, key: Sequence, work: Callable[[], object]):
    """Return `work()`, or its cached result, so that an interrupted run can be resumed.

    Args:
        cache: Folder of the cached results.
        key: JSON-serializable key of the result.
        work: Function that computes the result.
    """
    file = cache / (json.dumps(key).translate(str.maketrans("", "", "/[]\"',")) + ".npy")
    if not file.exists():
        found = work()
        np.save(file.with_suffix(".part.npy"), np.array([found], dtype=object))
        file.with_suffix(".part.npy").rename(file)
    return np.load(file, allow_pickle=True)[0]
