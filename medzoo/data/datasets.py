"""Batched, prefetched `tf.data` pipelines from archives, folders and arrays; images stay uint8 until the last step."""

from pathlib import Path

import numpy as np

from medzoo.data.image_dataset import ImageDataset, open_dataset
from medzoo.data.latents import from_latents, load_latents
from medzoo.data.npz import load_npz, load_npz_labels
from medzoo.io.image import read_image
from medzoo.io.listing import list_frames, list_images, read_all, report
from medzoo.io.volume import center_crop_or_pad
from medzoo.io.volume_reader import list_volumes, read_volume
from medzoo.utils.progress import track

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


def from_npz(path, split="train", classes=None, batch_size=32, shuffle=None, seed=None, drop_remainder=False):
    """`tf.data.Dataset` of float32 batches `(batch, H, W, 1)` in [0, 1]; see `load_npz` for the archive.

    Args:
        shuffle: anew each epoch; by default only the training split is shuffled.
        seed: int or `None`; makes the order repeatable.
        drop_remainder: leave out the last batch if it is smaller.
    """
    shuffle = split == "train" if shuffle is None else shuffle
    return from_arrays(load_npz(path, split, classes), None, batch_size, shuffle, seed, drop_remainder)


def from_arrays(images, labels=None, batch_size=32, shuffle=False, seed=None, drop_remainder=False):
    """`tf.data.Dataset` of float32 batches `(batch, H, W, 1)` in [0, 1], or of pairs of these and labels.

    Args:
        images: uint8 `(N, H, W, 1)`, in memory or an `np.memmap`, which stays on disk.
        labels: array `(N, ...)` to go with them, or `None`.
        shuffle, seed, drop_remainder: as in `from_npz`.
    """
    import tensorflow as tf

    # Indices are shuffled, not images: the buffer is then as large as the data and costs nothing.
    order = tf.data.Dataset.range(len(images))
    if shuffle:
        order = order.shuffle(len(images), seed=seed)
    batches = order.batch(batch_size, drop_remainder=drop_remainder)
    if isinstance(images, np.memmap):

        def gather(chosen):
            batch = tf.numpy_function(lambda i: images[i], [chosen], tf.uint8)
            batch.set_shape((batch_size if drop_remainder else None, *images.shape[1:]))
            return batch

    else:
        stored = tf.constant(images)

        def gather(chosen):
            return tf.gather(stored, chosen)

    def batch(chosen):
        x = tf.cast(gather(chosen), tf.float32) / 255.0
        return x if labels is None else (x, tf.gather(tf.constant(labels), chosen))

    return batches.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def from_folder(
    folder,
    size,
    batch_size=32,
    shuffle=True,
    seed=None,
    window=None,
    cache=True,
    drop_remainder=False,
    on_error="raise",
    skipped=None,
    sources=None,
    nan=None,
):
    """`tf.data.Dataset` of float32 batches `(batch, H, W, 1)` in [0, 1] from all image files below a folder.

    Each file goes through `read_image(path, size, window)`. All are read once before the data set is returned, so that
    a broken one shows now and not in the middle of a training.

    Args:
        folder: searched with its subfolders for PNG, JPEG, TIFF, npy and DICOM files.
        size: `(height, width)` or one number.
        window, nan: see `read_image`.
        shuffle, seed, drop_remainder: as in `from_npz`.
        cache: keep the decoded images, as uint8, in memory (4 KiB for 64x64 pixels); else they are read again each
            epoch.
        on_error: `"raise"`: one error that names every file that cannot be used; `"skip"`: leave these out.
        skipped: with `"skip"`, file that lists them with the reasons; it must not exist.
        sources: `(path, frame)` of what to read in the place of the folder's images, see `list_frames`.

    Raises:
        FileNotFoundError: no such folder, no image in it.
        ImageError: files that cannot be used (`on_error="raise"`), or none that can.
    """
    if sources is None:
        sources = [(path, None) for path in list_images(folder)]
    if on_error not in ("raise", "skip") or (on_error == "skip") != (skipped is not None):
        raise ValueError(
            f"{folder}: on_error={on_error!r}, skipped={skipped!r}; expected on_error='raise', or on_error='skip' and "
            "skipped='file that lists them.txt'."
        )
    if skipped is not None and Path(skipped).exists():
        raise FileExistsError(f"{skipped}: exists; choose another file for the list of skipped images.")
    if size is None:
        raise ValueError(f"{folder}: size=None; the images of a batch need one size: size=256 or (height, width).")
    height, width = (size, size) if np.isscalar(size) else size

    def read(path, frame):
        return np.round(read_image(path, (height, width), window, frame, nan=nan) * 255).astype("uint8")

    images = np.empty((len(sources), height, width, 1), "uint8") if cache else None
    good, errors = read_all(sources, read, images.__setitem__ if cache else lambda index, image: None)
    report(folder, len(sources), errors, on_error, skipped)
    if cache:
        return from_arrays(images[good] if errors else images, None, batch_size, shuffle, seed, drop_remainder)
    import tensorflow as tf

    order = tf.data.Dataset.range(len(good))
    if shuffle:
        order = order.shuffle(len(good), seed=seed)

    def load(index):
        image = tf.numpy_function(lambda i: read(*sources[good[i]]), [index], tf.uint8)
        image.set_shape((height, width, 1))
        return image

    batches = order.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size, drop_remainder=drop_remainder)
    return batches.map(lambda x: tf.cast(x, tf.float32) / 255.0).prefetch(tf.data.AUTOTUNE)


def from_dicom(folder, size, **options):
    """As `from_folder`, with its options, from all DICOM files below a folder, whatever their names; every frame is an
    image."""
    return from_folder(folder, size, sources=list_frames(folder), **options)


def from_volumes(source, size, batch_size=2, crops=8, shuffle=True, seed=None, window=None, spacing=None, nan=None):
    """`tf.data.Dataset` of float32 batches `(batch, D, H, W, 1)` in [0, 1] from volumes.

    Each volume goes through `read_volume(path, spacing=spacing, nan=nan).images(window=window)`: depth is from below
    upwards.
    All are read once before the data set is returned, so that a broken one shows now, and kept as uint8 in a temporary
    file on disk; memory holds a batch.

    Args:
        source: folder, see `list_volumes`, or a list of what `read_volume` takes.
        size: `(depth, height, width)`, or one number.
        batch_size: volumes a batch.
        crops: how many crops of that size, from anywhere, an epoch takes of each volume; `None`: of each the middle.
            What is smaller lies amid zeros.
        shuffle, seed: as in `from_npz`; they also choose the crops, anew each epoch.
        window: see `read_image`.
        spacing, nan: see `read_volume`.

    Raises:
        FileNotFoundError: no such folder or file, nothing in it.
        ImageError: a volume that cannot be used; names it.
    """
    import tempfile

    import tensorflow as tf

    size = (size,) * 3 if np.isscalar(size) else tuple(size)
    paths = list_volumes(source) if isinstance(source, (str, Path)) else list(source)
    kept, shapes, starts = tempfile.TemporaryFile(), [], []  # noqa: SIM115 (open as long as the data set lives)
    for path in track(paths, "reading volumes", fewest=4):
        images = read_volume(path, spacing=spacing, nan=nan).images(window=window)[..., 0]
        values = np.round(255 * center_crop_or_pad(images, np.maximum(images.shape, size))).astype("uint8")
        starts.append(kept.tell())
        shapes.append(values.shape)
        kept.write(values.tobytes())
    kept.flush()

    def cut(index, draw):
        shape = np.array(shapes[index])
        stored = np.memmap(kept, "uint8", "r", starts[index], tuple(shape))
        free = shape - size
        first = free // 2 if crops is None else (draw * (free + 1)).astype(int)
        return stored[tuple(slice(i, i + n) for i, n in zip(first, size, strict=True))][..., None].copy()

    def load(index, draw):
        volume = tf.numpy_function(cut, [index, draw], tf.uint8)
        volume.set_shape((*size, 1))
        return tf.cast(volume, tf.float32) / 255.0

    order = tf.data.Dataset.range(len(paths)).repeat(crops or 1)
    if shuffle:
        order = order.shuffle(len(paths) * (crops or 1), seed=seed)
    draws = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(3)
    draws = draws.map(lambda numbers: tf.cast(numbers, tf.float64) / 2.0**32)
    pairs = tf.data.Dataset.zip((order, draws))
    return pairs.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)
