"""Feature vectors of images from frozen encoders, for scikit-learn and other downstream models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from medzoo.data.npz import to_float
from medzoo.io.intensity import center_crop_resize
from medzoo.io.listing import list_images
from medzoo.io.volume_reader import list_volumes
from medzoo.layers import pooling
from medzoo.tasks.shared.batching import batch_by_shape
from medzoo.utils.progress import track
from medzoo.zoo.preprocessor import is_path_list
from medzoo.zoo.presets import loaded

FEATURE_TYPES = ("latent", "encoder", "both")


def extract_features(
    model: keras.Model, images: np.ndarray, feature_type: str = "latent", batch_size: int = 64
) -> np.ndarray:
    """Extract fixed-length feature vectors with a frozen encoder.

    Args:
        model: A medzoo model.
        images: Float32 array of shape `(N, height, width, 1)` with values in [0, 1], of a size that the model accepts;
            of volumes `(N, depth, height, width, 1)`.
        feature_type: `"latent"`, `"encoder"` or `"both"`. Latents of a vector bottleneck are returned as they are.
            Latents of a spatial bottleneck (of a VQ-VAE, the codebook entries) are pooled to mean and standard
            deviation in 4x4 cells, D = 32 `latent_dim`. Encoder features are mean, standard deviation and maximum of
            every channel of every encoder stage, D = 3 times the sum of the encoder's `filters`. They usually allow
            better classification than latents, but cannot be decoded to an image.
        batch_size: int. Number of images per forward pass.

    Returns:
        Float32 array of shape `(N, D)`.

    Raises:
        ValueError: If `feature_type` is unknown.
    """
    if feature_type not in FEATURE_TYPES:
        expected = ", ".join(FEATURE_TYPES)
        raise ValueError(f"extract_features: unknown feature_type. Expected one of {expected}, got {feature_type!r}.")
    parts = [
        _batch_features(model, feature_type, images[i : i + batch_size]) for i in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts).astype("float32")


def _batch_features(model, feature_type, batch):
    """Return the features of one batch."""
    parts = []
    if feature_type != "encoder":
        latents = model.encode(batch)
        if latents.ndim == 1 + model.spatial_dims:  # codes
            latents = model.quantizer.lookup(latents)
        parts.append(pooling.pool_grid(ops.convert_to_tensor(latents)))
    if feature_type != "latent":
        parts.append(pooling.pool_stages(model.encoder.stage_outputs(ops.convert_to_tensor(batch))))
    return np.concatenate([ops.convert_to_numpy(part) for part in parts], axis=1)


def extract_features_from(
    model: keras.Model, inputs: Any, feature_type: str = "latent", batch_size: int = 64
) -> np.ndarray:
    """Extract features from any input of `model.preprocess`.

    Files are read as they are needed. They may differ in size if the model accepts any size.

    Args:
        model: A medzoo model.
        inputs: Array of images, or list of paths; see `model.preprocess`.
        feature_type: See `extract_features`.
        batch_size: int. Maximum number of images per forward pass.

    Returns:
        Float32 array of shape `(N, D)`.
    """
    if not is_path_list(inputs):
        return extract_features(model, model.preprocess(inputs), feature_type, batch_size)
    read = map(model.preprocess, track(inputs, "encoding", fewest=100))
    batches = batch_by_shape(read, np.shape, model, batch_size)
    return np.concatenate([extract_features(model, np.concatenate(batch), feature_type) for batch in batches])


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """Scikit-learn transformer that returns the features of a frozen preset.

    `transform` takes arrays of shape `(N, H, W)` or `(N, H, W, 1)`, uint8 or floats in [0, 1], or a list of image
    files; for a preset of volumes, arrays with a depth axis or a list of paths that `read_volume` takes.

    Args:
        model: A medzoo model, or anything `medzoo.load` takes.
        feature_type: `"latent"`, `"encoder"` or `"both"`, see `extract_features`.
        resize: bool. If `True`, resize images of other sizes to the input size of the model (of a model that accepts
            any size: to the nearest multiples of its `downsampling`). If `False`, raise an error.

    Attributes:
        model_: The loaded model.

    Examples:
        ```python
        make_pipeline(FeatureExtractor("ae-chestxray-64", feature_type="encoder"), StandardScaler(), SVC())
        ```
    """

    def __init__(
        self,
        model: keras.Model | str | Path = "vae-chestxray-64",
        feature_type: str = "latent",
        resize: bool = False,
    ):
        self.model = model
        self.feature_type = feature_type
        self.resize = resize

    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the preset. No parameters are estimated from the images.

        Args:
            X: Not used.
            y: Not used.

        Returns:
            The transformer.
        """
        self.model_ = loaded(self.model)
        return self

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the column names of the output of `transform`, see `feature_names`.

        Args:
            input_features: Not used.

        Returns:
            Object array of str.
        """
        check_is_fitted(self, "model_")
        return np.array(feature_names(self.model_, self.feature_type), dtype=object)

    def transform(self, X: np.ndarray | Sequence[str | Path]) -> np.ndarray:
        """Extract features of images.

        After `set_output(transform="pandas")`, the result is a data frame with named columns.

        Args:
            X: Images or paths, see the class.

        Returns:
            Float32 array of shape `(N, D)`.
        """
        check_is_fitted(self, "model_")
        if isinstance(X, np.ndarray) and X.dtype.kind in "US":  # file names, after train_test_split
            X = [str(path) for path in X]
        if self.resize and isinstance(X, np.ndarray):
            X = resize_to_model(self.model_, X)
        return extract_features_from(self.model_, X, self.feature_type)


def feature_names(model: keras.Model, feature_type: str = "latent") -> list[str]:
    """Return the column names of the features of a model.

    Args:
        model: A medzoo model.
        feature_type: See `extract_features`.

    Returns:
        `latent0`, `latent1`, ... and/or `encoder0`, `encoder1`, ...
    """
    counts = {"latent": pooling.pooled_size(model), "encoder": 3 * sum(model.encoder.filters)}
    parts = {"latent": ("latent",), "encoder": ("encoder",), "both": ("latent", "encoder")}[feature_type]
    return [f"{name}{i}" for name in parts for i in range(counts[name])]


def resize_to_model(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Resize images to a size that a model accepts, see `target_size`.

    Args:
        model: A medzoo model, or a model on its encoder.
        images: Array of shape `(N, H, W)` or `(N, H, W, 1)`, uint8 or floats in [0, 1]; of volumes `(N, D, H, W, 1)`.

    Returns:
        Float32 array with values in [0, 1]. Images of the right size are not resampled.
    """
    size = target_size(model, images)
    images = to_float(images) if images.dtype == np.uint8 else images
    return images if images.shape[1 : 1 + model.spatial_dims] == size else center_crop_resize(images, size)


def target_size(model: keras.Model, images: np.ndarray) -> tuple[int, ...]:
    """Return the size to which `resize_to_model` resizes images.

    Args:
        model: A medzoo model, or a model on its encoder.
        images: Array of images, see `resize_to_model`.

    Returns:
        `(height, width)` or `(depth, height, width)`: the input size of the model, or, where it accepts any size, the
        nearest multiples of its `downsampling`.
    """
    sides = zip(model.image_shape, images.shape[1:], model.downsampling_factors, strict=False)
    return tuple(own or max(1, round(side / f)) * f for own, side, f in sides)


def extract_features_from_files(
    model: keras.Model, folder: str | Path, feature_type: str = "latent"
) -> tuple[list[Path], np.ndarray]:
    """Extract features of all files below a folder.

    Args:
        model: A medzoo model.
        folder: Folder of images, searched recursively; for a model of volumes see `list_volumes`.
        feature_type: See `extract_features`.

    Returns:
        `(files, features)`: the paths, and a float32 array with one row per file.
    """
    files = list_images(folder) if model.spatial_dims == 2 else list_volumes(folder)
    return files, extract_features_from(model, files, feature_type)
