"""Search for the nearest codebook entry, compared with the textbook implementation.

    python benchmarks/vector_quantizer.py --out benchmarks/vector_quantizer

65,536 latents of 64 elements (64 images of 32 x 32), a codebook of 1,024 entries, random values. "textbook": argmin
over K of the sum over D of (z - e)^2 from a tensor (N, K, D), which takes 16 GiB in float32 and is therefore computed
in slices of 1/64 of the latents; its memory for all latents is calculated, not measured. "expanded": the complete score
matrix (N, K) by one matrix product, then `ops.argmax`. "medzoo": `VectorQuantizer.nearest`. Each method runs in its own
process, compiled as in training. Memory is the peak above the size of the process before the search; time is the
minimum of five rounds.
"""

import json
import resource
from pathlib import Path

import click
import numpy as np

IMAGES, GRID, ENTRIES, DIM, SLICES = 64, 32, 1024, 64, 64


def compiled(function):
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import torch

    return torch.no_grad()(function)


def measure(kind):
    """Print seconds, MiB and a checksum of the codes as JSON."""
    from keras import ops

    from medzoo.layers import VectorQuantizer

    rng = np.random.default_rng(0)
    latents = rng.normal(size=(IMAGES, GRID, GRID, DIM)).astype("float32")
    codebook = rng.normal(size=(ENTRIES, DIM)).astype("float32")
    quantizer = VectorQuantizer(ENTRIES)
    quantizer.build(latents.shape)
    quantizer.entries.assign(codebook)
    codebook = ops.convert_to_tensor(codebook)

    def textbook(z):
        difference = ops.expand_dims(z, -2) - codebook
        return ops.argmin(ops.sum(ops.square(difference), axis=-1), axis=-1)

    def expanded(z):
        return ops.argmax(ops.matmul(z, ops.transpose(codebook)) - 0.5 * ops.sum(codebook**2, axis=1), axis=-1)

    function = compiled({"textbook": textbook, "expanded": expanded, "medzoo": quantizer.nearest}[kind])
    parts = [ops.convert_to_tensor(p) for p in np.split(latents, SLICES if kind == "textbook" else 1)]

    from common import min_seconds

    found = {}

    def run():
        found["codes"] = np.concatenate([ops.convert_to_numpy(function(p)) for p in parts])

    ops.convert_to_numpy(function(parts[0][:1]))  # excludes what the libraries load at first use
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent = min_seconds(run, 1 if kind == "textbook" else 4)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        json.dumps({"kind": kind, "seconds": spent, "mib": memory, "codes": int(found["codes"].astype("int64").sum())})
    )


@click.command(help=__doc__)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(out):
    from common import bar_chart, run_in_process, write_page

    rows = []
    for backend in ("tensorflow", "torch", "jax"):
        codes = [f"import vector_quantizer as v; v.measure({kind!r})" for kind in ("textbook", "expanded", "medzoo")]
        own = [{"backend": backend, **run_in_process(code, backend)} for code in codes]
        assert len({row["codes"] for row in own}) == 1, own
        for row in own:
            row["time"] = row["seconds"] / own[2]["seconds"]
        own[0]["total_mib"] = IMAGES * GRID**2 * ENTRIES * DIM * 4 / 2**20
        rows += own
    header = ["Backend", "method", "seconds", "relative to medzoo", "peak memory (MiB)"]
    table = []
    for r in rows:
        memory = f"{r['mib']:,.0f}"
        if "total_mib" in r:
            memory += f" per slice; total: {r['total_mib']:,.0f}"
        table.append([r["backend"], r["kind"], f"{r['seconds']:.3f}", f"{r['time']:.1f}", memory])
    bar_chart(out, [f"{r[1]}, {r[0]}" for r in table], [float(r[3]) for r in table], "Time relative to medzoo")
    write_page(out, "Vector quantizer", [("", header, table)], {"results": rows})
    for row in table:
        click.echo(str(row))


if __name__ == "__main__":
    main()
