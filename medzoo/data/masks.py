"""Segmentation masks of images: integer labels, resampled by nearest neighbor only."""

from pathlib import Path
from typing import cast

import numpy as np

from medzoo.data.npz import NpzFile, load_npz, to_float
from medzoo.data.splits import SPLITS
from medzoo.errors import ImageError
from medzoo.io.image import read_image, read_npy
from medzoo.io.intensity import center_crop_resize
from medzoo.io.listing import list_images
from medzoo.io.nifti import list_nifti
from medzoo.io.raster import pages_of, read_raster
from medzoo.io.volume import center_crop_or_pad, is_same_grid
from medzoo.io.volume_reader import read_volume
from medzoo.io.walk import files_below

MASK_SUFFIXES = (".png", ".npy", ".tif", ".tiff")
MAX_LABELS = 64  # more distinct values indicate an image instead of a mask
WHITE = (255, 65535)  # values that represent 1 in binary masks


def read_mask(path: str | Path) -> np.ndarray:
    """Read a segmentation mask.

    Masks are PNG (grayscale or palette, 1 to 16 bits), TIFF or NPY files. A mask with only 0 and 255 (or 0 and 65535)
    is converted to 0 and 1. Overlapping labels are stored as a TIFF with one page per label, or as an NPY array
    `(H, W, K)`. The EXIF orientation is applied.

    Args:
        path: path of the file.

    Returns:
        int32 array `(H, W)` of labels with 0 as background, or 0 and 1 `(H, W, K)` for overlapping labels.

    Raises:
        FileNotFoundError: If the file does not exist.
        ImageError: If the file is not a mask: color, fractional or negative values, labels of `MAX_LABELS` or more
            (gray values instead of labels), or lossy compression.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    if path.suffix.lower() not in MASK_SUFFIXES:
        raise ImageError(f"{path}: {path.suffix}; expected a mask as {' or '.join(MASK_SUFFIXES)} (lossless).")
    if path.suffix.lower() == ".npy":
        values = read_npy(path)
    else:
        kind, count = pages_of(path)
        if count > 1 and (kind != "TIFF" or count > MAX_LABELS):
            raise ImageError(
                f"{path}: {kind} of {count} frames; expected one mask, or a TIFF with one page for each of at most "
                f"{MAX_LABELS} labels."
            )
        pages = [_read_page(path, page if count > 1 else None) for page in range(count)]
        if len({page.shape for page in pages}) > 1:
            raise ImageError(f"{path}: pages of different sizes, {', '.join(str(page.shape) for page in pages)}.")
        values = pages[0] if count == 1 else np.stack(pages, axis=-1)
    multi_label = values.ndim == 3 and values.shape[-1] <= MAX_LABELS
    if (values.ndim != 2 and not multi_label) or 0 in values.shape or values.dtype.kind not in "biu":
        raise ImageError(f"{path}: {values.dtype} of shape {values.shape}; expected integer labels (H, W).")
    values = labels_of(path, values)
    if multi_label and values.max() > 1:
        raise ImageError(f"{path}: values up to {values.max()} in {values.shape}; expected 0 and 1 for each label.")
    return values


def _read_page(path, page):
    """Values `(H, W)` of one page of a mask file; raise ImageError for lossy, color or ambiguous palette images."""
    raster = read_raster(path, page)
    if raster.lossy:
        raise ImageError(f"{path}: compressed as JPEG; expected a lossless mask.")
    if raster.mode not in ("1", "L", "P", "I", "F") and not raster.mode.startswith("I;16"):
        raise ImageError(
            f"{path}: mode {raster.mode}, {raster.values.shape[:2]} pixels; expected integer labels (H, W). Save it "
            "in grayscale or with a palette, without transparency."
        )
    if raster.palette is not None:
        used = np.unique(raster.values)
        black = used[(raster.palette[used] == 0).all(axis=-1)]
        if len(black) and black[0] != 0 and raster.palette[0].any():
            raise ImageError(
                f"{path}: a palette in which 0 is {tuple(raster.palette[0].tolist())} and {black[0]} is black; "
                "expected 0 to be the background. Save it in grayscale."
            )
        return raster.values
    if raster.white_is_zero and raster.values.dtype.kind == "u":
        return np.iinfo(raster.values.dtype).max - raster.values
    return raster.values // raster.scale if raster.scale > 1 else raster.values


def labels_of(where: str | Path, values: np.ndarray) -> np.ndarray:
    """Convert the values of a mask to labels; 0 and 255, or 0 and 65535, become 0 and 1.

    Args:
        where: path or name of the mask, for error messages.
        values: integer array of any shape.

    Returns:
        int32 array of the same shape.

    Raises:
        ImageError: If the values are not labels, e.g. gray values that represent classes.
    """
    known = np.unique(values)
    if known[0] < 0 or len(known) > MAX_LABELS:
        raise ImageError(
            f"{where}: {len(known)} different values from {known[0]} to {known[-1]}; expected at most "
            f"{MAX_LABELS} labels, from 0. Is this file an image instead of a mask?"
        )
    if any(set(known.tolist()) <= {0, white} for white in WHITE):
        values = values > 0
    elif known[-1] >= MAX_LABELS:
        shown = ", ".join(map(str, known[:8])) + (" ..." if len(known) > 8 else "")
        raise ImageError(
            f"{where}: values {shown} up to {known[-1]}; expected labels 0, 1, 2, ... below {MAX_LABELS}, or 0 and "
            "255. If gray values represent classes, number the classes from 0, e.g. with "
            "numpy.searchsorted(values, mask) and the sorted values of all masks; interpolated masks are not supported."
        )
    return values.astype("int32")


def load_masks(
    images: str | Path,
    masks: str | Path,
    size: int | tuple[int, ...] | None = None,
    window: tuple[float, float] | str | None = None,
    nan: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Load the images of a folder and the masks with the same names from another folder.

    Args:
        images: folder of images; the mask of `a/1.dcm` is `a/1.png`, `.npy` or `.tif` in the folder of masks. With a
            `size` of three numbers, folder of NIfTI volumes.
        masks: folder of masks, see `read_mask`; for volumes, of NIfTI files with the same names.
        size: `(height, width)` in pixels or one int. Images and masks are cropped and resized in the same way, masks by
            nearest neighbor. `None` (default) requires images of equal size. Volumes are cropped or zero-padded
            centrally to `(depth, height, width)`.
        window: see `read_image`.
        nan: see `read_image`.

    Returns:
        `(images, masks)`: float32 array `(N, H, W, 1)` in [0, 1], and int32 array `(N, H, W)`, or 0 and 1
        `(N, H, W, K)` for overlapping labels; for volumes `(N, D, H, W, 1)` and `(N, D, H, W)`.

    Raises:
        FileNotFoundError: If a folder does not exist, or masks are missing; the message names them.
        ImageError: If a file is invalid, an image and its mask differ in size, or two images match one mask.
    """
    return load_pairs(images, masks, size, window, nan)[:2]


def load_pairs(
    images: str | Path,
    masks: str | Path,
    size: int | tuple[int, ...] | None = None,
    window: tuple[float, float] | str | None = None,
    nan: float | None = None,
) -> tuple[np.ndarray, np.ndarray, list[Path]]:
    """Return the result of `load_masks` and the list of the image files in the same order.

    Args:
        images: see `load_masks`.
        masks: see `load_masks`.
        size: see `load_masks`.
        window: see `read_image`.
        nan: see `read_image`.
    """
    if size is not None and not np.isscalar(size) and len(cast("tuple[int, ...]", size)) == 3:
        return _load_volumes(Path(images), Path(masks), size, window, nan)
    files = list_images(images)
    stems = _by_stem(files, images, "images")
    candidates = [path for path in files_below(masks) if path.suffix.lower() in MASK_SUFFIXES]
    found = _by_stem([p for p in candidates if p.relative_to(masks).with_suffix("") in stems], masks, "masks")
    missing = [str(path) for stem, path in stems.items() if stem not in found]
    if missing:
        raise FileNotFoundError(
            f"{masks}: no mask for {len(missing)} of {len(files)} images, e.g. {', '.join(missing[:5])}; expected the "
            f"same name with {' or '.join(MASK_SUFFIXES)} (JPEG is lossy)."
        )
    pairs = []
    for stem, path in stems.items():
        image, mask = read_image(path, window=window, nan=nan), read_mask(found[stem])
        if image.shape[:2] != mask.shape[:2]:
            raise ImageError(f"{found[stem]}: {mask.shape[:2]} pixels; its image {path} has {image.shape[:2]}.")
        if size is not None:
            image, mask = center_crop_resize(image, size), _nearest(mask, size)
        if pairs and image.shape != pairs[0][0].shape:
            raise ImageError(f"{path}: {image.shape[:2]} pixels, others {pairs[0][0].shape[:2]}; pass size=.")
        if pairs and mask.shape != pairs[0][1].shape:
            raise ImageError(f"{found[stem]}: {_kind(mask)}; others have {_kind(pairs[0][1])}.")
        pairs.append((image, mask))
    return (*(np.stack(part) for part in zip(*pairs, strict=True)), list(stems.values()))


def _by_stem(paths, folder, what):
    """`{relative path without suffix: path}`; raise ImageError for two paths that differ in their suffix only."""
    found = {}
    for path in paths:
        other = found.setdefault(path.relative_to(folder).with_suffix(""), path)
        if other != path:
            raise ImageError(
                f"{other} and {path}: two {what} with the same name; expected one image per mask. Rename or remove one."
            )
    return found


def _kind(mask):
    """Return a description of a mask for error messages."""
    return "one label per pixel" if mask.ndim == 2 else f"{mask.shape[-1]} overlapping labels"


def load_mask_npz(
    path: str | Path, size: int | tuple[int, ...] | None = None
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str] | None]:
    """Load the images and masks of an NPZ file by split.

    Args:
        path: NPZ file with `{split}_images`, uint8 `(N, H, W)`, and `{split}_masks`: integers `(N, H, W)` with 0 as
            background, or 0 and 1 `(N, H, W, K)`. With `mask_bits`, the names of the labels, bit k of a mask is label
            k.
        size: see `load_masks`.

    Returns:
        `({split: (images, masks)}, names)`: arrays as returned by `load_masks`, and the label names or `None`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ImageError: If the file is not such an NPZ file, or images and masks do not match.
    """
    archive = NpzFile(path)
    names = [str(name) for name in archive("mask_bits")] if "mask_bits" in archive.keys else None
    parts = {}
    for split in (s for s in SPLITS if f"{s}_images" in archive.keys or s == "train"):
        images, masks = to_float(load_npz(path, split)), archive(f"{split}_masks")
        masks = masks[..., 0] if masks.ndim == 4 and masks.shape[-1] == 1 else masks
        if masks.shape[:3] != images.shape[:3] or masks.ndim > 4 or masks.dtype.kind not in "biu":
            raise ImageError(
                f"{path}: {split}_masks is {masks.dtype} {masks.shape}; expected integers {images.shape[:3]}, one "
                "label per pixel, or with a trailing axis of labels."
            )
        if names is not None and masks.ndim == 3:
            if masks.size and not 0 <= masks.min() <= masks.max() < 2 ** len(names):
                raise ImageError(f"{path}: {split}_masks up to {masks.max()}; expected one bit for each of {names}.")
            masks = masks[..., None] >> np.arange(len(names)) & 1
        masks = labels_of(f"{path}: {split}_masks", masks)
        if masks.ndim == 4 and masks.max() > 1:
            raise ImageError(f"{path}: {split}_masks up to {masks.max()} in {masks.shape}; expected 0 and 1.")
        if size is not None:
            images, masks = center_crop_resize(images, size), np.stack([_nearest(mask, size) for mask in masks])
        parts[split] = images, masks
    return parts, names


def _load_volumes(images, masks, size, window, nan):
    """`load_pairs` for NIfTI volumes."""
    files = list_nifti(images)
    if missing := [str(file) for file in files if not (masks / file).is_file()]:
        raise FileNotFoundError(
            f"{masks}: no labels for {len(missing)} of {len(files)} volumes, e.g. {', '.join(missing[:5])}; expected "
            "the same names."
        )
    x, y = np.zeros((len(files), *size, 1), "float32"), np.zeros((len(files), *size), "int32")
    for i, file in enumerate(files):
        volume, labels = read_volume(images / file, nan=nan), read_volume(masks / file)
        if labels.values.shape != volume.values.shape or not is_same_grid(labels.affine, volume.affine):
            raise ImageError(f"{masks / file}: not on the grid of {images / file}.")
        known = np.unique(labels.values)
        most = np.iinfo("int32").max
        if known[0] < 0 or known[-1] > most or len(known) > MAX_LABELS or not np.array_equal(known, known.round()):
            raise ImageError(
                f"{masks / file}: {len(known)} different values from {known[0]:g} to {known[-1]:g}; expected at most "
                f"{MAX_LABELS} different integer labels from 0 to {most}."
            )
        x[i] = center_crop_or_pad(volume.to_images(window=window), size)
        y[i] = center_crop_or_pad(labels_of(masks / file, labels.slices().round().astype("int32")), size)
    return x, y, [images / file for file in files]


def _nearest(mask, size):
    """Nearest-neighbor resampling of a mask to the pixel centers of `center_crop_resize`."""
    height, width = (size, size) if np.isscalar(size) else size
    scale = min(mask.shape[0] / height, mask.shape[1] / width)

    def lines(old, new):
        return ((old - scale * new) / 2 + scale * (np.arange(new) + 0.5)).astype(int).clip(0, old - 1)

    return mask[np.ix_(lines(mask.shape[0], height), lines(mask.shape[1], width))]
