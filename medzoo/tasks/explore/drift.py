"""Are new images like the old ones?"""

import numpy as np

from medzoo.models.two_sample import two_sample_test
from medzoo.reports.classification import auc


def drift(old, new, permutations=999, seed=0, groups=None):
    """Test whether two tables of features come from the same distribution.

    The p-value decides: drift is stated where it is at most `medzoo.models.two_sample.ALPHA`, and without drift that
    occurs with this probability. It is of a permutation test, see `medzoo.models.two_sample.two_sample_test`. The AUC
    of a classifier that separates the two sets (Lopez-Paz & Oquab 2017, arXiv:1610.06545; 0.5: it cannot),
    cross-validated, is an effect size: of few images it is often above 0.6 by chance.

    Args:
        old: float array `(N, D)`, 10 rows or more.
        new: float array `(M, D)`, 10 rows or more.
        permutations: int. The smallest p-value is `1 / (permutations + 1)`.
        seed: int.
        groups: pair of arrays `(N,)` and `(M,)`, e.g. patients. Images of one patient are not independent: they are
            permuted together and never stand on both sides of a fold.

    Returns:
        dict with `auc`, `p_value`, and `shifts`: how far each feature's mean moved, in standard deviations.

    Raises:
        ValueError: If there are fewer than 10 rows or 5 groups of each set.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(len(old), len(new)) < 10:
        raise ValueError(f"drift: {len(old)} and {len(new)} rows; expected 10 or more of each.")
    p_value = two_sample_test(old, new, groups, permutations, seed)
    table, which = np.concatenate([old, new]), np.repeat([0, 1], [len(old), len(new)])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000, class_weight="balanced"))
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    folds = splitter(5, shuffle=True, random_state=seed)
    units = None if groups is None else np.concatenate([np.asarray(part).astype(str) for part in groups])
    found = cross_val_predict(classifier, table, which, cv=folds, groups=units, method="predict_proba")[:, 1]
    return {
        "auc": float(auc(found, which)),
        "p_value": p_value,
        "shifts": (new.mean(axis=0) - old.mean(axis=0)) / (old.std(axis=0) + 1e-12),
    }
