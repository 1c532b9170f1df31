"""From a file or an array to what a model was trained on."""

import os

import keras
import numpy as np

from medzoo.images.intensity import resize
from medzoo.images.read import read_image
from medzoo.models.checks import check_images


@keras.saving.register_keras_serializable("medzoo")
class Preprocess:
    """What turns a file or an array into what a model was trained on; `load` attaches one as `model.preprocess`.

    Args:
        size: `(height, width)` that files are cut and resized to, or `None` to only cut them to multiples of
            `model.downsampling`.
        window: `(center, width)` for `read_image`, or `None`.

    Attributes: `model`, that it was attached to.
    """

    def __init__(self, size=None, window=None):
        self.size, self.window = size and tuple(size), window and tuple(window)
        self.model = None

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def get_config(self):
        return {"size": self.size and list(self.size), "window": self.window and list(self.window)}

    def __call__(self, image, frame=None):
        """A batch `(N, H, W, 1)`, float32 in [0, 1], from a path, several paths or an array.

        A file (of several frames: the one with index `frame`) is read by `read_image` and cut and resized to the
        model's size. An array (`(H, W)`, `(N, H, W)`, with or without a last axis of 1) must have the right size
        already: uint8 is divided by 255, floats must be in [0, 1].

        Raises:
            ImageError: a file that cannot be read.
            ValueError: an array of another size, range or type; says which.
        """
        if isinstance(image, (list, tuple)) and image and all(isinstance(p, (str, os.PathLike)) for p in image):
            return np.concatenate([self(path) for path in image])
        if isinstance(image, (str, os.PathLike)):
            batch = self._read(image, frame)[None]
        else:
            batch = np.asarray(image)
            if batch.dtype == np.uint8:
                batch = batch.astype("float32") / 255.0
            elif batch.dtype.kind != "f":
                raise ValueError(f"{self.model.name}: {batch.dtype} array; expected uint8, or floats from 0 to 1.")
            if batch.ndim == 2 or (batch.ndim == 3 and batch.shape[-1] == 1):
                batch = batch[None]
            batch = batch[..., None] if batch.ndim == 3 else batch
        check_images(self.model, batch)
        return np.clip(batch, 0.0, 1.0).astype("float32")

    def fit(self, image):
        """An image `(H, W, 1)` cut and resized to the model's size, or where it takes any only to multiples of
        `model.downsampling`."""
        sides = zip(image.shape, self.model.factors, strict=False)
        return resize(image, self.size or tuple(max(1, side // f) * f for side, f in sides))

    def _read(self, path, frame):
        return self.fit(read_image(path, window=self.window, frame=frame))
