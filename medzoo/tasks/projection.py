"""Maps of a set of images: alike images lie near each other."""

import csv
from pathlib import Path

import numpy as np

from medzoo.tasks.features import extract_features_from_files
from medzoo.utils.files import write_whole, written_whole
from medzoo.visualization import save_projection
from medzoo.zoo.presets import loaded

METHODS = ("pca", "tsne", "umap")


def project_2d(table, method="pca", seed=0):
    """Two coordinates for each row of a table of features.

    Args:
        table: `(N, D)`, from `medzoo.tasks.features.features` or `FeatureExtractor`; standardised first.
        method: `"pca"`, `"tsne"` (van der Maaten & Hinton 2008) or `"umap"` (needs `pip install "medzoo[explore]"`).
            Distances between far groups mean something in a PCA only.
        seed: int.

    Returns: float array `(N, 2)`.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler

    if method not in METHODS:
        raise ValueError(f"project_2d: method={method!r}; expected one of {', '.join(METHODS)}.")
    table = StandardScaler().fit_transform(table)
    if method == "pca":
        return PCA(2, random_state=seed).fit_transform(table)
    if method == "tsne":
        return TSNE(2, perplexity=min(30, (len(table) - 1) / 3), init="pca", random_state=seed).fit_transform(table)
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError('project_2d: method="umap" needs pip install "medzoo[explore]"') from error
    return UMAP(n_components=2, random_state=seed).fit_transform(table)


def project_folders(model, folders, out, method="pca", feature_type="both"):
    """A map of the images in some folders, one colour a folder, as `map.png`, `map.csv` and (with plotly) `map.html`.

    Args:
        model: a medzoo model, or anything `medzoo.load` takes.
        folders: with images, searched with their subfolders.
        out: folder to write to; made if it is not there.
        method: see `project_2d`.
        feature_type: of the features, see `medzoo.tasks.features.features`.

    Returns: paths of what was written.
    """
    model, out = loaded(model), Path(out)
    parts = [extract_features_from_files(model, folder, feature_type) for folder in folders]
    files = [str(file) for own, _ in parts for file in own]
    names = [Path(folder).resolve().name for folder in folders]
    names = names if len(set(names)) == len(names) else [str(folder) for folder in folders]
    labels = [name for name, (own, _) in zip(names, parts, strict=True) for _ in own]
    where = project_2d(np.concatenate([table for _, table in parts]), method)
    out.mkdir(parents=True, exist_ok=True)
    save_projection(out / "map.png", where, labels, f"{model.name}, {method}")
    with written_whole(out / "map.csv") as part, open(part, "w", newline="", encoding="utf-8") as file:
        rows = ([f, label, *point] for f, label, point in zip(files, labels, where.tolist(), strict=True))
        csv.writer(file).writerows([["file", "folder", "x", "y"], *rows])
    page = projection_html(where, labels, [Path(file).name for file in files])
    if page is not None:
        write_whole(out / "map.html", page)
    return [out / name for name in ("map.png", "map.csv", *(["map.html"] if page else []))]


def projection_html(where, labels, titles):
    """An interactive map as HTML that needs nothing from elsewhere, or `None` where plotly is not installed.

    Args:
        where: coordinates `(N, 2)`.
        labels: one for each, a colour each.
        titles: what is shown under the pointer.
    """
    try:
        from plotly import graph_objects
    except ImportError:
        return None
    figure, labels = graph_objects.Figure(), np.array(labels)
    for label in dict.fromkeys(labels.tolist()):
        own = np.flatnonzero(labels == label)
        x, y = where[own].T
        figure.add_scatter(x=x, y=y, name=label, mode="markers", text=[titles[i] for i in own])
    return figure.to_html(include_plotlyjs=True)
