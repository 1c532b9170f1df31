"""Throughput of presets on images of 256 pixels, relative to a matrix product.

    KERAS_BACKEND=torch python benchmarks/throughput.py --out benchmarks/throughput

One core, batches of four, reconstruction and training (`train_on_batch`, Adam), as a fraction of the throughput of a
product of two matrices of 2,048 rows on that core in the same run. Values above 100% mean that the convolutions of the
library run faster than its matrix product, which is then no upper bound. Multiply-accumulate operations (MACs) are
counted by PyTorch; training counts as three times reconstruction. For volumes see volumes_3d_vs_2d.md.
"""

from pathlib import Path

import click
import keras
from common import bar_chart, measure_throughput, throughput_table, use_one_core, write_page

PRESETS = ("ae-chestxray", "vae-chestxray", "vqvae-chestxray", "mae-chestxray", "ae-medical")


@click.command(help=__doc__)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(out):
    if keras.backend.backend() != "torch":
        raise click.ClickException("throughput: MACs are counted by PyTorch. Set KERAS_BACKEND=torch.")
    use_one_core()
    results = measure_throughput(dict.fromkeys(PRESETS, (4, 256, 256, 1)), "pixel")
    fractions = [own["training"]["fraction"] for own in results["of"].values()]
    bar_chart(out, list(results["of"]), fractions, "Training throughput relative to a matrix product")
    write_page(out, "Throughput", [throughput_table(results, "pixel")], {"backend": keras.backend.backend(), **results})


if __name__ == "__main__":
    main()
