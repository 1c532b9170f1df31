"""Patient-level splits in every task, and confidence intervals over patients."""

import importlib
import json
import logging

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import SMALL
from PIL import Image

from medzoo.cli import main
from medzoo.data.image_dataset import open_dataset
from medzoo.data.patients import groups_from_paths, patients_of_files, warn_shared_patients
from medzoo.errors import ImageError
from medzoo.metrics.bootstrap import bootstrap_ci, bootstrap_mean_ci, bootstrap_unit, describe_ci, format_ci
from medzoo.metrics.classification import classification_metrics
from medzoo.metrics.subgroups import by_subgroup
from medzoo.models import ConvAutoencoder
from medzoo.utils.groups import encode_groups, group_indices, hold_out, take_groups

PATIENTS = np.repeat([f"p{i}" for i in range(10)], 4)


def write_dicom(path, pixels, **tags):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    new, new.file_meta = Dataset(), FileMetaDataset()
    new.SOPClassUID = new.file_meta.MediaStorageSOPClassUID = CTImageStorage
    new.SOPInstanceUID = new.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    new.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    new.Rows, new.Columns = pixels.shape
    new.SamplesPerPixel, new.PhotometricInterpretation, new.PixelRepresentation = 1, "MONOCHROME2", 0
    new.BitsAllocated, new.BitsStored, new.HighBit, new.Modality = 8, 8, 7, "CT"
    new.WindowCenter, new.WindowWidth = 128, 256
    for name, value in tags.items():
        setattr(new, name, value)
    new.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    new.save_as(path, enforce_file_format=True)


def images_by_patient(count=40, side=16, each=4):
    """Images whose first pixel encodes the number of their patient in steps of 0.02."""
    images = np.random.default_rng(0).uniform(0.3, 0.7, (count, side, side, 1)).astype("float32")
    images[:, 0, 0, 0] = 0.02 * (np.arange(count) // each)
    return images


def patient_numbers(images):
    return set(np.round(np.asarray(images)[:, 0, 0, 0] / 0.02).astype(int).tolist())


def write_pngs(folder, images, names=None):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        name = names[i] if names is not None else f"{i // 4}-{i % 4}"
        Image.fromarray(np.round(255 * image[..., 0]).astype("uint8")).save(folder / f"{name}.png")
    return sorted(folder.glob("*.png"))


def disjoint(*parts):
    """Return whether no patient is in two parts and each part has at least one patient."""
    return len(set.union(*parts)) == sum(map(len, parts)) and all(parts)


# --- groups -----------------------------------------------------------------------------------------------------------


def test_missing_groups_are_separate_patients():
    assert encode_groups(["b", "a", "b", None, "", " ", np.nan, "a "], 8).tolist() == [0, 1, 0, 2, 3, 4, 5, 1]
    assert encode_groups(np.array([7, 7, 3]), 3).tolist() == [0, 0, 1]
    assert encode_groups(None, 3).tolist() == [0, 1, 2]
    assert [bootstrap_unit(g) for g in (None, [None, ""], ["a", None])] == ["image", "image", "patient"]
    with pytest.raises(ValueError, match="2 values for 3 images"):
        encode_groups([1, 2], 3)
    assert take_groups(["a", None, "b"], [2, 0]).tolist() == ["b", "a"]


def test_hold_out_is_disjoint_in_patients_and_a_permutation_without_groups():
    groups = np.random.default_rng(0).integers(0, 12, 100)
    parts = hold_out(group_indices(groups, 100), [2, 3], seed=4)
    assert sorted(np.concatenate(parts)) == list(range(100))
    assert disjoint(*(set(groups[part]) for part in parts))
    assert [len(set(groups[part])) for part in parts] == [2, 3, 7]
    order = np.random.default_rng(4).permutation(20)
    for part, expected in zip(hold_out(group_indices(None, 20), [3, 5], 4), np.split(order, [3, 8]), strict=True):
        assert np.array_equal(part, expected)
    with pytest.raises(ValueError, match="Expected 3 or more"):
        hold_out(group_indices(["a", "b"] * 10, 20), [1, 1], 0)


def test_patients_are_extracted_from_dicom_files_and_paths(tmp_path):
    for i in range(4):
        write_dicom(tmp_path / "scan" / f"{i}.dcm", np.zeros((8, 8), "uint8"), PatientID=f"p{i // 2}")
    files = sorted((tmp_path / "scan").iterdir())
    assert encode_groups(patients_of_files(files), 4).tolist() == [0, 0, 1, 1]
    assert patients_of_files([tmp_path / "scan"]).tolist() == ["p0"]  # a series
    assert groups_from_paths(r"^(\d)", tmp_path / "scan", files).tolist() == ["0", "1", "2", "3"]
    assert groups_from_paths("^scan", tmp_path, files).tolist() == ["scan"] * 4
    with pytest.raises(ImageError, match="matches nothing in 4 of 4 paths"):
        groups_from_paths("person", tmp_path / "scan", files)
    with pytest.raises(ImageError, match="not a regular expression"):
        groups_from_paths("(", tmp_path / "scan", files)


# --- intervals --------------------------------------------------------------------------------------------------------


def test_intervals_without_groups_equal_the_ordinary_bootstrap():
    values = np.random.default_rng(1).normal(size=50)
    rng = np.random.default_rng(0)
    means = [values[rng.integers(0, 50, 50)].mean() for _ in range(2000)]
    expected = {"mean": round(values.mean(), 4), "interval": [round(v, 4) for v in np.percentile(means, (2.5, 97.5))]}
    assert bootstrap_mean_ci(values) == expected == bootstrap_mean_ci(values, groups=[None] * 50)
    assert bootstrap_mean_ci(values, groups=range(50)) == {**expected, "patients": 50}


def test_duplicated_images_of_patients_do_not_narrow_the_interval():
    values, groups = np.random.default_rng(1).normal(size=30), np.repeat(np.arange(30), 5)
    alone, copied = bootstrap_mean_ci(values), np.repeat(values, 5)
    assert bootstrap_mean_ci(copied, groups=groups) == {**alone, "patients": 30}
    mixed = np.random.default_rng(2).permutation(150)  # independent of the order of the images
    assert bootstrap_mean_ci(copied[mixed], groups=groups[mixed])["interval"] == pytest.approx(
        alone["interval"], abs=0.03
    )
    low, high = bootstrap_mean_ci(copied)["interval"]
    assert (alone["interval"][1] - alone["interval"][0]) / (high - low) == pytest.approx(5**0.5, rel=0.1)


def test_interval_equals_the_standard_error_over_patients():
    rng = np.random.default_rng(0)
    means = rng.normal(size=400)
    values = (means[:, None] + 0.5 * rng.normal(size=(400, 3))).ravel()
    low, high = bootstrap_mean_ci(values, groups=np.repeat(np.arange(400), 3))["interval"]
    assert high - low == pytest.approx(2 * 1.96 * values.reshape(400, 3).mean(axis=1).std() / 20, rel=0.06)


def test_classification_and_subgroup_intervals_are_over_patients():
    rng = np.random.default_rng(0)
    labels, scores = np.arange(40) % 2, rng.uniform(size=40)
    probabilities = np.stack([1 - scores, scores], axis=1)
    alone, groups = classification_metrics(probabilities, labels, resamples=200), np.repeat(np.arange(40), 3)
    copies = np.repeat(probabilities, 3, axis=0), np.repeat(labels, 3)
    copied = classification_metrics(*copies, resamples=200, groups=groups)
    for key in ("auc", "accuracy", "balanced_accuracy"):
        assert copied[key] == {**alone[key], "patients": 40}
    findings = classification_metrics(
        *(np.stack([x, x], axis=1) for x in (copies[0][:, 1], copies[1])), resamples=200, groups=groups
    )
    assert findings["auc"]["interval"] == alone["auc"]["interval"]
    assert findings["auc_of"]["1"]["patients"] == 40
    found = by_subgroup(*copies, {"sex": np.where(np.arange(120) < 60, "F", "M")}, groups=groups)
    assert found["sex"]["F"]["images"] == 60
    assert found["sex"]["F"]["auc"]["patients"] == 20


def test_one_patient_has_no_interval_and_texts_name_the_bootstrap_unit():
    one = bootstrap_ci(lambda chosen: 0.5, 9, groups=["a"] * 9)
    assert one == {"mean": 0.5, "interval": None, "patients": 1}
    assert format_ci(one) == "0.50 (no interval: one patient)"
    assert describe_ci(one, 9) == "95% CI, bootstrap over 1 patient"
    assert (
        describe_ci(bootstrap_mean_ci(np.arange(9.0), groups=list("aabbccddd")), 9)
        == "95% CI, bootstrap over 4 patients"
    )
    assert describe_ci(bootstrap_mean_ci(np.arange(9.0)), 9) == "95% CI, bootstrap over 9 images"


def test_evaluation_intervals_are_over_patients(images):
    from medzoo.evaluation.markdown import _interval
    from medzoo.evaluation.reconstruction import pca_baseline, similarity
    from medzoo.evaluation.robustness import evaluate_robustness

    model = ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL)
    groups = np.arange(32) // 4
    made = similarity(images, model.reconstruct(images), groups)
    assert made["psnr"]["patients"] == 8
    assert pca_baseline(model, images, images, groups)["psnr"]["patients"] == 8
    assert evaluate_robustness(model, images, max_images=8, groups=groups)["gamma 0.7"]["psnr"]["patients"] == 8
    facts = {"images": 32, "bootstrap_unit": "patient"}
    assert _interval(facts, made["psnr"]) == "95% CI, bootstrap over 8 patients"


# --- segmentation -----------------------------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path):
    """Folders of PNG images of 10 patients, 4 each, named by patient and image, and of their masks."""
    images = images_by_patient()
    write_pngs(tmp_path / "images", images)
    write_pngs(tmp_path / "masks", (images > 0.5) * 1.0)
    return tmp_path / "images", tmp_path / "masks"


def test_pairs_of_one_dicom_patient_are_in_one_split(tmp_path):
    from medzoo.tasks.segment.data import open_pairs, split_pairs

    for i, patient in enumerate(PATIENTS):
        write_dicom(tmp_path / "images" / f"{i}.dcm", np.full((16, 16), 20 * (i // 4) + 20, "uint8"), PatientID=patient)
    write_pngs(tmp_path / "masks", images_by_patient() > 0.5, range(40))
    parts, _ = split_pairs(tmp_path / "images", tmp_path / "masks", 16, seed=0)
    assert disjoint(*(set(np.round(images[:, 0, 0, 0], 3).tolist()) for images, _ in parts.values()))
    opened = open_pairs(tmp_path / "images", tmp_path / "masks", 16, seed=0)
    assert opened.split == "by patient"
    assert len(set(opened.patients("test"))) == 2


def test_pairs_are_split_by_regular_expression_or_groups(pairs):
    from medzoo.tasks.segment.data import open_pairs, split_pairs

    for how in ({"group": r"^\d+"}, {"groups": PATIENTS}):
        parts, _ = split_pairs(*pairs, 16, 0, **how)
        assert disjoint(*(patient_numbers(images) for images, _ in parts.values()))
    unknown = open_pairs(*pairs, 16, 0)
    order = np.random.default_rng(0).permutation(40)
    for split, own in (("test", order[:6]), ("val", order[6:12]), ("train", order[12:])):
        assert np.array_equal(unknown.indices[split], own)
    assert unknown.groups is None
    assert "patients are unknown" in unknown.split
    with pytest.raises(ImageError, match=r"Expected 3 or more, .* got 2"):
        open_pairs(*pairs, 16, 0, groups=np.arange(40) % 2)
    with pytest.raises(ValueError, match="3 values for 40 images"):
        open_pairs(*pairs, 16, 0, groups=["a", "b", "c"])


def test_test_split_of_an_npz_file_is_kept(tmp_path):
    from medzoo.tasks.segment.data import open_pairs

    images = np.round(255 * images_by_patient()[..., 0]).astype("uint8")
    arrays = {f"{s}_{kind}": x for s, own in (("train", slice(0, 28)), ("test", slice(28, 40)))
              for kind, x in (("images", images[own]), ("masks", (images[own] > 128).astype("uint8")))}  # fmt: skip
    np.savez(tmp_path / "pairs.npz", **arrays)
    opened = open_pairs(tmp_path / "pairs.npz", None, None, 0, groups=PATIENTS)
    assert patient_numbers(opened.part("test")[0]) == {7, 8, 9}
    assert disjoint(*(patient_numbers(opened.part(split)[0]) for split in ("train", "val", "test")))
    assert sum(len(own) for own in opened.indices.values()) == 40
    with pytest.raises(ValueError, match="Pass groups instead"):
        open_pairs(tmp_path / "pairs.npz", None, None, 0, group="p")


def test_segment_command_splits_and_reports_by_patient(pairs, preset, tmp_path, monkeypatch):
    from medzoo.tasks.segment import pipeline as run

    captured = {}

    def spy(model, moved, *, validation_data, **options):
        captured.update(train=patient_numbers(moved.images), val=patient_numbers(validation_data[0]))

    monkeypatch.setattr(run, "fit_best", spy)
    arguments = ["segment", preset, *pairs, "-o", tmp_path / "out", "--size", 16, "--group", r"^\d+"]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    assert "95% CI, bootstrap over 2 patients" in result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["bootstrap_unit"] == "patient"
    assert report["split"] == "by patient"
    assert report["dice"]["1"]["patients"] == 2
    assert disjoint(captured["train"], captured["val"])
    assert len(captured["train"] | captured["val"]) == 8


# --- anomalies --------------------------------------------------------------------------------------------------------


@pytest.fixture
def detector(monkeypatch):
    """A detector whose score is the mean of an image, and a dict of its training and calibration images."""
    from medzoo.tasks.anomaly import AnomalyDetector
    from medzoo.tasks.anomaly import detector as module

    captured = {}

    class Spy:
        def fit(self, model, normals):
            captured["trained"] = normals
            return self

        def score(self, model, images):
            captured.setdefault("calibrated", images)
            return images.mean(axis=(1, 2, 3)), None

    monkeypatch.setitem(module.SCORES, "l1", Spy)
    model = ConvAutoencoder((16, 16, 1), latent_dim=4, **SMALL)
    model.preprocess = lambda x: x
    model.preprocess.window = None
    return AnomalyDetector(model, ("l1",), "l1", standardize=False, n_augmented=0, false_positive_rate=0.4), captured


def test_detector_calibrates_on_other_patients_than_it_was_trained_on(detector, tmp_path):
    detector, captured = detector
    detector.fit(images_by_patient(), groups=PATIENTS)
    assert disjoint(patient_numbers(captured["trained"]), patient_numbers(captured["calibrated"]))
    assert len(captured["calibrated"]) >= 10
    assert detector.threshold_ == detector.threshold_at(0.4)
    with pytest.raises(ValueError, match="too few normal images"):
        detector.fit(images_by_patient(), groups=["a"] * 40)
    for i, patient in enumerate(PATIENTS):
        write_dicom(tmp_path / f"{i:02d}.dcm", np.full((16, 16), 5 * (i // 4), "uint8"), PatientID=patient)
    captured.clear()
    detector.fit(sorted(tmp_path.iterdir()))  # groups from the PatientID
    assert disjoint(patient_numbers(captured["trained"]), patient_numbers(captured["calibrated"]))


def test_detector_without_groups_is_calibrated_on_a_random_quarter(detector):
    detector, captured = detector
    images, order = images_by_patient(), np.random.default_rng(0).permutation(40)
    detector.fit(images)
    assert np.array_equal(captured["calibrated"], images[order[:10]])
    assert np.array_equal(captured["trained"], images[order[10:]])


def test_conformal_threshold_is_valid_for_images_of_new_patients():
    from medzoo.tasks.anomaly import conformal_threshold

    rng = np.random.default_rng(0)
    scores = rng.normal(size=30)
    groups = np.repeat(np.arange(30), 4)
    for rate in (0.05, 0.1, 0.3):
        assert conformal_threshold(np.repeat(scores, 4), rate, groups) == conformal_threshold(scores, rate)
    with pytest.warns(UserWarning, match="4 held-out patients allow .* 20.0% at best"):
        conformal_threshold(np.arange(16.0), 0.05, np.arange(16) // 4)

    def false_positive_rate(count, rate, known):
        """Fraction of images of new patients above the threshold for the given rate."""
        found = []
        for _ in range(1500):
            own = np.repeat(np.arange(count), rng.integers(3, 6, count))
            patients = rng.normal(size=count + 1)
            scores = patients[own] + 0.1 * rng.normal(size=len(own))
            further = patients[count] + 0.1 * rng.normal()
            found.append(further > conformal_threshold(scores, rate, own if known else None))
        return np.mean(found)

    assert false_positive_rate(19, 0.1, True) < 0.12
    assert false_positive_rate(7, 0.05, False) > 0.09  # 7 patients allow at best 1 / 8, for any number of images


# --- other tasks ------------------------------------------------------------------------------------------------------


def test_adapt_holds_out_patients_of_both_sites_jointly(tmp_path, preset, monkeypatch):
    from medzoo.tasks import adapt as module

    images, captured = images_by_patient(side=16), {}
    monkeypatch.setattr(
        module, "adapt", lambda model, source, target, **_: captured.update(source=source, target=target) or model
    )
    monkeypatch.setattr(module, "bootstrap_mean_ci", lambda values, groups: set(groups))
    target = write_pngs(tmp_path / "target", images[:28])  # patients 0 to 6
    source = write_pngs(
        tmp_path / "source", images[16:], [f"{4 + i // 4}-{i % 4}" for i in range(24)]
    )  # patients 4 to 9
    groups = [[f.name.split("-")[0] for f in files] for files in (source, target)]
    found = module.adapt_folders(preset, source, target, tmp_path / "out", size=16, groups=groups)
    held_out = set().union(*({int(p) for p in after} for _, after, _ in found.values()))
    assert disjoint(held_out, patient_numbers(captured["source"]) | patient_numbers(captured["target"]))
    assert len(held_out) + len(patient_numbers(captured["source"]) | patient_numbers(captured["target"])) == 10
    with pytest.raises(ValueError, match="28 images of 1 patients"):
        module.adapt_folders(preset, source, target, tmp_path / "no", size=16, groups=[groups[0], ["a"] * 28])


def test_adapt_without_groups_holds_out_a_fifth_of_the_images():
    from medzoo.tasks.adapt import _hold_out_fifth

    for count, (kept, rest) in zip((30, 17), _hold_out_fifth((30, 17), (None, None), 3), strict=True):
        order = np.random.default_rng(3).permutation(count)
        assert np.array_equal(np.concatenate([kept, rest]), order)
        assert len(kept) == count // 5


def test_adapt_command_names_the_bootstrap_unit(tmp_path, preset, monkeypatch):
    from medzoo.tasks import adapt as module

    monkeypatch.setattr(module, "adapt", lambda model, source, target, **_: model)
    for folder in ("source", "target"):
        write_pngs(tmp_path / folder, images_by_patient(), [f"{folder}{i // 4}-{i}" for i in range(40)])
    arguments = ["adapt", preset, tmp_path / "source", tmp_path / "target", "--size", 16, "-o", tmp_path / "out"]
    result = CliRunner().invoke(main, [str(a) for a in [*arguments, "--group", r"^[a-z]+\d+"]])
    assert result.exit_code == 0, result.output
    assert result.output.count("on 8 held-out images (95% CI, bootstrap over 2 patients)") == 2


def test_copy_detection_is_calibrated_on_held_out_patients(monkeypatch):
    sampling, captured = importlib.import_module("medzoo.tasks.generate.sampling"), {}

    class Mixture:
        def __init__(self, model):
            self.model_ = self

        def fit(self, images):
            captured["known"] = images
            return self

        def reconstruct(self, images):
            return images

    monkeypatch.setattr(sampling, "GaussianMixtureSampler", Mixture)
    monkeypatch.setattr(sampling, "sample_without_copies", lambda sample, n, known, held_out, seed: held_out)
    images = images_by_patient()
    assert disjoint(
        patient_numbers(sampling.sample_like(None, images, 4, groups=PATIENTS)), patient_numbers(captured["known"])
    )
    order = np.random.default_rng(0).permutation(40)
    assert np.array_equal(sampling.sample_like(None, images, 4), images[order[:10]])
    assert np.array_equal(captured["known"], images[order[10:]])


def test_differences_between_patients_are_not_drift():
    from medzoo.tasks.drift import detect_drift

    rng = np.random.default_rng(0)
    patients = rng.normal(size=(40, 30))
    table = np.repeat(patients, 10, axis=0) + 0.05 * rng.normal(size=(400, 30))
    groups = np.arange(400) // 10
    old, new = table[:200], table[200:]
    by_image, by_patient = detect_drift(old, new), detect_drift(old, new, groups=(groups[:200], groups[200:]))
    assert by_image["auc"] > 0.9
    assert by_image["p_value"] < 0.01
    assert by_patient["auc"] < 0.7
    assert by_patient["p_value"] > 0.05
    assert detect_drift(old, new + 3, groups=(groups[:200], groups[200:]))["p_value"] < 0.01
    with pytest.raises(ValueError, match="got 20 and 2"):
        detect_drift(old, new, groups=(groups[:200], np.arange(200) % 2))


def test_fine_tuning_holds_out_patients_without_validation_data(monkeypatch):
    from medzoo.tasks.classify import classifier as module

    captured = {}
    monkeypatch.setattr(module, "fit_best", lambda model, x, **options: captured.update(train=x, val=options))
    classifier = module.Classifier.from_pretrained(ConvAutoencoder((16, 16, 1), latent_dim=4, **SMALL), 2)
    images, labels = images_by_patient(80), np.arange(80) // 4 % 2
    groups = np.where(np.arange(80) < 8, None, np.arange(80) // 4)
    module.fine_tune(classifier, images, labels, groups=groups, epochs=(1, 0))
    trained = patient_numbers(np.concatenate([np.asarray(part) for part in captured["train"].parts]))
    chosen = patient_numbers(
        np.concatenate([batch[0] for batch in (captured["val"]["validation_data"][i] for i in range(1))])
    )
    assert disjoint(trained - {0, 1}, chosen - {0, 1})
    with pytest.raises(ValueError, match="both groups and validation_data"):
        module.fine_tune(classifier, images, labels, (images, labels), groups=groups)


def test_classifier_report_is_over_the_patients_of_the_test_split(tmp_path):
    from medzoo.tasks.classify import train_classifier

    images = images_by_patient(120, 16)
    write_pngs(tmp_path / "images", images, [f"{i:03d}" for i in range(120)])
    rows = [f"images/{i:03d}.png,{('ill', 'normal')[i // 4 % 2]},p{i // 4}" for i in range(120)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,patient", *rows]) + "\n")
    model = ConvAutoencoder((16, 16, 1), latent_dim=4, **SMALL)
    _, report = train_classifier(model, tmp_path / "labels.csv", tmp_path / "out", epochs=(0, 0), verbose=0)
    dataset = open_dataset(tmp_path / "labels.csv", 16)
    assert report["bootstrap_unit"] == "patient"
    assert report["auc"]["patients"] == len(set(dataset.patients("test"))) < report["images"]["test"]


def test_patients_shared_between_datasets_are_logged(tmp_path, caplog):
    for name in ("a", "b"):
        write_pngs(tmp_path / name, images_by_patient(), None)
    sets = [open_dataset(tmp_path / name, 16, group=r"^\d+", seed=seed) for seed, name in enumerate("ab")]
    with caplog.at_level(logging.WARNING, "medzoo"):
        warn_shared_patients(sets[:1])
        assert not caplog.records
        warn_shared_patients(sets)
    assert "a, b: " in caplog.text
    assert "patients with the same identifier" in caplog.text
