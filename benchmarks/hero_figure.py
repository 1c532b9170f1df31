"""Figure at the top of the README: reconstruction, generation, volumes, anomaly detection and compression.

    python benchmarks/hero_figure.py --out docs/overview.png

All images are synthetic. The chest X-rays are samples of vae-chestxray, the volume is a head phantom, the anomaly
detector was fitted to 64 such samples, and the rate–distortion curves are those of rate_distortion.md.
"""

from pathlib import Path

import click
import matplotlib.pyplot as plt
import numpy as np

import medzoo
from medzoo.data.lesions import add_lesion
from medzoo.data.phantom import head_volume
from medzoo.training.trainer import flush_denormals

ADULT, PEDIATRIC = 2, 3  # classes of the prior
SIDES = (64, 80, 72)  # voxels of the head phantom
ABNORMAL, LESION_SEED = 6, 11  # index of the sample with a synthetic lesion, and seed of the lesion


def show_row(axis, titles, *images, anomaly_map=None):
    """Show images side by side, and an anomaly map over the second one."""
    axis.imshow(np.concatenate(images, axis=1), cmap="gray", vmin=0, vmax=1)
    width = images[0].shape[1]
    for i, title in enumerate(titles):
        axis.text(i * width + 2, -4, title, fontsize=9, va="bottom")
    if anomaly_map is not None:
        extent = (width, 2 * width, anomaly_map.shape[0], 0)
        axis.imshow(anomaly_map, cmap="inferno", alpha=0.45, extent=extent)
        axis.set_xlim(0, 2 * width)
    axis.axis("off")


def central_planes(volume):
    """Return the central axial, coronal and sagittal slices, padded to equal height, side by side."""
    d, h, w = (n // 2 for n in volume.shape[:3])
    slices = [volume[d, ..., 0], volume[::-1, h, :, 0], volume[::-1, :, w, 0]]
    return np.concatenate([np.pad(s, ((0, SIDES[1] - len(s)), (0, 0))) for s in slices], axis=1)


@click.command(help=__doc__)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Path of the figure (PNG).")
def main(out):
    flush_denormals()
    vae, vqvae = medzoo.load("vae-chestxray"), medzoo.load("vqvae-chestxray")
    adults = vae.sample(80, label=ADULT, num_steps=20, seed=0)
    pediatric = vae.sample(3, label=PEDIATRIC, num_steps=20, seed=0)
    detector = medzoo.AnomalyDetector("mae-medical").fit(adults[16:])
    abnormal, _ = add_lesion(adults[ABNORMAL], LESION_SEED, radius=(0.06, 0.1), contrast=(0.2, 0.3))
    head = head_volume(SIDES, seed=3)
    head_reconstruction = medzoo.load("vqvae-hippocampus").reconstruct(head[None])[0]
    reconstruction = vqvae.reconstruct(adults[:1])[0, ..., 0]
    anomaly_map = detector.anomaly_map(abnormal[None], size=abnormal.shape[:2])[0, ..., 0]

    figure = plt.figure(figsize=(12, 5.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(2.1, 3))
    titles = ("Input", "VQ-VAE reconstruction (32×32 codes)", "Generated: adult", "", "Generated: pediatric")
    show_row(top.subplots(), titles, adults[0, ..., 0], reconstruction, *adults[2:4, ..., 0], *pediatric[::2, ..., 0])
    volume, pair, curve = bottom.subplots(1, 3, width_ratios=(4, 5, 3.4))
    planes = np.concatenate([central_planes(head), central_planes(head_reconstruction)])
    show_row(volume, ("Volume phantom, and VQ-VAE reconstruction",), planes)
    show_row(pair, ("Synthetic lesion", "Anomaly map"), *[abnormal[..., 0]] * 2, anomaly_map=anomaly_map)
    curves = plt.imread(Path(__file__).with_name("rate_distortion.png"))
    curve.imshow(curves[:, round(0.522 * curves.shape[1]) :])
    curve.set_title("PSNR (dB) versus rate (bpp)", fontsize=9)
    curve.axis("off")
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
