"""How good a classifier's probabilities are: discrimination and calibration, with intervals."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata

from medzoo.metrics.bootstrap import bootstrap_ci


def classification_metrics(probabilities, labels, names=None, specificity=0.9, resamples=1000, groups=None):
    """Accuracy, balanced accuracy, AUC (one against the rest, averaged), ECE and, for two classes, sensitivity.

    Where an image may have several findings: the AUC of each by its name, and their mean.

    Args:
        probabilities: `(N, K)`; of classes, rows adding up to 1.
        labels: integers `(N,)`; of findings 0 and 1 `(N, K)`.
        names: of the findings.
        specificity: at which the sensitivity of class 1 is given.
        resamples: of the bootstrap.
        groups: `(N,)`, whatever tells patients apart: the bootstrap is over these, else over images; see `bootstrap_ci`.

    Returns: dict of `{"mean": ..., "interval": [...]}`, JSON-ready.
    """
    probabilities, labels = np.asarray(probabilities, "float64"), np.asarray(labels)
    if labels.ndim == 2:
        return _of_findings(probabilities, labels, names or list(map(str, range(labels.shape[1]))), resamples, groups)
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


def _of_findings(probabilities, labels, names, resamples, groups):
    """AUC of each finding that some images have and others not, and their mean."""

    def of_finding(i, k):
        return roc_auc(probabilities[i, k], labels[i, k])

    present = [k for k in range(len(names)) if 0 < labels[:, k].sum() < len(labels)]
    how = {"resamples": resamples, "groups": groups}
    each = {names[k]: bootstrap_ci(lambda i, k=k: of_finding(i, k), len(labels), **how) for k in present}
    if not present:
        return {"auc": None, "auc_of": {}}
    mean = bootstrap_ci(lambda i: np.nanmean([of_finding(i, k) for k in present]), len(labels), **how)
    return {"auc": mean, "auc_of": each}


def roc_auc(scores, labels):
    """Area under the ROC curve: how often an image of class 1 scores above one of class 0; NaN if one class lacks.

    By ranks, as intervals need it thousands of times: 20 times as fast as scikit-learn's.
    """
    ill = np.asarray(labels) > 0
    n = ill.sum()
    if not 0 < n < len(ill):
        return np.nan
    return (rankdata(scores)[ill].sum() - n * (n + 1) / 2) / (n * (len(ill) - n))


def macro_roc_auc(probabilities, labels):
    """`auc` of each class against the rest, averaged over the classes that are there; of two classes, of class 1."""
    classes = [1] if probabilities.shape[1] == 2 else np.unique(labels)
    return np.mean([roc_auc(probabilities[:, k], labels == k) for k in classes])


def sensitivity_at_specificity(scores, labels, specificity):
    """Largest share of class 1 above a threshold that at least `specificity` of class 0 stay below."""
    scores, ill = np.asarray(scores), np.asarray(labels) > 0
    healthy = np.sort(scores[~ill])[::-1]
    if not 0 < len(healthy) < len(ill):
        return np.nan
    wrong = int((1 - specificity) * len(healthy) + 1e-9)  # so many of class 0 may lie above
    return (scores[ill] > (healthy[wrong] if wrong < len(healthy) else -np.inf)).mean()


def expected_calibration_error(probabilities, labels, bins=15):
    """Expected calibration error of the predicted class (Guo et al. 2017, arXiv:1706.04599), equal-width bins."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        (which == b).mean() * abs(right[which == b].mean() - confidence[which == b].mean()) for b in np.unique(which)
    ]
    return float(np.sum(gaps))


def fit_temperature(probabilities, labels):
    """The number that logits are divided by to be best calibrated on these (validation) images.

    Args:
        probabilities, labels: as in `measure`.
    """
    several = np.ndim(labels) == 2

    def nll(log_t):
        p = np.clip(apply_temperature(probabilities, np.exp(log_t), several), 1e-12, 1 - 1e-12)
        if several:
            return -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean()
        return -np.log(p[np.arange(len(labels)), labels]).mean()

    return float(np.exp(minimize_scalar(nll, bounds=(-3, 3), method="bounded").x))


def apply_temperature(probabilities, t, several=False):
    """Probabilities after temperature scaling; the predicted classes stay.

    Args:
        probabilities: `(N, K)`.
        t: the temperature; above 1 less sure.
        several: each column is a probability by itself, of a finding.
    """
    p = np.clip(probabilities, 1e-12, 1 - 1e-12).astype("float64")
    logs = (np.log(p) - (np.log(1 - p) if several else 0)) / t
    if several:
        return 1 / (1 + np.exp(-logs))
    scaled = np.exp(logs - logs.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)
