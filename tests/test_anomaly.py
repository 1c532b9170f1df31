import numpy as np
import pytest
from conftest import SMALL
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from medzoo.data.phantom import chest_phantom
from medzoo.io.intensity import equalize_histogram, standardize
from medzoo.models import VAE
from medzoo.models.gradients import input_gradient
from medzoo.tasks.anomaly import AnomalyDetector
from medzoo.tasks.anomaly.detector import conformal_threshold
from medzoo.tasks.anomaly.scores import SCORES, _negative_elbo
from medzoo.tasks.anomaly.synthetic import insert_synthetic_anomaly


@pytest.fixture(scope="module")
def films():
    return np.stack([chest_phantom(64, seed) for seed in range(160)])


@pytest.fixture(scope="module")
def lesions(films):
    """The last 40 films with a bright blob each, and where it is."""
    sick, where = films[120:].copy(), []
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64]
    for film in sick:
        row, column = rng.integers(16, 48, 2)
        film[..., 0] = np.clip(film[..., 0] + 0.6 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18), 0, 1)
        where.append((row, column))
    return sick, np.array(where)


@pytest.fixture(scope="module")
def detector(films):
    return AnomalyDetector("ae-chestxray-64", scores=("padim", "knn"), map_score="padim").fit(films[:80])


def test_blobs_are_found_and_located(detector, films, lesions):
    sick, where = lesions
    scores = np.concatenate([detector.anomaly_scores(films[80:120]), detector.anomaly_scores(sick)])
    assert roc_auc_score(np.arange(80) >= 40, scores) > 0.9
    heat = detector.anomaly_map(sick)
    assert heat.shape == sick.shape
    peak = np.array([np.unravel_index(h.argmax(), h.shape) for h in heat[..., 0]])
    near = np.linalg.norm(peak - where, axis=1) < 10
    assert near.mean() > 0.8
    hit = [
        any(top <= row < bottom and left <= column < right for top, left, bottom, right in boxes)
        for boxes, (row, column) in zip(detector.bounding_boxes(sick), where, strict=True)
    ]
    assert np.mean(hit) > 0.7


def test_spoiled_images_differ_inside_their_mask_only_as_far_as_it_is_soft(films):
    image, others = films[0, ..., 0], films[1:9, ..., 0]
    changed = []
    for seed in range(20):
        spoiled, mask = insert_synthetic_anomaly(image, others, np.random.default_rng(seed))
        assert spoiled.shape == mask.shape == image.shape
        assert 0 <= spoiled.min() <= spoiled.max() <= 1
        change = np.abs(spoiled - image)
        if mask.any() and not mask.all():
            changed.append((change[mask == 1].mean(), change[mask == 0].mean()))
        again, _ = insert_synthetic_anomaly(image, others, np.random.default_rng(seed))
        assert np.array_equal(again, spoiled)
    inside, outside = np.mean(changed, axis=0)
    assert inside > 0.05
    assert inside > 3 * outside


@pytest.mark.slow
def test_learning_from_spoiled_images_finds_blobs_and_shows_them(films, lesions):
    sick, where = lesions
    detector = AnomalyDetector("ae-chestxray-64", train_steps=120).fit(films[:80])
    scores = np.concatenate([detector.anomaly_scores(films[80:120]), detector.anomaly_scores(sick)])
    assert roc_auc_score(np.arange(80) >= 40, scores) > 0.8
    heat = detector.anomaly_map(sick, size=(128, 128))[..., 0]
    assert heat.shape == (40, 128, 128)
    peak = np.array([np.unravel_index(h.argmax(), h.shape) for h in heat]) / 2
    assert (np.linalg.norm(peak - where, axis=1) < 10).mean() > 0.6
    assert detector.segmenter_.segment(sick[:2]).shape == (2, 64, 64)


def test_the_threshold_is_conformal_and_says_when_it_cannot_be():
    scores = np.arange(99.0)
    assert conformal_threshold(scores, 0.05) == 94  # the 95th of 99: a hundredth is above it in 5 of 100 cases
    with pytest.warns(UserWarning, match="9.1% at best, not 5.0%"):
        assert conformal_threshold(np.arange(10.0), 0.05) == 9
    rng = np.random.default_rng(0)
    called = [rng.normal() > conformal_threshold(rng.normal(size=40), 0.1) for _ in range(4000)]
    assert np.mean(called) == pytest.approx(4 / 41, abs=0.015)


def test_images_taken_otherwise_are_warned_of(detector, films, recwarn):
    detector.predict(films[80:120])
    assert not [w for w in recwarn if "differ from the normal" in str(w.message)]
    darker = (0.2 + 0.4 * films[80:120]).astype("float32")
    assert "brightness" in detector.acquisition_shift(darker) or "contrast" in detector.acquisition_shift(darker)
    assert detector.acquisition_shift(darker[:5]) == []
    with pytest.warns(UserWarning, match="may not hold"):
        detector.predict(darker)


def test_predict_keeps_the_false_positive_rate_and_scikit_learns_signs(detector, films, lesions):
    normal = films[80:120]
    assert (detector.predict(normal) == -1).mean() < 0.2  # 5% asked for, 20 films held out
    assert (detector.predict(lesions[0]) == -1).mean() > 0.7
    assert np.array_equal(detector.predict(normal) == -1, detector.decision_function(normal) < 0)
    assert detector.score_samples(normal) == pytest.approx(-detector.anomaly_scores(normal))


def test_exposure_alone_is_no_anomaly(detector, films):
    normal = films[80:120]
    darker = (0.2 + 0.6 * normal).astype("float32")
    assert detector.anomaly_scores(darker) == pytest.approx(detector.anomaly_scores(normal), abs=0.5)
    flat = standardize(np.full((1, 8, 8, 1), 0.3, "float32"))
    assert flat == pytest.approx(0.5, abs=1e-6)


def test_fit_is_repeatable_and_clone_starts_anew(detector, films):
    again = clone(detector).fit(films[:80])
    assert again.threshold_ == pytest.approx(detector.threshold_, rel=1e-5)


@pytest.mark.parametrize("name", sorted({*SCORES} - {"synthetic"}))
def test_every_score_runs_on_a_vae_and_gives_finite_numbers(name, images):
    model = VAE((32, 32, 1), latent_dim=6, **SMALL)
    model.initialize_from_pca(images)
    score = SCORES[name]().fit(model, images)
    numbers, maps = score.score(model, images[:3])
    assert numbers.shape == (3,)
    assert np.isfinite(numbers).all()
    assert maps is None or (maps.ndim == 3 and len(maps) == 3)


def test_scores_of_a_vae_are_refused_on_other_families(films):
    with pytest.raises(ValueError, match="needs a VAE"):
        AnomalyDetector("ae-chestxray-64", scores=("elbo",), map_score="l1").fit(films[:40])
    with pytest.raises(ValueError, match="expected some of synthetic, l1"):
        AnomalyDetector("ae-chestxray-64", scores=("l2",)).fit(films[:40])
    with pytest.raises(ValueError, match="expected 20 or more"):
        AnomalyDetector("ae-chestxray-64").fit(films[:12])


def test_input_gradient_equals_finite_differences(images):
    model = VAE((32, 32, 1), latent_dim=6, **SMALL)
    model.initialize_from_pca(images)
    x = images[:2].astype("float32")
    slope = input_gradient(lambda tensor: _negative_elbo(model, tensor), x)
    direction = np.random.default_rng(0).normal(size=x.shape).astype("float32")
    step = 1e-3
    high, low = (np.asarray(_negative_elbo(model, x + s * step * direction)).sum() for s in (1, -1))
    assert (slope * direction).sum() == pytest.approx((high - low) / (2 * step), rel=0.02)


def test_restoration_makes_images_likelier(images):
    model = VAE((32, 32, 1), latent_dim=6, **SMALL)
    model.initialize_from_pca(images)
    sick = images[:4].copy()
    sick[:, 10:14, 10:14] = 1.0
    clean, _ = SCORES["restoration"]().fit(model, images).score(model, images[:4])
    found, maps = SCORES["restoration"]().fit(model, images).score(model, sick)
    assert (found > clean).all()
    assert maps[:, 10:14, 10:14].mean() > 3 * maps.mean()


def test_command_writes_scores_and_pictures(films, lesions, tmp_path):
    import csv

    from click.testing import CliRunner
    from PIL import Image

    from medzoo.cli import main

    for folder, some in (("normal", films[:60]), ("new", [films[100], lesions[0][0]])):
        (tmp_path / folder).mkdir()
        for i, film in enumerate(some):
            Image.fromarray(np.round(film[..., 0] * 255).astype("uint8")).save(tmp_path / folder / f"{i:02d}.png")
    arguments = ["anomaly", "ae-chestxray-64", tmp_path / "normal", tmp_path / "new", "-o", tmp_path / "out"]
    arguments += ["--steps", 20]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    with open(tmp_path / "out" / "scores.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [str(tmp_path / "new" / f"0{i}.png") for i in range(2)]
    assert float(rows[1]["score"]) > float(rows[0]["score"])
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    again = CliRunner().invoke(main, [str(a) for a in arguments])
    assert "pass --overwrite" in again.output


def test_an_even_histogram_is_the_same_behind_every_tone_curve(films):
    even = equalize_histogram(films[:4])
    assert even.shape == films[:4].shape
    assert even.mean(axis=(1, 2, 3)) == pytest.approx(0.5, abs=1e-5)
    assert 0 < even.min() < even.max() < 1
    assert equalize_histogram(films[:4] ** 0.5) == pytest.approx(
        even, abs=1e-3
    )  # values next to each other may fall together
    assert equalize_histogram(np.full((1, 8, 8, 1), 0.3, "float32")) == pytest.approx(0.5)
