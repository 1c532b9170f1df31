"""How near presets come to what a core can do, on films of 256 pixels.

    KERAS_BACKEND=torch python benchmarks/throughput.py --out benchmarks/throughput

One core, batches of four, reconstructing and training (`train_on_batch`, Adam), as a share of what a product of two
matrices of 2,048 rows reaches on that core in the same run. More than 100% means that the library's convolutions run
quicker than its matrix product, which then bounds nothing. Multiply-adds as PyTorch counts them, of training three
times those of reconstruction. For volumes see volumes.md.
"""

from pathlib import Path

import click
import keras
from common import alone, bars, pace_table, paces, write

PRESETS = ("ae-chestxray", "vae-chestxray", "vqvae-chestxray", "mae-chestxray", "ae-medical")


@click.command(help=__doc__)
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(out):
    if keras.backend.backend() != "torch":
        raise click.ClickException("PyTorch counts the multiply-adds: set KERAS_BACKEND=torch.")
    alone()
    fast = paces(dict.fromkeys(PRESETS, (4, 256, 256, 1)), "pixel")
    shares = [own["training"]["share"] for own in fast["of"].values()]
    bars(out, list(fast["of"]), shares, "training, as a share of a matrix product")
    write(out, "Throughput", [pace_table(fast, "pixel")], {"backend": keras.backend.backend(), **fast})


if __name__ == "__main__":
    main()
