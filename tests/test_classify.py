import keras
import numpy as np
import pytest
from conftest import SMALL
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

import medzoo
from medzoo.data.phantom import chest_phantom
from medzoo.metrics.classification import (
    apply_temperature,
    classification_metrics,
    expected_calibration_error,
    fit_temperature,
    roc_auc,
    sensitivity_at_specificity,
)
from medzoo.metrics.subgroups import by_subgroup
from medzoo.models import ConvAutoencoder
from medzoo.tasks.classify import Classifier, class_weights, fine_tune
from medzoo.tasks.segment import Segmenter


@pytest.fixture(scope="module")
def labeled():
    images = np.stack([chest_phantom(32, seed) for seed in range(48)])
    labels = np.arange(48) % 2
    images[labels == 1, 8:16, 8:16] = 1.0
    return images, labels


def test_encoder_is_frozen_until_unfreeze(labeled, preset):
    images, labels = labeled
    classifier = Classifier.from_pretrained(preset, 2)
    encoder = classifier.encoder.get_weights()
    classifier.compile(keras.optimizers.Adam(0.02))
    classifier.fit(images, labels, epochs=12, batch_size=16, verbose=0)
    assert classifier.evaluate(images, labels, verbose=0, return_dict=True)["accuracy"] > 0.95
    assert all(np.array_equal(a, b) for a, b in zip(encoder, classifier.encoder.get_weights(), strict=True))
    kernel = classifier.encoder.stages[0].get_weights()[0]
    classifier.unfreeze()
    classifier.compile(keras.optimizers.Adam(1e-4))
    classifier.fit(images, labels, verbose=0)
    assert not np.array_equal(kernel, classifier.encoder.stages[0].get_weights()[0])


def test_classifier_copies_the_encoder_of_a_segmenter(labeled, preset):
    images, labels = labeled
    segmenter = Segmenter.from_pretrained(preset, 2)
    segmenter.compile(keras.optimizers.Adam(0.01))
    segmenter.fit(images[:8], (images[:8] > 0.5).astype("uint8"), verbose=0)
    learned = segmenter.encoder.get_weights()
    classifier = Classifier.from_pretrained(segmenter, 2)
    assert all(np.array_equal(a, b) for a, b in zip(classifier.encoder.get_weights(), learned, strict=True))
    fine_tune(classifier, images, labels, (images, labels), epochs=(0, 1))
    assert len(classifier.encoder.trainable_weights) == len(learned)
    assert all(np.array_equal(a, b) for a, b in zip(segmenter.encoder.get_weights(), learned, strict=True))


def test_untrained_classifier_predicts_equal_probabilities(labeled, preset):
    classifier = Classifier.from_pretrained(preset, 3)
    assert classifier.predict(labeled[0], verbose=0) == pytest.approx(1 / 3, abs=1e-6)


def test_pretrained_false_gives_the_same_architecture_with_random_weights():
    a, b = (Classifier.from_pretrained("vqvae-chestxray-64", 2, pretrained=p) for p in (True, False))
    assert a.count_params() == b.count_params()
    assert (a.encoder.trainable, b.encoder.trainable) == (False, True)
    kernels = [m.encoder.stages[0].get_weights()[0] for m in (a, b, medzoo.load("vqvae-chestxray-64"))]
    assert np.array_equal(kernels[0], kernels[2])
    assert not np.array_equal(kernels[0], kernels[1])


def test_keras_file_round_trip(labeled, preset, tmp_path):
    images, labels = labeled
    classifier = Classifier.from_pretrained(preset, 2)
    fine_tune(classifier, images, labels, (images, labels), epochs=(2, 1))
    classifier.save(tmp_path / "classifier.keras")
    copy = keras.saving.load_model(tmp_path / "classifier.keras")
    assert np.array_equal(copy.predict(images, verbose=0), classifier.predict(images, verbose=0))
    frozen = Classifier.from_pretrained(preset, 2)
    assert len(Classifier.from_config(frozen.get_config()).trainable_weights) == len(frozen.trainable_weights) == 4


def test_images_are_augmented_unless_augment_is_false(labeled, monkeypatch):
    images, labels = labeled
    differences = []
    fitted = keras.Model.fit

    def fit(model, x, *args, **kwargs):
        differences.append(np.abs(x[0][0] - images[x._order()[: x.batch_size, 1]]).max())
        return fitted(model, x, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "fit", fit)
    for augment in (True, "acquisition", {"translation": 1.0, "affine": 0.0, "contrast": 0.0}, False):
        model = ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL)
        classifier = Classifier.from_pretrained(model, 2, pretrained=False)
        fine_tune(classifier, images, labels, (images, labels), epochs=(1, 0), augment=augment)
    assert min(differences[:3]) > 0.01
    assert differences[3] < 1e-6
    with pytest.raises(ValueError, match="Expected True, False, 'acquisition' or a dict, got 'more'"):
        fine_tune(classifier, images, labels, (images, labels), augment="more")


def test_invalid_images_and_class_counts_raise(labeled):
    images = np.stack([chest_phantom(64, seed) for seed in range(4)])
    classifier = Classifier.from_pretrained("ae-chestxray-64", 2)
    classifier.compile()
    with pytest.raises(ValueError, match="64x64"):
        classifier.predict(labeled[0])
    with pytest.raises(ValueError, match="Divide 8-bit images by 255"):
        classifier.fit(images * 255, labeled[1][:4])
    with pytest.raises(ValueError, match="num_classes >= 2, got 1"):
        Classifier.from_pretrained("ae-chestxray-64", 1)


def test_class_weights_give_equal_total_weight_to_all_classes():
    labels = np.array([0] * 30 + [1] * 10)
    weights = class_weights(labels)
    assert weights[0] * 30 == pytest.approx(weights[1] * 10) == pytest.approx(20)


def test_metrics_equal_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    p = rng.dirichlet(np.ones(3), 200) + 0.5 * np.eye(3)[labels]
    p /= p.sum(axis=1, keepdims=True)
    result = classification_metrics(p, labels, resamples=50)
    assert result["accuracy"]["mean"] == pytest.approx(accuracy_score(labels, p.argmax(axis=1)), abs=1e-4)
    expected = balanced_accuracy_score(labels, p.argmax(axis=1))
    assert result["balanced_accuracy"]["mean"] == pytest.approx(expected, abs=1e-4)
    assert result["auc"]["mean"] == pytest.approx(roc_auc_score(labels, p, multi_class="ovr"), abs=1e-4)
    low, high = result["auc"]["interval"]
    assert low < result["auc"]["mean"] < high


def test_sensitivity_at_specificity_is_a_point_of_the_roc_curve():
    labels = np.array([0] * 10 + [1] * 4)
    scores = np.r_[np.arange(10), 3.5, 8.5, 9.5, 10.5]
    assert sensitivity_at_specificity(scores, labels, 0.9) == pytest.approx(3 / 4)  # one of ten above 8.5
    assert sensitivity_at_specificity(scores, labels, 1.0) == pytest.approx(2 / 4)


def test_roc_auc_with_ties_equals_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 9, 120), rng.integers(0, 2, 120)
    assert roc_auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert np.isnan(roc_auc(scores, np.ones(120)))


def test_calibration_error_is_zero_if_confidence_equals_accuracy():
    p = np.tile([0.75, 0.25], (400, 1))
    assert expected_calibration_error(p, np.array([0, 0, 0, 1] * 100)) == pytest.approx(0, abs=1e-9)
    assert expected_calibration_error(p, np.zeros(400, int)) == pytest.approx(0.25)


def test_temperature_scaling_corrects_overconfidence():
    rng = np.random.default_rng(0)
    calibrated = rng.dirichlet((1, 1), 4000)
    labels = (rng.random(4000) < calibrated[:, 1]).astype(int)
    overconfident = apply_temperature(calibrated, 1 / 3)
    assert fit_temperature(overconfident, labels) == pytest.approx(3, rel=0.1)
    assert apply_temperature(overconfident, 3.0) == pytest.approx(calibrated, abs=1e-6)


@pytest.fixture(scope="module")
def trained(labeled):
    images, labels = labeled
    keras.utils.set_random_seed(0)
    classifier = Classifier.from_pretrained(ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL), 2, pretrained=False)
    return fine_tune(classifier, images, labels, (images, labels), epochs=(12, 0), learning_rates=(1e-2, 0))


def test_calibration_changes_probabilities_but_not_predicted_classes(trained, labeled, tmp_path):
    images, labels = labeled
    wrong = np.where(np.arange(48) % 4 == 0, 1 - labels, labels)  # a quarter of the labels: accuracy 75%
    before = trained.predict(images, verbose=0)
    trained.calibrate(images, wrong)
    after = trained.predict(images, verbose=0)
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    assert float(trained.temperature) > 1
    assert after.max(axis=1).mean() == pytest.approx(0.75, abs=0.05)
    trained.save(tmp_path / "c.keras")
    assert keras.saving.load_model(tmp_path / "c.keras").predict(images, verbose=0) == pytest.approx(after, abs=1e-6)


def test_occlusion_map_peaks_at_the_finding(trained, labeled):
    images, labels = labeled
    inside = 0
    for image in images[labels == 1][:8]:
        occlusion = trained.occlusion_map(image, target=1)
        assert occlusion.shape == (32, 32)
        row, column = np.unravel_index(occlusion.argmax(), occlusion.shape)
        inside += 5 <= row <= 18 and 5 <= column <= 18
        assert trained.occlusion_map(image, target=0) == pytest.approx(-occlusion, abs=1e-3)
    assert inside >= 7


def test_reference_statistics_are_saved_with_the_classifier(trained, labeled, tmp_path):
    images, _ = labeled
    with pytest.raises(ValueError, match="fit_reference"):
        trained.ood_pvalue(images)
    trained.fit_reference(images)
    trained.save(tmp_path / "c.keras")
    copy = keras.saving.load_model(tmp_path / "c.keras")
    assert copy.ood_pvalue(images) == pytest.approx(trained.ood_pvalue(images))
    noise = np.random.default_rng(0).random((6, 32, 32, 1)).astype("float32")
    assert (copy.ood_pvalue(noise) < 0.05).all()  # 48 references: at most one of them is as extreme


def test_metrics_are_reported_by_subgroup():
    labels = np.arange(40) % 2
    scores = np.where(np.arange(40) < 20, 0.2 + 0.6 * labels, 0.8 - 0.6 * labels)  # correct for half of the images
    probabilities = np.stack([1 - scores, scores], axis=1)
    columns = {
        "sex": np.array(["F"] * 20 + ["M"] * 20),
        "age": np.array([str(n) for n in range(20, 60)]),
        "view": np.array(["PA"] * 39 + [""]),
    }
    found = by_subgroup(probabilities, labels, columns)
    assert found["sex"]["F"]["auc"]["mean"] == 1
    assert found["sex"]["M"]["auc"]["mean"] == 0
    assert list(found["age"]) == ["20 to 29", "30 to 39", "40 to 49", "50 to 59"]
    assert found["view"]["unknown"] == {"images": 1}


def test_classify_command_reports_subgroups_and_classifies_new_images(preset, tmp_path, caplog):
    import csv
    import json

    from click.testing import CliRunner
    from PIL import Image

    from medzoo.cli import main

    lines = ["file,label,split,Patient Sex,Patient ID"]
    for i in range(48):
        image = np.round(255 * chest_phantom(32, i)[..., 0] * (0.5 + 0.5 * (i % 2))).astype("uint8")
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        split = "train" if i < 24 else "val" if i < 32 else "test"
        lines.append(f"{i}.png,{('dark', 'bright')[i % 2]},{split},{'FM'[i // 2 % 2]},{i}")
    (tmp_path / "new").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (32, 32)).astype("uint8")
    Image.fromarray(noise).save(tmp_path / "new" / "noise.png")
    Image.fromarray(image).save(tmp_path / "new" / "image.png")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    arguments = ["classify", preset, tmp_path / "new", "--data", tmp_path / "t.csv", "-o", tmp_path / "out"]
    result = CliRunner().invoke(main, [str(a) for a in [*arguments, "--size", 32, "--epochs", "5,0"]])
    assert result.exit_code == 0, result.output
    assert "Patient Sex F: AUC 1.000" in result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {s: own["images"] for s, own in report["subgroups"]["Patient Sex"].items()} == {"F": 8, "M": 8}
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open()))
    assert [row["bright"] > row["dark"] for row in rows] == [True, rows[1]["bright"] > rows[1]["dark"]]
    assert min(float(row["ood_pvalue"]) for row in rows) >= 0.1111  # with 8 validation images 1/9 or more
    assert "8 reference images: no p-value is below 1/9" in caplog.text
    assert (tmp_path / "out" / "00000-image.png").is_file()
    trained = ["classify", tmp_path / "out" / "classifier.keras", tmp_path / "new", "-o", tmp_path / "more"]
    result = CliRunner().invoke(main, [str(a) for a in trained])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "more" / "predictions.csv").read_text() == (tmp_path / "out" / "predictions.csv").read_text()
    result = CliRunner().invoke(
        main, [str(a) for a in [*trained, "--data", tmp_path / "t.csv", "--augment", "acquisition"]]
    )
    assert result.exit_code == 2
    assert "--data, --augment: " in result.output
    assert "is already trained" in result.output
    (tmp_path / "cut.keras").write_bytes((tmp_path / "out" / "classifier.keras").read_bytes()[:5000])
    result = CliRunner().invoke(main, ["classify", str(tmp_path / "cut.keras"), "-o", str(tmp_path / "cut")])
    assert result.exit_code == 1
    assert "cut.keras: not readable as a Classifier" in result.output


def test_classify_command_writes_classifier_and_report(preset, tmp_path):
    import json

    from click.testing import CliRunner
    from conftest import write_npz

    from medzoo.cli import main

    data = write_npz(tmp_path / "images.npz", size=28, counts=(64, 16, 24))
    arguments = [
        "classify",
        preset,
        "--data",
        data,
        "-o",
        tmp_path / "out",
        "--epochs",
        "5,0",
        "--augment",
        "acquisition",
    ]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["auc"]["mean"] > 0.8
    assert report["augment"] == "acquisition"
    assert keras.saving.load_model(tmp_path / "out" / "classifier.keras").num_classes == 2
    assert (tmp_path / "out" / "report.png").is_file()
