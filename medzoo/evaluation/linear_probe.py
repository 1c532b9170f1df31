"""Linear probe and nearest neighbors on frozen latents (scikit-learn)."""

from typing import TYPE_CHECKING

import numpy as np

from medzoo.metrics.bootstrap import bootstrap_ci, bootstrap_mean_ci, bootstrap_unit
from medzoo.metrics.classification import macro_roc_auc
from medzoo.tasks.features import extract_features, resize_to_model

if TYPE_CHECKING:
    import keras

    from medzoo.data.image_dataset import ImageDataset

MAX_TRAINING_IMAGES = 6000


def probe(model: "keras.Model", data: "ImageDataset", seed: int = 0) -> dict:
    """Return accuracy and AUC of simple classifiers on frozen latents, fitted to the training split.

    - `linear`: logistic regression on standardized latents.
    - `linear_encoder`: logistic regression on `"encoder"` features, see `medzoo.tasks.features`.
    - `knn`: 5 nearest neighbors on standardized latents.
    - `pca_linear`: logistic regression on as many principal components of the pixels as latents, at most 256.

    Args:
        model: A medzoo model.
        data: Labeled `ImageDataset`. Images are resized to the model's size.
        seed: int. Seed of the choice of training images and of the PCA. Default: 0.

    Returns:
        Dict with accuracy and AUC (one versus rest, averaged over classes) of each classifier on the test split, with
        95% bootstrap intervals over patients where they are known, else over images (`"bootstrap_unit"`).
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (train, train_labels), (test, labels) = (_split(model, data, split, seed) for split in ("train", "test"))
    x, x_test = extract_features(model, train), extract_features(model, test)
    encoder, encoder_test = extract_features(model, train, "encoder"), extract_features(model, test, "encoder")
    pixels, pixels_test = (images.reshape(len(images), -1) for images in (train, test))
    components = min(x.shape[1], 256, len(train) - 1)
    reduce = PCA(components, svd_solver="randomized", random_state=seed)
    logistic = {"C": 0.01, "max_iter": 2000}
    linear = make_pipeline(StandardScaler(), LogisticRegression(**logistic)).fit(x, train_labels)
    linear_encoder = make_pipeline(StandardScaler(), LogisticRegression(**logistic)).fit(encoder, train_labels)
    knn = make_pipeline(StandardScaler(), KNeighborsClassifier(5)).fit(x, train_labels)
    pca_linear = make_pipeline(reduce, StandardScaler(), LogisticRegression(**logistic)).fit(pixels, train_labels)
    groups = data.patients("test")
    return {
        "data": data.name,
        "classes": data.selected_classes,
        "train_images": len(train),
        "images": len(test),
        "bootstrap_unit": bootstrap_unit(groups),
        "features": x.shape[1],
        "linear": _scores(linear.predict_proba(x_test), labels, groups),
        "linear_encoder": {
            "features": encoder.shape[1],
            **_scores(linear_encoder.predict_proba(encoder_test), labels, groups),
        },
        "knn": _scores(knn.predict_proba(x_test), labels, groups),
        "pca_linear": {"components": components, **_scores(pca_linear.predict_proba(pixels_test), labels, groups)},
    }


def _split(model, data, split, seed):
    images, labels = data.images(split), data.labels(split)
    if split == "train" and len(images) > MAX_TRAINING_IMAGES:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[:MAX_TRAINING_IMAGES])
        images, labels = images[chosen], labels[chosen]
    return resize_to_model(model, images), labels


def _scores(probabilities, labels, groups):
    truth = np.unique(labels, return_inverse=True)[1]
    correct = (probabilities.argmax(axis=1) == truth).astype("float64")
    return {
        "accuracy": bootstrap_mean_ci(correct, groups=groups),
        "auc": bootstrap_ci(lambda i: macro_roc_auc(probabilities[i], truth[i]), len(labels), 300, groups=groups),
    }
