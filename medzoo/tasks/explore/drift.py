"""Are new images like the old ones?"""

import numpy as np

from medzoo.reports.classification import auc


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
        "auc": float(auc(found, which)),
        "p_value": (1 + larger) / (1 + permutations),
        "shifts": (new.mean(axis=0) - old.mean(axis=0)) / (old.std(axis=0) + 1e-12),
    }
