"""Are new images like the old ones?"""

import numpy as np

from medzoo.images.patients import are_known, numbered, units
from medzoo.reports.classification import auc

FOLDS, LEAST = 5, 10


def drift(old, new, permutations=200, seed=0, groups=None):
    """Do two tables of features come from the same distribution?

    Two answers: the AUC of a classifier that tells the two apart (Lopez-Paz & Oquab 2017, arXiv:1610.06545; 0.5: it
    cannot), cross-validated, and the p-value of a permutation test on the distance between the means of the
    standardised features.

    Images of one patient are alike, and a classifier that saw some of them recognizes the others. Where groups are
    known, a patient is in one fold of the cross-validation only, and the test permutes all images of a patient
    together.

    Args:
        old, new: `(N, D)` and `(M, D)`, at least 10 rows, and of 10 patients, each.
        permutations: of the test; the smallest p-value is 1 / (permutations + 1).
        seed: int.
        groups: Pair of sequences, of `old` and of `new`, that tell patients apart, one value per row, or `None`; each
            may be `None`. Missing values are patients of their own.

    Returns: dict with `auc`, `p_value`, and `shifts`: how far each feature's mean moved, in standard deviations.

    Raises:
        ValueError: If there are too few rows or patients, or not one group per row.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(len(old), len(new)) < LEAST:
        raise ValueError(f"drift: {len(old)} and {len(new)} rows; expected {LEAST} or more of each.")
    patients, blocks = _patients((len(old), len(new)), groups)
    rng = np.random.default_rng(seed)
    table, which = np.concatenate([old, new]), np.repeat([0, 1], [len(old), len(new)])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000, class_weight="balanced"))
    folds = (StratifiedKFold if patients is None else StratifiedGroupKFold)(FOLDS, shuffle=True, random_state=seed)
    how = {"cv": folds, "method": "predict_proba", "groups": patients}
    found = cross_val_predict(classifier, table, which, **how)[:, 1]
    standard = (table - table.mean(axis=0)) / (table.std(axis=0) + 1e-12)

    def distance(labels):
        return np.square(standard[labels == 1].mean(axis=0) - standard[labels == 0].mean(axis=0)).sum()

    here, sides = distance(which), np.array([which[own[0]] for own in blocks])
    order, sizes = np.concatenate(blocks), [len(own) for own in blocks]

    def permuted():
        labels = np.empty_like(which)
        labels[order] = np.repeat(rng.permutation(sides), sizes)
        return labels

    larger = sum(distance(permuted()) >= here for _ in range(permutations))
    return {
        "auc": float(auc(found, which)),
        "p_value": (1 + larger) / (1 + permutations),
        "shifts": (new.mean(axis=0) - old.mean(axis=0)) / (old.std(axis=0) + 1e-12),
    }


def _patients(counts, groups):
    """`(number of each row's patient, or None where nobody knows; indices of the rows that are permuted together)`."""
    total = sum(counts)
    if groups is None or not any(map(are_known, groups)):
        return None, units(None, total)
    own = [list(values) if are_known(values) else [None] * n for values, n in zip(groups, counts, strict=True)]
    several = [len(units(values, n)) for values, n in zip(own, counts, strict=True)]
    if min(several) < LEAST:
        raise ValueError(
            f"drift: rows of {several[0]} and {several[1]} patients; expected {LEAST} patients or more of each."
        )
    numbers = numbered([value for values in own for value in values], total)
    return numbers, units(2 * numbers + np.repeat([0, 1], counts), total)  # of one patient old and new by themselves
