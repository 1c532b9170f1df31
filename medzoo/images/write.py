"""Arrays to picture files."""

from pathlib import Path

import numpy as np

from medzoo.files import written_whole


def write_png(path, values):
    """Writes uint8 or uint16 grey values `(H, W)`, or uint8 colours `(H, W, 3)`, as PNG, whole or not at all.

    The folder is made if it is not there.
    """
    from PIL import Image

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        Image.fromarray(np.ascontiguousarray(values)).save(part, format="PNG")


def write_labels(path, mask):
    """Writes integer labels `(H, W)` up to 255 as PNG, or 0 and 1 `(H, W, K)` as TIFF with a page for each label: what
    `medzoo.images.masks.read_mask` reads.

    Args:
        path: without an ending; its folder is made if it is not there.

    Returns: the path, with `.png` or `.tif`.

    Raises:
        ValueError: labels that the file does not hold.
    """
    from PIL import Image

    path = Path(path).with_name(Path(path).name + (".png" if mask.ndim == 2 else ".tif"))
    most = 255 if mask.ndim == 2 else 1
    if mask.size and (mask.min() < 0 or mask.max() > most):
        raise ValueError(f"{path}: labels from {mask.min()} to {mask.max()}; expected 0 to {most}.")
    if mask.ndim == 2:
        write_png(path, mask.astype("uint8"))
        return path
    first, *others = (Image.fromarray((255 * page).astype("uint8")) for page in np.moveaxis(mask, -1, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        first.save(part, format="TIFF", save_all=True, append_images=others, compression="tiff_deflate")
    return path
