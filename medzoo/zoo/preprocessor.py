"""Preprocessing: files and arrays to the input format of a model."""

import os
from collections.abc import Sequence
from typing import Any, cast

import keras
import numpy as np

from medzoo.io.image import read_image
from medzoo.io.intensity import center_crop_resize
from medzoo.io.volume import center_crop_or_pad
from medzoo.io.volume_reader import read_volume
from medzoo.models.checks import check_images
from medzoo.utils.arguments import NONE, SIDES, Rule, checked, either, real, several
from medzoo.zoo.normalization import check_intensity, gray_to_channels, normalize, read_normalized

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
        intensity: str. How a file's values become [0, 1] where another library's network was trained otherwise than
            with `read_image`, see `medzoo.zoo.normalization`; `"file"` or `None`: as `read_image` and `read_volume`.
        limits: `(low, high)` of `intensity`.

    For a model of three channels a gray image becomes three equal ones, and a color file keeps its own;
    `medzoo.zoo.normalization.channels_to_gray` is the way back.

    Attributes:
        model: The model that the preprocessor is attached to.
    """

    def __init__(
        self,
        size: Sequence[int] | None = None,
        window: Sequence[float] | None = None,
        intensity: str | None = None,
        limits: Sequence[float] | None = None,
    ):
        self.size, self.window = checked("Preprocessor", ARGUMENTS, size=size, window=window)
        self.intensity, self.limits = intensity, limits and tuple(limits)
        check_intensity(intensity, limits)
        self.model: Any = None

    @classmethod
    def from_config(cls, config: dict) -> "Preprocessor":
        """Return a preprocessor from its configuration."""
        return cls(**config)

    def get_config(self) -> dict:
        """Return the configuration."""
        own = {"intensity": self.intensity, "limits": self.limits and list(self.limits)}
        own = {key: value for key, value in own.items() if value is not None}
        return {"size": self.size and list(self.size), "window": self.window and list(self.window), **own}

    def __call__(self, image: Any, frame: int | None = None) -> np.ndarray:
        """Return a batch of images in the input format of the model.

        Args:
            image: A path, a list of paths, or an array. A 2D file is read by `read_image`, center-cropped and resized
                to the size of the model; a volume is read by `read_volume` and converted by its `to_images()`. An array
                of shape `(height, width)` or `(N, height, width)`, with or without a last axis of length 1 (of volumes
                with the depth before the height), must have the size of the model: uint8, or floats in [0, 1]. With
                `intensity="range"`, integers other than uint8 are values in the units of the limits, e.g. int16
                Hounsfield units.
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
            if self.intensity == "range" and batch.dtype.kind in "iu" and batch.dtype != np.uint8:
                batch = normalize(batch, "range", self.limits)  # values in the units of the limits
            elif batch.dtype == np.uint8:
                batch = batch.astype("float32") / 255.0
            elif batch.dtype.kind != "f":
                raise ValueError(f"{self.model.name}: {batch.dtype} array. Expected uint8, or floats from 0 to 1.")
            axes, channels = self.model.spatial_dims, self.model.image_shape[-1]
            if batch.ndim == axes or (batch.ndim == axes + 1 and batch.shape[-1] in {1, channels}):
                batch = batch[None]
            batch = batch[..., None] if batch.ndim == axes + 1 else batch
            batch = gray_to_channels(batch, channels)
        check_images(self.model, batch)
        return np.clip(batch, 0.0, 1.0).astype("float32")

    def inverse(self, images: np.ndarray) -> np.ndarray:
        """Return images in the units of the files, as float32.

        With `intensity="range"`, 0 is the lower limit and 1 the upper one (Hounsfield units for CT). Other kinds have a
        range of their own for each file; their images are returned unchanged.
        """
        images = np.asarray(images, "float32")
        if self.intensity != "range":
            return images
        low, high = cast("tuple", self.limits)
        return images * np.float32(high - low) + np.float32(low)

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
        channels = self.model.image_shape[-1]
        if self.intensity is not None or channels > 1:
            image = read_normalized(
                path, self.model.spatial_dims, channels, self.intensity, self.limits, self.window, frame
            )
            return np.concatenate([self.center_crop_resize(image[..., i : i + 1]) for i in range(channels)], axis=-1)
        if self.model.spatial_dims == 3:
            return self.center_crop_resize(read_volume(path, time=frame).to_images(window=self.window))
        return self.center_crop_resize(read_image(path, window=self.window, frame=frame))
