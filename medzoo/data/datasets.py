"""Batched and prefetched `tf.data` pipelines from NPZ files, folders, DICOM files and volumes.

Images stay uint8 in memory until they are batched. `medzoo.datasets` is this module.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from medzoo.data.image_dataset import ImageDataset, open_dataset
from medzoo.data.latents import from_latents, load_latents
from medzoo.data.npz import load_npz, load_npz_labels
from medzoo.data.pipelines import from_arrays
from medzoo.io.image import read_image
from medzoo.io.listing import list_frames, list_images, read_all, report
from medzoo.io.volume import center_crop_or_pad
from medzoo.io.volume_reader import list_volumes, read_volume
from medzoo.utils.progress import track

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = [
    "ImageDataset",
    "from_arrays",
    "from_dicom",
    "from_folder",
    "from_latents",
    "from_npz",
    "from_volumes",
    "list_frames",
    "list_images",
    "list_volumes",
    "load_latents",
    "load_npz",
    "load_npz_labels",
    "open_dataset",
]


def from_npz(
    path: str | Path,
    split: str = "train",
    classes: Sequence[str | int] | str | int | None = None,
    batch_size: int = 32,
    shuffle: bool | None = None,
    seed: int | None = None,
    drop_remainder: bool = False,
) -> "tf.data.Dataset":
    """Return a `tf.data.Dataset` of the images of one split of an NPZ file.

    Args:
        path: NPZ file in the MedMNIST convention, see `load_npz`.
        split: `"train"` (default), `"val"` or `"test"`.
        classes: class names or integer labels of the images to keep; `None` (default) keeps all.
        batch_size: int. Number of images per batch, default 32.
        shuffle: bool or `None`. Whether to reshuffle the images in each epoch. By default only the training split is
            shuffled.
        seed: int or `None`. Seed of the order; with `None` the order differs between runs.
        drop_remainder: bool. Whether to drop the last batch if it is smaller than `batch_size`.

    Returns:
        `tf.data.Dataset` of float32 batches `(batch, H, W, 1)` in [0, 1].

    Raises:
        FileNotFoundError: If the file does not exist.
        ImageError: If the file is not such an NPZ file, or the split or the class does not exist.
    """
    shuffle = split == "train" if shuffle is None else shuffle
    return from_arrays(load_npz(path, split, classes), None, batch_size, shuffle, seed, drop_remainder)


def from_folder(
    folder: str | Path,
    size: int | tuple[int, int],
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int | None = None,
    window: tuple[float, float] | str | int | None = None,
    cache: bool = True,
    drop_remainder: bool = False,
    on_error: str = "raise",
    skipped: str | Path | None = None,
    sources: Sequence[tuple] | None = None,
    nan: float | None = None,
) -> "tf.data.Dataset":
    """Return a `tf.data.Dataset` of all image files below a folder.

    Each file is read with `read_image(path, size, window)`. All files are read once before the dataset is returned, so
    that an unreadable file is reported before training starts.

    Args:
        folder: folder that is searched recursively for PNG, JPEG, TIFF, NPY and DICOM files.
        size: `(height, width)` in pixels, or one int for a square.
        batch_size: int. Number of images per batch, default 32.
        shuffle: bool. Whether to reshuffle the images in each epoch, default `True`.
        seed: int or `None`. Seed of the order; with `None` the order differs between runs.
        window: see `read_image`.
        cache: bool. Whether to keep the decoded images in memory as uint8 (4 KiB per image of 64×64 pixels). With
            `False` they are read again in each epoch.
        drop_remainder: bool. Whether to drop the last batch if it is smaller than `batch_size`.
        on_error: `"raise"` (default) raises one error that names all unreadable files; `"skip"` leaves them out.
        skipped: with `on_error="skip"`, path of a new text file that lists the skipped files with the reasons.
        sources: list of `(path, frame)` to read instead of the images of the folder, see `list_frames`.
        nan: see `read_image`.

    Returns:
        `tf.data.Dataset` of float32 batches `(batch, H, W, 1)` in [0, 1].

    Raises:
        FileNotFoundError: If the folder does not exist or contains no images.
        FileExistsError: If the file `skipped` exists.
        ImageError: If files are unreadable and `on_error="raise"`, or if all files are unreadable.
    """
    if sources is None:
        sources = [(path, None) for path in list_images(folder)]
    if on_error not in ("raise", "skip") or (on_error == "skip") != (skipped is not None):
        raise ValueError(
            f"{folder}: on_error={on_error!r}, skipped={skipped!r}; expected on_error='raise', or on_error='skip' and "
            "skipped='skipped.txt', the file to list them in."
        )
    if skipped is not None and Path(skipped).exists():
        raise FileExistsError(f"{skipped}: exists; choose another file for the list of skipped images.")
    if size is None:
        raise ValueError(f"{folder}: size=None; all images need one size, e.g. size=256 or size=(height, width).")
    height, width = (size, size) if np.isscalar(size) else cast("tuple[int, int]", size)

    def read(path, frame):
        return np.round(read_image(path, (height, width), window, frame, nan=nan) * 255).astype("uint8")

    images = np.empty((len(sources), height, width, 1), "uint8") if cache else None
    readable, errors = read_all(sources, read, images.__setitem__ if images is not None else lambda index, image: None)
    report(folder, len(sources), errors, on_error, skipped)
    if images is not None:
        return from_arrays(images[readable] if errors else images, None, batch_size, shuffle, seed, drop_remainder)
    import tensorflow as tf

    order = tf.data.Dataset.range(len(readable))
    if shuffle:
        order = order.shuffle(len(readable), seed=seed)

    def load(index):
        image = tf.numpy_function(lambda i: read(*sources[readable[i]]), [index], tf.uint8)
        image.set_shape((height, width, 1))
        return image

    batches = order.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size, drop_remainder=drop_remainder)
    return batches.map(lambda x: tf.cast(x, tf.float32) / 255.0).prefetch(tf.data.AUTOTUNE)


def from_dicom(folder: str | Path, size: int | tuple[int, int], **options) -> "tf.data.Dataset":
    """Return a `tf.data.Dataset` of all DICOM images below a folder.

    DICOM files are identified by content, whatever their names. Every frame is an image.

    Args:
        folder: folder that is searched recursively.
        size: `(height, width)` in pixels, or one int for a square.
        **options: further arguments of `from_folder`.

    Returns:
        `tf.data.Dataset` of float32 batches `(batch, H, W, 1)` in [0, 1].

    Raises:
        FileNotFoundError: If the folder does not exist or contains no DICOM images.
        ImageError: If files are unreadable, see `from_folder`.
    """
    return from_folder(folder, size, sources=list_frames(folder), **options)


def from_volumes(
    source: str | Path | Sequence,
    size: int | tuple[int, int, int],
    batch_size: int = 2,
    crops: int | None = 8,
    shuffle: bool = True,
    seed: int | None = None,
    window: tuple[float, float] | str | None = None,
    spacing: float | Sequence[float] | None = None,
    nan: float | None = None,
) -> "tf.data.Dataset":
    """Return a `tf.data.Dataset` of crops of volumes.

    Each volume is read with `read_volume(path, spacing=spacing, nan=nan).to_images(window=window)`; the depth axis
    points from inferior to superior. All volumes are read once before the dataset is returned, so that an unreadable
    one is reported before training starts. They are stored as uint8 in a temporary file on disk; only one batch at a
    time is in memory.

    Args:
        source: folder, see `list_volumes`, or a list of paths for `read_volume`.
        size: `(depth, height, width)` of a crop in voxels, or one int for a cube.
        batch_size: int. Number of crops per batch, default 2.
        crops: int. Number of random crops per volume and epoch, default 8. With `None`, the central crop of each
            volume. Volumes smaller than `size` are padded with zeros.
        shuffle: bool. Whether to reshuffle the crops in each epoch, default `True`.
        seed: int or `None`. Seed of the order and of the crop positions, which are resampled in each epoch.
        window: see `read_image`.
        spacing: see `read_volume`.
        nan: see `read_volume`.

    Returns:
        `tf.data.Dataset` of float32 batches `(batch, D, H, W, 1)` in [0, 1].

    Raises:
        FileNotFoundError: If the folder or a file does not exist, or the folder contains no volumes.
        ImageError: If a volume is unreadable; the message names it.
    """
    import tempfile

    import tensorflow as tf

    size = (size,) * 3 if np.isscalar(size) else tuple(cast("tuple[int, int, int]", size))
    paths = list_volumes(source) if isinstance(source, (str, Path)) else list(source)
    stored, shapes, offsets = tempfile.TemporaryFile(), [], []  # noqa: SIM115 (open as long as the dataset exists)
    for path in track(paths, "reading volumes", fewest=4):
        images = read_volume(path, spacing=spacing, nan=nan).to_images(window=window)[..., 0]
        values = np.round(255 * center_crop_or_pad(images, np.maximum(images.shape, size))).astype("uint8")
        offsets.append(stored.tell())
        shapes.append(values.shape)
        stored.write(values.tobytes())
    stored.flush()

    def crop(index, position):
        shape = np.array(shapes[index])
        volume = np.memmap(stored, "uint8", "r", offsets[index], tuple(shape))
        free = shape - size
        first = free // 2 if crops is None else (position * (free + 1)).astype(int)
        return volume[tuple(slice(i, i + n) for i, n in zip(first, size, strict=True))][..., None].copy()

    def load(index, position):
        volume = tf.numpy_function(crop, [index, position], tf.uint8)
        volume.set_shape((*size, 1))
        return tf.cast(volume, tf.float32) / 255.0

    order = tf.data.Dataset.range(len(paths)).repeat(crops or 1)
    if shuffle:
        order = order.shuffle(len(paths) * (crops or 1), seed=seed)
    positions = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(3)
    positions = positions.map(lambda numbers: tf.cast(numbers, tf.float64) / 2.0**32)
    pairs = tf.data.Dataset.zip((order, positions))
    return pairs.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)
