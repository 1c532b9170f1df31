"""Throughput of bulk encoding by number of cores and processes.

    python benchmarks/encoding_throughput.py --out benchmarks/encoding_throughput

Synthetic phantoms of 256 pixels, half PNG and half NPY files, are encoded by one process per core. Times include the
start of the processes and loading the model. Ratios are relative to one core.
"""

import os
import tempfile
from pathlib import Path

import click
import keras
import numpy as np
from common import seconds, write_page
from PIL import Image

from medzoo.data.phantom import chest_phantom
from medzoo.tasks.encode import encode_folder

NAME, COUNT, SHARD = "ae-chestxray", 4096, 256


def write_images(folder):
    """Write shifted copies of 64 phantoms, half PNG and half NPY files."""
    phantoms = [(chest_phantom(256, seed)[..., 0] * 255).astype("uint8") for seed in range(64)]
    for i in range(COUNT):
        image = np.roll(phantoms[i % len(phantoms)], i // len(phantoms), axis=1)
        path = folder / f"{i:05d}"
        Image.fromarray(image).save(path.with_suffix(".png")) if i % 2 else np.save(path.with_suffix(".npy"), image)


def encode_seconds(source, out, cores, engine):
    """Return the time of encoding a folder on some cores, in seconds."""
    os.sched_setaffinity(0, cores)

    def encode():
        images, errors = map(sum, zip(*encode_folder(NAME, source, out, SHARD, len(cores), engine), strict=True))
        assert (images, errors) == (COUNT, 0)

    return seconds(encode)


@click.command(help=__doc__)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
@click.option("--ray", is_flag=True, help="Also measure Ray Data.")
def main(out, ray):
    cores, rows = sorted(os.sched_getaffinity(0)), []
    counts = sorted({1, *(2**i for i in range(1, 10) if 2**i < len(cores)), len(cores)})
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "images"
        source.mkdir()
        write_images(source)
        for engine in ("processes", "ray") if ray else ("processes",):
            for n in counts if engine == "processes" else counts[-1:]:
                took = encode_seconds(source, Path(folder) / f"{engine}{n}", set(cores[:n]), engine)
                rows.append({"engine": engine, "cores": n, "images_per_second": round(COUNT / took, 1)})
                rows[-1]["ratio"] = round(rows[-1]["images_per_second"] / rows[0]["images_per_second"], 2)
                click.echo(str(rows[-1]))
    from matplotlib.figure import Figure

    plot = Figure(figsize=(6, 3.4), layout="constrained")
    axis = plot.subplots()
    for engine in dict.fromkeys(row["engine"] for row in rows):
        own = [(row["cores"], row["ratio"]) for row in rows if row["engine"] == engine]
        axis.plot(*zip(*own, strict=True), "o-", label=engine)
    axis.plot(counts, counts, color="0.8", zorder=0, label="linear scaling")
    axis.set(xlabel="Cores, one process each", ylabel="Throughput relative to one core", xticks=counts)
    axis.legend(frameon=False)
    plot.savefig(out.with_suffix(".png"), dpi=120)
    header = ["Engine", "cores", "images per second", "relative to one core"]
    text = (
        f"{COUNT:,} synthetic phantoms of 256 pixels, encoded with {NAME} ({keras.backend.backend()}). Times include "
        "the start of the processes, reading, hashing and writing."
    )
    facts = {"backend": keras.backend.backend(), "images": COUNT, "results": rows}
    write_page(out, "Encoding throughput", [("", header, [list(row.values()) for row in rows])], facts, text)


if __name__ == "__main__":
    main()
