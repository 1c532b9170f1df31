"""Reconstruction of files, shown next to the input."""

import logging
import math
from pathlib import Path

import keras
import numpy as np

import medzoo.data
from medzoo import metrics
from medzoo.io.volume_reader import read_volume
from medzoo.io.writers import write_png
from medzoo.models import MaskedAutoencoder
from medzoo.models.tiles import pad_to_multiple
from medzoo.tasks.shared.volumes import apply_to_volume
from medzoo.visualization import difference_strip, save_demo, save_planes
from medzoo.zoo.normalization import channels_to_gray, volume_images
from medzoo.zoo.presets import load

log = logging.getLogger("medzoo")


def reconstruct_file(model: keras.Model, file: str | Path, target: Path) -> tuple[float, float]:
    """Reconstruct an image file and write input, reconstruction and difference as PNG.

    For a masked autoencoder, 60% of the blocks of the input are masked and then inpainted.

    Args:
        model: A medzoo model.
        file: Path of an image file.
        target: Path of the PNG.

    Returns:
        `(psnr, ssim)`: PSNR in dB, and SSIM from -1 to 1.
    """
    image = model.preprocess(file)
    if warning := model.ood_warning(image):
        log.warning("%s: %s", file, warning)
    shown, result = input_and_reconstruction(model, image)
    if image.shape[-1] > 1:  # a network of color is shown, and measured, as gray: the mean of the channels
        image, shown, result = (channels_to_gray(x) for x in (image, shown, result))
    write_png(target, difference_strip(image[0], result[0], shown[0]))
    return _psnr_and_ssim(image, result)


def reconstruct_volume_file(model: keras.Model, source: str | Path, target: Path) -> tuple[float, float]:
    """Reconstruct a volume and write a figure of three planes and a NIfTI file.

    The NIfTI file has the name of the figure with `.nii.gz` instead of `.png`, and the units and grid of the input.

    A model of volumes is applied to the whole volume, or in tiles beyond 128 voxels per side. A model of images is
    applied slice by slice. A model with a fixed input size is applied to the central region; the other voxels remain
    unchanged.

    Args:
        model: A medzoo model.
        source: Path that `medzoo.read_volume` takes.
        target: Path of the figure.

    Returns:
        `(psnr, ssim)`: PSNR of the volume in dB, and the mean SSIM of its axial slices.

    Raises:
        ValueError: If the model is one of images with a fixed input size.
    """
    volume = read_volume(source)
    images, (low, high), reconstruct = volume_images(model, volume)
    if model.spatial_dims == 3:
        result = apply_to_volume(reconstruct, images, model, rest=images)
    elif model.image_shape[0] is None:
        height, width = images.shape[1:3]
        result = model.reconstruct(pad_to_multiple(images, model))[:, :height, :width]
    else:
        raise ValueError(
            f"{model.name}: volumes are reconstructed slice by slice by presets that accept any size only. Expected "
            f"such a preset, got one of {model.image_shape[:2]} pixels."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    volume.save(low + (high - low) * result, target.with_suffix(".nii.gz"), overwrite=True)
    save_planes(target, images, result, volume.spacing, f"{model.name}: {volume.path.name}")
    ssim = metrics.per_image(metrics.ssim, images, result).mean() if min(images.shape[1:3]) > 10 else float("nan")
    return float(metrics.psnr(images[None], result[None])[0]), float(ssim)


def input_and_reconstruction(model: keras.Model, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the input of a model and its reconstruction.

    Args:
        model: A medzoo model.
        images: Float32 array of shape `(N, H, W, 1)` with values in [0, 1].

    Returns:
        `(images, reconstructions)`; for a masked autoencoder, masked images and inpainted images.
    """
    if not isinstance(model, MaskedAutoencoder):
        return images, model.reconstruct(images)
    visible = model.random_mask(images, seed=0)
    return model.apply_mask(images, visible), model.inpaint(images, visible)


def run_demo(name: str, out: str | Path) -> tuple[int, float, float]:
    """Write a figure of a VAE's reconstruction of a synthetic phantom and of generated images.

    Args:
        name: A VAE preset, see `medzoo.load`.
        out: Path of the figure.

    Returns:
        `(latent_size, psnr, ssim)`: number of latent elements, and PSNR in dB and SSIM of the reconstruction.
    """
    model = load(name)
    image = model.preprocess(Path(medzoo.data.__file__).parent / "chest_phantom.png")
    result = model.reconstruct(image)
    psnr, ssim = _psnr_and_ssim(image, result)
    latent_size = math.prod(model.latent_shape(image.shape[1:]))
    save_demo(
        out,
        image[0],
        result[0],
        f"reconstruction from {latent_size} latent elements: {psnr:.1f} dB",
        model.sample(8, seed=0, num_steps=20),
    )
    return latent_size, psnr, ssim


def _psnr_and_ssim(image, result):
    """Return PSNR and SSIM of the first image of a batch."""
    return tuple(float(f(image, result)[0]) for f in (metrics.psnr, metrics.ssim))
