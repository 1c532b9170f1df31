"""Batched, prefetched `tf.data` pipelines from npz archives and folders; images stay uint8 until the last step."""

import logging
from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.images.dicom import is_dicom, parse
from medzoo.images.read import SUFFIXES, read_image

log = logging.getLogger("medzoo")


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
        try:
            return archive[key]
        except Exception as error:  # zipfile, zlib and NumPy raise many kinds on broken files
            raise ImageError(f"{path}: array {key!r} is damaged ({type(error).__name__}: {error}).") from error

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
):
    """`tf.data.Dataset` of float32 batches `(batch, H, W, 1)` in [0, 1] from all image files below a folder.

    Each file goes through `read_image(path, size, window)`. All are read once before the data set is returned, so that
    a broken one shows now and not in the middle of a training.

    Args:
        folder: searched with its subfolders for PNG, JPEG, TIFF, npy and DICOM files.
        size: `(height, width)` or one number.
        window: see `read_image`.
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
    import tensorflow as tf

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
        return np.round(read_image(path, (height, width), window, frame) * 255).astype("uint8")

    good, images, errors = _read_all(sources, read, keep=cache)
    _report(folder, len(sources), errors, on_error, skipped)
    order = tf.data.Dataset.range(len(good))
    if shuffle:
        order = order.shuffle(len(good), seed=seed)
    if cache:
        images = tf.constant(np.stack(images))
        batches = order.batch(batch_size, drop_remainder=drop_remainder).map(lambda i: tf.gather(images, i))
    else:

        def load(index):
            image = tf.numpy_function(lambda i: read(*good[i]), [index], tf.uint8)
            image.set_shape((height, width, 1))
            return image

        batches = order.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size, drop_remainder=drop_remainder)
    return batches.map(lambda x: tf.cast(x, tf.float32) / 255.0).prefetch(tf.data.AUTOTUNE)


def from_dicom(folder, size, **options):
    """As `from_folder`, with its options, from all DICOM files below a folder, whatever their names; every frame is an
    image."""
    return from_folder(folder, size, sources=list_frames(folder), **options)


def list_frames(folder):
    """`(path, frame)` of every frame of the DICOM files below a folder; frame is `None` where there is one.

    DICOM by content, or by name (.dcm, .dicom). The index of a medium, DICOMDIR, is left out.

    Raises:
        FileNotFoundError: no such folder, or no DICOM file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder.")
    sources = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.name == "DICOMDIR" or not is_dicom(path):
            continue
        sources += [(path, frame) for frame in frames_of(path)]
    if not sources:
        raise FileNotFoundError(f"{folder}: no DICOM files below it.")
    return sources


def frames_of(path):
    """`[None]` for a file with one image, else the indices of its frames; a broken file counts as one image."""
    if not is_dicom(path):
        return [None]
    try:
        count = int(parse(path, stop_before_pixels=True).get("NumberOfFrames", 1) or 1)
    except ValueError:  # it is reported when it is read
        return [None]
    return list(range(count)) if count > 1 else [None]


SHOWN = 20  # files that an error about many names


def _read_all(sources, read, keep):
    """`(sources that can be read, their images if kept, {source: reason} of the others)`."""
    from concurrent.futures import ThreadPoolExecutor

    from rich.progress import track

    def attempt(source):
        try:
            image = read(*source)
            return image if keep else None, None
        except (ImageError, OSError) as error:
            return None, str(error)

    good, images, errors = [], [], {}
    with ThreadPoolExecutor() as pool:
        results = track(pool.map(attempt, sources), "reading images", len(sources), disable=len(sources) < 500)
        for source, (image, error) in zip(sources, results, strict=True):
            if error is None:
                good.append(source)
                images.append(image)
            else:
                errors[source] = error
    return good, images, errors


def _report(folder, count, errors, on_error, skipped):
    if not errors:
        return
    lines = list(errors.values())
    if on_error == "raise" or len(errors) == count:
        shown = "\n".join(lines[:SHOWN]) + (f"\n... and {len(lines) - SHOWN} more" if len(lines) > SHOWN else "")
        hint = ' Pass on_error="skip", skipped="skipped.txt" to leave them out.' if len(errors) < count else ""
        raise ImageError(f"{folder}: {len(errors)} of {count} images cannot be used.{hint}\n{shown}")
    Path(skipped).write_text("\n".join(lines) + "\n", encoding="utf-8")
    log.warning("%s: %d of %d images skipped; listed in %s", folder, len(errors), count, skipped)
