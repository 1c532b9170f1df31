"""Does `model.ood_pvalue` tell images that a preset was made for from others?

    KERAS_BACKEND=torch python benchmarks/ood_detection.py --data DIR --out benchmarks/ood_detection

DIR holds the archives below. Share of images that are called strange (p-value of 0.01 or less), of the first hundred
of each test split: what a preset learned from should be at about 1%. Films turned by a quarter, upside down or
inverted are those of the preset's own test split; jsrt is a hospital that no preset has seen. Presets that learned
from images of one size get all images at that size.
"""

from pathlib import Path

import click
import keras
import numpy as np
from common import explained, write

import medzoo
from medzoo.data.image_dataset import open_dataset
from medzoo.data.npz import to_float
from medzoo.io.intensity import center_crop_resize
from medzoo.models.ood import OOD_ALPHA
from medzoo.recipes import recipe
from medzoo.training.trainer import flush_denormals

SETS = {
    "chest films, NIH": "chestxray_256.npz",
    "chest films, children": "pediatric_cxr",
    "chest films, jsrt": "jsrt_256.npz",
    "brain MR": "brainmri_128.npz",
    "breast ultrasound": "breast_us_192.npz",
}
OWN = {
    "ae-chestxray": "chest films, NIH",
    "mae-chestxray": "chest films, NIH",
    "ae-medical": "chest films, NIH",
    "vqvae-brainmri": "brain MR",
    "vae-breastus": "breast ultrasound",
}
CHANGES = {
    "own, turned by a quarter": lambda x: np.rot90(x, axes=(1, 2)),
    "own, upside down": lambda x: x[:, ::-1],
    "own, inverted": lambda x: 1 - x,
}


def figure(path, shares):
    from matplotlib.figure import Figure

    names = list(next(iter(shares.values())))
    table = np.array([list(row.values()) for row in shares.values()])
    drawing = Figure(figsize=(9, 4), layout="constrained")
    axis = drawing.subplots()
    axis.imshow(table, cmap="inferno", vmin=0, vmax=1, aspect="auto")
    for (i, j), share in np.ndenumerate(table):
        axis.text(j, i, f"{share:.0%}", ha="center", va="center", color="w" if share < 0.6 else "k", fontsize=8)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    axis.set_yticks(range(len(shares)), list(shares), fontsize=8)
    axis.set_title("share called strange", fontsize=9)
    drawing.savefig(path, dpi=100)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder with the archives.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, out):
    flush_denormals()
    images = {name: to_float(open_dataset(data / file, 224).images("test")[:100]) for name, file in SETS.items()}
    shares = {}
    for preset, own in OWN.items():
        model = medzoo.load(preset)
        sets = images | {name: np.ascontiguousarray(change(images[own])) for name, change in CHANGES.items()}
        if side := recipe(preset).size:
            sets = {name: center_crop_resize(x, (side, side)) for name, x in sets.items()}
        shares[preset] = {name: float((model.ood_pvalue(x) <= OOD_ALPHA).mean()) for name, x in sets.items()}
        click.echo(f"{preset:16} " + ", ".join(f"{name} {share:.0%}" for name, share in shares[preset].items()))
    cells = [[preset, *(f"{share:.0%}" for share in row.values())] for preset, row in shares.items()]
    figure(out.with_suffix(".png"), shares)
    facts = {"backend": keras.backend.backend(), "results": shares}
    write(out, "Belongs", [("", ["preset", *next(iter(shares.values()))], cells)], facts, explained())


if __name__ == "__main__":
    main()
