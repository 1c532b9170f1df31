"""How much of the labels frozen latents hold: linear probe and nearest neighbours (scikit-learn)."""

import numpy as np

from medzoo.metrics.bootstrap import bootstrap_ci, bootstrap_mean_ci, unit_of
from medzoo.metrics.classification import macro_roc_auc
from medzoo.tasks.features import extract_features, resize_to_model

MOST = 6000  # training images a probe is fitted to, at most


def probe(model, data, seed=0):
    """Accuracy and AUC of simple classifiers on the latents of labelled images, fitted to its training split.

    Args:
        model: a medzoo model.
        data: labelled `Collection`; images of another size than the model takes are resized.
        seed: int.

    Returns: dict: for `linear` (logistic regression on standardised latents), `linear_deep` (on `"deep"` features, see
        `medzoo.tasks.features`), `knn` (5 neighbours, latents) and `pca_linear` (logistic regression on as many
        principal components of the pixels as latents, at most 256) the accuracy and the AUC (one against the rest,
        averaged over classes) on the test split, with 95% bootstrap intervals
        over patients where the data know them, else over images (`"bootstrap_unit"`).
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (train, train_labels), (test, labels) = (_split(model, data, split, seed) for split in ("train", "test"))
    x, x_test = extract_features(model, train), extract_features(model, test)
    deep, deep_test = extract_features(model, train, "encoder"), extract_features(model, test, "encoder")
    pixels, pixels_test = (images.reshape(len(images), -1) for images in (train, test))
    components = min(x.shape[1], 256, len(train) - 1)
    reduce = PCA(components, svd_solver="randomized", random_state=seed)
    logistic = {"C": 0.01, "max_iter": 2000}
    linear = make_pipeline(StandardScaler(), LogisticRegression(**logistic)).fit(x, train_labels)
    linear_deep = make_pipeline(StandardScaler(), LogisticRegression(**logistic)).fit(deep, train_labels)
    knn = make_pipeline(StandardScaler(), KNeighborsClassifier(5)).fit(x, train_labels)
    pca_linear = make_pipeline(reduce, StandardScaler(), LogisticRegression(**logistic)).fit(pixels, train_labels)
    groups = data.patients("test")
    return {
        "data": data.name,
        "classes": data.kept,
        "train_images": len(train),
        "images": len(test),
        "bootstrap_unit": unit_of(groups),
        "features": x.shape[1],
        "linear": _scores(linear.predict_proba(x_test), labels, groups),
        "linear_deep": {"features": deep.shape[1], **_scores(linear_deep.predict_proba(deep_test), labels, groups)},
        "knn": _scores(knn.predict_proba(x_test), labels, groups),
        "pca_linear": {"components": components, **_scores(pca_linear.predict_proba(pixels_test), labels, groups)},
    }


def _split(model, data, split, seed):
    images, labels = data.images(split), data.labels(split)
    if split == "train" and len(images) > MOST:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[:MOST])
        images, labels = images[chosen], labels[chosen]
    return resize_to_model(model, images), labels


def _scores(probabilities, labels, groups):
    truth = np.unique(labels, return_inverse=True)[1]
    right = (probabilities.argmax(axis=1) == truth).astype("float64")
    return {
        "accuracy": bootstrap_mean_ci(right, groups=groups),
        "auc": bootstrap_ci(lambda i: macro_roc_auc(probabilities[i], truth[i]), len(labels), 300, groups=groups),
    }
