"""Frozen features as a table: one row of numbers an image, for scikit-learn and the like."""

import numpy as np
from keras import ops
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from medzoo.images.archive import to_float
from medzoo.images.intensity import resize
from medzoo.images.listing import list_images
from medzoo.images.read_volume import list_volumes
from medzoo.layers import pooling
from medzoo.progress import track
from medzoo.tasks.shared.alike import alike
from medzoo.zoo.preprocess import are_files
from medzoo.zoo.presets import loaded

KINDS = ("latents", "deep", "both")


def features(model, images, kind="latents", batch_size=64):
    """Features of images from a frozen model.

    Args:
        model: a medzoo model.
        images: float32 `(N, height, width, 1)` in [0, 1], of a size that the model takes.
        kind: `"latents"`, `"deep"` (what the encoder's stages see: mean, deviation and largest value of each of their
            filters over the image; better for telling things apart, and no picture can be made from them) or `"both"`.
        batch_size: images at a time.

    Returns: float32 `(N, D)`. Latents: those of a vector bottleneck as they are; of a spatial one mean and standard
        deviation in each of 4x4 cells (for a VQ-VAE of the codebook's entries), D = 32 `latent_dim`. Deep: D = 3 times
        the sum of the `filters` of its encoder.
    """
    if kind not in KINDS:
        raise ValueError(f"features: kind={kind!r}; expected one of {', '.join(KINDS)}.")
    parts = [_row(model, kind, images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
    return np.concatenate(parts).astype("float32")


def _row(model, kind, batch):
    found = []
    if kind != "deep":
        latents = model.encode(batch)
        if latents.ndim == 1 + model.axes:  # codes
            latents = model.quantizer.lookup(latents)
        found.append(pooling.in_cells(ops.convert_to_tensor(latents)))
    if kind != "latents":
        found.append(pooling.deep(model.encoder.stage_outputs(ops.convert_to_tensor(batch))))
    return np.concatenate([ops.convert_to_numpy(part) for part in found], axis=1)


def features_of(model, given, kind="latents", batch_size=64):
    """`features` of whatever `model.preprocess` takes; files are read as they are needed, and where the model takes any
    size they may be of unlike ones."""
    if not are_files(given):
        return features(model, model.preprocess(given), kind, batch_size)
    read = map(model.preprocess, track(given, "encoding", fewest=100))
    return np.concatenate([features(model, np.concatenate(b), kind) for b in alike(read, np.shape, model, batch_size)])


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """`features` of a preset as a scikit-learn transformer.

        make_pipeline(FeatureExtractor("ae-chestxray-64", kind="deep"), StandardScaler(), SVC())

    Args:
        model: name, folder or `hf://...` of a preset, or a medzoo model.
        kind: see `features`.
        resize: bring images of another size to the model's (a spatial model's: to the nearest multiples of its
            `downsampling`) instead of refusing them.

    `transform` takes arrays `(N, H, W)` or `(N, H, W, 1)`, uint8 or floats in [0, 1], or a list of image files; for a
    preset of volumes arrays with a depth, or a list of what `read_volume` takes.
    """

    def __init__(self, model="vae-chestxray-64", kind="latents", resize=False):
        self.model = model
        self.kind = kind
        self.resize = resize

    def fit(self, X, y=None):
        """Loads the preset; nothing is learned from the images."""
        self.model_ = loaded(self.model)
        return self

    def get_feature_names_out(self, input_features=None):
        """Names of the columns of `transform`, see `names_of_features`."""
        check_is_fitted(self, "model_")
        return np.array(names_of_features(self.model_, self.kind), dtype=object)

    def transform(self, X):
        """Images to float32 `(N, D)`; after `set_output(transform="pandas")` a table with named columns."""
        check_is_fitted(self, "model_")
        if isinstance(X, np.ndarray) and X.dtype.kind in "US":  # file names, after train_test_split
            X = [str(path) for path in X]
        if self.resize and isinstance(X, np.ndarray):
            X = fit_size(self.model_, X)
        return features_of(self.model_, X, self.kind)


def names_of_features(model, kind="latents"):
    """Names of the columns that `features` gives: `latent0`, `latent1`, ... and `deep0`, `deep1`, ..."""
    counts = {"latent": pooling.cells_of(model), "deep": 3 * sum(model.encoder.filters)}
    wanted = {"latents": ("latent",), "deep": ("deep",), "both": ("latent", "deep")}[kind]
    return [f"{name}{i}" for name in wanted for i in range(counts[name])]


def fit_size(model, images):
    """Images `(N, H, W)` or `(N, H, W, 1)`, uint8 or floats in [0, 1], as float32 of a size that the model takes;
    volumes `(N, D, H, W, 1)` likewise."""
    size = size_for(model, images)
    images = to_float(images) if images.dtype == np.uint8 else images
    return images if images.shape[1 : 1 + model.axes] == size else resize(images, size)


def size_for(model, images):
    """`(height, width)`, or with the depth before them, that images are brought to for a model: its own, or the nearest
    multiples of `downsampling`."""
    sides = zip(model.image_shape, images.shape[1:], model.factors, strict=False)
    return tuple(own or max(1, round(side / f)) * f for own, side, f in sides)


def features_of_files(model, folder, kind="latents"):
    """Files below a folder (for a model of volumes, see `list_volumes`), and their features one row a file."""
    files = list_images(folder) if model.axes == 2 else list_volumes(folder)
    return files, features_of(model, files, kind)
