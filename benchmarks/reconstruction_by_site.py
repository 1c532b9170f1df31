"""Reconstruction by hospital: films of the training's hospitals, and of one that no model has seen.

    python benchmarks/reconstruction_by_site.py --data DIR --adult adult_cxr_256.npz --out benchmarks/reconstruction_by_site

DIR holds chestxray_256.npz (adults, USA), pediatric_cxr (children, China) and jsrt_256.npz (adults, Japan: not trained
on). Mean PSNR and SSIM a film over at most 150 films of each test split, with 95% bootstrap intervals;
children's films at 224 pixels. Beside it a PCA of 8x8 patches with 4 components, fitted to training films of
chestxray_256.npz.
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

MOST = 150
MODELS = "ae-chestxray,vae-chestxray,vqvae-chestxray"


def films(data, adult):
    """Test films by hospital, float32 in [0, 1]."""
    sources = {
        "NIH": open_dataset(data / "chestxray_256.npz"),
        "JSRT, unseen": open_dataset(data / "jsrt_256.npz"),
        "children": open_dataset(data / "pediatric_cxr", 224),
    }
    if adult:
        sources["RSNA normal"] = open_dataset(adult)
    tests = {name: collection.images("test") for name, collection in sources.items()}
    return {name: to_float(x[:: -(-len(x) // MOST)]) for name, x in tests.items()}


def pca(data):
    """A linear model of patches: an untrained autoencoder as it starts."""
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

    drawing = Figure(figsize=(7, 3.5), layout="constrained")
    axis = drawing.subplots()
    hospitals, models = (list(dict.fromkeys(r[k] for r in rows)) for k in ("hospital", "model"))
    for i, model in enumerate(models):
        own = [next(r["psnr"]["mean"] for r in rows if (r["model"], r["hospital"]) == (model, h)) for h in hospitals]
        axis.bar(np.arange(len(hospitals)) + 0.8 * (i / len(models) - 0.4), own, 0.8 / len(models), label=model)
    axis.set_xticks(range(len(hospitals)), hospitals)
    axis.set(ylabel="PSNR, dB", ylim=(25, None))
    axis.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, dpi=120)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--adult", type=click.Path(path_type=Path, exists=True), help="What adult_cxr.py made.")
@click.option("--models", default=MODELS, show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, adult, models, out):
    rows, tests = [], films(data, adult)
    for model in [*map(medzoo.load, models.split(",")), pca(data)]:
        for hospital, images in tests.items():
            found = model.reconstruct(images)
            row = {"model": model.name, "hospital": hospital, "films": len(images)}
            row |= {
                name: bootstrap_mean_ci(metrics.per_image(function, images, found))
                for name, function in (("psnr", metrics.psnr), ("ssim", metrics.ssim))
            }
            rows.append(row)
            click.echo(f"{model.name:30} {hospital:14} {format_ci(row['psnr'])} dB, SSIM {format_ci(row['ssim'], 3)}")
    cells = [[r["model"], r["hospital"], r["films"], format_ci(r["psnr"]), format_ci(r["ssim"], 3)] for r in rows]
    figure(out.with_suffix(".png"), rows)
    write(out, "By hospital", [("", ["model", "films of", "films", "PSNR, dB", "SSIM"], cells)], {"results": rows})


if __name__ == "__main__":
    main()
