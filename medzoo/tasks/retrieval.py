"""Content-based image retrieval: the most similar images of a dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from medzoo.io.intensity import center_crop_resize
from medzoo.tasks.features import extract_features_from
from medzoo.visualization import save_grid
from medzoo.zoo.presets import loaded


class ImageRetriever(BaseEstimator):
    """Index of images, searched by the cosine similarity of their features.

    Args:
        model: A medzoo model, or anything `medzoo.load` takes.
        feature_type: See `medzoo.tasks.features.extract_features`.

    Attributes:
        table_: Float array of shape `(N, D)`. Standardized features of the indexed images; `save` and `load` keep them
            without the images.

    Examples:
        ```python
        retriever = ImageRetriever("ae-chestxray-64").fit(images)
        scores, indices = retriever.search(queries, k=5)
        ```
    """

    def __init__(self, model: keras.Model | str | Path = "ae-chestxray-64", feature_type: str = "both"):
        self.model = model
        self.feature_type = feature_type

    def fit(self, X: Any, y: Any = None) -> Self:
        """Index images.

        Args:
            X: Images or paths, as `FeatureExtractor` takes them.
            y: Not used.

        Returns:
            The retriever.
        """
        table = self._features(X)
        self.mean_, self.scale_ = table.mean(axis=0), table.std(axis=0) + 1e-6
        self.table_ = self._standardized(table)
        return self

    def search(self, X: Any, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """Find the most similar indexed images for each query image.

        Args:
            X: Query images or paths, as `FeatureExtractor` takes them.
            k: int. Number of images per query.

        Returns:
            `(scores, indices)`, a float and an integer array of shape `(len(X), k)`, most similar first. Scores are
            cosine similarities, at most 1.
        """
        check_is_fitted(self, "table_")
        similarity = self._standardized(self._features(X)) @ self.table_.T
        order = np.argsort(-similarity, axis=1)[:, :k]
        return np.take_along_axis(similarity, order, axis=1), order

    def save_figure(
        self,
        path: str | Path,
        queries: Sequence[str | Path],
        indexed: Sequence[str | Path],
        indices: np.ndarray,
    ) -> None:
        """Write a PNG with one row per query: the query image, then the retrieved images.

        Volumes are shown by their middle slice.

        Args:
            path: Path of the PNG.
            queries: Image files that `search` was called with.
            indexed: Image files that `fit` was called with.
            indices: Indices that `search` returned.
        """
        read = self.model_.preprocess
        rows = [[read(f), *(read(indexed[i]) for i in r)] for f, r in zip(queries, indices, strict=True)]
        images = [image if image.ndim == 4 else image[:, image.shape[1] // 2] for row in rows for image in row]
        images = np.concatenate([center_crop_resize(image, images[0].shape[1:3]) for image in images])
        save_grid(path, images, columns=indices.shape[1] + 1, title="left: query; then the most similar images")

    def save(self, path: str | Path) -> None:
        """Write the index as an NPZ file. It contains no images.

        Args:
            path: Path of the NPZ file.
        """
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
    def load(cls, path: str | Path) -> Self:
        """Load an index that `save` wrote.

        Args:
            path: Path of the NPZ file.

        Returns:
            The retriever.
        """
        with np.load(path, allow_pickle=False) as stored:
            retriever = cls(str(stored["model"]), str(stored["feature_type"]))
            retriever.table_, retriever.mean_, retriever.scale_ = stored["table"], stored["mean"], stored["scale"]
        return retriever

    def load_model(self) -> Self:
        """Load the preset. `fit` and `search` call this method themselves.

        Returns:
            The retriever.
        """
        if not hasattr(self, "model_"):
            self.model_ = loaded(self.model)
        return self

    def _features(self, X):
        """Return the features of images."""
        return extract_features_from(self.load_model().model_, X, self.feature_type)

    def _standardized(self, table):
        """Return standardized features of unit length."""
        table = (table - self.mean_) / self.scale_
        return table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
