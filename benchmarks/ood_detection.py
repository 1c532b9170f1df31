"""Out-of-distribution (OOD) detection with `model.ood_pvalue`: fraction of flagged images per preset and data set.

    KERAS_BACKEND=torch python benchmarks/ood_detection.py --data DIR --out benchmarks/ood_detection

DIR contains the data sets of the table. The table lists the fraction of images flagged as OOD (p-value of at most 0.01)
among the first hundred images of each test split. For the training distribution of a preset, the expected fraction is
about 1%. Rotated, flipped and inverted images come from the test split of the preset itself. No preset was trained on
JSRT images. Presets that were trained on images of one size receive all images at that size.
"""

from pathlib import Path

import click
import keras
import numpy as np
from common import description, write_page

import medzoo
from medzoo.data.image_dataset import open_dataset
from medzoo.data.npz import to_float
from medzoo.io.intensity import center_crop_resize
from medzoo.models.ood import OOD_ALPHA
from medzoo.recipes import recipe
from medzoo.training.trainer import flush_denormals

SETS = {
    "chest X-ray, NIH": "chestxray_256.npz",
    "chest X-ray, pediatric": "pediatric_cxr",
    "chest X-ray, JSRT": "jsrt_256.npz",
    "brain MR": "brainmri_128.npz",
    "breast ultrasound": "breast_us_192.npz",
}
TRAINING_DATA = {
    "ae-chestxray": "chest X-ray, NIH",
    "mae-chestxray": "chest X-ray, NIH",
    "ae-medical": "chest X-ray, NIH",
    "vqvae-brainmri": "brain MR",
    "vae-breastus": "breast ultrasound",
}
CHANGES = {
    "own test images, rotated 90°": lambda x: np.rot90(x, axes=(1, 2)),
    "own test images, flipped vertically": lambda x: x[:, ::-1],
    "own test images, inverted": lambda x: 1 - x,
}


def figure(path, fractions):
    from matplotlib.figure import Figure

    names = list(next(iter(fractions.values())))
    table = np.array([list(row.values()) for row in fractions.values()])
    plot = Figure(figsize=(9, 4), layout="constrained")
    axis = plot.subplots()
    axis.imshow(table, cmap="inferno", vmin=0, vmax=1, aspect="auto")
    for (i, j), fraction in np.ndenumerate(table):
        axis.text(j, i, f"{fraction:.0%}", ha="center", va="center", color="w" if fraction < 0.6 else "k", fontsize=8)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    axis.set_yticks(range(len(fractions)), list(fractions), fontsize=8)
    axis.set_title("Fraction flagged as OOD (p ≤ 0.01)", fontsize=9)
    plot.savefig(path, dpi=100)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, out):
    flush_denormals()
    images = {name: to_float(open_dataset(data / file, 224).images("test")[:100]) for name, file in SETS.items()}
    fractions = {}
    for preset, own in TRAINING_DATA.items():
        model = medzoo.load(preset)
        sets = images | {name: np.ascontiguousarray(change(images[own])) for name, change in CHANGES.items()}
        if side := recipe(preset).size:
            sets = {name: center_crop_resize(x, (side, side)) for name, x in sets.items()}
        fractions[preset] = {name: float((model.ood_pvalue(x) <= OOD_ALPHA).mean()) for name, x in sets.items()}
        click.echo(
            f"{preset:16} " + ", ".join(f"{name} {fraction:.0%}" for name, fraction in fractions[preset].items())
        )
    cells = [[preset, *(f"{fraction:.0%}" for fraction in row.values())] for preset, row in fractions.items()]
    figure(out.with_suffix(".png"), fractions)
    facts = {"backend": keras.backend.backend(), "results": fractions}
    write_page(
        out,
        "Out-of-distribution detection",
        [("", ["Preset", *next(iter(fractions.values()))], cells)],
        facts,
        description(),
    )


if __name__ == "__main__":
    main()
