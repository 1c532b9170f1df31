"""Reconstruction quality by site: sites of the training data and one external site.

    python benchmarks/reconstruction_by_site.py --data DIR --adult adult_cxr_256.npz --out benchmarks/reconstruction_by_site

DIR contains chestxray_256.npz (NIH: adults, USA), pediatric_cxr (Guangzhou: children, China) and jsrt_256.npz (JSRT:
adults, Japan; not used for training). The table lists mean PSNR and SSIM per image over at most 150 images of each test
split, with 95% bootstrap intervals; pediatric images have 224 pixels. The baseline is a PCA of 8x8 patches with 4
components, fitted to training images of chestxray_256.npz.
"""  # noqa: E501

from pathlib import Path

import click
import numpy as np
from common import write_page

import medzoo
from medzoo import metrics
from medzoo.data.datasets import open_dataset
from medzoo.data.npz import to_float
from medzoo.metrics.bootstrap import bootstrap_mean_ci, format_ci

MAX_IMAGES = 150
MODELS = "ae-chestxray,vae-chestxray,vqvae-chestxray"


def test_images(data, adult):
    """Return test images by site, float32 in [0, 1]."""
    sources = {
        "NIH": open_dataset(data / "chestxray_256.npz"),
        "JSRT (external)": open_dataset(data / "jsrt_256.npz"),
        "Guangzhou (pediatric)": open_dataset(data / "pediatric_cxr", 224),
    }
    if adult:
        sources["RSNA (normal)"] = open_dataset(adult)
    tests = {name: dataset.images("test") for name, dataset in sources.items()}
    return {name: to_float(x[:: -(-len(x) // MAX_IMAGES)]) for name, x in tests.items()}


def pca(data):
    """Return a linear model of patches: an autoencoder initialized from PCA without its nonlinear branch."""
    model = medzoo.ConvAutoencoder(
        (None, None, 1),
        bottleneck="spatial",
        latent_dim=4,
        filters=(8, 8),
        blocks_per_stage=1,
        name="PCA of patches, 4 components",
    )
    model.initialize_from_pca(to_float(open_dataset(data / "chestxray_256.npz").images("train")))
    for head in (model.encoder.head, model.decoder.head):
        head.set_weights([np.zeros_like(w) for w in head.get_weights()])
    return model


def figure(path, rows):
    from matplotlib.figure import Figure

    plot = Figure(figsize=(7, 3.5), layout="constrained")
    axis = plot.subplots()
    sites, models = (list(dict.fromkeys(r[k] for r in rows)) for k in ("site", "model"))
    for i, model in enumerate(models):
        psnr = [next(r["psnr"] for r in rows if (r["model"], r["site"]) == (model, site)) for site in sites]
        means = np.array([value["mean"] for value in psnr])
        errors = np.abs(np.array([value["interval"] for value in psnr]).T - means)
        position = np.arange(len(sites)) + 0.15 * (i - (len(models) - 1) / 2)
        axis.errorbar(position, means, errors, fmt="o", capsize=3, label=model)
    axis.set_xticks(range(len(sites)), sites)
    axis.set(ylabel="PSNR (dB), 95% interval")
    axis.grid(axis="y", alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    plot.savefig(path, dpi=120)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option("--adult", type=click.Path(path_type=Path, exists=True), help="NPZ file of adult chest X-rays.")
@click.option("--models", default=MODELS, show_default=True, help="Presets, separated by commas.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, adult, models, out):
    rows, tests = [], test_images(data, adult)
    for model in [*map(medzoo.load, models.split(",")), pca(data)]:
        for site, images in tests.items():
            found = model.reconstruct(images)
            row = {"model": model.name, "site": site, "images": len(images)}
            row |= {
                name: bootstrap_mean_ci(metrics.per_image(function, images, found))
                for name, function in (("psnr", metrics.psnr), ("ssim", metrics.ssim))
            }
            rows.append(row)
            click.echo(f"{model.name:30} {site:14} {format_ci(row['psnr'])} dB, SSIM {format_ci(row['ssim'], 3)}")
    cells = [[r["model"], r["site"], r["images"], format_ci(r["psnr"]), format_ci(r["ssim"], 3)] for r in rows]
    figure(out.with_suffix(".png"), rows)
    write_page(
        out,
        "Reconstruction by site",
        [("", ["Model", "Site", "Images", "PSNR (dB)", "SSIM"], cells)],
        {"results": rows},
    )


if __name__ == "__main__":
    main()
