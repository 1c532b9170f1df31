"""Reading of NPZ files in the MedMNIST convention."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medzoo.data.splits import SPLITS
from medzoo.errors import ImageError
from medzoo.io.intensity import rgb_to_gray
from medzoo.utils.labels import array_classes, integer_labels

CHUNK = 256  # color images converted to grayscale at a time


def load_npz(
    path: str | Path, split: str = "train", classes: Sequence[str | int] | str | int | None = None
) -> np.ndarray:
    """Load the images of one split of an NPZ file in the MedMNIST convention.

    Args:
        path: NPZ file with `{split}_images`, uint8 or uint16 `(N, H, W)`, `(N, H, W, 1)` or color `(N, H, W, 3)`, and
            (for `classes`) `{split}_labels`, see `load_npz_labels`. Color is converted to luminance.
        split: `"train"` (default), `"val"` or `"test"`.
        classes: images to keep: names listed in `class_names` of the file, or integer labels; `None` (default) keeps
            all.

    Returns:
        uint8 or uint16 array `(N, H, W, 1)`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ImageError: If the file is not such an NPZ file, the split or class does not exist, or no images are left.
    """
    entry = NpzFile(path)
    count_images(entry, split)
    images = entry(f"{split}_images")
    if images.dtype == np.uint16 and 0 < images.max(initial=0) < 2**13:
        raise ImageError(
            f"{path}: {split}_images is uint16 with values up to {images.max()} only, which would be almost black. "
            "Expected 0 to 65535: scale the values, e.g. multiply 12 bits by 16."
        )
    if classes is not None:
        images = images[_chosen(path, entry, split, classes)[0]]
    if not len(images):
        raise ImageError(f"{path}: no images in split {split!r}" + (f" of classes {classes}." if classes else "."))
    if images.ndim == 4 and images.shape[-1] == 3:
        return _to_gray(images)
    return images if images.ndim == 4 else images[..., None]


def load_npz_labels(
    path: str | Path, split: str = "train", classes: Sequence[str | int] | str | int | None = None
) -> np.ndarray:
    """Load the labels of the images returned by `load_npz` for the same arguments.

    Args:
        path: NPZ file with `{split}_labels`, integers `(N,)`, `(N, 1)` or `(N, K)`.
        split: `"train"` (default), `"val"` or `"test"`.
        classes: see `load_npz`.

    Returns:
        Integer array `(N,)`, or 0 and 1 `(N, K)` for K labels per image.

    Raises:
        FileNotFoundError: If the file does not exist.
        ImageError: If the labels are missing or invalid, or the class does not exist.
    """
    chosen, labels = _chosen(path, NpzFile(path), split, classes)
    return labels[chosen]


def count_images(entry: "NpzFile", split: str) -> int:
    """Return the number of images of a split without reading their pixels.

    Args:
        entry: NPZ file.
        split: `"train"`, `"val"` or `"test"`.

    Raises:
        ImageError: If the array does not contain 8-bit images.
    """
    shape, dtype = entry.header(f"{split}_images")
    found = f"{entry.path}: {split}_images is {dtype} {shape}"
    if len(shape) == 5 or (len(shape) == 4 and shape[-1] not in (1, 3)):
        raise ImageError(
            f"{found}; expected uint8 or uint16 images (N, H, W[, 1 or 3]). Volumes (N, D, H, W) are read from NIfTI "
            "files; channels must be the last axis."
        )
    if dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{found}; expected uint8 or uint16 (N, H, W[, 1 or 3]). Scale the values to 0 to 255 and store uint8, "
            "or to 0 to 65535 and store uint16."
        )
    if len(shape) not in (3, 4) or 0 in shape[1:]:
        raise ImageError(f"{found}; expected uint8 or uint16 (N, H, W[, 1 or 3]).")
    return shape[0]


def _to_gray(images):
    """Luminance of `(N, H, W, 3)` as `(N, H, W, 1)` of the same type, uint8 or uint16."""
    gray = np.empty((*images.shape[:-1], 1), images.dtype)
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK].astype("float32")
        gray[start : start + CHUNK, ..., 0] = rgb_to_gray(chunk).round().clip(0, max_value(images.dtype))
    return gray


def contents_of(path: str | Path) -> dict:
    """Return the images, labels and splits of an NPZ file as arguments of `ImageDataset`.

    Args:
        path: NPZ file in the MedMNIST convention.

    Raises:
        FileNotFoundError: If the file does not exist.
        ImageError: If the file is not such an NPZ file, or the labels are invalid.
    """
    archive = NpzFile(path)
    present = [s for s in SPLITS if f"{s}_images" in archive.keys]
    if not present:
        archive("train_images")  # raises an error that lists the arrays
    counts = [count_images(archive, s) for s in present]
    unlabeled = [s for s in present if f"{s}_labels" not in archive.keys]
    other = [key for key in archive.keys if key.endswith(("_images", "_labels")) and key.split("_")[0] not in present]
    notes = [f"arrays of unknown splits are ignored: {', '.join(other)}"] if other else []
    names, targets = None, None
    if not unlabeled:
        labels = [load_npz_labels(path, s) for s in present]
        if len({own.shape[1:] for own in labels}) > 1:
            shapes = ", ".join(f"{s}_labels {own.shape}" for s, own in zip(present, labels, strict=True))
            raise ImageError(f"{path}: {shapes}; expected the same kind of labels in all splits.")
        targets = np.concatenate(labels)
        names, more = array_classes(path, targets, archive("class_names") if "class_names" in archive.keys else None)
        notes += more
    elif len(unlabeled) < len(present):
        notes.append(f"labels are ignored because they are missing for {', '.join(unlabeled)}")

    def read(chosen, skipped):
        images = load_npz(path, chosen[0][0])
        positions = np.array([i for _, i in chosen])
        return images if len(chosen) == len(images) else images[positions], np.arange(len(chosen))

    return {
        "sources": [(s, i) for s, n in zip(present, counts, strict=True) for i in range(n)],
        "splits": np.repeat(present, counts),
        "class_names": names,
        "targets": targets,
        "read": read,
        "notes": notes,
    }


class NpzFile:
    """NPZ file whose arrays are read on access by calling it with their name, e.g. `file("train_images")`.

    Args:
        path: path of the file.

    Attributes:
        path: path of the file.
        keys: list of the names of the arrays.

    Raises:
        FileNotFoundError: If the file does not exist.
        ImageError: If the file is not readable as NPZ, or an array is missing or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: no such file.")
        try:
            self.archive = np.load(path, allow_pickle=False)
            self.keys = list(self.archive.keys())
        except Exception as error:
            raise ImageError(f"{path}: not readable as NPZ ({type(error).__name__}: {error}).") from error

    def __call__(self, key: str) -> np.ndarray:
        """Return an array."""
        if self.header(key)[1].hasobject:
            raise ImageError(
                f"{self.path}: array {key!r} contains Python objects; expected numbers or strings of one type."
            )
        try:
            return self.archive[key]
        except Exception as error:  # zipfile, zlib and NumPy raise many error types for damaged files
            raise ImageError(f"{self.path}: array {key!r} is damaged ({type(error).__name__}: {error}).") from error

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype]:
        """Return `(shape, dtype)` of an array without reading it."""
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
    """Return `(mask, labels)`: a boolean mask of the images of the classes, and the labels of all images."""
    key = f"{split}_labels"
    labels = integer_labels(path, key, entry(key), count_images(entry, split))
    if classes is None:
        return np.ones(len(labels), bool), labels
    wanted = [_label(path, c, entry) for c in ([classes] if isinstance(classes, (str, int)) else classes)]
    if labels.ndim == 2:
        if unknown := [c for c in wanted if not 0 <= c < labels.shape[1]]:
            raise ImageError(f"{path}: no class {unknown[0]}; expected 0 to {labels.shape[1] - 1}.")
        return labels[:, wanted].any(axis=1), labels
    return np.isin(labels, wanted), labels


def _label(path, name, entry):
    """Integer label of a class name."""
    if not isinstance(name, str):
        return name
    names = list(entry("class_names"))
    if name not in names:
        raise ImageError(f"{path}: no class {name!r}; found {', '.join(map(str, names))}.")
    return names.index(name)


def to_float(images: np.ndarray) -> np.ndarray:
    """Convert images to float32 in [0, 1].

    Args:
        images: uint8 or uint16 array of any shape, or floats in [0, 1].
    """
    return images.astype("float32") / max_value(images.dtype)


def max_value(dtype: np.dtype) -> np.float32:
    """Return the value that stands for 1: 255 for uint8, 65535 for uint16, and 1 for floats."""
    dtype = np.dtype(dtype)
    return np.float32(np.iinfo(dtype).max if dtype.kind == "u" else 1)
