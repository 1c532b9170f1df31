"""Labeled datasets from folders, DICOM trees, CSV files and NPZ files: splits, patients, caching."""

import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import write_npz
from PIL import Image

import medzoo
from medzoo.data.datasets import open_dataset
from medzoo.data.phantom import chest_phantom
from medzoo.data.splits import stratified_group_split
from medzoo.errors import ImageError


def write_phantom(path, seed, size=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(255 * chest_phantom(size, seed)[..., 0]).astype("uint8")).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes, 21 patients with two images each, no splits."""
    root = tmp_path_factory.mktemp("images")
    for i in range(42):
        write_phantom(root / ("ill" if i % 4 < 2 else "healthy") / f"person{i // 2}_{i % 2}.png", i)
    return root


def write_table(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_folder_of_classes_is_split_by_patient(folder):
    dataset = open_dataset(folder, 32, group=r"person(\d+)")
    assert dataset.class_names == ["healthy", "ill"]
    assert dataset.split_by == "patient"
    known = {s: set(dataset.patients(s)) for s in ("train", "val", "test")}
    assert sum(map(len, known.values())) == 21
    assert known["train"].isdisjoint(known["val"] | known["test"])
    assert known["val"].isdisjoint(known["test"])
    x, y = dataset.images("test"), dataset.labels("test")
    assert x.shape == (len(y), 32, 32, 1)
    assert x.dtype == "uint8"
    for image, label, path in zip(x, y, dataset.paths("test"), strict=True):
        assert path.startswith(dataset.class_names[label])
        assert np.array_equal(image, np.round(255 * medzoo.read_image(folder / path, 32)).astype("uint8"))
    again = open_dataset(folder, 32, group=r"person(\d+)")
    assert again.paths("test") == dataset.paths("test")
    other = open_dataset(folder, 32, group=r"person(\d+)", seed=1)
    assert other.paths("test") != dataset.paths("test")


def test_splits_without_patients_are_described_as_by_image(folder):
    dataset = open_dataset(folder, 32)
    assert "by image" in dataset.describe_splits()
    assert sum(dataset.summary()["images"].values()) == 42
    assert dataset.summary()["classes"] == {"healthy": 20, "ill": 22}


def test_missing_validation_split_is_taken_from_the_training_split(tmp_path):
    for i in range(24):
        write_phantom(tmp_path / ("train" if i < 20 else "test") / ("a" if i % 2 else "b") / f"{i}.png", i)
    dataset = open_dataset(tmp_path, 16)
    assert dataset.split_by == "given"
    assert len(dataset.images("test")) == 4
    assert len(dataset.images("train")) + len(dataset.images("val")) == 20
    assert 1 < len(dataset.images("val")) < 6
    write_phantom(tmp_path / "extra" / "a" / "1.png", 1)
    with pytest.raises(ImageError, match=r"extra next to train/"):
        open_dataset(tmp_path, 16)


def test_csv_file_with_several_labels_per_image_is_multi_label(folder, tmp_path):
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))
    findings = ["No Finding", "Effusion", "Effusion|Mass", "Mass"]
    rows = [[folder / name, findings[i % 4], f"p{i // 3}"] for i, name in enumerate(names)]
    table = write_table(tmp_path / "t.csv", [["Image Index", "Finding Labels", "Patient ID"], *rows])
    dataset = open_dataset(table, 24)
    assert dataset.multi_label
    assert dataset.class_names == ["Effusion", "Mass"]
    assert dataset.split_by == "patient"
    assert dataset.targets[:4].tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert dataset.summary()["classes"] == {"Effusion": 21, "Mass": 20}


def test_csv_columns_can_be_named_and_files_are_found_by_name(folder, tmp_path):
    names = sorted(p.name for p in folder.rglob("*.png"))[:12]
    rows = [[name, "x;y"[2 * (i % 2)], ("Train", "valid", "test")[i // 4]] for i, name in enumerate(names)]
    for name in names:
        write_phantom(tmp_path / "deep" / "inside" / name, 0)
    table = write_table(tmp_path / "t.csv", [["which", "what", "part"], *rows])
    with pytest.raises(ImageError, match="no column of image paths found among which, what, part"):
        open_dataset(table, 16)
    dataset = open_dataset(table, 16, columns={"path": "which", "label": "what", "split": "part"})
    assert dataset.class_names == ["x", "y"]
    assert dataset.summary()["images"] == {"train": 4, "val": 4, "test": 4}
    with pytest.raises(ImageError, match="no column 'who'; found which, what, part"):
        open_dataset(table, 16, columns={"path": "which"}, group="who")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["path", "label"], ["nowhere.png", "a"]], r"1 of 1 images were not found: nowhere.png \(not found\)"),
        ([["path", "label"], ["a.png", "a"], ["a.png", ""]], "1 rows without a label, first in line 3"),
        ([["path", "label"], ["a.png"]], "line 2 does not have 2 columns"),
        ([["path", "label", "split"], ["a.png", "a", "hold-out"]], "split 'hold-out'; expected train, val or test"),
        ([["path", "label"]], "no rows"),
        ([["path", "label"], ["a.png", "a"]], "1 images or patients; expected 7 or more"),
    ],
)
def test_csv_errors_name_the_cause(rows, message, tmp_path):
    write_phantom(tmp_path / "a.png", 0)
    with pytest.raises((ImageError, FileNotFoundError), match=message):
        open_dataset(write_table(tmp_path / "t.csv", rows), 16)


def test_unreadable_files_are_all_listed_or_skipped(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "images")
    for i in (4, 7):
        next((tmp_path / "images").rglob(f"person{i}_0.png")).write_text("no image")
    dataset = open_dataset(tmp_path / "images", 16)
    with pytest.raises(ImageError, match=r"(?s)of .* images cannot be read.*person[47]_0.png"):
        [dataset.images(s) for s in ("train", "val", "test")]
    dataset = open_dataset(tmp_path / "images", 16, on_error="skip")
    assert sum(len(dataset.images(s)) for s in ("train", "val", "test")) == 40
    assert sum(len(dataset.labels(s)) for s in ("train", "val", "test")) == 40
    assert {p.split("/")[1] for p in dataset.skipped} == {"person4_0.png", "person7_0.png"}


def test_decoded_images_are_cached_on_disk(folder, tmp_path, monkeypatch):
    from medzoo.data import decoding

    reads, read = [], decoding.read_image
    monkeypatch.setattr(decoding, "read_image", lambda *a: reads.append(a) or read(*a))
    first = open_dataset(folder, 16, cache=tmp_path / "cache").images("test")
    assert isinstance(first, np.memmap)
    count = len(reads)
    assert count == len(first)
    assert np.array_equal(open_dataset(folder, 16, cache=tmp_path / "cache").images("test"), first)
    assert len(reads) == count
    open_dataset(folder, 24, cache=tmp_path / "cache").images("test")
    assert len(reads) == 2 * count


def test_datasets_larger_than_memory_are_memory_mapped(folder, monkeypatch):
    from medzoo.data import decoding

    expected = open_dataset(folder, 16).images("train")
    monkeypatch.setattr(decoding, "MAX_MEMORY", 1000)
    dataset = open_dataset(folder, 16)
    streamed = dataset.images("train")
    assert isinstance(streamed, np.memmap)
    assert np.array_equal(streamed, expected)
    batches = list(dataset.dataset("train", 8, shuffle=False, labels=True))
    assert np.concatenate([np.asarray(x) for x, _ in batches]) == pytest.approx(expected / 255.0)
    assert np.array_equal(np.concatenate([np.asarray(y) for _, y in batches]), dataset.labels("train"))


def test_npz_file_is_a_dataset(tmp_path):
    path = write_npz(tmp_path / "images.npz", size=16, counts=(10, 4, 6))
    dataset = open_dataset(path)
    assert dataset.class_names == ["dark", "chest_xray"]
    assert dataset.summary()["images"] == {"train": 10, "val": 4, "test": 6}
    assert np.array_equal(dataset.images("test"), medzoo.datasets.load_npz(path, "test"))
    assert np.array_equal(dataset.labels("val"), medzoo.datasets.load_npz_labels(path, "val"))
    dark = dataset.select_classes(["dark"])
    assert np.array_equal(dark.images("test"), medzoo.datasets.load_npz(path, "test", ["dark"]))
    with pytest.raises(ImageError, match="no class 'bright'; found dark, chest_xray"):
        dataset.select_classes(["bright"])


def test_dicom_trees_are_split_by_patient(tmp_path):
    import pydicom
    from pydicom.data import get_testdata_file

    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    for i in range(24):
        dataset.PatientID, dataset.InstanceNumber = f"P{i // 2}", str(i)
        dataset.SOPInstanceUID = f"1.2.3.{i + 1}"
        path = tmp_path / "tree" / ("a", "b")[i % 4 // 2] / f"scan{i}"  # DICOM by content: no suffix
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path)
    scans = open_dataset(tmp_path / "tree", 32)
    assert scans.split_by == "patient"
    assert scans.class_names == ["a", "b"]
    assert set(scans.patients("train")).isdisjoint(scans.patients("test"))
    by_patient = tmp_path / "by-patient"
    for i in range(14):
        dataset.PatientID = f"P{i // 2}"
        (by_patient / f"patient{i // 2}").mkdir(parents=True, exist_ok=True)
        dataset.save_as(by_patient / f"patient{i // 2}" / f"{i}.dcm")
    scans = open_dataset(by_patient, 32)
    assert scans.class_names is None  # one folder per patient, not per class
    with pytest.raises(ImageError, match="no labels; expected one subfolder per class"):
        scans.labels("train")


def test_every_frame_of_a_dicom_file_is_an_image(tmp_path):
    from pydicom.data import get_testdata_file

    name = get_testdata_file("examples_rgb_color.dcm")
    multi = get_testdata_file("SC_rgb_rle_2frame.dcm")
    with pytest.raises(ImageError, match="select one with frame"):
        medzoo.read_image(multi)
    one, two = (medzoo.read_image(f"{multi}#{i}") for i in (0, 1))
    assert np.array_equal(one, medzoo.read_image(multi, frame=0))
    assert one.shape == two.shape
    (tmp_path / "x").mkdir()
    for source, target in ((name, "one.dcm"), (multi, "two.dcm")):
        (tmp_path / "x" / target).write_bytes(Path(source).read_bytes())
    from medzoo.io.listing import list_sources

    assert [(p, f) for p, f in list_sources(tmp_path / "x")] == [("one.dcm", None), ("two.dcm", 0), ("two.dcm", 1)]


def test_splits_are_stratified_by_class_and_disjoint_in_groups():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 200, 1000)
    labels = (groups % 5 == 0).astype(int)
    splits = stratified_group_split(labels, groups, seed=3)
    fractions = {name: labels[splits == name].mean() for name in ("train", "val", "test")}
    assert max(fractions.values()) - min(fractions.values()) < 0.05
    assert {(splits == name).sum() / 1000 > 0.1 for name in fractions} == {True}
    assert sum(len(set(groups[splits == name])) for name in fractions) == len(set(groups))
