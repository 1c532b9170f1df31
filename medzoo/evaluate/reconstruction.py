"""How well a model reconstructs images it was not trained on, and how well PCA would."""

import json
from pathlib import Path

import numpy as np
from keras import ops

from medzoo import metrics
from medzoo.evaluate import plots
from medzoo.images.datasets import load_npz, to_float


def per_image(function, images, reconstructions, batch_size=256):
    """A metric of `medzoo.metrics` over many images, as a NumPy array."""
    batches = range(0, len(images), batch_size)
    parts = [function(images[i : i + batch_size], reconstructions[i : i + batch_size]) for i in batches]
    return np.concatenate([ops.convert_to_numpy(part) for part in parts])


def summary(values, resamples=2000, seed=0):
    """Mean with a 95% bootstrap interval over images, rounded to what the interval can carry."""
    draws = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    low, high = np.percentile(np.asarray(values)[draws].mean(axis=1), (2.5, 97.5))
    return {"mean": round(float(np.mean(values)), 4), "interval": [round(float(low), 4), round(float(high), 4)]}


def pca_reconstruct(train, images, components):
    """The images projected on the first principal components of the training images."""
    from sklearn.decomposition import PCA

    flat = train.reshape(len(train), -1)
    pca = PCA(components, svd_solver="covariance_eigh", random_state=0).fit(flat)
    restored = pca.inverse_transform(pca.transform(images.reshape(len(images), -1)))
    return np.clip(restored, 0, 1).reshape(images.shape).astype("float32")


def evaluate(model, data, split="test", classes=None, out=None):
    """Measures a model on one split of an npz archive.

    Beside a model with a vector bottleneck stands a PCA of as many components, fitted to the archive's training split.

    Args:
        model: a medzoo model.
        data, split, classes: see `medzoo.datasets.load_npz`.
        out: folder for `reconstructions.png` (best, median and worst images), or `None`.

    Returns: dict of numbers, JSON-ready: PSNR and SSIM with 95% bootstrap intervals, the terms of the loss, the size of
        the model, and where the images came from.
    """
    images = to_float(load_npz(data, split, classes))
    reconstructions = model.reconstruct(images)
    psnr = per_image(metrics.psnr, images, reconstructions)
    result = {
        "command": f"medzoo evaluate {model.name} --data {Path(data).name} --split {split}"
        + (f" --classes {','.join(classes)}" if classes else ""),
        "data": Path(data).name,
        "split": split,
        "classes": classes,
        "images": len(images),
        "parameters": model.count_params(),
        "latent_shape": [*model.latent_shape(images.shape[1:])],
        "psnr": summary(psnr),
        "ssim": summary(per_image(metrics.ssim, images, reconstructions)),
    }
    if not model.compiled:
        model.compile()
    terms = model.evaluate(images, batch_size=100, verbose=0, return_dict=True)
    result["loss_terms"] = {k: round(float(v), 3) for k, v in sorted(terms.items()) if k != "psnr"}
    if model.bottleneck == "vector":
        baseline = pca_reconstruct(to_float(load_npz(data, "train", classes)), images, model.latent_dim)
        result["pca"] = {
            "components": model.latent_dim,
            "psnr": summary(per_image(metrics.psnr, images, baseline)),
            "ssim": summary(per_image(metrics.ssim, images, baseline)),
        }
    if out is not None:
        order = np.argsort(psnr)
        chosen = [*order[::-1][:2], *order[len(order) // 2 :][:2], *order[:2]]
        names = ("best", "best", "median", "median", "worst", "worst")
        titles = [f"{n}: {psnr[i]:.1f} dB" for n, i in zip(names, chosen, strict=True)]
        Path(out).mkdir(parents=True, exist_ok=True)
        plots.save_reconstructions(
            Path(out) / "reconstructions.png", images[chosen], reconstructions[chosen], titles, model.name
        )
    return result


def write_metrics(folder, result):
    """Writes the result of `evaluate` beside a preset."""
    (Path(folder) / "metrics.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
