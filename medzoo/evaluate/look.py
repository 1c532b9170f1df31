"""A first look: a model's reconstruction of one image, beside the image."""

import math
from pathlib import Path

import medzoo.images
from medzoo import metrics
from medzoo.images.write import write_png
from medzoo.reports.plots import difference_strip, save_demo
from medzoo.zoo.presets import load


def compare(model, file, target):
    """Writes input | reconstruction | difference of an image file as PNG.

    Returns: `(psnr, ssim)`, in dB and from -1 to 1.
    """
    image = model.preprocess(file)
    result = model.reconstruct(image)
    write_png(target, difference_strip(image[0], result[0]))
    return _likeness(image, result)


def demonstrate(name, out):
    """Writes a figure of what a VAE makes of the drawn chest film that ships with medzoo, and of what it draws itself.

    Returns: `(numbers, psnr, ssim)`: how many latents, and how good the reconstruction is.
    """
    model = load(name)
    image = model.preprocess(Path(medzoo.images.__file__).parent / "chest_phantom.png")
    result = model.reconstruct(image)
    psnr, ssim = _likeness(image, result)
    numbers = math.prod(model.latent_shape(image.shape[1:]))
    save_demo(
        out,
        image[0],
        result[0],
        f"reconstruction from {numbers} numbers: {psnr:.1f} dB",
        model.sample(8, seed=0, steps=20),
    )
    return numbers, psnr, ssim


def _likeness(image, result):
    return tuple(float(f(image, result)[0]) for f in (metrics.psnr, metrics.ssim))
