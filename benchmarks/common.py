"""What the benchmarks share: their numbers as JSON, the same as a Markdown page with a figure."""

import inspect
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import keras
import numpy as np
from PIL import Image

from medzoo.training.trainer import flush_denormals
from medzoo.utils.files import write_json, write_whole
from medzoo.utils.tables import table


def write(out, title, tables, facts, text=None):
    """Writes OUT.json and OUT.md; the page shows OUT.png, which the benchmark has drawn itself.

    Args:
        out: path without an ending.
        title: of the page.
        tables: list of `(heading, header, rows)`.
        facts: for the JSON file.
        text: of the page, paragraphs in Markdown; by default what the benchmark's docstring says after its command.
    """
    command = said()
    if text is None:
        text = explained()
    write_json(out.with_suffix(".json"), {"command": command, **facts})
    small(out.with_suffix(".png"))
    parts = [f"# {title}", text, f"Made by `{command}`.", f"![{title}]({out.name}.png)"]
    for heading, header, rows in tables:
        parts += [f"## {heading}"] if heading else []
        parts.append(table(header, rows))
    write_whole(out.with_suffix(".md"), "\n\n".join(parts) + "\n")


def small(path):
    """Brings a picture in colour to 256 colours, a third of the bytes: every clone carries it."""
    with Image.open(path) as picture:
        if picture.mode in ("RGB", "RGBA"):
            picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def explained():
    """What the docstring of the benchmark that runs says after its command."""
    return click.get_current_context().command.help.split("\n\n", 2)[2].replace("\n", " ").strip()


def said():
    """The command of the benchmark that runs: folders as DIR, files by their names, options that were given."""
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


def bars(out, names, values, label):
    """OUT.png: horizontal bars with their values, the first name on top."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8, 0.8 + 0.3 * len(names)), layout="constrained")
    axis = drawing.subplots()
    axis.bar_label(axis.barh(names[::-1], values[::-1], color="tab:blue", height=0.7), padding=3)
    axis.set_xlabel(label)
    axis.margins(x=0.12)
    axis.spines[["top", "right"]].set_visible(False)
    out.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(out.with_suffix(".png"), dpi=120)


def in_process(code, backend):
    """Runs code in a process of its own, in this folder, on a Keras backend; what it prints last is JSON, returned."""
    env = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parent, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def seconds(function):
    """Seconds that one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def quickest(function, rounds):
    """Seconds of the quickest of some calls, after one that is not counted."""
    function()
    return min(seconds(function) for _ in range(rounds))


def paces(cases, what):
    """What this process reaches on Keras' PyTorch backend: a matrix product in GFLOP/s, and presets, reconstructing and
    training, in pixels (or voxels) a second and as a share of that product.

    Args:
        cases: `{preset: shape of a batch}`.
        what: `"pixel"` or `"voxel"`, for the names.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    import medzoo

    a = torch.rand(2048, 2048)
    ceiling = 2 * 2048**3 / quickest(lambda: a @ a, 10) / 1e9
    found = {}
    for name, shape in cases.items():
        model = medzoo.load(name)
        x = np.random.default_rng(0).random(shape, dtype="float32")
        with FlopCounterMode(display=False) as counter:
            model.reconstruct(x)
        work = counter.get_total_flops()
        model.compile("adam")
        took = {
            "reconstruction": (quickest(lambda m=model, x=x: m.reconstruct(x), 10), work),
            "training": (quickest(lambda m=model, x=x: m.train_on_batch(x), 10), 3 * work),
        }
        found[name] = {f"multiply_adds_a_{what}": round(work / 2 / x.size)}
        for which, (time_taken, flops) in took.items():
            share = round(flops / time_taken / 1e9 / ceiling, 3)
            found[name][which] = {f"{what}s_a_second": round(x.size / time_taken), "share": share}
    return {"ceiling_gflops": round(ceiling, 1), "of": found}


def over(runs, truth, statistic, others=None, resamples=1000):
    """Mean over runs of a statistic of scores (less that of others, run for run), with an interval over images and
    runs.

    Args:
        runs, others: lists of arrays `(N, ...)`, one a run.
        truth: `(N,)`.
        statistic: function of scores and truth.
    """
    rng, n, every = np.random.default_rng(0), len(truth), np.arange(len(runs))

    def value(images, seeds):
        def mean(of):
            return np.mean([statistic(of[k][images], truth[images]) for k in seeds])

        return mean(runs) - (0 if others is None else mean(others))

    draws = [value(rng.integers(0, n, n), rng.choice(every, len(every))) for _ in range(resamples)]
    low, high = np.nanpercentile(draws, (2.5, 97.5))
    return {"mean": round(float(value(np.arange(n), every)), 4), "interval": [round(low, 4), round(high, 4)]}


def pace_table(fast, what):
    """`(heading, header, rows)` of what `paces` found."""
    header = ["", f"multiply-adds a {what}", f"reconstructing, {what}s a second", "share", "training", "share"]
    rows = [
        [
            name,
            f"{own[f'multiply_adds_a_{what}']:,}",
            f"{own['reconstruction'][f'{what}s_a_second']:,}",
            f"{own['reconstruction']['share']:.0%}",
            f"{own['training'][f'{what}s_a_second']:,}",
            f"{own['training']['share']:.0%}",
        ]
        for name, own in fast["of"].items()
    ]
    return f"Pace beside {fast['ceiling_gflops']:.0f} GFLOP/s of a matrix product", header, rows


def alone():
    """What each process does first: it has one core."""
    flush_denormals()
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)


def remembered(cache, key, work):
    """What `work()` gave; from the cache if it was there before, so that an interrupted run goes on."""
    file = cache / (json.dumps(key).translate(str.maketrans("", "", "/[]\"',")) + ".npy")
    if not file.exists():
        found = work()
        np.save(file.with_suffix(".part.npy"), np.array([found], dtype=object))
        file.with_suffix(".part.npy").rename(file)
    return np.load(file, allow_pickle=True)[0]
