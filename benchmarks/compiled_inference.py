"""Inference as one compiled graph, beside layer by layer.

    python benchmarks/compiled_inference.py --out benchmarks/compiled_inference

`model.reconstruct(x)` on an array (compiled by `medzoo.models.compiled_inference`) against `model(x)`, which TensorFlow runs
layer by layer, and `model.predict(x)`; random images, one alone and 32 together, the quickest of ten rounds counts.
"""

from pathlib import Path

import click
import numpy as np

PRESETS = (("vae-chestxray-64", 64), ("vqvae-chestxray-64", 64), ("ae-chestxray", 256), ("vqvae-chestxray", 256))
ROUNDS = 10


@click.command(help=__doc__)
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(out):
    from common import bars, quickest, write

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
                {"preset": name, "images": count, **{way: quickest(f, ROUNDS) * 1e3 for way, f in ways.items()}}
            )
            rows[-1]["gain"] = rows[-1]["layers"] / rows[-1]["compiled"]
            click.echo(str(rows[-1]))
    header = [
        "preset",
        "images",
        "layer by layer, ms",
        "predict, ms",
        "compiled, ms",
        "times as fast as layer by layer",
    ]
    table = [
        [r["preset"], r["images"], *(f"{r[k]:.1f}" for k in ("layers", "predict", "compiled", "gain"))] for r in rows
    ]
    names = [f"{r['preset']}, {r['images']} image{'s' if r['images'] > 1 else ''}" for r in rows]
    bars(out, names, [round(r["gain"], 1) for r in rows], "times as fast as layer by layer")
    write(out, "Compiled inference", [("", header, table)], {"results": rows})


if __name__ == "__main__":
    main()
