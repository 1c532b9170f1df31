"""Inference as one compiled graph, compared with execution layer by layer.

    python benchmarks/compiled_inference.py --out benchmarks/compiled_inference

`model.reconstruct(x)` on an array (compiled by `medzoo.models.compiled_inference`) is compared with `model(x)`, which
TensorFlow executes layer by layer, and with `model.predict(x)`. Inputs are random images, a single one and batches of
32; times are minima of ten rounds.
"""

from pathlib import Path

import click
import numpy as np

PRESETS = (("vae-chestxray-64", 64), ("vqvae-chestxray-64", 64), ("ae-chestxray", 256), ("vqvae-chestxray", 256))
ROUNDS = 10


@click.command(help=__doc__)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(out):
    from common import bar_chart, min_seconds, write_page

    import medzoo

    rows = []
    for name, side in PRESETS:
        model = medzoo.load(name)
        for count in (1, 32):
            x = np.random.default_rng(0).random((count, side, side, 1), dtype="float32")
            ways = {
                "layers": lambda model=model, x=x: np.asarray(model(x)),
                "predict": lambda model=model, x=x: model.predict(x, verbose=0),
                "compiled": lambda model=model, x=x: model.reconstruct(x),
            }
            rows.append(
                {"preset": name, "images": count, **{way: min_seconds(f, ROUNDS) * 1e3 for way, f in ways.items()}}
            )
            rows[-1]["gain"] = rows[-1]["layers"] / rows[-1]["compiled"]
            click.echo(str(rows[-1]))
    header = [
        "Preset",
        "images",
        "layer by layer, ms",
        "predict, ms",
        "compiled, ms",
        "speedup over layer by layer",
    ]
    table = [
        [r["preset"], r["images"], *(f"{r[k]:.1f}" for k in ("layers", "predict", "compiled", "gain"))] for r in rows
    ]
    names = [f"{r['preset']}, {r['images']} image{'s' if r['images'] > 1 else ''}" for r in rows]
    bar_chart(out, names, [round(r["gain"], 1) for r in rows], "speedup over layer by layer")
    write_page(out, "Compiled inference", [("", header, table)], {"results": rows})


if __name__ == "__main__":
    main()
