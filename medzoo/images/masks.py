"""Masks beside images: integer labels that no interpolation may blur."""

from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.images.archive import Archive, load_npz, to_float
from medzoo.images.intensity import resize
from medzoo.images.listing import list_images
from medzoo.images.nifti import list_nifti
from medzoo.images.read import read_image
from medzoo.images.read_volume import read_volume
from medzoo.images.splits import SPLITS
from medzoo.images.volume import cut_to

MASK_SUFFIXES = (".png", ".npy", ".tif", ".tiff")
MOST_LABELS = 64  # more different values than this are a picture, not a mask


def read_mask(path):
    """Labels of the pixels of an image.

    Integers `(H, W)`, 0 the background, of a PNG (grey or palette, 8 or 16 bit), TIFF or npy file; one that holds 0 and
    255 only is taken as 0 and 1. Or, for labels that may overlap, 0 and 1 `(H, W, K)`: a TIFF with a page for each
    label, or an npy array of that shape.

    Raises:
        FileNotFoundError: no such file.
        ImageError: not a mask: colours, fractions, negative numbers, too many different values, a lossy file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    if path.suffix.lower() not in MASK_SUFFIXES:
        raise ImageError(f"{path}: {path.suffix}; expected a mask as {' or '.join(MASK_SUFFIXES)} (lossless).")
    try:
        values = _stored(path)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{path}: not readable as a mask ({type(error).__name__}: {error}).") from error
    values = values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
    several = values.ndim == 3 and path.suffix.lower() != ".png" and values.shape[-1] <= MOST_LABELS
    if (values.ndim != 2 and not several) or 0 in values.shape or values.dtype.kind not in "biu":
        raise ImageError(f"{path}: {values.dtype} of shape {values.shape}; expected integer labels (H, W).")
    labels = np.unique(values)
    if labels[0] < 0 or len(labels) > MOST_LABELS:
        raise ImageError(
            f"{path}: {len(labels)} different values from {labels[0]} to {labels[-1]}; expected labels from 0, "
            f"{MOST_LABELS} at most. Is this the image?"
        )
    if set(labels.tolist()) <= {0, 255}:
        values = values > 0
    if several and values.max() > 1:
        raise ImageError(f"{path}: values up to {labels[-1]} in {values.shape}; expected 0 and 1 for each label.")
    return values.astype("int32")


def _stored(path):
    """The array of a file; of a TIFF the pages become the last axis."""
    from PIL import Image

    if path.suffix.lower() == ".npy":
        return np.load(path, allow_pickle=False)
    with Image.open(path, formats=("PNG", "TIFF")) as picture:
        if "jpeg" in str(picture.info.get("compression", "")).lower():
            raise ImageError(f"{path}: compressed as JPEG; expected a lossless mask.")
        pages = []
        for page in range(getattr(picture, "n_frames", 1)):
            picture.seek(page)
            pages.append(np.asarray(picture))
    return pages[0] if len(pages) == 1 else np.stack(pages, axis=-1)


def load_masks(images, masks, size=None, window=None):
    """Images of one folder and masks of the same names in another.

    Args:
        images, masks: folders; `a/1.dcm` belongs to `a/1.png`, `.npy` or `.tif` among the masks, see `read_mask`. With
            a `size` of three numbers NIfTI files of volumes, and of labels under the same names.
        size: `(height, width)` or one number; image and mask are cut and resized alike, the mask to its nearest pixels.
            `None` needs images of one size. Of volumes `(depth, height, width)` is cut out of the middle; what is
            smaller lies amid zeros.
        window: see `read_image`.

    Returns: float32 `(N, H, W, 1)` in [0, 1] and int32 `(N, H, W)`, or `(N, H, W, K)` of 0 and 1 for labels that may
        overlap; of volumes `(N, D, H, W, 1)` and `(N, D, H, W)`.

    Raises:
        FileNotFoundError: no such folder, or masks are missing; names them.
        ImageError: a file that cannot be used, or an image and its mask of different sizes.
    """
    return load_pairs(images, masks, size, window)[:2]


def load_pairs(images, masks, size=None, window=None):
    """Return what `load_masks` returns, and the list of the images' files in the same order."""
    if size is not None and not np.isscalar(size) and len(size) == 3:
        return _load_volumes(Path(images), Path(masks), size, window)
    files = list_images(images)
    stems = {path.relative_to(images).with_suffix(""): path for path in files}
    found = {}
    for path in sorted(Path(masks).rglob("*")):
        if path.suffix.lower() in MASK_SUFFIXES:
            found[path.relative_to(masks).with_suffix("")] = path
    missing = [str(path) for stem, path in stems.items() if stem not in found]
    if missing:
        raise FileNotFoundError(
            f"{masks}: no mask for {len(missing)} of {len(files)} images, e.g. {', '.join(missing[:5])}; expected the "
            f"same name with {' or '.join(MASK_SUFFIXES)}."
        )
    pairs = []
    for stem, path in stems.items():
        image, mask = read_image(path, window=window), read_mask(found[stem])
        if image.shape[:2] != mask.shape[:2]:
            raise ImageError(f"{found[stem]}: {mask.shape[:2]} pixels; its image {path} has {image.shape[:2]}.")
        if size is not None:
            image, mask = resize(image, size), _nearest(mask, size)
        if pairs and image.shape != pairs[0][0].shape:
            raise ImageError(f"{path}: {image.shape[:2]} pixels, others {pairs[0][0].shape[:2]}; give a size.")
        if pairs and mask.shape != pairs[0][1].shape:
            raise ImageError(f"{found[stem]}: {_kind(mask)}; others have {_kind(pairs[0][1])}.")
        pairs.append((image, mask))
    return (*(np.stack(part) for part in zip(*pairs, strict=True)), list(stems.values()))


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
    archive = Archive(path)
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
            masks = masks[..., None] >> np.arange(len(names)) & 1
        if size is not None:
            images, masks = resize(images, size), np.stack([_nearest(mask, size) for mask in masks])
        parts[split] = images, masks.astype("int32")
    return parts, names


def _load_volumes(images, masks, size, window):
    """`load_pairs` of NIfTI files."""
    files = list_nifti(images)
    if missing := [str(file) for file in files if not (masks / file).is_file()]:
        raise FileNotFoundError(
            f"{masks}: no labels for {len(missing)} of {len(files)} volumes, e.g. {', '.join(missing[:5])}; expected "
            "the same names."
        )
    x, y = np.zeros((len(files), *size, 1), "float32"), np.zeros((len(files), *size), "int32")
    for i, file in enumerate(files):
        volume, labels = read_volume(images / file), read_volume(masks / file)
        if labels.values.shape != volume.values.shape or not np.allclose(labels.affine, volume.affine, atol=1e-2):
            raise ImageError(f"{masks / file}: not on the grid of {images / file}.")
        known = np.unique(labels.values)
        if known[0] < 0 or len(known) > MOST_LABELS or not np.array_equal(known, known.round()):
            raise ImageError(
                f"{masks / file}: {len(known)} different values from {known[0]:g}; expected labels from 0."
            )
        x[i] = cut_to(volume.images(window=window), size)
        y[i] = cut_to(labels.stacked().round().astype("int32"), size)
    return x, y, [images / file for file in files]


def _nearest(mask, size):
    """The pixels of a mask that the middles of `resize`'s pixels fall on."""
    height, width = (size, size) if np.isscalar(size) else size
    scale = min(mask.shape[0] / height, mask.shape[1] / width)

    def lines(old, new):
        return ((old - scale * new) / 2 + scale * (np.arange(new) + 0.5)).astype(int).clip(0, old - 1)

    return mask[np.ix_(lines(mask.shape[0], height), lines(mask.shape[1], width))]
