"""Detection of distribution drift between two sets of images."""

from collections.abc import Sequence

import numpy as np

from medzoo.metrics.classification import roc_auc
from medzoo.metrics.two_sample import FEWEST, LEAST, two_sample_test
from medzoo.utils.groups import encode_groups, group_indices, has_known_groups

FOLDS = 5


def detect_drift(
    reference: np.ndarray,
    new: np.ndarray,
    permutations: int = 999,
    seed: int = 0,
    groups: Sequence[Sequence | np.ndarray | None] | None = None,
) -> dict[str, float | np.ndarray]:
    """Test whether two tables of features come from the same distribution.

    Drift is detected if the p-value is at most `medzoo.metrics.two_sample.ALPHA`; without drift that happens with this
    probability. The p-value is that of a permutation test, see `medzoo.metrics.two_sample.two_sample_test`. The
    cross-validated AUC of a classifier that separates the two sets is an effect size (classifier two-sample test,
    Lopez-Paz & Oquab 2017, arXiv:1610.06545): 0.5 means that it cannot separate them. With few images the AUC often
    exceeds 0.6 by chance.

    Images of one patient are correlated, and a classifier trained on some of them recognizes the others. Where patients
    are known, each patient is in one fold of the cross-validation only, and the test permutes all images of a patient
    together.

    Args:
        reference: Float array of shape `(N, D)`. Features of the reference images; 10 rows or more, of 5 patients or
            more.
        new: Float array of shape `(M, D)`. Features of the new images, with the same minimum numbers.
        permutations: int. Number of permutations. The smallest p-value is `1 / (permutations + 1)`.
        seed: int. Seed of the permutations and of the folds.
        groups: Pair of sequences, of `reference` and of `new`, with one patient identifier per row, or `None`; each may
            be `None`. Rows with a missing identifier count as separate patients.

    Returns:
        Dict with `auc`, `p_value`, and `shifts`: the change of the mean of each feature in standard deviations of the
        reference, array of shape `(D,)`.

    Raises:
        ValueError: If there are too few rows or patients, or not one group per row.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    counts = len(reference), len(new)
    if min(counts) < LEAST:
        raise ValueError(
            f"detect_drift: too few rows. Expected {LEAST} or more per table, got {counts[0]} and {counts[1]}."
        )
    patients = _patients(counts, groups)
    parts = None if patients is None else (patients[: counts[0]], patients[counts[0] :])
    p_value = two_sample_test(reference, new, parts, permutations, seed)
    table, which = np.concatenate([reference, new]), np.repeat([0, 1], counts)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000, class_weight="balanced"))
    folds = (StratifiedKFold if patients is None else StratifiedGroupKFold)(FOLDS, shuffle=True, random_state=seed)
    options = {"cv": folds, "method": "predict_proba", "groups": patients}
    probabilities = cross_val_predict(classifier, table, which, **options)[:, 1]
    return {
        "auc": float(roc_auc(probabilities, which)),
        "p_value": p_value,
        "shifts": (new.mean(axis=0) - reference.mean(axis=0)) / (reference.std(axis=0) + 1e-12),
    }


def _patients(counts, groups):
    """Return the patient index of each row, or `None` where no patients are known."""
    if groups is None or not any(map(has_known_groups, groups)):
        return None
    own = [list(values) if has_known_groups(values) else [None] * n for values, n in zip(groups, counts, strict=True)]
    several = [len(group_indices(values, n)) for values, n in zip(own, counts, strict=True)]
    if min(several) < FEWEST:
        raise ValueError(
            f"detect_drift: too few patients. Expected {FEWEST} patients or more per table, got {several[0]} and "
            f"{several[1]}."
        )
    return encode_groups([value for values in own for value in values], sum(counts))
