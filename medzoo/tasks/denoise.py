"""Take noise out of images with a denoising autoencoder."""

import numpy as np

DEFAULT = "dae-chestxray-256"


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
    from medzoo.zoo.presets import load

    model = load(model) if isinstance(model, str) else model
    if not 0 <= strength <= 1:
        raise ValueError(f"denoise: strength={strength}; expected 0 to 1.")
    images = np.asarray(images)
    shape = images.shape
    if images.ndim == 2:
        images = images[..., None]
    stack = images if images.ndim == 4 else images[None]
    height, width = stack.shape[1:3]
    f = model.downsampling if model.image_shape[0] is None else 1
    padded = np.pad(stack, ((0, 0), (0, -height % f), (0, -width % f), (0, 0)), mode="edge")
    cleaned = model.reconstruct(padded)[:, :height, :width]
    return (stack + strength * (cleaned - stack)).reshape(shape).astype("float32")
