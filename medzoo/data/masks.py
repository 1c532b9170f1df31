"""Masks beside images: integer labels that no interpolation may blur."""

from pathlib import Path

import numpy as np

from medzoo.data.npz import NpzFile, load_npz, to_float
from medzoo.data.splits import SPLITS
from medzoo.errors import ImageError
from medzoo.io.image import read_image, read_npy
from medzoo.io.intensity import center_crop_resize
from medzoo.io.listing import list_images
from medzoo.io.nifti import list_nifti
from medzoo.io.pictures import pages_of, read_picture
from medzoo.io.volume import center_crop_or_pad, one_grid
from medzoo.io.volume_reader import read_volume
from medzoo.io.walk import files_below

MASK_SUFFIXES = (".png", ".npy", ".tif", ".tiff")
MOST_LABELS = 64  # more different values than this are a picture, not a mask
WHITE = (255, 65535)  # what stands for 1 in black and white


def read_mask(path):
    """Labels of the pixels of an image.

    Integers `(H, W)`, 0 the background, of a PNG (grey or palette, 1 to 16 bit), TIFF or npy file; one that holds 0 and
    255 only (or 0 and 65535) is taken as 0 and 1. Or, for labels that may overlap, 0 and 1 `(H, W, K)`: a TIFF with a
    page for each label, or an npy array of that shape. Masks are turned as their EXIF orientation says.

    Raises:
        FileNotFoundError: no such file.
        ImageError: not a mask: colours, fractions, negative numbers, labels of `MOST_LABELS` or more (grey values in
            the place of labels), a lossy file.
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
        if count > 1 and (kind != "TIFF" or count > MOST_LABELS):
            raise ImageError(
                f"{path}: {kind} of {count} frames; expected one mask, or a TIFF with a page for each of {MOST_LABELS} "
                "labels at most."
            )
        pages = [_drawn(path, page if count > 1 else None) for page in range(count)]
        if len({page.shape for page in pages}) > 1:
            raise ImageError(f"{path}: pages of several sizes, {', '.join(str(page.shape) for page in pages)}.")
        values = pages[0] if count == 1 else np.stack(pages, axis=-1)
    several = values.ndim == 3 and values.shape[-1] <= MOST_LABELS
    if (values.ndim != 2 and not several) or 0 in values.shape or values.dtype.kind not in "biu":
        raise ImageError(f"{path}: {values.dtype} of shape {values.shape}; expected integer labels (H, W).")
    values = labels_of(path, values)
    if several and values.max() > 1:
        raise ImageError(f"{path}: values up to {values.max()} in {values.shape}; expected 0 and 1 for each label.")
    return values


def _drawn(path, page):
    """The numbers `(H, W)` that one page of a picture file holds.

    Raises:
        ImageError: lossy, in color, or a palette whose first color is not that of a background.
    """
    picture = read_picture(path, page)
    if picture.lossy:
        raise ImageError(f"{path}: compressed as JPEG; expected a lossless mask.")
    if picture.mode not in ("1", "L", "P", "I", "F") and not picture.mode.startswith("I;16"):
        raise ImageError(
            f"{path}: mode {picture.mode}, {picture.values.shape[:2]} pixels; expected integer labels (H, W). Save it "
            "in grayscale or with a palette, without transparency."
        )
    if picture.palette is not None:
        used = np.unique(picture.values)
        black = used[(picture.palette[used] == 0).all(axis=-1)]
        if len(black) and black[0] != 0 and picture.palette[0].any():
            raise ImageError(
                f"{path}: a palette in which 0 is {tuple(picture.palette[0].tolist())} and {black[0]} is black; "
                "expected 0 to be the background. Save it in grayscale."
            )
        return picture.values
    if picture.white_is_zero and picture.values.dtype.kind == "u":
        return np.iinfo(picture.values.dtype).max - picture.values
    return picture.values // picture.spread if picture.spread > 1 else picture.values


def labels_of(where, values):
    """int32 labels from the numbers of a mask: 0 and 255, or 0 and 65535, become 0 and 1.

    Raises:
        ImageError: numbers that are not labels, such as grey values drawn for classes; names `where` and the numbers.
    """
    known = np.unique(values)
    if known[0] < 0 or len(known) > MOST_LABELS:
        raise ImageError(
            f"{where}: {len(known)} different values from {known[0]} to {known[-1]}; expected labels from 0, "
            f"{MOST_LABELS} at most. Is this the image?"
        )
    if any(set(known.tolist()) <= {0, white} for white in WHITE):
        values = values > 0
    elif known[-1] >= MOST_LABELS:
        shown = ", ".join(map(str, known[:8])) + (" ..." if len(known) > 8 else "")
        raise ImageError(
            f"{where}: values {shown} up to {known[-1]}; expected labels 0, 1, 2 and so on below {MOST_LABELS}, or 0 "
            "and 255. Gray values drawn for classes, or blurred outlines? Number the classes from 0, e.g. "
            "numpy.searchsorted(values, mask) with the sorted values of all masks."
        )
    return values.astype("int32")


def load_masks(images, masks, size=None, window=None, nan=None):
    """Images of one folder and masks of the same names in another.

    Args:
        images, masks: folders; `a/1.dcm` belongs to `a/1.png`, `.npy` or `.tif` among the masks, see `read_mask`. With
            a `size` of three numbers NIfTI files of volumes, and of labels under the same names.
        size: `(height, width)` or one number; image and mask are cut and resized alike, the mask to its nearest pixels.
            `None` needs images of one size. Of volumes `(depth, height, width)` is cut out of the middle; what is
            smaller lies amid zeros.
        window, nan: see `read_image`.

    Returns: float32 `(N, H, W, 1)` in [0, 1] and int32 `(N, H, W)`, or `(N, H, W, K)` of 0 and 1 for labels that may
        overlap; of volumes `(N, D, H, W, 1)` and `(N, D, H, W)`.

    Raises:
        FileNotFoundError: no such folder, or masks are missing; names them.
        ImageError: a file that cannot be used, an image and its mask of different sizes, or two images of one mask.
    """
    return load_pairs(images, masks, size, window, nan)[:2]


def load_pairs(images, masks, size=None, window=None, nan=None):
    """Return what `load_masks` returns, and the list of the images' files in the same order."""
    if size is not None and not np.isscalar(size) and len(size) == 3:
        return _load_volumes(Path(images), Path(masks), size, window, nan)
    files = list_images(images)
    stems = _by_stem(files, images, "images")
    drawn = [path for path in files_below(masks) if path.suffix.lower() in MASK_SUFFIXES]
    found = _by_stem([p for p in drawn if p.relative_to(masks).with_suffix("") in stems], masks, "masks")
    missing = [str(path) for stem, path in stems.items() if stem not in found]
    if missing:
        raise FileNotFoundError(
            f"{masks}: no mask for {len(missing)} of {len(files)} images, e.g. {', '.join(missing[:5])}; expected the "
            f"same name with {' or '.join(MASK_SUFFIXES)} (JPEG blurs labels)."
        )
    pairs = []
    for stem, path in stems.items():
        image, mask = read_image(path, window=window, nan=nan), read_mask(found[stem])
        if image.shape[:2] != mask.shape[:2]:
            raise ImageError(f"{found[stem]}: {mask.shape[:2]} pixels; its image {path} has {image.shape[:2]}.")
        if size is not None:
            image, mask = center_crop_resize(image, size), _nearest(mask, size)
        if pairs and image.shape != pairs[0][0].shape:
            raise ImageError(f"{path}: {image.shape[:2]} pixels, others {pairs[0][0].shape[:2]}; give a size.")
        if pairs and mask.shape != pairs[0][1].shape:
            raise ImageError(f"{found[stem]}: {_kind(mask)}; others have {_kind(pairs[0][1])}.")
        pairs.append((image, mask))
    return (*(np.stack(part) for part in zip(*pairs, strict=True)), list(stems.values()))


def _by_stem(paths, folder, what):
    """`{path below the folder without its ending: path}`.

    Raises:
        ImageError: two paths that differ in their ending only: it cannot be told which image belongs to which mask.
    """
    found = {}
    for path in paths:
        other = found.setdefault(path.relative_to(folder).with_suffix(""), path)
        if other != path:
            raise ImageError(
                f"{other} and {path}: two {what} of one name; expected one image for each mask. Rename or remove one."
            )
    return found


def _kind(mask):
    return "one label a pixel" if mask.ndim == 2 else f"{mask.shape[-1]} labels that may overlap"


def load_mask_archive(path, size=None):
    """Images and masks of an npz archive in splits.

    Args:
        path: archive with `{split}_images`, uint8 `(N, H, W)`, and `{split}_masks`: integers `(N, H, W)`, 0 the
            background, or 0 and 1 `(N, H, W, K)`; with `mask_bits`, names of labels, bit k of a mask is label k.
        size: see `load_masks`.

    Returns: `({split: (images, masks)}, names)`, the arrays as `load_masks` gives them; names `None` if none are given.

    Raises:
        FileNotFoundError, ImageError: no such file, no such archive; masks that are not one for each image.
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
                "label a pixel, or with an axis of labels behind them."
            )
        if names is not None and masks.ndim == 3:
            if masks.size and not 0 <= masks.min() <= masks.max() < 2 ** len(names):
                raise ImageError(f"{path}: {split}_masks up to {masks.max()}; expected a bit for each of {names}.")
            masks = masks[..., None] >> np.arange(len(names)) & 1
        masks = labels_of(f"{path}: {split}_masks", masks)
        if masks.ndim == 4 and masks.max() > 1:
            raise ImageError(f"{path}: {split}_masks up to {masks.max()} in {masks.shape}; expected 0 and 1.")
        if size is not None:
            images, masks = center_crop_resize(images, size), np.stack([_nearest(mask, size) for mask in masks])
        parts[split] = images, masks
    return parts, names


def _load_volumes(images, masks, size, window, nan):
    """`load_pairs` of NIfTI files."""
    files = list_nifti(images)
    if missing := [str(file) for file in files if not (masks / file).is_file()]:
        raise FileNotFoundError(
            f"{masks}: no labels for {len(missing)} of {len(files)} volumes, e.g. {', '.join(missing[:5])}; expected "
            "the same names."
        )
    x, y = np.zeros((len(files), *size, 1), "float32"), np.zeros((len(files), *size), "int32")
    for i, file in enumerate(files):
        volume, labels = read_volume(images / file, nan=nan), read_volume(masks / file)
        if labels.values.shape != volume.values.shape or not one_grid(labels.affine, volume.affine):
            raise ImageError(f"{masks / file}: not on the grid of {images / file}.")
        known = np.unique(labels.values)
        most = np.iinfo("int32").max
        if known[0] < 0 or known[-1] > most or len(known) > MOST_LABELS or not np.array_equal(known, known.round()):
            raise ImageError(
                f"{masks / file}: {len(known)} different values from {known[0]:g} to {known[-1]:g}; expected integer "
                f"labels from 0 to {most}, {MOST_LABELS} different ones at most."
            )
        x[i] = center_crop_or_pad(volume.images(window=window), size)
        y[i] = center_crop_or_pad(labels_of(masks / file, labels.slices().round().astype("int32")), size)
    return x, y, [images / file for file in files]


def _nearest(mask, size):
    """The pixels of a mask that the middles of `resize`'s pixels fall on."""
    height, width = (size, size) if np.isscalar(size) else size
    scale = min(mask.shape[0] / height, mask.shape[1] / width)

    def lines(old, new):
        return ((old - scale * new) / 2 + scale * (np.arange(new) + 0.5)).astype(int).clip(0, old - 1)

    return mask[np.ix_(lines(mask.shape[0], height), lines(mask.shape[1], width))]
