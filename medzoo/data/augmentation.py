"""Training images moved, turned, stretched and exposed a little differently each time, or cut into crops."""

import keras
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from medzoo.io.intensity import unit_range
from medzoo.models.epochs import EpochDataset

PAD = 8  # pixels repeated around the borders, so that a moved image has no black rim


class AugmentedDataset(EpochDataset):
    """Batches of augmented images for `fit`, on every backend; repeatable for a given seed and epoch.

    Some images stay where they are, so that an autoencoder keeps seeing the sharpness of the originals.

    Args:
        images: uint8 `(N, H, W, 1)`, or float32 in [0, 1]; or a list of such arrays to be mixed, of one size unless
            `crop` is given. An `np.memmap` stays on disk.
        sampling_weights: how much of an epoch is from each array, in proportion; by default as many as there are images.
        steps: batches an epoch; by default an epoch shows each image once (or as many crops as hold its pixels).
        batch_size: images a batch.
        labels: integers `(N,)` to go with the images, or `None`.
        seed: int.
        translation: largest movement in pixels, each way.
        affine: largest turn in radians and largest relative change of scale.
        contrast: largest relative change of contrast.
        crop: side in pixels of square crops from anywhere, for models that take any size; an epoch then has as many
            crops as hold the pixels of all images, and `translation` and `affine` are not used.
        zoom: largest factor that crops are enlarged or reduced by, so that other resolutions are known too.
        flip: mirror every other image, left to right.
        aspect_ratio: largest logarithm of a further change of proportions, each way; the area stays.
        acquisition: how far each image's acquisition, sharpness and noise are varied, see `expose`; 0: not at all.
        identity_fraction: share of the images that are not moved.
        drop_remainder: leave out the last batch of an epoch if it is smaller, and the last group if it is.
        group: batches that belong together.
        shard: `(i, n)`: only the i-th of n parts of each batch, for one of several processes.

    Attributes:
        epoch: see `Epochs`; a training that can be interrupted sets it before each epoch, so that a resumed one draws
            what it would have drawn.
        skip: batches of the epoch that were seen before an interruption.

    Volumes `(N, D, H, W, 1)` go through the same changes; crops of them are not zoomed.

    Items: float32 `(batch, H, W, 1)` in [0, 1]; with labels, a pair of these and integers `(batch,)`.
    """

    def __init__(
        self,
        images,
        batch_size,
        seed=0,
        labels=None,
        translation=2.0,
        affine=0.05,
        contrast=0.1,
        crop=None,
        zoom=1.3,
        flip=False,
        aspect_ratio=0.0,
        acquisition=0.0,
        identity_fraction=0.3,
        drop_remainder=False,
        group=1,
        shard=(0, 1),
        sampling_weights=None,
        steps=None,
    ):
        super().__init__()
        parts = images if isinstance(images, (list, tuple)) else [images]
        self.parts = [part if part.dtype == np.uint8 else unit_range(part, "AugmentedDataset") for part in parts]
        self.labels = labels
        if len({part.shape[1:] for part in self.parts}) > 1 and not crop:
            raise ValueError(
                f"AugmentedDataset: images of {[part.shape[1:3] for part in self.parts]} pixels; give crop=."
            )
        self.batch_size, self.seed = batch_size, seed
        self.translation, self.affine, self.contrast = translation, affine, contrast
        self.crop, self.zoom, self.flip = crop, zoom, flip
        self.aspect_ratio, self.acquisition, self.identity_fraction = aspect_ratio, acquisition, identity_fraction
        # An image counts as often as it has crops' worth of pixels.
        pixels = [np.prod(x.shape[1:-1]) for x in self.parts]
        each = [max(1, round(n / crop ** (x.ndim - 2))) if crop else 1 for n, x in zip(pixels, self.parts, strict=True)]
        counts = [len(x) * n for x, n in zip(self.parts, each, strict=True)]
        total = steps * batch_size if steps else sum(counts)
        weights = np.array(counts if sampling_weights is None else sampling_weights, "float64")
        ends = np.round(np.cumsum(weights) / weights.sum() * total).astype(int)
        self.counts = np.diff(ends, prepend=0)
        self.drop_remainder, self.group, self.shard = drop_remainder, group, shard
        self.skip, self.ordered = 0, None

    def __len__(self):
        count = self.counts.sum()
        whole = count // (self.batch_size * self.group) * self.group
        return int(whole if self.drop_remainder else -(-count // self.batch_size)) - self.skip

    def _order(self):
        """`(array, index)` of each image of the epoch; all of an array before any of it comes again."""
        if self.ordered != self.epoch:
            rng = np.random.default_rng((self.seed, self.epoch))
            rows = []
            for part, (images, count) in enumerate(zip(self.parts, self.counts, strict=True)):
                rounds = [rng.permutation(len(images)) for _ in range(-(-count // len(images)))]
                rows += [(part, i) for i in np.concatenate([*rounds, []])[:count].astype(int)]
            self.order, self.ordered = np.array(rows)[rng.permutation(len(rows))], self.epoch
        return self.order

    def __getitem__(self, index):
        index += self.skip
        rng = np.random.default_rng((self.seed, self.epoch, index))
        chosen = self._order()[index * self.batch_size : (index + 1) * self.batch_size]
        change = self._crop if self.crop else self._move
        batch = [change(self.parts[part][i, ..., 0], rng) for part, i in chosen]
        if self.acquisition:
            batch = [random_acquisition(image, rng, self.acquisition) for image in batch]
        if self.flip:
            batch = [image[..., ::-1] if rng.random() < 0.5 else image for image in batch]
        batch = np.stack(batch).astype("float32")[..., None]
        ours, parts = self.shard
        part = slice(len(batch) * ours // parts, len(batch) * (ours + 1) // parts)
        return batch[part] if self.labels is None else (batch[part], self.labels[chosen[part, 1]])

    def _crop(self, image, rng):
        cut = self._cut_volume(image, rng) if image.ndim == 3 else self._cut_image(image, rng)
        gain, offset = 1 + self.contrast * rng.uniform(-1, 1), 0.5 * self.contrast * rng.uniform(-1, 1)
        return np.clip(cut * gain + offset, 0, 1)

    def _cut_volume(self, volume, rng):
        side = self.crop
        volume, white = _padded(volume, [max(0, side - n) for n in volume.shape])
        first = [rng.integers(0, n - side + 1) for n in volume.shape]
        return volume[tuple(slice(i, i + side) for i in first)].astype("float32") / white

    def _cut_image(self, image, rng):
        side = self.crop
        image, white = _padded(image, (PAD, PAD))
        scale = self.zoom ** rng.uniform(-1, 1) if rng.random() < 0.7 else 1.0
        scale = min(scale, min(image.shape) / side)  # source pixels for each pixel of the crop
        corner = [rng.integers(0, int(length - scale * side) + 1) for length in image.shape]
        box = (corner[1], corner[0], corner[1] + scale * side, corner[0] + scale * side)
        cut = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC, box=box)
        return np.asarray(cut, "float32") / white

    def _move(self, image, rng):
        if image.ndim == 3:
            return self._move_volume(image, rng)
        (height, width), pad = image.shape, PAD + round(self.aspect_ratio * image.shape[0] / 2)
        image, white = _padded(image, (pad, pad))
        scale, ratio, turn, gain = 1 + rng.uniform(-1, 1, 4) * (
            self.affine,
            self.affine / 2,
            self.affine,
            self.contrast,
        )
        wider = np.exp(self.aspect_ratio / 2 * rng.uniform(-1, 1)) if self.aspect_ratio else 1.0
        dx, dy = rng.uniform(-self.translation, self.translation, 2)
        if rng.random() < self.identity_fraction:
            return image[pad:-pad, pad:-pad].astype("float32") / white
        a, b, c, d = scale / wider, turn - 1, 1 - turn, scale * ratio * wider
        # Output pixel (x, y), about the middle, is read from input pixel A (x, y) + shift.
        mx, my = (width - 1) / 2, (height - 1) / 2
        matrix = (a, b, pad + mx + dx - a * mx - b * my, c, d, pad + my + dy - c * mx - d * my)
        moved = Image.fromarray(image).transform(
            (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
        )
        return np.clip(np.asarray(moved, "float32") / white * gain, 0, 1)

    def _move_volume(self, volume, rng):
        from scipy.ndimage import affine_transform
        from scipy.spatial.transform import Rotation

        scale = 1 + self.affine * rng.uniform(-1, 1, 3)
        matrix = Rotation.from_rotvec(self.affine * rng.uniform(-1, 1, 3)).as_matrix() * scale
        translation, gain = rng.uniform(-self.translation, self.translation, 3), 1 + self.contrast * rng.uniform(-1, 1)
        white = np.float32(255 if volume.dtype == np.uint8 else 1)
        if rng.random() < self.identity_fraction:
            return volume.astype("float32") / white
        middle = (np.array(volume.shape) - 1) / 2
        values = volume.astype("float32") / white
        moved = affine_transform(values, matrix, middle - matrix @ middle + translation, order=3, mode="nearest")
        return np.clip(moved * gain, 0, 1)


def random_acquisition(image, rng, most=0.25):
    """Another acquisition, sharpness and noise, which change no finding: gamma, blur or sharpening, grain.

    Args:
        image: float array of any number of axes, in [0, 1].
        rng: NumPy generator.
        most: largest logarithm of the gamma, each way.
    """
    image = np.clip(image, 0, 1) ** np.exp(rng.uniform(-most, most))
    if rng.random() < 0.3:
        image = gaussian_filter(image, rng.uniform(0, 0.8))
    if rng.random() < 0.2:
        image = image + 0.8 * rng.random() * (image - gaussian_filter(image, 1))
    if rng.random() < 0.2:
        image = image + rng.normal(0, 0.02 * rng.random(), image.shape)
    return np.clip(image, 0, 1)


def augmented_copies(images, copies, seed=0, **changes):
    """Yields so many copies of images `(N, H, W, 1)` or volumes, each moved, turned and scaled a little by itself.

    Args:
        images, seed, changes: as in `AugmentedDataset`.
    """
    for copy in range(copies):
        batches = AugmentedDataset(images, len(images), seed, **changes)
        batches.epoch = copy
        yield batches[0]


class ArrayDataset(keras.utils.PyDataset):
    """Images as they are and in order, in float32 batches for `fit`, `evaluate` and `predict` on every backend.

    Args:
        images: `(N, H, W, 1)`, uint8 or float32 in [0, 1]; an `np.memmap` stays on disk.
        labels: array `(N, ...)` to go with them, or `None`.
        batch_size: images a batch.
    """

    def __init__(self, images, labels=None, batch_size=32):
        super().__init__()
        self.images, self.labels, self.batch_size = images, labels, batch_size

    def __len__(self):
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, index):
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        images = np.asarray(self.images[part])
        images = images.astype("float32") / (255 if images.dtype == np.uint8 else 1)
        return images if self.labels is None else (images, self.labels[part])


def _padded(image, widths):
    """An image with its borders repeated, so many pixels on each side of an axis, and the value that is white."""
    padded = np.pad(image, [(n, n) for n in widths], mode="edge")
    return padded, np.float32(255 if image.dtype == np.uint8 else 1)
