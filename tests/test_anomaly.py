import numpy as np
import pytest
from conftest import SMALL
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from medzoo.data.phantom import chest_phantom
from medzoo.io.intensity import equalize_histogram, standardize
from medzoo.models import VAE
from medzoo.models.gradients import input_gradient
from medzoo.tasks.anomaly import AnomalyDetector, conformal_threshold
from medzoo.tasks.anomaly.scores import SCORES, _negative_elbo
from medzoo.tasks.anomaly.synthetic import insert_synthetic_anomaly


@pytest.fixture(scope="module")
def normal():
    return np.stack([chest_phantom(64, seed) for seed in range(160)])


@pytest.fixture(scope="module")
def lesions(normal):
    """The last 40 phantoms with one bright synthetic lesion each, and the lesion positions."""
    images, positions = normal[120:].copy(), []
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64]
    for image in images:
        row, column = rng.integers(16, 48, 2)
        lesion = 0.6 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18)
        image[..., 0] = np.clip(image[..., 0] + lesion, 0, 1)
        positions.append((row, column))
    return images, np.array(positions)


@pytest.fixture(scope="module")
def detector(normal):
    return AnomalyDetector("ae-chestxray-64", scores=("padim", "knn"), map_score="padim").fit(normal[:80])


def test_synthetic_lesions_are_detected_and_localized(detector, normal, lesions):
    abnormal, positions = lesions
    scores = np.concatenate([detector.anomaly_scores(normal[80:120]), detector.anomaly_scores(abnormal)])
    assert roc_auc_score(np.arange(80) >= 40, scores) > 0.9
    maps = detector.anomaly_map(abnormal)
    assert maps.shape == abnormal.shape
    peak = np.array([np.unravel_index(h.argmax(), h.shape) for h in maps[..., 0]])
    near = np.linalg.norm(peak - positions, axis=1) < 10
    assert near.mean() > 0.8
    hit = [
        any(top <= row < bottom and left <= column < right for top, left, bottom, right in boxes)
        for boxes, (row, column) in zip(detector.bounding_boxes(abnormal), positions, strict=True)
    ]
    assert np.mean(hit) > 0.7


def test_synthetic_anomalies_change_an_image_mainly_inside_their_mask(normal):
    image, others = normal[0, ..., 0], normal[1:9, ..., 0]
    changed = []
    for seed in range(20):
        corrupted, mask = insert_synthetic_anomaly(image, others, np.random.default_rng(seed))
        assert corrupted.shape == mask.shape == image.shape
        assert 0 <= corrupted.min() <= corrupted.max() <= 1
        change = np.abs(corrupted - image)
        if mask.any() and not mask.all():
            changed.append((change[mask == 1].mean(), change[mask == 0].mean()))
        again, _ = insert_synthetic_anomaly(image, others, np.random.default_rng(seed))
        assert np.array_equal(again, corrupted)
    inside, outside = np.mean(changed, axis=0)
    assert inside > 0.05
    assert inside > 3 * outside


@pytest.mark.slow
def test_segmenter_trained_on_synthetic_anomalies_detects_and_localizes_lesions(normal, lesions):
    abnormal, positions = lesions
    detector = AnomalyDetector("ae-chestxray-64", train_steps=120).fit(normal[:80])
    scores = np.concatenate([detector.anomaly_scores(normal[80:120]), detector.anomaly_scores(abnormal)])
    assert roc_auc_score(np.arange(80) >= 40, scores) > 0.8
    maps = detector.anomaly_map(abnormal, size=(128, 128))[..., 0]
    assert maps.shape == (40, 128, 128)
    peak = np.array([np.unravel_index(h.argmax(), h.shape) for h in maps]) / 2
    assert (np.linalg.norm(peak - positions, axis=1) < 10).mean() > 0.6
    assert detector.segmenter_.segment(abnormal[:2]).shape == (2, 64, 64)


def test_threshold_is_conformal_and_warns_if_the_rate_is_not_attainable():
    scores = np.arange(99.0)
    assert conformal_threshold(scores, 0.05) == 94  # the 95th of 99: a new score exceeds it in 5 of 100 cases
    with pytest.warns(UserWarning, match="9.1% at best, not 5.0%"):
        assert conformal_threshold(np.arange(10.0), 0.05) == 9
    rng = np.random.default_rng(0)
    exceeded = [rng.normal() > conformal_threshold(rng.normal(size=40), 0.1) for _ in range(4000)]
    assert np.mean(exceeded) == pytest.approx(4 / 41, abs=0.015)


def test_predict_warns_of_an_acquisition_shift(detector, normal, recwarn):
    detector.predict(normal[80:120])
    assert not [w for w in recwarn if "differ from the normal" in str(w.message)]
    darker = (0.2 + 0.4 * normal[80:120]).astype("float32")
    assert "brightness" in detector.acquisition_shift(darker) or "contrast" in detector.acquisition_shift(darker)
    assert detector.acquisition_shift(darker[:5]) == []
    with pytest.warns(UserWarning, match="may not hold"):
        detector.predict(darker)


def test_predict_has_the_requested_false_positive_rate_and_the_signs_of_scikit_learn(detector, normal, lesions):
    normal = normal[80:120]
    assert (detector.predict(normal) == -1).mean() < 0.2  # 5% requested, 20 images held out
    assert (detector.predict(lesions[0]) == -1).mean() > 0.7
    assert np.array_equal(detector.predict(normal) == -1, detector.decision_function(normal) < 0)
    assert detector.score_samples(normal) == pytest.approx(-detector.anomaly_scores(normal))


def test_scores_are_robust_to_intensity_changes(detector, normal):
    normal = normal[80:120]
    darker = (0.2 + 0.6 * normal).astype("float32")
    assert detector.anomaly_scores(darker) == pytest.approx(detector.anomaly_scores(normal), abs=0.5)
    flat = standardize(np.full((1, 8, 8, 1), 0.3, "float32"))
    assert flat == pytest.approx(0.5, abs=1e-6)


def test_fit_of_a_clone_is_reproducible(detector, normal):
    again = clone(detector).fit(normal[:80])
    assert again.threshold_ == pytest.approx(detector.threshold_, rel=1e-5)


@pytest.mark.parametrize("name", sorted({*SCORES} - {"synthetic"}))
def test_every_score_of_a_vae_is_finite(name, images):
    model = VAE((32, 32, 1), latent_dim=6, **SMALL)
    model.initialize_from_pca(images)
    score = SCORES[name]().fit(model, images)
    scores, maps = score.score(model, images[:3])
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()
    assert maps is None or (maps.ndim == 3 and len(maps) == 3)


def test_vae_scores_of_other_families_unknown_scores_and_too_few_images_raise(normal):
    with pytest.raises(ValueError, match="Expected a VAE"):
        AnomalyDetector("ae-chestxray-64", scores=("elbo",), map_score="l1").fit(normal[:40])
    with pytest.raises(ValueError, match="Expected some of synthetic, l1"):
        AnomalyDetector("ae-chestxray-64", scores=("l2",)).fit(normal[:40])
    with pytest.raises(ValueError, match="Expected 20 or more"):
        AnomalyDetector("ae-chestxray-64").fit(normal[:12])


def test_input_gradient_equals_finite_differences(images):
    model = VAE((32, 32, 1), latent_dim=6, **SMALL)
    model.initialize_from_pca(images)
    x = images[:2].astype("float32")
    gradient = input_gradient(lambda tensor: _negative_elbo(model, tensor), x)
    direction = np.random.default_rng(0).normal(size=x.shape).astype("float32")
    step = 1e-3
    high, low = (np.asarray(_negative_elbo(model, x + s * step * direction)).sum() for s in (1, -1))
    assert (gradient * direction).sum() == pytest.approx((high - low) / (2 * step), rel=0.02)


def test_restoration_score_is_higher_for_corrupted_images(images):
    model = VAE((32, 32, 1), latent_dim=6, **SMALL)
    model.initialize_from_pca(images)
    corrupted = images[:4].copy()
    corrupted[:, 10:14, 10:14] = 1.0
    clean, _ = SCORES["restoration"]().fit(model, images).score(model, images[:4])
    scores, maps = SCORES["restoration"]().fit(model, images).score(model, corrupted)
    assert (scores > clean).all()
    assert maps[:, 10:14, 10:14].mean() > 3 * maps.mean()


def test_anomaly_command_writes_scores_and_figures(normal, lesions, tmp_path):
    import csv

    from click.testing import CliRunner
    from PIL import Image

    from medzoo.cli import main

    for folder, some in (("normal", normal[:60]), ("new", [normal[100], lesions[0][0]])):
        (tmp_path / folder).mkdir()
        for i, image in enumerate(some):
            Image.fromarray(np.round(image[..., 0] * 255).astype("uint8")).save(tmp_path / folder / f"{i:02d}.png")
    arguments = ["anomaly", "ae-chestxray-64", tmp_path / "normal", tmp_path / "new", "-o", tmp_path / "out"]
    arguments += ["--train-steps", 20]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    with open(tmp_path / "out" / "scores.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [str(tmp_path / "new" / f"0{i}.png") for i in range(2)]
    assert float(rows[1]["score"]) > float(rows[0]["score"])
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    again = CliRunner().invoke(main, [str(a) for a in arguments])
    assert "pass --overwrite" in again.output


def test_histogram_equalization_is_invariant_to_the_tone_curve(normal):
    equalized = equalize_histogram(normal[:4])
    assert equalized.shape == normal[:4].shape
    assert equalized.mean(axis=(1, 2, 3)) == pytest.approx(0.5, abs=1e-5)
    assert 0 < equalized.min() < equalized.max() < 1
    assert equalize_histogram(normal[:4] ** 0.5) == pytest.approx(equalized, abs=1e-3)  # adjacent values may be merged
    assert equalize_histogram(np.full((1, 8, 8, 1), 0.3, "float32")) == pytest.approx(0.5)
