"""Writing of arrays as PNG and TIFF files."""

from pathlib import Path

import numpy as np

from medzoo.utils.files import atomic_write


def write_png(path: str | Path, values: np.ndarray) -> None:
    """Write a grayscale or RGB image as PNG atomically.

    Args:
        path: path of the file; its folder is created if it does not exist.
        values: uint8 or uint16 array `(H, W)`, or uint8 array `(H, W, 3)`.

    Raises:
        ValueError: If the array has another type or shape, e.g. floats.
    """
    from PIL import Image

    path, values = Path(path), np.asarray(values)
    gray = values.ndim == 2 and values.dtype in (np.uint8, np.uint16)
    if not gray and not (values.ndim == 3 and values.shape[-1] == 3 and values.dtype == np.uint8):
        raise ValueError(
            f"{path}: {values.dtype} of shape {values.shape}; expected uint8 or uint16 (H, W), or uint8 (H, W, 3). "
            "Convert floats from 0 to 1 with (255 * x).round().astype('uint8')."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        Image.fromarray(np.ascontiguousarray(values)).save(part, format="PNG")


def write_labels(path: str | Path, mask: np.ndarray) -> Path:
    """Write a segmentation mask as PNG or multi-page TIFF.

    `medzoo.data.masks.read_mask` reads the file.

    Args:
        path: path without suffix; its folder is created if it does not exist.
        mask: integer labels `(H, W)` from 0 to 65535, written as PNG; or 0 and 1 `(H, W, K)` for overlapping labels,
            written as TIFF with one page per label.

    Returns:
        The path with its suffix, `.png` or `.tif`.

    Raises:
        ValueError: If the labels are out of range.
    """
    from PIL import Image

    mask = np.asarray(mask)
    most = 65535 if mask.ndim == 2 else 1
    if (
        mask.ndim not in (2, 3)
        or mask.dtype.kind not in "bui"
        or (mask.size and not 0 <= mask.min() <= mask.max() <= most)
    ):
        raise ValueError(f"{path}: {mask.dtype} of shape {mask.shape}; expected integer labels from 0 to {most}.")
    path = Path(path).with_name(Path(path).name + (".png" if mask.ndim == 2 else ".tif"))
    if mask.ndim == 2:
        write_png(path, mask.astype("uint8" if mask.max(initial=0) < 256 else "uint16"))
        return path
    first, *others = (Image.fromarray((255 * page).astype("uint8")) for page in np.moveaxis(mask, -1, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        first.save(part, format="TIFF", save_all=True, append_images=others, compression="tiff_deflate")
    return path
