"""Denoising of chest X-rays: the denoising autoencoder compared with filters that need no training.

    python benchmarks/denoising.py --data chestxray_256.npz --out benchmarks/denoising

Gaussian noise of three levels and Poisson-Gaussian noise of two photon counts are added to the test images. The filters
(scikit-image, SciPy) receive the true noise level; their strength is selected on the validation split. PSNR and SSIM
are means over images, with 95% bootstrap intervals.
"""

from pathlib import Path

import click
import keras
import numpy as np
from common import write_page
from rich.progress import track
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet

import medzoo
from medzoo import metrics
from medzoo.data.npz import load_npz, to_float
from medzoo.metrics.bootstrap import bootstrap_mean_ci, format_ci
from medzoo.tasks.denoise import denoise

NOISE = {  # name: (standard deviation of Gaussian noise, of photon noise at intensity 1)
    "Gaussian 0.02": (0.02, 0.0),
    "Gaussian 0.05": (0.05, 0.0),
    "Gaussian 0.10": (0.10, 0.0),
    "Poisson-Gaussian, 400 photons": (0.02, 0.05),
    "Poisson-Gaussian, 100 photons": (0.02, 0.10),
}


def add_noise(images, level, seed=0):
    """Add Poisson noise, if any (1 / photon^2 photons at intensity 1), and Gaussian noise."""
    gaussian, photon = level
    rng = np.random.default_rng(seed)
    x = rng.poisson(images / photon**2) * photon**2 if photon else images
    return np.clip(x + rng.normal(0, gaussian, images.shape), 0, 1).astype("float32")


def noise_std(images, level):
    """Return the root mean square of the noise over images."""
    return float(np.sqrt(level[0] ** 2 + level[1] ** 2 * images.mean()))


# name: (function of an image, the standard deviation of the noise and a factor; candidate factors)
FILTERS = {
    "Gaussian filter": (lambda x, s, k: gaussian_filter(x, k), (0.5, 0.7, 1.0, 1.4, 2.0)),
    "total variation": (lambda x, s, k: denoise_tv_chambolle(x, weight=k * s), (0.5, 1.0, 1.5, 2.0)),
    "wavelets (BayesShrink)": (lambda x, s, k: denoise_wavelet(x, sigma=k * s, rescale_sigma=True), (0.7, 1.0, 1.3)),
    "non-local means": (
        lambda x, s, k: denoise_nl_means(x, patch_size=5, patch_distance=6, h=k * s, sigma=s, fast_mode=True),
        (0.4, 0.6, 0.8, 1.0),
    ),
}


def results(data, name, max_validation=12):
    """Yield `(noise, method, images, denoised images)`."""
    images, validation = (to_float(load_npz(data, s)) for s in ("test", "val"))
    validation = validation[:: -(-len(validation) // max_validation)]
    model = medzoo.load(name)
    for title, level in track(list(NOISE.items()), "noise levels"):
        given, tried, sigma = add_noise(images, level), add_noise(validation, level, 1), noise_std(validation, level)
        yield title, "noisy", images, given
        for method, (function, factors) in FILTERS.items():

            def apply(x, factor, function=function, sigma=sigma):
                return np.stack([np.clip(function(image, sigma, factor), 0, 1) for image in x[..., 0]])[..., None]

            scores = [
                metrics.per_image(metrics.psnr, validation, apply(tried, k).astype("float32")).mean() for k in factors
            ]
            yield title, method, images, apply(given, factors[int(np.argmax(scores))]).astype("float32")
        yield title, name, images, denoise(given, model)


def figure(path, rows):
    from matplotlib.figure import Figure

    plot = Figure(figsize=(9, 4), layout="constrained")
    axis = plot.subplots()
    methods = list(dict.fromkeys(r["method"] for r in rows))
    for i, method in enumerate(methods):
        own = [r["psnr"]["mean"] for r in rows if r["method"] == method]
        axis.bar(np.arange(len(own)) + 0.13 * (i - len(methods) / 2), own, width=0.13, label=method)
    axis.set_xticks(range(len(NOISE)), [name.replace(", ", "\n") for name in NOISE], fontsize=8)
    axis.set(ylabel="PSNR (dB)", ylim=(15, None))
    axis.legend(frameon=False, fontsize=8, ncols=3)
    plot.savefig(path, dpi=120)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="NPZ file of the images.")
@click.option("--model", default="dae-chestxray", show_default=True, help="Preset.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, model, out):
    rows = []
    for noise, method, images, restored in results(data, model):
        psnr, ssim = (bootstrap_mean_ci(metrics.per_image(f, images, restored)) for f in (metrics.psnr, metrics.ssim))
        rows.append({"noise": noise, "method": method, "psnr": psnr, "ssim": ssim})
        click.echo(f"{noise:32} {method:24} PSNR {format_ci(psnr)} SSIM {format_ci(ssim, 3)}")
    text = (
        f"{len(images)} test images of `{data.name}` with added noise. The filters receive the true noise level, and "
        "their strength was selected on validation images; the model receives neither. BM3D is excluded because the "
        "license of its implementation does not permit commercial use."
    )
    cells = [[r["noise"], r["method"], format_ci(r["psnr"]), format_ci(r["ssim"], 3)] for r in rows]
    facts = {"backend": keras.backend.backend(), "model": model, "results": rows}
    figure(out.with_suffix(".png"), rows)
    write_page(out, "Denoising", [("", ["Noise", "Method", "PSNR (dB)", "SSIM"], cells)], facts, text)


if __name__ == "__main__":
    main()
