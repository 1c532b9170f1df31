"""Data augmentation: random affine transforms, contrast, acquisition variation and crops."""

from collections.abc import Iterator, Sequence
from typing import cast

import keras
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from medzoo.data.npz import max_value, to_float
from medzoo.io.intensity import unit_range
from medzoo.models.epochs import EpochDataset

PAD = 8  # pixels of edge padding, so that transformed images have no black margin


class AugmentedDataset(EpochDataset):
    """Batches of augmented images or volumes for `fit` on every backend, reproducible for a given seed and epoch.

    A fraction of the images is not transformed spatially, so that an autoencoder is trained on images at their original
    sharpness too. Volumes `(N, D, H, W, 1)` are augmented in the same way; crops of volumes are not rescaled.

    Each batch is a float32 array `(batch, H, W, 1)` in [0, 1]; with labels, a pair of it and integers `(batch,)`.

    Args:
        images: uint8 or uint16 array `(N, H, W, 1)`, or float32 in [0, 1]; or a list of such arrays to sample
            from, of equal size unless `crop` is given. An `np.memmap` stays on disk.
        batch_size: int. Number of images per batch.
        seed: int. Seed of the augmentation and the order, default 0.
        labels: integer array `(N,)` of the labels of the images, or `None` (default).
        translation: float. Largest translation in pixels in each direction, default 2.
        affine: float. Largest rotation in radians and largest relative change of scale, default 0.05.
        contrast: float. Largest relative change of contrast, default 0.1.
        crop: int. Side of random square crops in pixels, for fully convolutional models; `None` (default) uses whole
            images. With crops, an epoch has as many crops as are needed to cover the pixels of all images, and
            `translation` and `affine` are not used.
        zoom: float. Largest factor by which crops are enlarged or reduced, default 1.3.
        flip: bool. Whether to flip half of the images horizontally, default `False`.
        aspect_ratio: float. Largest absolute logarithm of a change of the aspect ratio at constant area, default 0.
        acquisition: float. Strength of the random variation of gamma, sharpness and noise, see `random_acquisition`;
            0 (default) disables it.
        identity_fraction: float. Fraction of images without spatial transform, default 0.3.
        drop_remainder: bool. Whether to drop the last batch of an epoch, and the last group, if it is smaller.
        group: int. Number of batches that are processed together, default 1.
        shard: `(i, n)`. Return only the i-th of n parts of each batch, for one of several processes.
        sampling_weights: relative number of images per epoch from each array; by default proportional to their size.
        steps: int. Number of batches per epoch. By default an epoch contains each image once (or as many crops as
            cover its pixels).

    Attributes:
        epoch: int. Index of the epoch, see `EpochDataset`. Training that can be resumed sets it before each epoch, so
            that the resumed training gets the same batches.
        skip: int. Number of batches of the epoch that were processed before an interruption.

    Raises:
        ValueError: If the arrays have different sizes and `crop` is `None`, or values are outside [0, 1].
    """

    def __init__(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        batch_size: int,
        seed: int = 0,
        labels: np.ndarray | None = None,
        translation: float = 2.0,
        affine: float = 0.05,
        contrast: float = 0.1,
        crop: int | None = None,
        zoom: float = 1.3,
        flip: bool = False,
        aspect_ratio: float = 0.0,
        acquisition: float = 0.0,
        identity_fraction: float = 0.3,
        drop_remainder: bool = False,
        group: int = 1,
        shard: tuple[int, int] = (0, 1),
        sampling_weights: Sequence[float] | None = None,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        parts: Sequence = images if isinstance(images, (list, tuple)) else [images]
        stored = (np.uint8, np.uint16)
        self.parts = [part if part.dtype in stored else unit_range(part, "AugmentedDataset") for part in parts]
        self.labels = labels
        if len({part.shape[1:] for part in self.parts}) > 1 and not crop:
            raise ValueError(
                f"AugmentedDataset: images of {[part.shape[1:3] for part in self.parts]} pixels; pass crop=."
            )
        self.batch_size, self.seed = batch_size, seed
        self.translation, self.affine, self.contrast = translation, affine, contrast
        self.crop, self.zoom, self.flip = crop, zoom, flip
        self.aspect_ratio, self.acquisition, self.identity_fraction = aspect_ratio, acquisition, identity_fraction
        # Number of crops that cover the pixels of an image.
        pixels = [np.prod(x.shape[1:-1]) for x in self.parts]
        each = [max(1, round(n / crop ** (x.ndim - 2))) if crop else 1 for n, x in zip(pixels, self.parts, strict=True)]
        counts = [len(x) * n for x, n in zip(self.parts, each, strict=True)]
        total = steps * batch_size if steps else sum(counts)
        weights = np.array(counts if sampling_weights is None else sampling_weights, "float64")
        ends = np.round(np.cumsum(weights) / weights.sum() * total).astype(int)
        self.counts = np.diff(ends, prepend=0)
        self.drop_remainder, self.group, self.shard = drop_remainder, group, shard
        self.skip, self.ordered = 0, None

    def __len__(self) -> int:
        count = self.counts.sum()
        complete = count // (self.batch_size * self.group) * self.group
        return int(complete if self.drop_remainder else -(-count // self.batch_size)) - self.skip

    def _order(self):
        """`(array, index)` of each image of the epoch; no image of an array is repeated before all were used."""
        if self.ordered != self.epoch:
            rng = np.random.default_rng((self.seed, self.epoch))
            rows = []
            for part, (images, count) in enumerate(zip(self.parts, self.counts, strict=True)):
                rounds = [rng.permutation(len(images)) for _ in range(-(-count // len(images)))]
                rows += [(part, i) for i in np.concatenate([*rounds, []])[:count].astype(int)]
            self.order, self.ordered = np.array(rows)[rng.permutation(len(rows))], self.epoch
        return self.order

    def __getitem__(self, index: int) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        index += self.skip
        rng = np.random.default_rng((self.seed, self.epoch, index))
        chosen = self._order()[index * self.batch_size : (index + 1) * self.batch_size]
        transform = self._random_crop if self.crop else self._transform
        batch = [transform(self.parts[part][i, ..., 0], rng) for part, i in chosen]
        if self.acquisition:
            batch = [random_acquisition(image, rng, self.acquisition) for image in batch]
        if self.flip:
            batch = [image[..., ::-1] if rng.random() < 0.5 else image for image in batch]
        batch = np.stack(batch).astype("float32")[..., None]
        ours, parts = self.shard
        part = slice(len(batch) * ours // parts, len(batch) * (ours + 1) // parts)
        return batch[part] if self.labels is None else (batch[part], self.labels[chosen[part, 1]])

    def _random_crop(self, image, rng):
        """Random crop with random contrast and brightness."""
        crop = self._crop_volume(image, rng) if image.ndim == 3 else self._crop_image(image, rng)
        gain, offset = 1 + self.contrast * rng.uniform(-1, 1), 0.5 * self.contrast * rng.uniform(-1, 1)
        return np.clip(crop * gain + offset, 0, 1)

    def _crop_volume(self, volume, rng):
        """Random crop of a volume."""
        side = self.crop
        volume, white = _padded(volume, [max(0, side - n) for n in volume.shape])
        first = [rng.integers(0, n - side + 1) for n in volume.shape]
        return volume[tuple(slice(i, i + side) for i in first)].astype("float32") / white

    def _crop_image(self, image, rng):
        """Random crop of an image at a random scale."""
        side = self.crop
        image, white = _padded(image, (PAD, PAD))
        scale = self.zoom ** rng.uniform(-1, 1) if rng.random() < 0.7 else 1.0
        scale = min(scale, min(image.shape) / side)  # source pixels per pixel of the crop
        corner = [rng.integers(0, int(length - scale * side) + 1) for length in image.shape]
        box = (corner[1], corner[0], corner[1] + scale * side, corner[0] + scale * side)
        crop = _to_pillow(image).resize((side, side), Image.Resampling.BICUBIC, box=box)
        return np.asarray(crop, "float32") / white

    def _transform(self, image, rng):
        """Random affine transform and contrast."""
        if image.ndim == 3:
            return self._transform_volume(image, rng)
        (height, width), pad = image.shape, PAD + round(self.aspect_ratio * image.shape[0] / 2)
        image, white = _padded(image, (pad, pad))
        scale, ratio, rotation, gain = 1 + rng.uniform(-1, 1, 4) * (
            self.affine,
            self.affine / 2,
            self.affine,
            self.contrast,
        )
        stretch = np.exp(self.aspect_ratio / 2 * rng.uniform(-1, 1)) if self.aspect_ratio else 1.0
        dx, dy = rng.uniform(-self.translation, self.translation, 2)
        if rng.random() < self.identity_fraction:
            return image[pad:-pad, pad:-pad].astype("float32") / white
        a, b, c, d = scale / stretch, rotation - 1, 1 - rotation, scale * ratio * stretch
        # Output pixel (x, y), relative to the center, is sampled at input pixel A (x, y) + translation.
        mx, my = (width - 1) / 2, (height - 1) / 2
        matrix = (a, b, pad + mx + dx - a * mx - b * my, c, d, pad + my + dy - c * mx - d * my)
        transformed = _to_pillow(image).transform(
            (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
        )
        return np.clip(np.asarray(transformed, "float32") / white * gain, 0, 1)

    def _transform_volume(self, volume, rng):
        """Random affine transform and contrast of a volume."""
        from scipy.ndimage import affine_transform
        from scipy.spatial.transform import Rotation

        scale = 1 + self.affine * rng.uniform(-1, 1, 3)
        matrix = Rotation.from_rotvec(self.affine * rng.uniform(-1, 1, 3)).as_matrix() * scale
        translation, gain = rng.uniform(-self.translation, self.translation, 3), 1 + self.contrast * rng.uniform(-1, 1)
        white = max_value(volume.dtype)
        if rng.random() < self.identity_fraction:
            return volume.astype("float32") / white
        center = (np.array(volume.shape) - 1) / 2
        values = volume.astype("float32") / white
        transformed = affine_transform(values, matrix, center - matrix @ center + translation, order=3, mode="nearest")
        return np.clip(transformed * gain, 0, 1)


def random_acquisition(image: np.ndarray, rng: np.random.Generator, max_log_gamma: float = 0.25) -> np.ndarray:
    """Apply random gamma, blur or sharpening, and noise.

    This simulates variation between acquisitions, which does not change the label.

    Args:
        image: float array of any shape in [0, 1].
        rng: NumPy random generator.
        max_log_gamma: float. Largest absolute logarithm of gamma, default 0.25.

    Returns:
        Float array of the same shape in [0, 1].
    """
    image = np.clip(image, 0, 1) ** np.exp(rng.uniform(-max_log_gamma, max_log_gamma))
    if rng.random() < 0.3:
        image = gaussian_filter(image, rng.uniform(0, 0.8))
    if rng.random() < 0.2:
        image = image + 0.8 * rng.random() * (image - gaussian_filter(image, 1))
    if rng.random() < 0.2:
        image = image + rng.normal(0, 0.02 * rng.random(), image.shape)
    return np.clip(image, 0, 1)


def augmented_copies(images: np.ndarray, copies: int, seed: int = 0, **changes) -> Iterator[np.ndarray]:
    """Yield augmented copies of all images, each image transformed independently.

    Args:
        images: array `(N, H, W, 1)` or `(N, D, H, W, 1)`, see `AugmentedDataset`.
        copies: int. Number of copies.
        seed: int. Seed of the augmentation, default 0.
        **changes: further arguments of `AugmentedDataset`.

    Yields:
        float32 array of the shape of `images` in [0, 1].
    """
    for copy in range(copies):
        batches = AugmentedDataset(images, len(images), seed, **changes)
        batches.epoch = copy
        yield cast("np.ndarray", batches[0])  # no labels


class ArrayDataset(keras.utils.PyDataset):
    """Batches of unmodified images in order, for `fit`, `evaluate` and `predict` on every backend.

    Each batch is a float32 array `(batch, H, W, 1)` in [0, 1]; with labels, a pair of it and the labels.

    Args:
        images: uint8 array `(N, H, W, 1)`, or float32 in [0, 1]; an `np.memmap` stays on disk.
        labels: array `(N, ...)` of the labels of the images, or `None` (default).
        batch_size: int. Number of images per batch, default 32.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray | None = None, batch_size: int = 32) -> None:
        super().__init__()
        self.images, self.labels, self.batch_size = images, labels, batch_size

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, index: int) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        images = np.asarray(self.images[part])
        images = to_float(images)
        return images if self.labels is None else (images, self.labels[part])


def _to_pillow(image):
    """The image for Pillow, whose resampling takes 8 bits or floats."""
    return Image.fromarray(image if image.dtype == np.uint8 else image.astype("float32"))


def _padded(image, widths):
    """Return the image with edge padding of the given widths per axis, and its white level."""
    padded = np.pad(image, [(n, n) for n in widths], mode="edge")
    return padded, max_value(image.dtype)
