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
