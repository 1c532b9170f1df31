"""Discrimination and calibration of classifiers, with bootstrap intervals."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata

from medzoo.metrics.bootstrap import bootstrap_ci


def classification_metrics(
    probabilities: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str] | None = None,
    specificity: float = 0.9,
    resamples: int = 1000,
    groups: Sequence | np.ndarray | None = None,
) -> dict:
    """Return accuracy, balanced accuracy, ROC AUC, calibration error and sensitivity.

    The AUC is averaged over classes (one-vs-rest). The sensitivity is given for two classes. For multi-label data only
    the AUC of each label and their mean are given.

    Args:
        probabilities: float array `(N, K)`; for classes, rows add up to 1.
        labels: int array `(N,)` of classes; for multi-label data `(N, K)` of 0 and 1.
        names: Names of the labels of multi-label data.
        specificity: float. Specificity at which the sensitivity of class 1 is given.
        resamples: int. Number of bootstrap samples.
        groups: Sequence `(N,)` of patient identifiers, over which the bootstrap resamples; see `bootstrap_ci`.

    Returns:
        JSON-ready dict of `{"mean": ..., "interval": [...]}`.
    """
    probabilities, labels = np.asarray(probabilities, "float64"), np.asarray(labels)
    if labels.ndim == 2:
        return _multi_label_metrics(
            probabilities, labels, names or list(map(str, range(labels.shape[1]))), resamples, groups
        )
    right = probabilities.argmax(axis=1) == labels
    classes = range(probabilities.shape[1])

    def balanced(i):
        return np.mean([right[i][labels[i] == k].mean() for k in classes if (labels[i] == k).any()])

    functions = {
        "auc": lambda i: macro_roc_auc(probabilities[i], labels[i]),
        "accuracy": lambda i: right[i].mean(),
        "balanced_accuracy": balanced,
        "ece": lambda i: expected_calibration_error(probabilities[i], labels[i]),
    }
    if len(classes) == 2:
        name = f"sensitivity_at_{specificity:g}_specificity"
        functions[name] = lambda i: sensitivity_at_specificity(probabilities[i, 1], labels[i], specificity)
    return {name: bootstrap_ci(f, len(labels), resamples, groups=groups) for name, f in functions.items()}


def _multi_label_metrics(probabilities, labels, names, resamples, groups):
    """Return the AUC of each label that some images have and others do not, and their mean."""

    def auc_of_label(i, k):
        return roc_auc(probabilities[i, k], labels[i, k])

    present = [k for k in range(len(names)) if 0 < labels[:, k].sum() < len(labels)]
    how = {"resamples": resamples, "groups": groups}
    each = {names[k]: bootstrap_ci(lambda i, k=k: auc_of_label(i, k), len(labels), **how) for k in present}
    if not present:
        return {"auc": None, "auc_of": {}}
    mean = bootstrap_ci(lambda i: np.nanmean([auc_of_label(i, k) for k in present]), len(labels), **how)
    return {"auc": mean, "auc_of": each}


def roc_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the area under the ROC curve, computed from ranks; NaN if one class is missing.

    Args:
        scores: float array `(N,)`.
        labels: int array `(N,)`, larger than 0 for the positive class.
    """
    positive = np.asarray(labels) > 0
    n = positive.sum()
    if not 0 < n < len(positive):
        return np.nan
    return (rankdata(scores)[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n))


def macro_roc_auc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean one-vs-rest ROC AUC; for two classes that of class 1.

    Classes without images are excluded.

    Args:
        probabilities: float array `(N, K)`.
        labels: int array `(N,)`.
    """
    classes = [1] if probabilities.shape[1] == 2 else np.unique(labels)
    return cast("float", np.mean([roc_auc(probabilities[:, k], labels == k) for k in classes]))


def sensitivity_at_specificity(scores: np.ndarray, labels: np.ndarray, specificity: float) -> float:
    """Return the highest sensitivity at a specificity of at least `specificity`.

    Args:
        scores: float array `(N,)`.
        labels: int array `(N,)`, larger than 0 for the positive class.
        specificity: float from 0 to 1.
    """
    scores, positive = np.asarray(scores), np.asarray(labels) > 0
    negative = np.sort(scores[~positive])[::-1]
    if not 0 < len(negative) < len(positive):
        return np.nan
    false = int((1 - specificity) * len(negative) + 1e-9)  # allowed number of false positives
    return (scores[positive] > (negative[false] if false < len(negative) else -np.inf)).mean()


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error (ECE) of the predicted class.

    Guo et al. 2017, arXiv:1706.04599, with bins of equal width.

    Args:
        probabilities: float array `(N, K)`.
        labels: int array `(N,)`.
        bins: int. Number of bins.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        (which == b).mean() * abs(right[which == b].mean() - confidence[which == b].mean()) for b in np.unique(which)
    ]
    return float(np.sum(gaps))


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature that calibrates probabilities best on validation images.

    Args:
        probabilities: float array as in `classification_metrics`.
        labels: int array as in `classification_metrics`.
    """
    multi_label = np.ndim(labels) == 2

    def nll(log_t):
        p = np.clip(apply_temperature(probabilities, np.exp(log_t), multi_label), 1e-12, 1 - 1e-12)
        if multi_label:
            return -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean()
        return -np.log(p[np.arange(len(labels)), labels]).mean()

    return float(np.exp(minimize_scalar(nll, bounds=(-3, 3), method="bounded").x))


def apply_temperature(probabilities: np.ndarray, t: float, multi_label: bool = False) -> np.ndarray:
    """Return probabilities after temperature scaling; the predicted classes do not change.

    Args:
        probabilities: float array `(N, K)`.
        t: float. Temperature; values above 1 reduce the confidence.
        multi_label: bool. Whether each column is the probability of a label of its own.
    """
    p = np.clip(probabilities, 1e-12, 1 - 1e-12).astype("float64")
    logs = (np.log(p) - (np.log(1 - p) if multi_label else 0)) / t
    if multi_label:
        return 1 / (1 + np.exp(-logs))
    scaled = np.exp(logs - logs.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)
