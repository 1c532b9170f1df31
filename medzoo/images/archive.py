"""npz archives in the MedMNIST convention."""

from pathlib import Path

import numpy as np

from medzoo.errors import ImageError


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
    entry = Archive(path)
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
    chosen, labels = _chosen(path, Archive(path), split, classes)
    return labels[chosen]


class Archive:
    """An npz file whose arrays are read when they are asked for, `archive("train_images")`.

    Raises:
        FileNotFoundError: no such file.
        ImageError: not readable as npz, an array that is missing or damaged.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: no such file.")
        try:
            self.archive = np.load(path, allow_pickle=False)
            self.keys = list(self.archive.keys())
        except Exception as error:
            raise ImageError(f"{path}: not readable as npz ({type(error).__name__}: {error}).") from error

    def __call__(self, key):
        if key not in self.keys:
            raise ImageError(f"{self.path}: no array {key!r}; found {', '.join(self.keys)} (MedMNIST convention).")
        try:
            return self.archive[key]
        except Exception as error:  # zipfile, zlib and NumPy raise many kinds on broken files
            raise ImageError(f"{self.path}: array {key!r} is damaged ({type(error).__name__}: {error}).") from error


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
