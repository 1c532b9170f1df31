"""Are new images like the old ones?"""

import numpy as np

from medzoo.metrics.classification import roc_auc
from medzoo.metrics.two_sample import FEWEST, LEAST, two_sample_test
from medzoo.utils.groups import encode_groups, group_indices, has_known_groups

FOLDS = 5


def detect_drift(old, new, permutations=999, seed=0, groups=None):
    """Test whether two tables of features come from the same distribution.

    The p-value decides: drift is stated where it is at most `medzoo.metrics.two_sample.ALPHA`, and without drift that
    occurs with this probability. It is of a permutation test, see `medzoo.metrics.two_sample.two_sample_test`. The AUC
    of a classifier that separates the two sets (Lopez-Paz & Oquab 2017, arXiv:1610.06545; 0.5: it cannot),
    cross-validated, is an effect size: of few images it is often above 0.6 by chance.

    Images of one patient are alike, and a classifier that saw some of them recognizes the others. Where groups are
    known, a patient is in one fold of the cross-validation only, and the test permutes all images of a patient
    together.

    Args:
        old: float array `(N, D)`, 10 rows or more, of 5 patients or more.
        new: float array `(M, D)`, as `old`.
        permutations: int. The smallest p-value is `1 / (permutations + 1)`.
        seed: int.
        groups: pair of sequences, of `old` and of `new`, that tell patients apart, one value per row, or `None`; each
            may be `None`. Missing values are patients of their own.

    Returns:
        dict with `auc`, `p_value`, and `shifts`: how far each feature's mean moved, in standard deviations.

    Raises:
        ValueError: If there are too few rows or patients, or not one group per row.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    counts = len(old), len(new)
    if min(counts) < LEAST:
        raise ValueError(f"drift: {counts[0]} and {counts[1]} rows; expected {LEAST} or more of each.")
    patients = _patients(counts, groups)
    parts = None if patients is None else (patients[: counts[0]], patients[counts[0] :])
    p_value = two_sample_test(old, new, parts, permutations, seed)
    table, which = np.concatenate([old, new]), np.repeat([0, 1], counts)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000, class_weight="balanced"))
    folds = (StratifiedKFold if patients is None else StratifiedGroupKFold)(FOLDS, shuffle=True, random_state=seed)
    how = {"cv": folds, "method": "predict_proba", "groups": patients}
    found = cross_val_predict(classifier, table, which, **how)[:, 1]
    return {
        "auc": float(roc_auc(found, which)),
        "p_value": p_value,
        "shifts": (new.mean(axis=0) - old.mean(axis=0)) / (old.std(axis=0) + 1e-12),
    }


def _patients(counts, groups):
    """The number of each row's patient, or `None` where nobody knows."""
    if groups is None or not any(map(has_known_groups, groups)):
        return None
    own = [list(values) if has_known_groups(values) else [None] * n for values, n in zip(groups, counts, strict=True)]
    several = [len(group_indices(values, n)) for values, n in zip(own, counts, strict=True)]
    if min(several) < FEWEST:
        raise ValueError(
            f"drift: rows of {several[0]} and {several[1]} patients; expected {FEWEST} patients or more of each."
        )
    return encode_groups([value for values in own for value in values], sum(counts))
