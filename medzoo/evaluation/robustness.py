"""How reconstructions hold up when a film is exposed, processed or resized in another way."""

import numpy as np

from medzoo import metrics
from medzoo.metrics.bootstrap import bootstrap_mean_ci
from medzoo.utils.groups import take_groups


def _noisy(std):
    def change(x):
        rng = np.random.default_rng(0)
        return np.clip(x + std * rng.standard_normal(x.shape).astype("float32"), 0, 1)

    return change


# name: (what the model sees, what its reconstruction is compared with)
PERTURBATIONS = {
    "none": (lambda x: x, None),
    "brightness +0.1": (lambda x: np.clip(x + 0.1, 0, 1), None),
    "brightness -0.1": (lambda x: np.clip(x - 0.1, 0, 1), None),
    "contrast x0.7": (lambda x: 0.5 + 0.7 * (x - 0.5), None),
    "contrast x1.3": (lambda x: np.clip(0.5 + 1.3 * (x - 0.5), 0, 1), None),
    "gamma 0.7": (lambda x: x**0.7, None),
    "gamma 1.5": (lambda x: x**1.5, None),
    "mirrored": (lambda x: x[..., ::-1, :], None),
    "noise 0.02": (_noisy(0.02), "clean"),
    "noise 0.05": (_noisy(0.05), "clean"),
    "noise 0.10": (_noisy(0.10), "clean"),
}


def perturbations(model, images, most=300, groups=None):
    """PSNR of reconstructions of changed images, JSON-ready: `{name: {"psnr": ..., "input_psnr": ...}}`.

    Reconstructions are compared with the changed image; where noise was added, with the image before, and `input_psnr`
    says how far the noisy one was from it.

    Args:
        model: a medzoo model.
        images: float32 `(N, height, width, 1)`; of more than `most` every n-th is taken.
        groups: `(N,)`, whatever tells patients apart, see `bootstrap_ci`.
    """
    some = slice(None, None, -(-len(images) // most))
    images, groups = images[some], take_groups(groups, some)
    result = {}
    for name, (change, target) in PERTURBATIONS.items():
        seen = change(images).astype("float32")
        reference = images if target == "clean" else seen
        psnr = metrics.per_image(metrics.psnr, reference, model.reconstruct(seen))
        result[name] = {"psnr": bootstrap_mean_ci(psnr, groups=groups)}
        if target == "clean":
            result[name]["input_psnr"] = round(float(metrics.per_image(metrics.psnr, images, seen).mean()), 2)
    return result
