"""Reconstruction quality on held-out images, compared with PCA."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from keras import ops

from medzoo import metrics
from medzoo.layers.grids import per_axis, to_depth, to_space
from medzoo.metrics.bootstrap import bootstrap_mean_ci
from medzoo.models import VQVAE, Codec

if TYPE_CHECKING:
    import keras

METRICS = {"psnr": (metrics.psnr, 1), "ssim": (metrics.ssim, 11), "ms_ssim": (metrics.ms_ssim, 176)}  # smallest side


def similarity(
    images: np.ndarray, reconstructions: np.ndarray, groups: Sequence | np.ndarray | None = None
) -> dict[str, dict]:
    """Return PSNR, SSIM and MS-SSIM, each with a 95% bootstrap interval.

    Args:
        images: float32 array of shape `(N, height, width, 1)` or `(N, depth, height, width, 1)` with values in [0, 1].
        reconstructions: Array of the same shape.
        groups: Sequence of length N that identifies patients, see `bootstrap_ci`, or `None`.

    Returns:
        Dict of the metrics that apply to the size: MS-SSIM needs 2D images of at least 176×176 pixels.
    """
    side = min(images.shape[1:-1])
    return {
        name: bootstrap_mean_ci(metrics.per_image(function, images, reconstructions), groups=groups)
        for name, (function, smallest) in METRICS.items()
        if side >= smallest and (images.ndim == 4 or name != "ms_ssim")
    }


def pca_baseline(
    model: "keras.Model", train: np.ndarray, images: np.ndarray, groups: Sequence | np.ndarray | None = None
) -> dict | None:
    """Return the `similarity` of a PCA with the latent size of the model, fitted to the training images.

    The PCA is computed on whole images if the model takes one image size only, else on patches.

    Args:
        model: A medzoo model.
        train: float32 array of training images, values in [0, 1].
        images: float32 array of test images, values in [0, 1].
        groups: Sequence that identifies the patients of `images`, or `None`.

    Returns:
        Dict with `"components"`, `"patch"` (where patches are used) and the metrics; `None` for VQ-VAE and codec, whose
        latents are integers with a cost of a few bits each.
    """
    if isinstance(model, (VQVAE, Codec)):
        return None
    if model.image_shape[0]:
        patch, components = None, math.prod(model.latent_shape())
    else:
        patch, components = model.downsampling, model.latent_dim
    components = min(components, len(train) - 1) if patch is None else components
    restored = pca_reconstruct(train, images, components, patch)
    sides = patch if model.spatial_dims == 2 else "×".join(map(str, model.downsampling_factors))
    where = {"patch": sides} if patch else {}
    return {"components": components, **where, **similarity(images, restored, groups)}


def pca_reconstruct(
    train: np.ndarray,
    images: np.ndarray,
    components: int,
    patch: "int | Sequence[int] | None" = None,
    max_rows: int = 100_000,
) -> np.ndarray:
    """Return the projection of images, or of their patches, on the first principal components of training images.

    Args:
        train: float32 array of training images.
        images: float32 array of images to project.
        components: int. Number of principal components.
        patch: Side or sides of the patches in pixels, or `None` for whole images.
        max_rows: int. Number of images or patches that the PCA is fitted to, at most. Default: 100,000.

    Returns:
        float32 array of the shape of `images` with values in [0, 1].
    """
    from sklearn.decomposition import PCA

    rows = to_rows(train, patch)
    rows = rows[:: -(-len(rows) // max_rows)]
    solver = "covariance_eigh" if rows.shape[1] <= 4096 else "randomized"
    pca = PCA(components, svd_solver=solver, random_state=0).fit(rows)
    restored = pca.inverse_transform(pca.transform(to_rows(images, patch)))
    return np.clip(from_rows(restored, images.shape, patch), 0, 1).astype("float32")


def to_rows(images: np.ndarray, patch: "int | Sequence[int] | None") -> np.ndarray:
    """Return images, or their patches, as rows of pixels.

    Args:
        images: Array of shape `(N, height, width, 1)` or `(N, depth, height, width, 1)`.
        patch: Side or sides of the patches in pixels, or `None` for whole images.

    Returns:
        Array of shape `(N, height * width)`, or `(N * height / patch * width / patch, patch ** 2)`.
    """
    if not patch:
        return images.reshape(len(images), -1)
    patches = ops.convert_to_numpy(to_depth(images, patch))
    return patches.reshape(-1, patches.shape[-1])


def from_rows(rows: np.ndarray, shape: Sequence[int], patch: "int | Sequence[int] | None") -> np.ndarray:
    """Return images from rows of pixels, the inverse of `to_rows`.

    Args:
        rows: Array as `to_rows` returns it.
        shape: Shape of the images.
        patch: See `to_rows`.

    Returns:
        Array of shape `shape`.
    """
    if not patch:
        return rows.reshape(shape)
    grid = (n // f for n, f in zip(shape[1:-1], per_axis(patch, len(shape) - 2), strict=True))
    return ops.convert_to_numpy(to_space(rows.reshape(shape[0], *grid, -1), patch))
