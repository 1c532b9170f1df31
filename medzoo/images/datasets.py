"""Batched, prefetched `tf.data` pipelines from npz archives and folders; images stay uint8 until the last step."""

from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.images.read import SUFFIXES, read_image


def load_npz(path, split="train", classes=None):
    """Images of one split of an npz archive in the MedMNIST convention, as stored.

    Args:
        path: archive with `{split}_images` `(N, H, W)` or `(N, H, W, 1)`, uint8, and (for `classes`) `{split}_labels`
            `(N, 1)`.
        split: `"train"`, `"val"` or `"test"`.
        classes: keep only these: names listed in the archive's `class_names`, or integer labels; `None` keeps all.

    Returns: uint8 `(N, H, W, 1)`.

    Raises:
        FileNotFoundError: no such file.
        ImageError: not such an archive, no such split or class, no images left.
    """
    entry = _open(path)
    images = entry(f"{split}_images")
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] != 1):
        raise ImageError(f"{path}: {split}_images is {images.dtype} {images.shape}; expected uint8 (N, H, W[, 1]).")
    if classes is not None:
        images = images[_chosen(path, entry, split, classes)[0]]
    if not len(images):
        raise ImageError(f"{path}: no images in split {split!r}" + (f" of classes {classes}." if classes else "."))
    return images if images.ndim == 4 else images[..., None]


def load_npz_labels(path, split="train", classes=None):
    """Integer labels `(N,)` of the images that `load_npz` gives for the same arguments; raises as it does."""
    chosen, labels = _chosen(path, _open(path), split, classes)
    return labels[chosen]


def _open(path):
    """A function that reads one array of an npz archive."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        archive = np.load(path, allow_pickle=False)
        keys = list(archive.keys())
    except Exception as error:
        raise ImageError(f"{path}: not readable as npz ({type(error).__name__}: {error}).") from error

    def entry(key):
        if key not in keys:
            raise ImageError(f"{path}: no array {key!r}; found {', '.join(keys)} (MedMNIST convention).")
        return archive[key]

    return entry


def _chosen(path, entry, split, classes):
    """Which images of a split are of the classes, as a boolean array, and the labels of all."""
    labels = entry(f"{split}_labels")
    labels = labels.reshape(len(labels), -1)[:, 0].astype("int64")
    if classes is None:
        return np.ones(len(labels), bool), labels
    wanted = [_label(path, c, entry) for c in ([classes] if isinstance(classes, (str, int)) else classes)]
    return np.isin(labels, wanted), labels


def _label(path, name, entry):
    if not isinstance(name, str):
        return name
    names = list(entry("class_names"))
    if name not in names:
        raise ImageError(f"{path}: no class {name!r}; found {', '.join(map(str, names))}.")
    return names.index(name)


def to_float(images):
    """uint8 images to float32 in [0, 1]."""
    return images.astype("float32") / 255.0


def from_npz(path, split="train", classes=None, batch_size=32, shuffle=None, seed=None, drop_remainder=False):
    """`tf.data.Dataset` of float32 batches `(batch, H, W, 1)` in [0, 1]; see `load_npz` for the archive.

    Args:
        shuffle: anew each epoch; by default only the training split is shuffled.
        seed: int or `None`; makes the order repeatable.
        drop_remainder: leave out the last batch if it is smaller.
    """
    import tensorflow as tf

    images = load_npz(path, split, classes)
    # Indices are shuffled, not images: the buffer is then as large as the data and costs nothing.
    order = tf.data.Dataset.range(len(images))
    if split == "train" if shuffle is None else shuffle:
        order = order.shuffle(len(images), seed=seed)
    images = tf.constant(images)
    batches = order.batch(batch_size, drop_remainder=drop_remainder)
    return batches.map(
        lambda i: tf.cast(tf.gather(images, i), tf.float32) / 255.0, num_parallel_calls=tf.data.AUTOTUNE
    ).prefetch(tf.data.AUTOTUNE)


def list_images(folder):
    """All image files below a folder, sorted.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder.")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise FileNotFoundError(f"{folder}: no images below it ({', '.join(SUFFIXES)}).")
    return paths


def from_folder(folder, size, batch_size=32, shuffle=True, seed=None, window=None, cache=True, drop_remainder=False):
    """`tf.data.Dataset` of float32 batches `(batch, H, W, 1)` in [0, 1] from all image files below a folder.

    Each file goes through `read_image(path, size, window)`; a broken one ends the iteration with an error naming it.

    Args:
        folder: searched with its subfolders for PNG, JPEG, npy and DICOM files.
        size: `(height, width)` or one number.
        window: `(center, width)`, see `read_image`.
        shuffle, seed, drop_remainder: as in `from_npz`.
        cache: keep the decoded images, as uint8, in memory (4 KiB for 64x64 pixels).
    """
    import tensorflow as tf

    paths = [str(p) for p in list_images(folder)]
    height, width = (size, size) if np.isscalar(size) else size

    def read(path):
        image = read_image(path.decode(), (height, width), window)
        return np.round(image * 255).astype("uint8")

    def load(path):
        image = tf.numpy_function(read, [path], tf.uint8)
        image.set_shape((height, width, 1))
        return image

    data = tf.data.Dataset.from_tensor_slices(paths).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    if cache:
        data = data.cache()
    if shuffle:
        data = data.shuffle(min(len(paths), 4096), seed=seed)
    data = data.batch(batch_size, drop_remainder=drop_remainder)
    return data.map(lambda x: tf.cast(x, tf.float32) / 255.0).prefetch(tf.data.AUTOTUNE)
