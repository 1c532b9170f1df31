"""Take noise out of images with a denoising autoencoder."""

import numpy as np

from medzoo.io.image import read_image
from medzoo.io.writers import write_png
from medzoo.models.checks import images_only
from medzoo.models.tiles import padded
from medzoo.visualization import difference_strip
from medzoo.zoo.presets import loaded

DEFAULT = "dae-chestxray"


def denoise(images, model=DEFAULT, strength=1.0):
    """Images with less noise.

        clean = denoise(noisy)

    Args:
        images: float32 in [0, 1], `(H, W)`, `(H, W, 1)` or `(N, H, W, 1)`, of any size for a spatial model.
        model: name or folder of a preset, or a medzoo model; one that was trained with noise, see its card for the
            levels it knows.
        strength: 1 gives what the model makes of the image, 0 the image, between them a mixture: fine structures that
            the model takes for noise come back.

    Returns: float32 in [0, 1], shaped like `images`.

    Raises:
        ValueError: another shape or range.
    """
    model = loaded(model)
    images_only(model, "denoise")
    if not 0 <= strength <= 1:
        raise ValueError(f"denoise: strength={strength}; expected 0 to 1.")
    images = np.asarray(images)
    shape = images.shape
    if images.ndim == 2:
        images = images[..., None]
    stack = images if images.ndim == 4 else images[None]
    height, width = stack.shape[1:3]
    cleaned = model.reconstruct(padded(stack, model))[:, :height, :width]
    return (stack + strength * (cleaned - stack)).reshape(shape).astype("float32")


def denoise_file(file, target, model=DEFAULT, strength=1.0):
    """Writes an image file without noise as 16-bit PNG, and before | after | difference beside it (`...-compared.png`).

    Args:
        file: an image file.
        target: path of the PNG.
        model, strength: see `denoise`.
    """
    model = loaded(model)
    image = read_image(file) if model.image_shape[0] is None else model.preprocess(file)[0]
    clean = denoise(image, model, strength)
    write_png(target, np.round(clean[..., 0] * 65535).astype("uint16"))
    write_png(target.with_name(f"{target.stem}-compared.png"), difference_strip(image, clean))
