"""The picture on top of the README, what the zoo does in one look; no patient is in it.

    python benchmarks/hero_figure.py --out docs/overview.png

The films are samples of vae-chestxray, the head is a drawing, the detector learned from 80 such samples, and the curves
are the picture of rate-distortion.md.
"""

from pathlib import Path

import click
import matplotlib.pyplot as plt
import numpy as np

import medzoo
from medzoo.data.lesions import add_lesion
from medzoo.data.phantom import head_volume
from medzoo.training.trainer import flush_denormals

ADULTS, CHILDREN = 2, 3  # classes of the prior
SIDES = (64, 80, 72)  # voxels of the drawn head
SICK, LESION = 6, 11  # which sample gets a lesion, and the seed of its shape


def columns(axis, titles, *images, heat=None):
    """Pictures side by side."""
    axis.imshow(np.concatenate(images, axis=1), cmap="gray", vmin=0, vmax=1)
    width = images[0].shape[1]
    for i, title in enumerate(titles):
        axis.text(i * width + 2, -4, title, fontsize=9, va="bottom")
    if heat is not None:
        axis.imshow(heat, cmap="inferno", alpha=0.45, extent=(width, 2 * width, heat.shape[0], 0))
        axis.set_xlim(0, 2 * width)
    axis.axis("off")


def planes(volume):
    """Axial, coronal and sagittal slice of the middle, side by side, on one height."""
    d, h, w = (n // 2 for n in volume.shape[:3])
    cuts = [volume[d, ..., 0], volume[::-1, h, :, 0], volume[::-1, :, w, 0]]
    return np.concatenate([np.pad(c, ((0, SIDES[1] - len(c)), (0, 0))) for c in cuts], axis=1)


@click.command(help=__doc__)
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(out):
    flush_denormals()
    vae, exact = medzoo.load("vae-chestxray"), medzoo.load("vqvae-chestxray")
    adults = vae.sample(80, label=ADULTS, num_steps=20, seed=0)
    children = vae.sample(3, label=CHILDREN, num_steps=20, seed=0)
    detector = medzoo.AnomalyDetector("mae-medical").fit(adults[16:])
    sick, _ = add_lesion(adults[SICK], LESION, radius=(0.06, 0.1), contrast=(0.2, 0.3))
    head = head_volume(SIDES, seed=3)
    seen = medzoo.load("vqvae-hippocampus").reconstruct(head[None])[0]
    restored, heat = (
        exact.reconstruct(adults[:1])[0, ..., 0],
        detector.anomaly_map(sick[None], size=sick.shape[:2])[0, ..., 0],
    )

    figure = plt.figure(figsize=(12, 5.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2.1, 3))
    titles = ("a film", "from 1,024 whole numbers", "drawn: adults", "", "drawn: children")
    columns(above.subplots(), titles, adults[0, ..., 0], restored, *adults[2:4, ..., 0], *children[::2, ..., 0])
    volume, pair, curve = below.subplots(1, 3, width_ratios=(4, 5, 3.4))
    columns(volume, ("a volume, and the same from its codes",), np.concatenate([planes(head), planes(seen)]))
    columns(pair, ("a lesion drawn in", "where it is unlike normal films"), *[sick[..., 0]] * 2, heat=heat)
    curves = plt.imread(Path(__file__).with_name("rate-distortion.png"))
    curve.imshow(curves[:, round(0.522 * curves.shape[1]) :])
    curve.set_title("PSNR against bits per pixel", fontsize=9)
    curve.axis("off")
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
