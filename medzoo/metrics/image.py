"""PSNR, SSIM and MS-SSIM as functions of image batches, and codebook use as Keras metrics."""

import keras
import numpy as np
from keras import ops

from medzoo.losses import checked_pair


def psnr(images, reconstructions, max_val=None):
    """Peak signal-to-noise ratio (PSNR) of each image in dB. Equal images give 100 dB rather than infinity.

    Args:
        images: floats in [0, 1] or uint8, `(batch, ...)`.
        reconstructions: as `images`, of the same shape and kind.
        max_val: float, the largest possible value, for images in other units. By default 1, and 255 for uint8.

    Returns:
        Float32 tensor of shape `(batch,)`.

    Raises:
        ValueError: As `medzoo.losses.checked_pair`: unlike shapes or types, or values of another range.
    """
    images, reconstructions = checked_pair("psnr", images, reconstructions, max_val)
    error = ops.square(images - reconstructions)
    error = ops.mean(ops.reshape(error, (ops.shape(error)[0], -1)), axis=1)
    return -10.0 * ops.log(ops.maximum(error, 1e-10)) / np.log(10.0)


MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, finest scale first


def ssim(images, reconstructions, sigma=1.5, max_val=None):
    """Structural similarity of each image (Wang et al. 2004).

    Gaussian window of 11 pixels, K1 = 0.01, K2 = 0.03, population covariance; borders, where the window does not fit,
    are left out. Equals `skimage.metrics.structural_similarity(gaussian_weights=True, use_sample_covariance=False)`; of
    volumes with a window of 11 voxels along each of the three axes, as there.

    Args:
        images, reconstructions: `(batch, height, width, 1)` or `(batch, depth, height, width, 1)`, 11 pixels or more a
            side; floats in [0, 1] or uint8, both of one kind.
        sigma: of the window in pixels.
        max_val: see `psnr`.

    Returns: `(batch,)`, at most 1.
    """
    images, reconstructions = checked_pair("ssim", images, reconstructions, max_val)
    luminance, structure = _ssim_maps(images, reconstructions, sigma)
    return ops.mean(luminance * structure, axis=tuple(range(1, len(images.shape))))


def ms_ssim(images, reconstructions, sigma=1.5, max_val=None):
    """Multi-scale structural similarity of each image (Wang, Simoncelli & Bovik 2003).

    Five scales, each half the one before; equals `tf.image.ssim_multiscale` where sides are multiples of 16.

    Args:
        images, reconstructions: `(batch, height, width, 1)`, 176 pixels or more a side; floats in [0, 1] or uint8,
            both of one kind.
        sigma: of the window in pixels.
        max_val: see `psnr`.

    Returns: `(batch,)`, 0 to 1.
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
    """The two factors of SSIM at each pixel: luminance, and contrast with structure."""
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


def per_image(function, images, reconstructions, batch_size=64):
    """One of these functions over many images, in batches, as a NumPy array `(N,)`."""
    batches = range(0, len(images), batch_size)
    parts = [function(images[i : i + batch_size], reconstructions[i : i + batch_size]) for i in batches]
    return np.concatenate([ops.convert_to_numpy(part) for part in parts])


class _PerImage(keras.metrics.Mean):
    """Mean over images of a function of (target, reconstruction), for `compile(metrics=[...])`."""

    function = None

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(type(self).function(y_true, y_pred), sample_weight=sample_weight)


@keras.saving.register_keras_serializable("medzoo")
class PSNR(_PerImage):
    """Mean over images of `psnr`, in dB."""

    function = staticmethod(psnr)

    def __init__(self, name="psnr", **kwargs):
        super().__init__(name=name, **kwargs)


@keras.saving.register_keras_serializable("medzoo")
class SSIM(_PerImage):
    """Mean over images of `ssim`."""

    function = staticmethod(ssim)

    def __init__(self, name="ssim", **kwargs):
        super().__init__(name=name, **kwargs)


class _CodeCounts(keras.metrics.Metric):
    """Counts how often each code was seen since the last reset."""

    def __init__(self, codebook_size, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.codebook_size = codebook_size
        self.counts = self.add_variable((codebook_size,), "zeros", name="counts")

    def update_state(self, codes, sample_weight=None):
        codes = ops.reshape(codes, (-1,))
        ones = ops.ones_like(codes, dtype="float32")
        self.counts.assign(self.counts + ops.segment_sum(ones, codes, num_segments=self.codebook_size))

    def get_config(self):
        return {**super().get_config(), "codebook_size": self.codebook_size}


@keras.saving.register_keras_serializable("medzoo")
class Perplexity(_CodeCounts):
    """exp of the entropy (in nats) of the codes' frequencies: between 1 and `codebook_size`."""

    def __init__(self, codebook_size, name="perplexity", **kwargs):
        super().__init__(codebook_size, name, **kwargs)

    def result(self):
        p = self.counts / ops.maximum(ops.sum(self.counts), 1.0)
        return ops.exp(-ops.sum(p * ops.log(ops.maximum(p, 1e-12))))


@keras.saving.register_keras_serializable("medzoo")
class CodebookUsage(_CodeCounts):
    """Share of the codebook's entries that were used at least once, 0 to 1."""

    def __init__(self, codebook_size, name="usage", **kwargs):
        super().__init__(codebook_size, name, **kwargs)

    def result(self):
        return ops.mean(ops.cast(self.counts > 0, "float32"))
