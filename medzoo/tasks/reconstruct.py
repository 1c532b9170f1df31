"""A first look: a model's reconstruction of one image, beside the image."""

import logging
import math
from pathlib import Path

import medzoo.data
from medzoo import metrics
from medzoo.io.volume import apply_to_volume
from medzoo.io.volume_reader import read_volume
from medzoo.io.writers import write_png
from medzoo.models import MaskedAutoencoder
from medzoo.models.tiles import padded
from medzoo.visualization import difference_strip, save_demo, save_planes
from medzoo.zoo.presets import load

log = logging.getLogger("medzoo")


def reconstruct_file(model, file, target):
    """Writes input | reconstruction | difference of an image file as PNG; of a masked autoencoder the input with 60% of
    its blocks hidden, and what they are filled with.

    Returns: `(psnr, ssim)`, in dB and from -1 to 1.
    """
    image = model.preprocess(file)
    if said := model.is_ood(image):
        log.warning("%s: %s", file, said)
    shown, result = input_and_reconstruction(model, image)
    write_png(target, difference_strip(image[0], result[0], shown[0]))
    return _likeness(image, result)


def reconstruct_volume_file(model, source, target):
    """Reconstructs a volume: a picture of its middle in three planes, and beside it (.nii.gz in the place of .png) the
    volume in the units and on the grid of the file.

    A model of volumes takes it whole, or beyond 128 voxels a side in tiles; one of images takes it slice by slice. A
    model of one size gets the middle, and the rest stays as it was.

    Args:
        model: a medzoo model.
        source: what `medzoo.read_volume` takes.
        target: path of the picture.

    Returns: `(psnr, ssim)`: over the volume in dB; of its axial slices, averaged.
    """
    volume = read_volume(source)
    images = volume.images()
    if model.spatial_dims == 3:
        result = apply_to_volume(model.reconstruct, images, model, rest=images)
    elif model.image_shape[0] is None:
        height, width = images.shape[1:3]
        result = model.reconstruct(padded(images, model))[:, :height, :width]
    else:
        raise ValueError(
            f"{model.name}: takes {model.image_shape[:2]} pixels only; a volume goes slice by slice through "
            "presets that take any size."
        )
    low, high = volume.range
    target.parent.mkdir(parents=True, exist_ok=True)
    volume.save(low + (high - low) * result, target.with_suffix(".nii.gz"), overwrite=True)
    save_planes(target, images, result, volume.spacing, f"{model.name}: {volume.path.name}")
    ssim = metrics.per_image(metrics.ssim, images, result).mean() if min(images.shape[1:3]) > 10 else float("nan")
    return float(metrics.psnr(images[None], result[None])[0]), float(ssim)


def input_and_reconstruction(model, images):
    """What a model sees of images, and what it makes of that: `(images, reconstructions)`, or of a masked autoencoder
    `(images with hidden blocks, filled images)`."""
    if not isinstance(model, MaskedAutoencoder):
        return images, model.reconstruct(images)
    visible = model.random_mask(images, seed=0)
    return model.apply_mask(images, visible), model.inpaint(images, visible)


def run_demo(name, out):
    """Writes a figure of what a VAE makes of the drawn chest film that ships with medzoo, and of what it draws itself.

    Returns: `(numbers, psnr, ssim)`: how many latents, and how good the reconstruction is.
    """
    model = load(name)
    image = model.preprocess(Path(medzoo.data.__file__).parent / "chest_phantom.png")
    result = model.reconstruct(image)
    psnr, ssim = _likeness(image, result)
    numbers = math.prod(model.latent_shape(image.shape[1:]))
    save_demo(
        out,
        image[0],
        result[0],
        f"reconstruction from {numbers} numbers: {psnr:.1f} dB",
        model.sample(8, seed=0, num_steps=20),
    )
    return numbers, psnr, ssim


def _likeness(image, result):
    return tuple(float(f(image, result)[0]) for f in (metrics.psnr, metrics.ssim))
