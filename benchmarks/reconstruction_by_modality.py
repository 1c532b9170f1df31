"""Reconstruction by modality: the models of everything beside those of one subject.

    python benchmarks/reconstruction_by_modality.py --data DIR --out benchmarks/reconstruction_by_modality

DIR holds medical_mnist_64.npz, brainmri_128.npz, breast_us_192.npz, chestxray_256.npz and pediatric_cxr. Mean PSNR and
SSIM an image over at most 200 images of each test split, with 95% bootstrap intervals, and how many numbers a model
makes of so many pixels. A model of one subject is tried on its own.
"""

from pathlib import Path

import click
import numpy as np
from common import write

import medzoo
from medzoo import metrics
from medzoo.data.datasets import open_dataset
from medzoo.data.npz import to_float
from medzoo.metrics.bootstrap import bootstrap_mean_ci, format_ci

MOST = 200
EVERYTHING = ("ae-medical", "vae-medical", "vqvae-medical")
# subject: file, size of images from files, classes, models of that subject
SUBJECTS = {
    "head CT": ("medical_mnist_64.npz", None, ["head_ct"], []),
    "abdomen CT": ("medical_mnist_64.npz", None, ["abdomen_ct"], []),
    "breast MR": ("medical_mnist_64.npz", None, ["breast_mri"], []),
    "hand X-ray": ("medical_mnist_64.npz", None, ["hand_xray"], []),
    "brain MR": ("brainmri_128.npz", None, None, ["vae-brainmri", "vqvae-brainmri"]),
    "breast ultrasound": ("breast_us_192.npz", None, None, ["vae-breastus"]),
    "chest X-ray": ("chestxray_256.npz", None, None, ["vae-chestxray", "vqvae-chestxray"]),
    "chest X-ray, children": ("pediatric_cxr", 224, None, ["vae-chestxray", "vqvae-chestxray"]),
}


def figure(path, rows):
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8, 4), layout="constrained")
    axis = drawing.subplots()
    subjects = list(SUBJECTS)
    for model in EVERYTHING:
        own = {r["subject"]: r["ssim"]["mean"] for r in rows if r["model"] == model}
        axis.plot([own[s] for s in subjects], "o", label=model)
    for i, subject in enumerate(subjects):
        for row in rows:
            if row["subject"] == subject and row["model"] not in EVERYTHING:
                axis.plot(i, row["ssim"]["mean"], "kx")
    axis.plot([], [], "kx", label="of one subject")
    axis.set_xticks(range(len(subjects)), subjects, rotation=20, ha="right")
    axis.set(ylabel="SSIM")
    axis.legend(frameon=False, fontsize=8)
    drawing.savefig(path, dpi=120)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, out):
    rows = []
    for subject, (file, size, classes, own) in SUBJECTS.items():
        images = to_float(open_dataset(data / file, size, classes=classes).images("test"))
        images = images[:: -(-len(images) // MOST)]
        for model in map(medzoo.load, (*EVERYTHING, *own)):
            found = model.reconstruct(images)
            psnr, ssim = (bootstrap_mean_ci(metrics.per_image(f, images, found)) for f in (metrics.psnr, metrics.ssim))
            numbers = int(np.prod(model.latent_shape(images.shape[1:])))
            row = {"subject": subject, "model": model.name, "images": len(images), "numbers": numbers}
            rows.append({**row, "pixels": images[0].size, "psnr": psnr, "ssim": ssim})
            click.echo(f"{subject:22} {model.name:18} {format_ci(psnr)} dB, SSIM {format_ci(ssim, 3)}")
    header = ["", "model", "images", "numbers", "of pixels", "PSNR, dB", "SSIM"]
    cells = [[*list(r.values())[:5], format_ci(r["psnr"]), format_ci(r["ssim"], 3)] for r in rows]
    figure(out.with_suffix(".png"), rows)
    write(out, "By modality", [("", header, cells)], {"results": rows})


if __name__ == "__main__":
    main()
