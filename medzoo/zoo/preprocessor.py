"""Preprocessing: files and arrays to the input format of a model."""

import os
from collections.abc import Sequence
from typing import Any

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


def is_path_list(given: Any) -> bool:
    """Return whether an object is a non-empty list of paths."""
    return isinstance(given, (list, tuple)) and bool(given) and all(isinstance(p, (str, os.PathLike)) for p in given)


@keras.saving.register_keras_serializable("medzoo")
class Preprocessor:
    """Preprocessor of files and arrays; `load` attaches one as `model.preprocess`.

    Args:
        size: `(height, width)` that files are center-cropped and resized to, or `None` to crop them to multiples of
            `model.downsampling` only. For volumes `(depth, height, width)`: volumes are center-cropped or zero-padded.
        window: `(center, width)` for `read_image`, or `None`.

    Attributes:
        model: The model that the preprocessor is attached to.
    """

    def __init__(self, size: Sequence[int] | None = None, window: Sequence[float] | None = None):
        self.size, self.window = checked("Preprocessor", ARGUMENTS, size=size, window=window)
        self.model = None

    @classmethod
    def from_config(cls, config: dict) -> "Preprocessor":
        """Return a preprocessor from its configuration."""
        return cls(**config)

    def get_config(self) -> dict:
        """Return the configuration."""
        return {"size": self.size and list(self.size), "window": self.window and list(self.window)}

    def __call__(self, image: Any, frame: int | None = None) -> np.ndarray:
        """Return a batch of images in the input format of the model.

        Args:
            image: A path, a list of paths, or an array. A 2D file is read by `read_image`, center-cropped and resized
                to the size of the model; a volume is read by `read_volume` and converted by its `to_images()`. An array
                of shape `(height, width)` or `(N, height, width)`, with or without a last axis of length 1 (of volumes
                with the depth before the height), must have the size of the model: uint8, or floats in [0, 1].
            frame: int. Index of the frame of a multi-frame file.

        Returns:
            float32 array of shape `(N, height, width, 1)`, or `(N, depth, height, width, 1)` for a model of volumes,
            with values in [0, 1].

        Raises:
            ImageError: If a file cannot be read.
            ValueError: If an array has another size, range or dtype.
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
                raise ValueError(f"{self.model.name}: {batch.dtype} array. Expected uint8, or floats from 0 to 1.")
            axes = self.model.spatial_dims
            if batch.ndim == axes or (batch.ndim == axes + 1 and batch.shape[-1] == 1):
                batch = batch[None]
            batch = batch[..., None] if batch.ndim == axes + 1 else batch
        check_images(self.model, batch)
        return np.clip(batch, 0.0, 1.0).astype("float32")

    def center_crop_resize(self, image: np.ndarray) -> np.ndarray:
        """Return an image center-cropped and resized to the size of the model.

        Args:
            image: float32 array of shape `(height, width, 1)`, or `(depth, height, width, 1)`.

        Returns:
            float32 array of the size of the model; for a model that accepts any size, the image center-cropped to
            multiples of `model.downsampling`.
        """
        sides = zip(image.shape, self.model.downsampling_factors, strict=False)
        size = self.size or tuple(max(1, side // f) * f for side, f in sides)
        return center_crop_or_pad(image, size) if len(size) == 3 else center_crop_resize(image, size)

    def _read(self, path, frame):
        if self.model.spatial_dims == 3:
            return self.center_crop_resize(read_volume(path, time=frame).to_images(window=self.window))
        return self.center_crop_resize(read_image(path, window=self.window, frame=frame))
