"""Look around in the latents: maps, traversals, similar cases, what a latent sees, and drift between data sets."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from medzoo.models.gradients import input_gradient
from medzoo.tasks.features import features

METHODS = ("pca", "tsne", "umap")


def latent_map(table, method="pca", seed=0):
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
        raise ValueError(f"latent_map: method={method!r}; expected one of {', '.join(METHODS)}.")
    table = StandardScaler().fit_transform(table)
    if method == "pca":
        return PCA(2, random_state=seed).fit_transform(table)
    if method == "tsne":
        return TSNE(2, perplexity=min(30, (len(table) - 1) / 3), init="pca", random_state=seed).fit_transform(table)
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError('latent_map: method="umap" needs pip install "medzoo[explore]"') from error
    return UMAP(n_components=2, random_state=seed).fit_transform(table)


def traverse(model, image, latent, span=3.0, steps=7, scale=1.0):
    """What one latent does to an image: decoded with that latent moved from -span to +span.

    Args:
        model: a medzoo model with a vector bottleneck of numbers.
        image: float32 `(height, width, 1)` in [0, 1].
        latent: which, 0 to `latent_dim` - 1.
        span: in units of `scale`, around the image's own value.
        scale: standard deviation of that latent over images (1 under a VAE's prior).

    Returns: float32 `(steps, height, width, 1)`; the middle one is the reconstruction.
    """
    if model.bottleneck != "vector" or not 0 <= latent < model.latent_dim:
        raise ValueError(
            f"traverse: latent={latent} of {model.name} ({model.bottleneck} bottleneck); expected a vector bottleneck "
            f"and 0 to {model.latent_dim - 1}."
        )
    z = np.repeat(model.encode(image[None]), steps, axis=0)
    z[:, latent] += scale * np.linspace(-span, span, steps)
    return model.decode(z)


class SimilarCases(BaseEstimator):
    """Finds the images most like a given one, by the cosine of their features.

        search = SimilarCases("ae-chestxray").fit(archive)
        indices, similarity = search.query(film, n=5)

    Args:
        model: name or folder of a preset, or a medzoo model.
        kind: of the features, see `medzoo.tasks.features.features`.

    Attributes: `table_`, standardised features of the archive; `save` and `load` keep them without the images.
    """

    def __init__(self, model="ae-chestxray", kind="both"):
        self.model = model
        self.kind = kind

    def fit(self, X, y=None):
        """Indexes images, given as `FeatureExtractor` takes them."""
        table = self._features(X)
        self.mean_, self.scale_ = table.mean(axis=0), table.std(axis=0) + 1e-6
        self.table_ = self._standardised(table)
        return self

    def query(self, X, n=5):
        """The n most similar images of the archive for each given one.

        Returns: `(indices, similarity)`, each `(len(X), n)`, most similar first; similarity is at most 1.
        """
        check_is_fitted(self, "table_")
        similarity = self._standardised(self._features(X)) @ self.table_.T
        order = np.argsort(-similarity, axis=1)[:, :n]
        return order, np.take_along_axis(similarity, order, axis=1)

    def save(self, path):
        """Writes the index as npz; no images are in it."""
        check_is_fitted(self, "table_")
        name = self.model if isinstance(self.model, str) else self.model.name
        np.savez_compressed(
            path, table=self.table_, mean=self.mean_, scale=self.scale_, model=np.array(name), kind=np.array(self.kind)
        )

    @classmethod
    def load(cls, path):
        """An index that `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            search = cls(str(stored["model"]), str(stored["kind"]))
            search.table_, search.mean_, search.scale_ = stored["table"], stored["mean"], stored["scale"]
        return search

    def _features(self, X):
        from medzoo.zoo.presets import load

        if not hasattr(self, "model_"):
            self.model_ = load(self.model) if isinstance(self.model, str) else self.model
        return features(self.model_, self.model_.preprocess(X), self.kind)

    def _standardised(self, table):
        table = (table - self.mean_) / self.scale_
        return table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)


def occlusion(function, image, patch=8, fill=None):
    """How a number changes when parts of an image are covered (Zeiler & Fergus 2014, arXiv:1311.2901).

    Args:
        function: images `(N, height, width, 1)` to numbers `(N,)`, e.g. `lambda x: model.encode(x)[:, 3]`.
        image: float32 `(height, width, 1)`.
        patch: side of the covered squares in pixels.
        fill: grey value that covers; by default the image's mean.

    Returns: float32 `(height, width)`: the number of the whole image minus that of the covered one.
    """
    height, width, _ = image.shape
    fill = image.mean() if fill is None else fill
    corners = [(i, j) for i in range(0, height, patch) for j in range(0, width, patch)]
    covered = np.repeat(image[None], len(corners), axis=0)
    for x, (i, j) in zip(covered, corners, strict=True):
        x[i : i + patch, j : j + patch] = fill
    change = function(image[None])[0] - function(covered)
    result = np.empty((height, width), "float32")
    for value, (i, j) in zip(change, corners, strict=True):
        result[i : i + patch, j : j + patch] = value
    return result


def integrated_gradients(function, image, baseline=None, steps=32):
    """What each pixel adds to a number (Sundararajan et al. 2017, arXiv:1703.01365).

    Args:
        function: tensor `(N, height, width, 1)` to a tensor `(N,)` of differentiable numbers, e.g.
            `lambda x: model.encoder(x)[:, 3]`.
        image: float32 `(height, width, 1)`.
        baseline: image that the path starts from; by default all pixels at the image's mean.
        steps: of the path.

    Returns: float32 `(height, width)`; adds up to the number of the image minus that of the baseline, nearly.
    """
    baseline = np.full_like(image, image.mean()) if baseline is None else baseline
    way = ((np.arange(steps, dtype="float32") + 0.5) / steps).reshape(-1, 1, 1, 1)
    slopes = input_gradient(function, (baseline + way * (image - baseline)).astype("float32"))
    return ((image - baseline) * slopes.mean(axis=0))[..., 0]


def drift(old, new, permutations=200, seed=0):
    """Do two tables of features come from the same distribution?

    Two answers: the AUC of a classifier that tells the two apart (Lopez-Paz & Oquab 2017, arXiv:1610.06545; 0.5: it
    cannot), cross-validated, and the p-value of a permutation test on the distance between the means of the
    standardised features.

    Args:
        old, new: `(N, D)` and `(M, D)`, at least 10 rows each.
        permutations: of the test; the smallest p-value is 1 / (permutations + 1).
        seed: int.

    Returns: dict with `auc`, `p_value`, and `shifts`: how far each feature's mean moved, in standard deviations.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(len(old), len(new)) < 10:
        raise ValueError(f"drift: {len(old)} and {len(new)} rows; expected 10 or more of each.")
    rng = np.random.default_rng(seed)
    table, which = np.concatenate([old, new]), np.repeat([0, 1], [len(old), len(new)])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000, class_weight="balanced"))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    found = cross_val_predict(classifier, table, which, cv=folds, method="predict_proba")[:, 1]
    standard = (table - table.mean(axis=0)) / (table.std(axis=0) + 1e-12)

    def distance(labels):
        return np.square(standard[labels == 1].mean(axis=0) - standard[labels == 0].mean(axis=0)).sum()

    here = distance(which)
    larger = sum(distance(rng.permutation(which)) >= here for _ in range(permutations))
    return {
        "auc": float(roc_auc_score(which, found)),
        "p_value": (1 + larger) / (1 + permutations),
        "shifts": (new.mean(axis=0) - old.mean(axis=0)) / (old.std(axis=0) + 1e-12),
    }


def mutual_information_gap(latents, factors, bins=20):
    """Disentanglement of latents against known factors (MIG, Chen et al. 2018, arXiv:1802.04942).

    Args:
        latents: `(N, D)`.
        factors: integers `(N, F)`, e.g. label, view, sex.
        bins: equal-width bins that latents are cut into.

    Returns: float array `(F,)`: for each factor how much more the most informative latent knows than the second, as a
        share of the factor's entropy; 0 to 1.
    """
    from sklearn.metrics import mutual_info_score

    def binned(x):
        edges = np.linspace(x.min(), x.max(), bins + 1)[1:-1]
        return np.digitize(x, edges)

    codes = [binned(x) for x in np.asarray(latents).T]
    gaps = []
    for factor in np.asarray(factors).T:
        known = sorted(mutual_info_score(factor, code) for code in codes)
        second = known[-2] if len(known) > 1 else 0.0
        entropy = mutual_info_score(factor, factor)
        gaps.append((known[-1] - second) / entropy if entropy > 0 else np.nan)
    return np.array(gaps)
