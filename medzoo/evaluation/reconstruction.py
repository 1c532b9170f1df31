"""How well a model reconstructs images it was not trained on, and how well PCA would."""

import math

import numpy as np
from keras import ops

from medzoo import metrics
from medzoo.layers.grids import per_axis, to_depth, to_space
from medzoo.metrics.bootstrap import bootstrap_mean_ci
from medzoo.models import VQVAE, Codec

METRICS = {"psnr": (metrics.psnr, 1), "ssim": (metrics.ssim, 11), "ms_ssim": (metrics.ms_ssim, 176)}  # smallest side


def similarity(images, reconstructions, groups=None):
    """PSNR, SSIM and (from 176 pixels on) MS-SSIM, each with a 95% bootstrap interval, see `bootstrap_ci`."""
    side = min(images.shape[1:-1])
    return {
        name: bootstrap_mean_ci(metrics.per_image(function, images, reconstructions), groups=groups)
        for name, (function, least) in METRICS.items()
        if side >= least and (images.ndim == 4 or name != "ms_ssim")
    }


def pca_baseline(model, train, images, groups=None):
    """`similarity` of a PCA with as many numbers an image as the model, fitted to the training images.

    A PCA of whole images where the model takes one size only, else of its patches. `None` for VQ-VAE and codec, whose
    latents are whole numbers and cost a few bits each.
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


def pca_reconstruct(train, images, components, patch=None, most=100_000):
    """The images, or their square patches, projected on the first principal components of the training images'."""
    from sklearn.decomposition import PCA

    rows = cut(train, patch)
    rows = rows[:: -(-len(rows) // most)]
    solver = "covariance_eigh" if rows.shape[1] <= 4096 else "randomized"
    pca = PCA(components, svd_solver=solver, random_state=0).fit(rows)
    restored = pca.inverse_transform(pca.transform(cut(images, patch)))
    return np.clip(join(restored, images.shape, patch), 0, 1).astype("float32")


def cut(images, patch):
    """Images as rows of pixels, `(N, H * W)`, or their square patches, `(N * H/patch * W/patch, patch^2)`."""
    if not patch:
        return images.reshape(len(images), -1)
    patches = ops.convert_to_numpy(to_depth(images, patch))
    return patches.reshape(-1, patches.shape[-1])


def join(rows, shape, patch):
    """What `cut` took apart, put together to images of that shape."""
    if not patch:
        return rows.reshape(shape)
    grid = (n // f for n, f in zip(shape[1:-1], per_axis(patch, len(shape) - 2), strict=True))
    return ops.convert_to_numpy(to_space(rows.reshape(shape[0], *grid, -1), patch))
