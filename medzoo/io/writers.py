"""Arrays to picture files."""

from pathlib import Path

import numpy as np

from medzoo.utils.files import written_whole


def write_png(path, values):
    """Writes uint8 or uint16 grey values `(H, W)`, or uint8 colours `(H, W, 3)`, as PNG, whole or not at all.

    The folder is made if it is not there.

    Raises:
        ValueError: another type or shape, such as floats.
    """
    from PIL import Image

    path, values = Path(path), np.asarray(values)
    gray = values.ndim == 2 and values.dtype in (np.uint8, np.uint16)
    if not gray and not (values.ndim == 3 and values.shape[-1] == 3 and values.dtype == np.uint8):
        raise ValueError(
            f"{path}: {values.dtype} of shape {values.shape}; expected uint8 or uint16 (H, W), or uint8 (H, W, 3). "
            "Of floats from 0 to 1 take (255 * x).round().astype('uint8')."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        Image.fromarray(np.ascontiguousarray(values)).save(part, format="PNG")


def write_labels(path, mask):
    """Writes integer labels `(H, W)` up to 65535 as PNG, or 0 and 1 `(H, W, K)` as TIFF with a page a label: what
    `medzoo.data.masks.read_mask` reads.

    Args:
        path: without an ending; its folder is made if it is not there.

    Returns: the path, with `.png` or `.tif`.

    Raises:
        ValueError: labels that the file does not hold.
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
    with written_whole(path) as part:
        first.save(part, format="TIFF", save_all=True, append_images=others, compression="tiff_deflate")
    return path
