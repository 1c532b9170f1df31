"""P-values have the stated error rates, which are known in closed form for exchangeable data."""

import numpy as np
import pytest

from medzoo.metrics.conformal import conformal_pvalues, moments_of_others, quantile_of_others
from medzoo.metrics.two_sample import holm, two_sample_test
from medzoo.tasks.anomaly import attained_rate, conformal_threshold
from medzoo.tasks.drift import detect_drift


def test_a_conformal_p_value_is_a_rank():
    assert conformal_pvalues([1.0, 2.0, 3.0], [0.0, 2.0, 2.5, 9.0]).tolist() == [1.0, 0.75, 0.5, 0.25]


def test_conformal_p_values_of_exchangeable_scores_are_uniform_on_ranks():
    rng = np.random.default_rng(0)
    found = np.array([conformal_pvalues(rng.standard_cauchy(19), rng.standard_cauchy(1))[0] for _ in range(8000)])
    for alpha in (0.05, 0.1, 0.5):  # multiples of 1/20: then P(p <= alpha) is alpha
        assert (found <= alpha).mean() == pytest.approx(alpha, abs=4 * (alpha * (1 - alpha) / 8000) ** 0.5)
    assert found.min() == 1 / 20


def test_leave_one_out_statistics_exclude_the_row():
    rows = np.random.default_rng(0).normal(5, 2, (9, 3))
    difference, means, stds = moments_of_others(rows)
    for i in range(9):
        others = np.delete(rows, i, axis=0)
        assert means[i] == pytest.approx(others.mean(axis=0))
        assert difference[i] == pytest.approx(rows[i] - others.mean(axis=0))
        assert stds[i] == pytest.approx(others.std(axis=0))
        for q in (0, 0.05, 0.5, 0.95, 1):
            assert quantile_of_others(rows[:, 0], q)[i] == pytest.approx(np.quantile(others[:, 0], q))


@pytest.mark.parametrize(("count", "features"), [(10, 1), (10, 50), (30, 4)])
def test_the_two_sample_test_has_the_nominal_false_positive_rate(count, features):
    rng = np.random.default_rng(0)
    sets = rng.standard_t(2, (400, 2 * count, features))
    alarms = [two_sample_test(x[:count], x[count:], permutations=99, seed=i) <= 0.05 for i, x in enumerate(sets)]
    assert np.mean(alarms) == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / 400) ** 0.5)


def test_the_two_sample_test_detects_a_different_mean_and_variance():
    rng = np.random.default_rng(0)
    old, same = rng.normal(size=(60, 5)), rng.normal(size=(40, 5))
    assert two_sample_test(old, same) > 0.05
    assert two_sample_test(old, same + 1) == 0.001
    assert two_sample_test(old, 3 * same) == 0.001
    assert two_sample_test(old, old) == 1


def test_images_of_one_patient_are_permuted_together():
    """Sets of ten images of each of six patients: patients differ, sets do not."""
    rng = np.random.default_rng(0)
    by_image, by_patient = [], []
    for seed in range(200):
        patients = np.repeat(rng.normal(size=(12, 3)), 10, axis=0) + 0.1 * rng.normal(size=(120, 3))
        names = np.repeat(np.arange(12), 10)
        own = {"permutations": 99, "seed": seed}
        by_image.append(two_sample_test(patients[:60], patients[60:], **own) <= 0.05)
        by_patient.append(two_sample_test(patients[:60], patients[60:], (names[:60], names[60:]), **own) <= 0.05)
    assert np.mean(by_image) > 0.5
    assert np.mean(by_patient) < 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5
    with pytest.raises(ValueError, match="2 and 2 groups"):
        two_sample_test(patients[:20], patients[20:40], (names[:20], names[20:40]))


@pytest.mark.parametrize("bad", [np.zeros((9, 2)), np.zeros((20, 3)), np.full((20, 2), np.nan)])
def test_sets_that_cannot_be_compared_are_rejected(bad):
    with pytest.raises(ValueError, match="two_sample_test"):
        two_sample_test(np.zeros((20, 2)), bad)


def test_holm_adjusts_for_multiple_tests():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_drift_is_decided_by_the_two_sample_test_and_not_by_an_auc_that_ten_images_raise_by_chance():
    rng = np.random.default_rng(3)
    found = [detect_drift(rng.normal(size=(10, 6)), rng.normal(size=(10, 6)), seed=seed) for seed in range(6)]
    assert max(own["auc"] for own in found) > 0.6
    assert min(own["p_value"] for own in found) > 0.05
    old, new = rng.normal(size=(12, 6)), rng.normal(size=(15, 6))
    assert detect_drift(old, new)["p_value"] == two_sample_test(old, new)
    groups = np.arange(12) // 2, np.arange(15) // 3
    assert detect_drift(old, new, groups=groups)["p_value"] == two_sample_test(old, new, groups)


def test_a_threshold_that_few_images_cannot_keep_is_named_and_no_rate_is_refused():
    with pytest.warns(UserWarning, match="10 held-out normal images allow a false-positive rate of 9.1%"):
        conformal_threshold(np.arange(10.0), 0.01)
    assert attained_rate(10, 0.01) == 1 / 11
    assert attained_rate(99, 0.05) == 0.05
    for rate in (0, 1, 5, float("nan")):
        with pytest.raises(ValueError, match="a rate between 0 and 1"):
            conformal_threshold(np.arange(10.0), rate)
