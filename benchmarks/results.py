"""What the benchmarks share: their numbers as JSON, the same as a Markdown page with a figure."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from medzoo.evaluate.markdown import table


def write(out, title, command, text, tables, facts):
    """Writes OUT.json and OUT.md; the page shows OUT.png, which the benchmark draws itself.

    Args:
        out: path without an ending.
        title, text: of the page; paragraphs in Markdown.
        command: that makes all of it.
        tables: list of `(heading, header, rows)`.
        facts: for the JSON file.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps({"command": command, **facts}, indent=1) + "\n", encoding="utf-8")
    parts = [f"# {title}", text, f"Made by `{command}`.", f"![{title}]({out.name}.png)"]
    for heading, header, rows in tables:
        parts += [f"## {heading}"] if heading else []
        parts.append(table(header, rows))
    out.with_suffix(".md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


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


def quickest(function, rounds):
    """Seconds of the quickest of some calls, after one that is not counted."""
    function()
    spent = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        spent.append(time.perf_counter() - start)
    return min(spent)
