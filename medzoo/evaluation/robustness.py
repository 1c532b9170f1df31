"""Reconstruction of images with changed intensity, orientation or noise."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medzoo import metrics
from medzoo.metrics.bootstrap import bootstrap_mean_ci
from medzoo.utils.groups import take_groups

if TYPE_CHECKING:
    import keras


def _add_noise(std):
    def change(x):
        rng = np.random.default_rng(0)
        return np.clip(x + std * rng.standard_normal(x.shape).astype("float32"), 0, 1)

    return change


# name: (function that changes the input, the image that the reconstruction is compared with if not the input)
PERTURBATIONS: dict[str, tuple[Callable, str | None]] = {
    "none": (lambda x: x, None),
    "brightness +0.1": (lambda x: np.clip(x + 0.1, 0, 1), None),
    "brightness -0.1": (lambda x: np.clip(x - 0.1, 0, 1), None),
    "contrast x0.7": (lambda x: 0.5 + 0.7 * (x - 0.5), None),
    "contrast x1.3": (lambda x: np.clip(0.5 + 1.3 * (x - 0.5), 0, 1), None),
    "gamma 0.7": (lambda x: x**0.7, None),
    "gamma 1.5": (lambda x: x**1.5, None),
    "mirrored": (lambda x: x[..., ::-1, :], None),
    "noise 0.02": (_add_noise(0.02), "clean"),
    "noise 0.05": (_add_noise(0.05), "clean"),
    "noise 0.10": (_add_noise(0.10), "clean"),
}


def evaluate_robustness(
    model: "keras.Model", images: np.ndarray, max_images: int = 300, groups: Sequence | np.ndarray | None = None
) -> dict[str, dict]:
    """Return the PSNR of reconstructions of perturbed images.

    Reconstructions are compared with the perturbed image; of images with added noise, with the image before the noise.

    Args:
        model: A medzoo model.
        images: float32 array of shape `(N, height, width, 1)` with values in [0, 1].
        max_images: int. If there are more images, every n-th one is used. Default: 300.
        groups: Sequence of length N that identifies patients, see `bootstrap_ci`, or `None`.

    Returns:
        Dict of `PERTURBATIONS`, serializable as JSON: `{name: {"psnr": ..., "input_psnr": ...}}`. `"input_psnr"`, of
        noisy images only, is the PSNR of the noisy input in dB.
    """
    chosen = slice(None, None, -(-len(images) // max_images))
    images, groups = images[chosen], take_groups(groups, chosen)
    result: dict[str, dict[str, Any]] = {}
    for name, (change, target) in PERTURBATIONS.items():
        inputs = change(images).astype("float32")
        reference = images if target == "clean" else inputs
        psnr = metrics.per_image(metrics.psnr, reference, model.reconstruct(inputs))
        result[name] = {"psnr": bootstrap_mean_ci(psnr, groups=groups)}
        if target == "clean":
            result[name]["input_psnr"] = round(float(metrics.per_image(metrics.psnr, images, inputs).mean()), 2)
    return result
