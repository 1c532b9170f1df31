"""How good a classifier's probabilities are: discrimination and calibration, with intervals."""

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_auc_score, roc_curve

from medzoo.evaluate.bootstrap import interval_of


def measure(probabilities, labels, specificity=0.9, resamples=1000):
    """Accuracy, balanced accuracy, AUC (one against the rest, averaged), ECE and, for two classes, sensitivity.

    Args:
        probabilities: `(N, K)`, rows adding up to 1.
        labels: integers `(N,)`.
        specificity: at which the sensitivity of class 1 is given.
        resamples: of the bootstrap over images.

    Returns: dict of `{"mean": ..., "interval": [...]}`, JSON-ready.
    """
    probabilities, labels = np.asarray(probabilities, "float64"), np.asarray(labels)
    right = probabilities.argmax(axis=1) == labels
    classes = range(probabilities.shape[1])

    def balanced(i):
        return np.mean([right[i][labels[i] == k].mean() for k in classes if (labels[i] == k).any()])

    def auc(i):
        present = [k for k in classes if 0 < (labels[i] == k).sum() < len(i)]
        present = present[-1:] if len(classes) == 2 else present
        return np.mean([roc_auc_score(labels[i] == k, probabilities[i, k]) for k in present]) if present else np.nan

    functions = {
        "auc": auc,
        "accuracy": lambda i: right[i].mean(),
        "balanced_accuracy": balanced,
        "ece": lambda i: calibration_error(probabilities[i], labels[i]),
    }
    if len(classes) == 2:
        name = f"sensitivity_at_{specificity:g}_specificity"
        functions[name] = lambda i: sensitivity(probabilities[i, 1], labels[i], specificity)
    return {name: interval_of(f, len(labels), resamples) for name, f in functions.items()}


def sensitivity(scores, labels, specificity):
    """Largest share of class 1 above a threshold that at least `specificity` of class 0 stay below."""
    if len(np.unique(labels)) < 2:
        return np.nan
    false_positives, true_positives, _ = roc_curve(labels, scores)
    return true_positives[false_positives <= 1 - specificity + 1e-12].max()


def calibration_error(probabilities, labels, bins=15):
    """Expected calibration error of the predicted class (Guo et al. 2017, arXiv:1706.04599), equal-width bins."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        (which == b).mean() * abs(right[which == b].mean() - confidence[which == b].mean()) for b in np.unique(which)
    ]
    return float(np.sum(gaps))


def temperature(probabilities, labels):
    """The number that log-probabilities are divided by to be best calibrated on these (validation) images."""
    logs = np.log(np.maximum(probabilities, 1e-12))

    def nll(log_t):
        scaled = with_temperature(np.exp(logs), np.exp(log_t))
        return -np.log(np.maximum(scaled[np.arange(len(labels)), labels], 1e-12)).mean()

    return float(np.exp(minimize_scalar(nll, bounds=(-3, 3), method="bounded").x))


def with_temperature(probabilities, t):
    """Probabilities after temperature scaling; the predicted classes stay."""
    logs = np.log(np.maximum(probabilities, 1e-12)) / t
    scaled = np.exp(logs - logs.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)
