"""npz archives in the MedMNIST convention."""

from pathlib import Path

import numpy as np

from medzoo.data.splits import SPLITS
from medzoo.errors import ImageError
from medzoo.io.intensity import rgb_to_gray
from medzoo.utils.labels import array_classes, integer_labels

CHUNK = 256  # colour images that become grey at a time


def load_npz(path, split="train", classes=None):
    """Images of one split of an npz archive in the MedMNIST convention, as stored; colour becomes luminance.

    Args:
        path: archive with `{split}_images` `(N, H, W)`, `(N, H, W, 1)` or in colour `(N, H, W, 3)`, uint8, and (for
            `classes`) `{split}_labels`, see `load_npz_labels`.
        split: `"train"`, `"val"` or `"test"`.
        classes: keep only these: names listed in the archive's `class_names`, or integer labels; `None` keeps all.

    Returns: uint8 `(N, H, W, 1)`.

    Raises:
        FileNotFoundError: no such file.
        ImageError: not such an archive, no such split or class, no images left.
    """
    entry = NpzFile(path)
    count_images(entry, split)
    images = entry(f"{split}_images")
    if classes is not None:
        images = images[_chosen(path, entry, split, classes)[0]]
    if not len(images):
        raise ImageError(f"{path}: no images in split {split!r}" + (f" of classes {classes}." if classes else "."))
    if images.ndim == 4 and images.shape[-1] == 3:
        return _grey(images)
    return images if images.ndim == 4 else images[..., None]


def load_npz_labels(path, split="train", classes=None):
    """Labels of the images that `load_npz` gives for the same arguments; raises as it does.

    Returns:
        Integers `(N,)` of stored `(N,)` or `(N, 1)`; 0 and 1 `(N, K)` where there are K findings.
    """
    chosen, labels = _chosen(path, NpzFile(path), split, classes)
    return labels[chosen]


def count_images(entry, split):
    """How many images a split of an `Archive` holds; their pixels are not read.

    Raises:
        ImageError: If these are no images of 8 bits.
    """
    shape, dtype = entry.header(f"{split}_images")
    found = f"{entry.path}: {split}_images is {dtype} {shape}"
    if len(shape) == 5 or (len(shape) == 4 and shape[-1] not in (1, 3)):
        raise ImageError(
            f"{found}; expected uint8 images (N, H, W[, 1 or 3]). Volumes (N, D, H, W) are read from NIfTI files, and "
            "channels belong on the last axis."
        )
    if dtype != np.uint8:
        raise ImageError(f"{found}; expected uint8 (N, H, W[, 1 or 3]). Scale the values to 0 to 255 and store uint8.")
    if len(shape) not in (3, 4) or 0 in shape[1:]:
        raise ImageError(f"{found}; expected uint8 (N, H, W[, 1 or 3]).")
    return shape[0]


def _grey(images):
    """Luminance of uint8 `(N, H, W, 3)` as uint8 `(N, H, W, 1)`."""
    grey = np.empty((*images.shape[:-1], 1), "uint8")
    for start in range(0, len(images), CHUNK):
        piece = images[start : start + CHUNK].astype("float32")
        grey[start : start + CHUNK, ..., 0] = rgb_to_gray(piece).round().clip(0, 255)
    return grey


def contents_of(path):
    """Images, labels and splits of an archive, as fields of a `Collection`.

    Raises:
        FileNotFoundError, ImageError: no such archive, labels that are no classes or not one for each image.
    """
    archive = NpzFile(path)
    there = [s for s in SPLITS if f"{s}_images" in archive.keys]
    if not there:
        archive("train_images")  # says what there is
    counts = [count_images(archive, s) for s in there]
    bare = [s for s in there if f"{s}_labels" not in archive.keys]
    other = [key for key in archive.keys if key.endswith(("_images", "_labels")) and key.split("_")[0] not in there]
    notes = [f"arrays that belong to no split are left out: {', '.join(other)}"] if other else []
    names, targets = None, None
    if not bare:
        labels = [load_npz_labels(path, s) for s in there]
        if len({own.shape[1:] for own in labels}) > 1:
            shapes = ", ".join(f"{s}_labels {own.shape}" for s, own in zip(there, labels, strict=True))
            raise ImageError(f"{path}: {shapes}; expected one kind of labels in all splits.")
        targets = np.concatenate(labels)
        names, more = array_classes(path, targets, archive("class_names") if "class_names" in archive.keys else None)
        notes += more
    elif len(bare) < len(there):
        notes.append(f"labels are left out, since there are none for {', '.join(bare)}")

    def read(chosen, skipped):
        images = load_npz(path, chosen[0][0])
        positions = np.array([i for _, i in chosen])
        return images if len(chosen) == len(images) else images[positions], np.arange(len(chosen))

    return {
        "sources": [(s, i) for s, n in zip(there, counts, strict=True) for i in range(n)],
        "where": np.repeat(there, counts),
        "class_names": names,
        "targets": targets,
        "read": read,
        "notes": notes,
    }


class NpzFile:
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
        if self.header(key)[1].hasobject:
            raise ImageError(f"{self.path}: array {key!r} holds Python objects; expected numbers or texts of one type.")
        try:
            return self.archive[key]
        except Exception as error:  # zipfile, zlib and NumPy raise many kinds on broken files
            raise ImageError(f"{self.path}: array {key!r} is damaged ({type(error).__name__}: {error}).") from error

    def header(self, key):
        """`(shape, dtype)` of an array, which is not read."""
        if key not in self.keys:
            raise ImageError(f"{self.path}: no array {key!r}; found {', '.join(self.keys)} (MedMNIST convention).")
        try:
            with self.archive.zip.open(f"{key}.npy") as file:
                version = np.lib.format.read_magic(file)
                known = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                if version in known:
                    shape, _, dtype = known[version](file)
                    return shape, dtype
            array = self.archive[key]
            return array.shape, array.dtype
        except Exception as error:
            raise ImageError(f"{self.path}: array {key!r} is damaged ({type(error).__name__}: {error}).") from error


def _chosen(path, entry, split, classes):
    """Which images of a split are of the classes, as a boolean array, and the labels of all."""
    key = f"{split}_labels"
    labels = integer_labels(path, key, entry(key), count_images(entry, split))
    if classes is None:
        return np.ones(len(labels), bool), labels
    wanted = [_label(path, c, entry) for c in ([classes] if isinstance(classes, (str, int)) else classes)]
    if labels.ndim == 2:
        if wrong := [c for c in wanted if not 0 <= c < labels.shape[1]]:
            raise ImageError(f"{path}: no class {wrong[0]}; expected 0 to {labels.shape[1] - 1}.")
        return labels[:, wanted].any(axis=1), labels
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
