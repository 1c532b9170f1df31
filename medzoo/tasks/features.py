"""Frozen features as a table: one row of numbers an image, for scikit-learn and the like."""

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


def extract_features(model, images, feature_type="latent", batch_size=64):
    """Features of images from a frozen model.

    Args:
        model: a medzoo model.
        images: float32 `(N, height, width, 1)` in [0, 1], of a size that the model takes.
        feature_type: `"latent"`, `"encoder"` (what the encoder's stages see: mean, deviation and largest value of each of their
            filters over the image; better for telling things apart, and no picture can be made from them) or `"both"`.
        batch_size: images at a time.

    Returns: float32 `(N, D)`. Latents: those of a vector bottleneck as they are; of a spatial one mean and standard
        deviation in each of 4x4 cells (for a VQ-VAE of the codebook's entries), D = 32 `latent_dim`. Deep: D = 3 times
        the sum of the `filters` of its encoder.
    """
    if feature_type not in FEATURE_TYPES:
        raise ValueError(f"features: feature_type={feature_type!r}; expected one of {', '.join(FEATURE_TYPES)}.")
    parts = [_row(model, feature_type, images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
    return np.concatenate(parts).astype("float32")


def _row(model, feature_type, batch):
    found = []
    if feature_type != "encoder":
        latents = model.encode(batch)
        if latents.ndim == 1 + model.spatial_dims:  # codes
            latents = model.quantizer.lookup(latents)
        found.append(pooling.pool_grid(ops.convert_to_tensor(latents)))
    if feature_type != "latent":
        found.append(pooling.pool_stages(model.encoder.stage_outputs(ops.convert_to_tensor(batch))))
    return np.concatenate([ops.convert_to_numpy(part) for part in found], axis=1)


def extract_features_from(model, given, feature_type="latent", batch_size=64):
    """`features` of whatever `model.preprocess` takes; files are read as they are needed, and where the model takes any
    size they may be of unlike ones."""
    if not is_path_list(given):
        return extract_features(model, model.preprocess(given), feature_type, batch_size)
    read = map(model.preprocess, track(given, "encoding", fewest=100))
    return np.concatenate(
        [
            extract_features(model, np.concatenate(b), feature_type)
            for b in batch_by_shape(read, np.shape, model, batch_size)
        ]
    )


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """`features` of a preset as a scikit-learn transformer.

        make_pipeline(FeatureExtractor("ae-chestxray-64", feature_type="encoder"), StandardScaler(), SVC())

    Args:
        model: name, folder or `hf://...` of a preset, or a medzoo model.
        feature_type: see `features`.
        resize: bring images of another size to the model's (a spatial model's: to the nearest multiples of its
            `downsampling`) instead of refusing them.

    `transform` takes arrays `(N, H, W)` or `(N, H, W, 1)`, uint8 or floats in [0, 1], or a list of image files; for a
    preset of volumes arrays with a depth, or a list of what `read_volume` takes.
    """

    def __init__(self, model="vae-chestxray-64", feature_type="latent", resize=False):
        self.model = model
        self.feature_type = feature_type
        self.resize = resize

    def fit(self, X, y=None):
        """Loads the preset; nothing is learned from the images."""
        self.model_ = loaded(self.model)
        return self

    def get_feature_names_out(self, input_features=None):
        """Names of the columns of `transform`, see `feature_names`."""
        check_is_fitted(self, "model_")
        return np.array(feature_names(self.model_, self.feature_type), dtype=object)

    def transform(self, X):
        """Images to float32 `(N, D)`; after `set_output(transform="pandas")` a table with named columns."""
        check_is_fitted(self, "model_")
        if isinstance(X, np.ndarray) and X.dtype.kind in "US":  # file names, after train_test_split
            X = [str(path) for path in X]
        if self.resize and isinstance(X, np.ndarray):
            X = resize_to_model(self.model_, X)
        return extract_features_from(self.model_, X, self.feature_type)


def feature_names(model, feature_type="latent"):
    """Names of the columns that `features` gives: `latent0`, `latent1`, ... and `deep0`, `deep1`, ..."""
    counts = {"latent": pooling.pooled_size(model), "encoder": 3 * sum(model.encoder.filters)}
    wanted = {"latent": ("latent",), "encoder": ("encoder",), "both": ("latent", "encoder")}[feature_type]
    return [f"{name}{i}" for name in wanted for i in range(counts[name])]


def resize_to_model(model, images):
    """Images `(N, H, W)` or `(N, H, W, 1)`, uint8 or floats in [0, 1], as float32 of a size that the model takes;
    volumes `(N, D, H, W, 1)` likewise."""
    size = target_size(model, images)
    images = to_float(images) if images.dtype == np.uint8 else images
    return images if images.shape[1 : 1 + model.spatial_dims] == size else center_crop_resize(images, size)


def target_size(model, images):
    """`(height, width)`, or with the depth before them, that images are brought to for a model: its own, or the nearest
    multiples of `downsampling`."""
    sides = zip(model.image_shape, images.shape[1:], model.downsampling_factors, strict=False)
    return tuple(own or max(1, round(side / f)) * f for own, side, f in sides)


def extract_features_from_files(model, folder, feature_type="latent"):
    """Files below a folder (for a model of volumes, see `list_volumes`), and their features one row a file."""
    files = list_images(folder) if model.spatial_dims == 2 else list_volumes(folder)
    return files, extract_features_from(model, files, feature_type)
