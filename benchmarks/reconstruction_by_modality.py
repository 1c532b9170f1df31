"""Reconstruction quality by modality: general presets compared with presets of a single domain.

    python benchmarks/reconstruction_by_modality.py --data DIR --out benchmarks/reconstruction_by_modality

DIR contains medical_mnist_64.npz, brainmri_128.npz, breast_us_192.npz, chestxray_256.npz and pediatric_cxr. The table
lists mean PSNR and SSIM per image over at most 200 images of each test split, with 95% bootstrap intervals, and the
number of latent elements and of pixels per image. Presets of a single domain are evaluated on that domain.
"""

from pathlib import Path

import click
import numpy as np
from common import write_page

import medzoo
from medzoo import metrics
from medzoo.data.datasets import open_dataset
from medzoo.data.npz import to_float
from medzoo.metrics.bootstrap import bootstrap_mean_ci, format_ci

MAX_IMAGES = 200
GENERAL = ("ae-medical", "vae-medical", "vqvae-medical")
# domain: file, size of images from files, classes, presets of that domain
DOMAINS = {
    "head CT": ("medical_mnist_64.npz", None, ["head_ct"], []),
    "abdomen CT": ("medical_mnist_64.npz", None, ["abdomen_ct"], []),
    "breast MR": ("medical_mnist_64.npz", None, ["breast_mri"], []),
    "hand X-ray": ("medical_mnist_64.npz", None, ["hand_xray"], []),
    "brain MR": ("brainmri_128.npz", None, None, ["vae-brainmri", "vqvae-brainmri"]),
    "breast ultrasound": ("breast_us_192.npz", None, None, ["vae-breastus"]),
    "chest X-ray": ("chestxray_256.npz", None, None, ["vae-chestxray", "vqvae-chestxray"]),
    "chest X-ray, pediatric": ("pediatric_cxr", 224, None, ["vae-chestxray", "vqvae-chestxray"]),
}


def figure(path, rows):
    from matplotlib.figure import Figure

    plot = Figure(figsize=(8, 4), layout="constrained")
    axis = plot.subplots()
    domains = list(DOMAINS)
    for model in GENERAL:
        own = {r["domain"]: r["ssim"]["mean"] for r in rows if r["model"] == model}
        axis.plot([own[s] for s in domains], "o", label=model)
    for i, domain in enumerate(domains):
        for row in rows:
            if row["domain"] == domain and row["model"] not in GENERAL:
                axis.plot(i, row["ssim"]["mean"], "kx")
    axis.plot([], [], "kx", label="preset of one domain")
    axis.set_xticks(range(len(domains)), domains, rotation=20, ha="right")
    axis.set(ylabel="SSIM")
    axis.legend(frameon=False, fontsize=8)
    plot.savefig(path, dpi=120)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, out):
    rows = []
    for domain, (file, size, classes, own) in DOMAINS.items():
        images = to_float(open_dataset(data / file, size, classes=classes).images("test"))
        images = images[:: -(-len(images) // MAX_IMAGES)]
        for model in map(medzoo.load, (*GENERAL, *own)):
            found = model.reconstruct(images)
            psnr, ssim = (bootstrap_mean_ci(metrics.per_image(f, images, found)) for f in (metrics.psnr, metrics.ssim))
            latent_size = int(np.prod(model.latent_shape(images.shape[1:])))
            row = {"domain": domain, "model": model.name, "images": len(images), "latent_size": latent_size}
            rows.append({**row, "pixels": images[0].size, "psnr": psnr, "ssim": ssim})
            click.echo(f"{domain:22} {model.name:18} {format_ci(psnr)} dB, SSIM {format_ci(ssim, 3)}")
    header = ["Domain", "Model", "Images", "Latent size", "Pixels", "PSNR (dB)", "SSIM"]
    cells = [[*list(r.values())[:5], format_ci(r["psnr"]), format_ci(r["ssim"], 3)] for r in rows]
    figure(out.with_suffix(".png"), rows)
    write_page(out, "Reconstruction by modality", [("", header, cells)], {"results": rows})


if __name__ == "__main__":
    main()
