"""Startup time that medzoo adds to a program.

    python benchmarks/startup_time.py --out benchmarks/startup_time

Median time in seconds of five fresh processes per program, run in alternation, including the start of Python: an empty
program, `import medzoo`, `import tensorflow`, and `medzoo.load("vae-chestxray")` with a first `encode`.
"""

import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np

PROGRAMS = {
    "python": "pass",
    "import medzoo": "import medzoo",
    "import tensorflow": "import tensorflow",
    "load and first encode": (
        "import medzoo, numpy; m = medzoo.load('vae-chestxray');m.encode(numpy.zeros((1, 256, 256, 1), 'float32'))"
    ),
}


@click.command(help=__doc__)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(out):
    from common import bar_chart, write_page

    spent = {name: [] for name in PROGRAMS}
    for _ in range(6):
        for name, code in PROGRAMS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
            spent[name].append(time.perf_counter() - start)
    median = {name: float(np.median(times[1:])) for name, times in spent.items()}  # the first run fills the disk cache
    import_ms = (median["import medzoo"] - median["python"]) * 1e3
    fraction = 1 - median["import tensorflow"] / median["load and first encode"]
    table = [[name, f"{seconds:.2f}"] for name, seconds in median.items()]
    table += [["`import medzoo` alone (ms)", f"{import_ms:.0f}"]]
    table += [["fraction of load and encode that is not the import of TensorFlow", f"{100 * fraction:.0f}%"]]
    bar_chart(out, list(median), [round(s, 2) for s in median.values()], "seconds")
    facts = {"seconds": median, "import_ms": import_ms, "fraction": fraction}
    write_page(out, "Startup time", [("", ["Program", "seconds"], table)], facts)
    for row in table:
        click.echo(str(row))


if __name__ == "__main__":
    main()
