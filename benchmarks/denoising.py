"""Denoising on test films: the denoising autoencoder beside filters that need no training.

    python benchmarks/denoising.py --data chestxray_256.npz --out benchmarks/denoising

Gaussian noise of three levels, and Poisson-Gaussian noise as of few photons. The filters (scikit-image, SciPy) are told
the true noise level; their strength is set on the validation split. PSNR and SSIM are means over films, with 95%
bootstrap intervals.
"""

from pathlib import Path

import click
import keras
import numpy as np
from common import write
from rich.progress import track
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet

import medzoo
from medzoo import metrics
from medzoo.data.npz import load_npz, to_float
from medzoo.metrics.bootstrap import bootstrap_mean_ci, format_ci
from medzoo.tasks.denoise import denoise

NOISE = {  # name: (standard deviation, the same of photon noise where the image is 1)
    "Gaussian 0.02": (0.02, 0.0),
    "Gaussian 0.05": (0.05, 0.0),
    "Gaussian 0.10": (0.10, 0.0),
    "Poisson-Gaussian, 400 photons": (0.02, 0.05),
    "Poisson-Gaussian, 100 photons": (0.02, 0.10),
}


def noisy(images, level, seed=0):
    """Counted photons, if any (their number is 1 / photon^2 where the image is 1), and Gaussian noise."""
    gaussian, photon = level
    rng = np.random.default_rng(seed)
    x = rng.poisson(images / photon**2) * photon**2 if photon else images
    return np.clip(x + rng.normal(0, gaussian, images.shape), 0, 1).astype("float32")


def strength_of(images, level):
    """Root mean square of the noise over these images."""
    return float(np.sqrt(level[0] ** 2 + level[1] ** 2 * images.mean()))


# name: (function of one film, the noise's deviation and a factor; factors to choose from)
FILTERS = {
    "Gaussian filter": (lambda x, s, k: gaussian_filter(x, k), (0.5, 0.7, 1.0, 1.4, 2.0)),
    "total variation": (lambda x, s, k: denoise_tv_chambolle(x, weight=k * s), (0.5, 1.0, 1.5, 2.0)),
    "wavelets (BayesShrink)": (lambda x, s, k: denoise_wavelet(x, sigma=k * s, rescale_sigma=True), (0.7, 1.0, 1.3)),
    "non-local means": (
        lambda x, s, k: denoise_nl_means(x, patch_size=5, patch_distance=6, h=k * s, sigma=s, fast_mode=True),
        (0.4, 0.6, 0.8, 1.0),
    ),
}


def results(data, name, most=12):
    """Yields (noise, method, images, restored)."""
    images, validation = (to_float(load_npz(data, s)) for s in ("test", "val"))
    validation = validation[:: -(-len(validation) // most)]
    model = medzoo.load(name)
    for title, level in track(list(NOISE.items()), "levels of noise"):
        given, tried, sigma = noisy(images, level), noisy(validation, level, 1), strength_of(validation, level)
        yield title, "noisy", images, given
        for method, (function, factors) in FILTERS.items():

            def apply(x, factor, function=function, sigma=sigma):
                return np.stack([np.clip(function(film, sigma, factor), 0, 1) for film in x[..., 0]])[..., None]

            scores = [
                metrics.per_image(metrics.psnr, validation, apply(tried, k).astype("float32")).mean() for k in factors
            ]
            yield title, method, images, apply(given, factors[int(np.argmax(scores))]).astype("float32")
        yield title, name, images, denoise(given, model)


def figure(path, rows):
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(9, 4), layout="constrained")
    axis = drawing.subplots()
    methods = list(dict.fromkeys(r["method"] for r in rows))
    for i, method in enumerate(methods):
        own = [r["psnr"]["mean"] for r in rows if r["method"] == method]
        axis.bar(np.arange(len(own)) + 0.13 * (i - len(methods) / 2), own, width=0.13, label=method)
    axis.set_xticks(range(len(NOISE)), [name.replace(", ", "\n") for name in NOISE], fontsize=8)
    axis.set(ylabel="PSNR, dB", ylim=(15, None))
    axis.legend(frameon=False, fontsize=8, ncols=3)
    drawing.savefig(path, dpi=120)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--model", default="dae-chestxray", show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, model, out):
    rows = []
    for noise, method, images, restored in results(data, model):
        psnr, ssim = (bootstrap_mean_ci(metrics.per_image(f, images, restored)) for f in (metrics.psnr, metrics.ssim))
        rows.append({"noise": noise, "method": method, "psnr": psnr, "ssim": ssim})
        click.echo(f"{noise:32} {method:24} PSNR {format_ci(psnr)} SSIM {format_ci(ssim, 3)}")
    text = (
        f"{len(images)} test films of `{data.name}`, noise added. Filters know the true noise level and had their "
        "strength chosen on validation films; the model knows neither. BM3D is left out: its implementation may not be "
        "used commercially."
    )
    cells = [[r["noise"], r["method"], format_ci(r["psnr"]), format_ci(r["ssim"], 3)] for r in rows]
    facts = {"backend": keras.backend.backend(), "model": model, "results": rows}
    figure(out.with_suffix(".png"), rows)
    write(out, "Denoise", [("", ["noise", "", "PSNR, dB", "SSIM"], cells)], facts, text)


if __name__ == "__main__":
    main()
