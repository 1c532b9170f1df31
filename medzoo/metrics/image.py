"""PSNR, SSIM and MS-SSIM of image batches, and Keras metrics of codebook use."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from medzoo.losses import checked_pair


def psnr(images, reconstructions, max_val: float | None = None):
    """Return the peak signal-to-noise ratio (PSNR) of each image in dB.

    Equal images give 100 dB rather than infinity.

    Args:
        images: float array with values in [0, 1], or uint8 array, `(batch, ...)`.
        reconstructions: Array like `images`, of the same shape and kind.
        max_val: float. Largest possible value, for images in other units. Default: 1, and 255 for uint8.

    Returns:
        float32 tensor `(batch,)`.

    Raises:
        ValueError: If shapes or types differ, or values are outside the range; see `medzoo.losses.checked_pair`.
    """
    images, reconstructions = checked_pair("psnr", images, reconstructions, max_val)
    error = ops.square(images - reconstructions)
    error = ops.mean(ops.reshape(error, (ops.shape(error)[0], -1)), axis=1)
    return -10.0 * ops.log(ops.maximum(error, 1e-10)) / np.log(10.0)


MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, finest scale first


def ssim(images, reconstructions, sigma: float = 1.5, max_val: float | None = None):
    """Return the structural similarity (SSIM) of each image (Wang et al. 2004).

    Gaussian window of 11 pixels, K1 = 0.01, K2 = 0.03, population covariance; borders, where the window does not fit,
    are excluded. Equals `skimage.metrics.structural_similarity(gaussian_weights=True, use_sample_covariance=False)`,
    also for volumes, with a window of 11 voxels along each axis.

    Args:
        images: float array with values in [0, 1], or uint8 array, `(batch, height, width, 1)` or `(batch, depth,
            height, width, 1)`, with sides of 11 pixels or more.
        reconstructions: Array like `images`, of the same shape and kind.
        sigma: float. Standard deviation of the window in pixels.
        max_val: float, see `psnr`.

    Returns:
        float32 tensor `(batch,)`, at most 1.

    Raises:
        ValueError: As `psnr`, or if the images are too small or have several channels.
    """
    images, reconstructions = checked_pair("ssim", images, reconstructions, max_val)
    luminance, structure = _ssim_maps(images, reconstructions, sigma)
    return ops.mean(luminance * structure, axis=tuple(range(1, len(images.shape))))


def ms_ssim(images, reconstructions, sigma: float = 1.5, max_val: float | None = None):
    """Return the multi-scale structural similarity (MS-SSIM) of each image.

    Wang, Simoncelli & Bovik 2003. Five scales, each half the size of the previous one; equals
    `tf.image.ssim_multiscale` if sides are multiples of 16.

    Args:
        images: float array with values in [0, 1], or uint8 array, `(batch, height, width, 1)`, with sides of 176 pixels
            or more.
        reconstructions: Array like `images`, of the same shape and kind.
        sigma: float. Standard deviation of the window in pixels.
        max_val: float, see `psnr`.

    Returns:
        float32 tensor `(batch,)`, from 0 to 1.

    Raises:
        ValueError: As `ssim`.
    """
    images, reconstructions = checked_pair("ms_ssim", images, reconstructions, max_val)
    smallest = 11 * 2 ** (len(MS_WEIGHTS) - 1)
    if min(images.shape[1:3]) < smallest:
        raise ValueError(f"ms_ssim: images of {images.shape[1]}x{images.shape[2]}; expected {smallest} or more a side.")
    score = 1.0
    for scale, weight in enumerate(MS_WEIGHTS):
        if scale:
            images, reconstructions = (
                ops.average_pool(x, 2, data_format="channels_last") for x in (images, reconstructions)
            )
        luminance, structure = _ssim_maps(images, reconstructions, sigma)
        last = scale == len(MS_WEIGHTS) - 1
        mean = ops.mean(luminance * structure if last else structure, axis=(1, 2, 3))
        score = score * ops.maximum(mean, 0.0) ** weight
    return score


def _ssim_maps(images, reconstructions, sigma):
    """Return the two factors of SSIM at each pixel: luminance, and contrast with structure."""
    sides = images.shape[1:-1]
    if images.shape[-1] != 1:
        raise ValueError(f"ssim: images of {images.shape[-1]} channels. Expected 1 channel, (batch, ..., 1).")
    if min(sides) < 11:
        raise ValueError(f"ssim: images of {'x'.join(map(str, sides))} pixels; expected 11 or more a side.")
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets**2) / (2 * sigma**2))
    window = ops.convert_to_tensor((window / window.sum()).astype("float32"))

    def blur(x):
        for axis in range(len(sides)):
            kernel = ops.reshape(window, [11 if i == axis else 1 for i in range(len(sides) + 2)])
            x = ops.conv(x, kernel, data_format="channels_last")
        return x

    mean_x, mean_y = blur(images), blur(reconstructions)
    var_x = blur(images * images) - mean_x**2
    var_y = blur(reconstructions * reconstructions) - mean_y**2
    cov = blur(images * reconstructions) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * cov + c2) / (var_x + var_y + c2)


def per_image(function: Callable, images: np.ndarray, reconstructions: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Apply a metric of this module to many images in batches.

    Args:
        function: Function of two batches that returns a tensor `(batch,)`.
        images: Array `(N, ...)`.
        reconstructions: Array shaped like `images`.
        batch_size: int. Images per batch.

    Returns:
        float array `(N,)`.
    """
    batches = range(0, len(images), batch_size)
    parts = [function(images[i : i + batch_size], reconstructions[i : i + batch_size]) for i in batches]
    return np.concatenate([ops.convert_to_numpy(part) for part in parts])


class _PerImage(keras.metrics.Mean):
    """Mean over images of a function of (target, reconstruction), for `compile(metrics=[...])`."""

    function: Any = None

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(type(self).function(y_true, y_pred), sample_weight=sample_weight)


@keras.saving.register_keras_serializable("medzoo")
class PSNR(_PerImage):
    """Keras metric: mean over images of `psnr`, in dB."""

    function = staticmethod(psnr)

    def __init__(self, name="psnr", **kwargs):
        super().__init__(name=name, **kwargs)


@keras.saving.register_keras_serializable("medzoo")
class SSIM(_PerImage):
    """Keras metric: mean over images of `ssim`."""

    function = staticmethod(ssim)

    def __init__(self, name="ssim", **kwargs):
        super().__init__(name=name, **kwargs)


class _CodeCounts(keras.metrics.Metric):
    """Counts of each code since the last reset."""

    def __init__(self, codebook_size, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.codebook_size = codebook_size
        self.counts = self.add_variable((codebook_size,), "zeros", name="counts")

    def update_state(self, codes, sample_weight=None):
        codes = ops.reshape(codes, (-1,))
        ones = ops.ones_like(codes, dtype="float32")
        self.counts.assign(self.counts + ops.segment_sum(ones, codes, num_segments=self.codebook_size))

    def get_config(self) -> dict:
        return {**super().get_config(), "codebook_size": self.codebook_size}


@keras.saving.register_keras_serializable("medzoo")
class Perplexity(_CodeCounts):
    """Keras metric: exponential of the entropy of the code frequencies, 1 to `codebook_size`.

    Args:
        codebook_size: int. Number of codes.
    """

    def __init__(self, codebook_size, name="perplexity", **kwargs):
        super().__init__(codebook_size, name, **kwargs)

    def result(self):
        p = self.counts / ops.maximum(ops.sum(self.counts), 1.0)
        return ops.exp(-ops.sum(p * ops.log(ops.maximum(p, 1e-12))))


@keras.saving.register_keras_serializable("medzoo")
class CodebookUsage(_CodeCounts):
    """Keras metric: fraction of codebook entries that were used at least once, 0 to 1.

    Args:
        codebook_size: int. Number of codes.
    """

    def __init__(self, codebook_size, name="usage", **kwargs):
        super().__init__(codebook_size, name, **kwargs)

    def result(self):
        return ops.mean(ops.cast(self.counts > 0, "float32"))
