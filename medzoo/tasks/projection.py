"""Two-dimensional projections of image features."""

import csv
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from medzoo.tasks.features import extract_features_from_files
from medzoo.utils.files import atomic_write, write_atomically
from medzoo.visualization import save_projection
from medzoo.zoo.presets import loaded

METHODS = ("pca", "tsne", "umap")


def project_2d(table: np.ndarray, method: str = "pca", seed: int = 0) -> np.ndarray:
    """Project a table of features to two dimensions.

    Args:
        table: Float array of shape `(N, D)`, from `medzoo.tasks.features.extract_features` or `FeatureExtractor`. It is
            standardized first.
        method: `"pca"`, `"tsne"` (van der Maaten & Hinton 2008) or `"umap"` (McInnes et al. 2018, arXiv:1802.03426;
            requires `pip install "medzoo[explore]"`). Distances between distant clusters are meaningful for PCA only.
        seed: int. Random seed.

    Returns:
        Float array of shape `(N, 2)`.

    Raises:
        ValueError: If the method is unknown.
        ImportError: If the method is `"umap"` and umap-learn is not installed.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler

    if method not in METHODS:
        raise ValueError(f"project_2d: unknown method. Expected one of {', '.join(METHODS)}, got {method!r}.")
    table = StandardScaler().fit_transform(table)
    if method == "pca":
        return PCA(2, random_state=seed).fit_transform(table)
    if method == "tsne":
        return TSNE(2, perplexity=min(30, (len(table) - 1) / 3), init="pca", random_state=seed).fit_transform(table)
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError('project_2d: method="umap" requires umap-learn: pip install "medzoo[explore]".') from error
    return UMAP(n_components=2, random_state=seed).fit_transform(table)


def project_folders(
    model: keras.Model | str | Path,
    folders: Sequence[str | Path],
    out: str | Path,
    method: str = "pca",
    feature_type: str = "both",
) -> list[Path]:
    """Project the images of several folders to two dimensions, with one color per folder.

    Writes `map.png`, `map.csv` and, where plotly is installed, the interactive `map.html`.

    Args:
        model: A medzoo model, or anything `medzoo.load` takes.
        folders: Folders of images, searched recursively.
        out: Folder to write to; it is created if it does not exist.
        method: See `project_2d`.
        feature_type: See `medzoo.tasks.features.extract_features`.

    Returns:
        Paths of the files written.
    """
    model, out = loaded(model), Path(out)
    parts = [extract_features_from_files(model, folder, feature_type) for folder in folders]
    files = [str(file) for own, _ in parts for file in own]
    names = [Path(folder).resolve().name for folder in folders]
    names = names if len(set(names)) == len(names) else [str(folder) for folder in folders]
    labels = [name for name, (own, _) in zip(names, parts, strict=True) for _ in own]
    points = project_2d(np.concatenate([table for _, table in parts]), method)
    out.mkdir(parents=True, exist_ok=True)
    save_projection(out / "map.png", points, labels, f"{model.name}, {method}")
    with atomic_write(out / "map.csv") as part, open(part, "w", newline="", encoding="utf-8") as file:
        rows = ([f, label, *point] for f, label, point in zip(files, labels, points.tolist(), strict=True))
        csv.writer(file).writerows([["file", "folder", "x", "y"], *rows])
    page = projection_html(points, labels, [Path(file).name for file in files])
    if page is not None:
        write_atomically(out / "map.html", page)
    return [out / name for name in ("map.png", "map.csv", *(["map.html"] if page else []))]


def projection_html(points: np.ndarray, labels: Sequence[str], titles: Sequence[str]) -> str | None:
    """Return an interactive scatter plot as a self-contained HTML page.

    Args:
        points: Float array of shape `(N, 2)`. Coordinates.
        labels: One label per point. Each label has its own color.
        titles: One text per point, shown when the pointer is over it.

    Returns:
        The HTML page, or `None` if plotly is not installed.
    """
    try:
        from plotly import graph_objects
    except ImportError:
        return None
    figure, labels = graph_objects.Figure(), np.array(labels)
    for label in dict.fromkeys(labels.tolist()):
        own = np.flatnonzero(labels == label)
        x, y = points[own].T
        figure.add_scatter(x=x, y=y, name=label, mode="markers", text=[titles[i] for i in own.tolist()])
    return figure.to_html(include_plotlyjs=True)
