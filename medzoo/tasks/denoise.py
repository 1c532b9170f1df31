"""Denoising of images with a denoising autoencoder."""

from pathlib import Path

import keras
import numpy as np

from medzoo.io.image import read_image
from medzoo.io.writers import write_png
from medzoo.models.checks import check_2d
from medzoo.models.tiles import pad_to_multiple
from medzoo.visualization import difference_strip
from medzoo.zoo.presets import loaded

DEFAULT = "dae-chestxray"


def denoise(images: np.ndarray, model: keras.Model | str | Path = DEFAULT, strength: float = 1.0) -> np.ndarray:
    """Remove noise from images.

    Args:
        images: Float32 array of shape `(H, W)`, `(H, W, 1)` or `(N, H, W, 1)` with values in [0, 1]. A model with a
            spatial bottleneck accepts any size.
        model: A medzoo model of images, or anything `medzoo.load` takes. It should be trained with noise; its model
            card states the noise levels.
        strength: float in [0, 1]. Weight of the denoised image in a mixture with the input. At 1 the output is the
            denoised image, at 0 the input. Lower values preserve fine structures that the model removes as noise.

    Returns:
        Float32 array shaped like `images` with values in [0, 1].

    Raises:
        ValueError: If the strength, or the shape or range of the images is invalid.

    Examples:
        ```python
        denoised = medzoo.denoise(noisy)
        ```
    """
    model = loaded(model)
    check_2d(model, "denoise")
    if not 0 <= strength <= 1:
        raise ValueError(f"denoise: strength is out of range. Expected 0 to 1, got {strength}.")
    images = np.asarray(images)
    shape = images.shape
    if images.ndim == 2:
        images = images[..., None]
    stack = images if images.ndim == 4 else images[None]
    height, width = stack.shape[1:3]
    denoised = model.reconstruct(pad_to_multiple(stack, model))[:, :height, :width]
    return (stack + strength * (denoised - stack)).reshape(shape).astype("float32")


def denoise_file(
    file: str | Path, target: Path, model: keras.Model | str | Path = DEFAULT, strength: float = 1.0
) -> None:
    """Denoise an image file and write it as 16-bit PNG.

    A second PNG, `...-compared.png`, shows input, output and difference side by side.

    Args:
        file: Path of an image file.
        target: Path of the PNG to write.
        model: See `denoise`.
        strength: See `denoise`.
    """
    model = loaded(model)
    image = read_image(file) if model.image_shape[0] is None else model.preprocess(file)[0]
    denoised = denoise(image, model, strength)
    write_png(target, np.round(denoised[..., 0] * 65535).astype("uint16"))
    write_png(target.with_name(f"{target.stem}-compared.png"), difference_strip(image, denoised))
