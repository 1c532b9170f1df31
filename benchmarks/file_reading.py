"""Pixel values read from real DICOM files and series, compared with those of another version of medzoo.

    python benchmarks/file_reading.py --data DIR --before DIR --out benchmarks/file_reading

DIR of `--data` contains the folders `dicom` and `series`; DIR of `--before` is a checkout of another version. Every
file (at most three frames of each) is read with `read_image`, every series and NIfTI file with `read_volume`, once in
each version. The tables list how many files both versions read with equal values (SHA-256 of the array), and every file
that they read differently.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import click

READ = """
import hashlib, json, logging, sys, warnings
from pathlib import Path
import medzoo, numpy as np
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
root, found = Path(sys.argv[1]), {}

def add(name, read):
    try:
        values, how = read()
        values = np.ascontiguousarray(values, "float32")
        ends = [float(f"{v:.6g}") for v in (values.min(), values.max(), values.mean(dtype="float64"))]
        found[name] = [*how, list(values.shape), *ends, hashlib.sha256(values.tobytes()).hexdigest()[:12]]
    except Exception as error:
        found[name] = [type(error).__name__, str(error).replace(str(root) + "/", "")[:160]]

def volume(path):
    read = medzoo.read_volume(path)
    return read.values, [[float(f"{s:.6g}") for s in read.spacing]]

for path in sorted(root.glob("dicom/*")):
    add(f"dicom/{path.name}", lambda: (medzoo.read_image(path), []))
    for frame in range(3):
        if "frame" in str(found.get(f"dicom/{path.name}", "")):
            add(f"dicom/{path.name}#{frame}", lambda: (medzoo.read_image(path, frame=frame), []))
folders = {p.parent for p in root.glob("series/**/*") if p.is_file()}
files = {p for p in root.glob("series/**/*") if p.name.endswith((".nii", ".nii.gz"))}
for path in sorted(folders | files):
    add(str(path.relative_to(root)), lambda: volume(path))
print("RESULT" + json.dumps(found))
"""


def read_all(checkout, data):
    """Return `{file: summary of its values}` from a new process that imports medzoo from a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", READ, str(data.resolve())]
    done = subprocess.run(command, env=environment, cwd=data, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.rpartition("RESULT")[2])


def is_error(result):
    return isinstance(result[0], str)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option(
    "--before", required=True, type=click.Path(path_type=Path, exists=True), help="Checkout of the other version."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, before, out):
    from common import bar_chart, write_page

    old, new = read_all(before, data), read_all(Path(__file__).parents[1], data)
    names = sorted(old.keys() | new.keys())
    pairs = {name: (old.get(name, ["absent", ""]), new.get(name, ["absent", ""])) for name in names}
    equal = [n for n, (a, b) in pairs.items() if a == b and not is_error(a)]
    unreadable = [n for n, (a, b) in pairs.items() if is_error(a) and is_error(b)]
    differing = [n for n in names if n not in {*equal, *unreadable}]
    counts = {"equal values": len(equal), "unreadable in both": len(unreadable), "different": len(differing)}
    rows = [[n, *(" ".join(map(str, result)) for result in pairs[n])] for n in differing]
    bar_chart(out, list(counts), list(counts.values()), "files and frames")
    tables = [
        ("", ["Result", "files and frames"], [[name, str(n)] for name, n in counts.items()]),
        ("Read differently: shape, minimum, maximum, mean, hash", ["File", "before", "after"], rows),
    ]
    write_page(out, "Pixel values before and after", tables, {"counts": counts, "before": old, "after": new})


if __name__ == "__main__":
    main()
