"""Bulk encoding: images a second against cores and processes.

    python benchmarks/encoding_throughput.py --out benchmarks/encoding_throughput

Drawn films of 256 pixels, PNG and npy, half each, by as many processes as cores; the start of the processes and loading
the model are in the figures. Ratios are to one core.
"""

import os
import tempfile
from pathlib import Path

import click
import keras
import numpy as np
from PIL import Image
from common import seconds, write

from medzoo.data.phantom import chest_phantom
from medzoo.tasks.encode import encode_folder

NAME, COUNT, SHARD = "ae-chestxray", 4096, 256


def archive(folder):
    films = [(chest_phantom(256, seed)[..., 0] * 255).astype("uint8") for seed in range(64)]
    for i in range(COUNT):
        film = np.roll(films[i % len(films)], i // len(films), axis=1)
        path = folder / f"{i:05d}"
        Image.fromarray(film).save(path.with_suffix(".png")) if i % 2 else np.save(path.with_suffix(".npy"), film)


def seconds_on(source, out, cores, engine):
    os.sched_setaffinity(0, cores)

    def encode():
        images, errors = map(sum, zip(*encode_folder(NAME, source, out, SHARD, len(cores), engine), strict=True))
        assert (images, errors) == (COUNT, 0)

    return seconds(encode)


@click.command(help=__doc__)
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--ray", is_flag=True, help="Measure Ray Data too.")
def main(out, ray):
    cores, rows = sorted(os.sched_getaffinity(0)), []
    counts = sorted({1, *(2**i for i in range(1, 10) if 2**i < len(cores)), len(cores)})
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "films"
        source.mkdir()
        archive(source)
        for engine in ("processes", "ray") if ray else ("processes",):
            for n in counts if engine == "processes" else counts[-1:]:
                took = seconds_on(source, Path(folder) / f"{engine}{n}", set(cores[:n]), engine)
                rows.append({"engine": engine, "cores": n, "images_per_second": round(COUNT / took, 1)})
                rows[-1]["ratio"] = round(rows[-1]["images_per_second"] / rows[0]["images_per_second"], 2)
                click.echo(str(rows[-1]))
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6, 3.4), layout="constrained")
    axis = drawing.subplots()
    for engine in dict.fromkeys(row["engine"] for row in rows):
        own = [(row["cores"], row["ratio"]) for row in rows if row["engine"] == engine]
        axis.plot(*zip(*own, strict=True), "o-", label=engine)
    axis.plot(counts, counts, color="0.8", zorder=0, label="as many times as cores")
    axis.set(xlabel="cores, one process each", ylabel="times the images of one core", xticks=counts)
    axis.legend(frameon=False)
    drawing.savefig(out.with_suffix(".png"), dpi=120)
    header = ["engine", "cores", "images a second", "ratio"]
    text = (
        f"{COUNT:,} drawn films of 256 pixels to latents by {NAME} ({keras.backend.backend()}); reading, hashing "
        "and writing are included, and the start of the processes."
    )
    facts = {"backend": keras.backend.backend(), "images": COUNT, "results": rows}
    write(out, "Bulk encoding", [("", header, [list(row.values()) for row in rows])], facts, text)


if __name__ == "__main__":
    main()
