"""From a file or an array to what a model was trained on."""

import os

import keras
import numpy as np

from medzoo.io.image import read_image
from medzoo.io.intensity import center_crop_resize
from medzoo.io.volume import center_crop_or_pad
from medzoo.io.volume_reader import read_volume
from medzoo.models.checks import check_images
from medzoo.utils.arguments import NONE, SIDES, Rule, checked, either, real, several

PAIR = several(real(), 2, 2)
ARGUMENTS = {
    "size": either(SIDES, NONE),  # (height, width) or (depth, height, width)
    "window": either(Rule(lambda w: PAIR.holds(w) and w[1] > 0, "a pair (center, width) with width > 0"), NONE),
}


def is_path_list(given):
    """Whether something is a list of paths, with one at least."""
    return isinstance(given, (list, tuple)) and given and all(isinstance(p, (str, os.PathLike)) for p in given)


@keras.saving.register_keras_serializable("medzoo")
class Preprocessor:
    """What turns a file or an array into what a model was trained on; `load` attaches one as `model.preprocess`.

    Args:
        size: `(height, width)` that files are cut and resized to, or `None` to only cut them to multiples of
            `model.downsampling`. For volumes `(depth, height, width)`: the middle is cut out, or lies amid zeros.
        window: `(center, width)` for `read_image`, or `None`.

    Attributes: `model`, that it was attached to.
    """

    def __init__(self, size=None, window=None):
        self.size, self.window = checked("Preprocessor", ARGUMENTS, size=size, window=window)
        self.model = None

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def get_config(self):
        return {"size": self.size and list(self.size), "window": self.window and list(self.window)}

    def __call__(self, image, frame=None):
        """A batch `(N, H, W, 1)`, float32 in [0, 1], from a path, several paths or an array; for a model of volumes
        `(N, D, H, W, 1)`.

        A file (of several frames: the one with index `frame`) is read by `read_image` and cut and resized to the
        model's size; a volume by `read_volume`, as its `images()`. An array (`(H, W)`, `(N, H, W)`, with or without a
        last axis of 1; of volumes with the depth before the height) must have the right size already: uint8 is divided
        by 255, floats must be in [0, 1].

        Raises:
            ImageError: a file that cannot be read.
            ValueError: an array of another size, range or type; says which.
        """
        if is_path_list(image):
            return np.concatenate([self(path) for path in image])
        if isinstance(image, (str, os.PathLike)):
            batch = self._read(image, frame)[None]
        else:
            batch = np.asarray(image)
            if batch.dtype == np.uint8:
                batch = batch.astype("float32") / 255.0
            elif batch.dtype.kind != "f":
                raise ValueError(f"{self.model.name}: {batch.dtype} array; expected uint8, or floats from 0 to 1.")
            axes = self.model.spatial_dims
            if batch.ndim == axes or (batch.ndim == axes + 1 and batch.shape[-1] == 1):
                batch = batch[None]
            batch = batch[..., None] if batch.ndim == axes + 1 else batch
        check_images(self.model, batch)
        return np.clip(batch, 0.0, 1.0).astype("float32")

    def fit(self, image):
        """An image `(H, W, 1)` cut and resized to the model's size, or where it takes any only to multiples of
        `model.downsampling`."""
        sides = zip(image.shape, self.model.downsampling_factors, strict=False)
        size = self.size or tuple(max(1, side // f) * f for side, f in sides)
        return center_crop_or_pad(image, size) if len(size) == 3 else center_crop_resize(image, size)

    def _read(self, path, frame):
        if self.model.spatial_dims == 3:
            return self.fit(read_volume(path, time=frame).images(window=self.window))
        return self.fit(read_image(path, window=self.window, frame=frame))
