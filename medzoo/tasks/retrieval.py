"""Similar cases in an archive."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from medzoo.io.intensity import center_crop_resize
from medzoo.tasks.features import extract_features_from
from medzoo.visualization import save_grid
from medzoo.zoo.presets import loaded


class ImageRetriever(BaseEstimator):
    """Finds the images most like a given one, by the cosine of their features.

        search = ImageRetriever("ae-chestxray-64").fit(archive)
        scores, indices = search.search(image, k=5)

    Args:
        model: name or folder of a preset, or a medzoo model.
        feature_type: of the features, see `medzoo.tasks.features.features`.

    Attributes: `table_`, standardised features of the archive; `save` and `load` keep them without the images.
    """

    def __init__(self, model="ae-chestxray-64", feature_type="both"):
        self.model = model
        self.feature_type = feature_type

    def fit(self, X, y=None):
        """Indexes images, given as `FeatureExtractor` takes them."""
        table = self._features(X)
        self.mean_, self.scale_ = table.mean(axis=0), table.std(axis=0) + 1e-6
        self.table_ = self._standardised(table)
        return self

    def search(self, X, k=5):
        """Find the k most similar indexed images for each query image.

        Args:
            X: query images, as `FeatureExtractor` takes them.
            k: int. Number of images per query.

        Returns:
            `(scores, indices)`, float and int arrays `(len(X), k)`, most similar first; cosine similarity, at most 1.
        """
        check_is_fitted(self, "table_")
        similarity = self._standardised(self._features(X)) @ self.table_.T
        order = np.argsort(-similarity, axis=1)[:, :k]
        return np.take_along_axis(similarity, order, axis=1), order

    def save_figure(self, path, asked, known, indices):
        """Writes a PNG: each image that was asked for (of a volume the middle slice), and beside it those found.

        Args:
            path: of the PNG.
            asked, known: image files, as given to `query` and `fit`.
            indices: from `query`.
        """
        read = self.model_.preprocess
        rows = [[read(f), *(read(known[i]) for i in r)] for f, r in zip(asked, indices, strict=True)]
        images = [image if image.ndim == 4 else image[:, image.shape[1] // 2] for row in rows for image in row]
        images = np.concatenate([center_crop_resize(image, images[0].shape[1:3]) for image in images])
        save_grid(path, images, columns=indices.shape[1] + 1, title="left: asked; then the most similar")

    def save(self, path):
        """Writes the index as npz; no images are in it."""
        check_is_fitted(self, "table_")
        name = self.model if isinstance(self.model, str) else self.model.name
        np.savez_compressed(
            path,
            table=self.table_,
            mean=self.mean_,
            scale=self.scale_,
            model=np.array(name),
            feature_type=np.array(self.feature_type),
        )

    @classmethod
    def load(cls, path):
        """An index that `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            search = cls(str(stored["model"]), str(stored["feature_type"]))
            search.table_, search.mean_, search.scale_ = stored["table"], stored["mean"], stored["scale"]
        return search

    def load_model(self):
        """Loads the preset, as `fit` and `query` do by themselves; returns the search."""
        if not hasattr(self, "model_"):
            self.model_ = loaded(self.model)
        return self

    def _features(self, X):
        return extract_features_from(self.load_model().model_, X, self.feature_type)

    def _standardised(self, table):
        table = (table - self.mean_) / self.scale_
        return table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
