import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import write_archive
from PIL import Image

import medzoo
from medzoo.data.datasets import open_dataset
from medzoo.data.phantom import chest_phantom
from medzoo.data.splits import stratified_group_split
from medzoo.errors import ImageError


def draw(path, seed, size=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(255 * chest_phantom(size, seed)[..., 0]).astype("uint8")).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes, 21 patients of two films each, no splits."""
    root = tmp_path_factory.mktemp("films")
    for i in range(42):
        draw(root / ("ill" if i % 4 < 2 else "healthy") / f"person{i // 2}_{i % 2}.png", i)
    return root


def write_table(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_folder_of_classes_is_split_and_no_patient_is_parted(folder):
    films = open_dataset(folder, 32, group=r"person(\d+)")
    assert films.class_names == ["healthy", "ill"]
    assert films.split_by == "patient"
    known = {s: set(films.patients(s)) for s in ("train", "val", "test")}
    assert sum(map(len, known.values())) == 21
    assert known["train"].isdisjoint(known["val"] | known["test"])
    assert known["val"].isdisjoint(known["test"])
    x, y = films.images("test"), films.labels("test")
    assert x.shape == (len(y), 32, 32, 1)
    assert x.dtype == "uint8"
    for image, label, path in zip(x, y, films.paths("test"), strict=True):
        assert path.startswith(films.class_names[label])
        assert np.array_equal(image, np.round(255 * medzoo.read_image(folder / path, 32)).astype("uint8"))
    again = open_dataset(folder, 32, group=r"person(\d+)")
    assert again.paths("test") == films.paths("test")
    other = open_dataset(folder, 32, group=r"person(\d+)", seed=1)
    assert other.paths("test") != films.paths("test")


def test_where_no_patients_are_known_the_report_says_so(folder):
    films = open_dataset(folder, 32)
    assert "by image" in films.describe_splits()
    assert sum(films.summary()["images"].values()) == 42
    assert films.summary()["classes"] == {"healthy": 20, "ill": 22}


def test_given_splits_are_kept_and_a_missing_validation_split_is_cut_from_training(tmp_path):
    for i in range(24):
        draw(tmp_path / ("train" if i < 20 else "test") / ("a" if i % 2 else "b") / f"{i}.png", i)
    films = open_dataset(tmp_path, 16)
    assert films.split_by == "given"
    assert len(films.images("test")) == 4
    assert len(films.images("train")) + len(films.images("val")) == 20
    assert 1 < len(films.images("val")) < 6
    draw(tmp_path / "extra" / "a" / "1.png", 1)
    with pytest.raises(ImageError, match=r"extra beside train/"):
        open_dataset(tmp_path, 16)


def test_a_table_with_several_findings_gives_a_column_each(folder, tmp_path):
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))
    findings = ["No Finding", "Effusion", "Effusion|Mass", "Mass"]
    rows = [[folder / name, findings[i % 4], f"p{i // 3}"] for i, name in enumerate(names)]
    table = write_table(tmp_path / "t.csv", [["Image Index", "Finding Labels", "Patient ID"], *rows])
    films = open_dataset(table, 24)
    assert films.multi_label
    assert films.class_names == ["Effusion", "Mass"]
    assert films.split_by == "patient"
    assert films.targets[:4].tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert films.summary()["classes"] == {"Effusion": 21, "Mass": 20}


def test_a_table_names_its_own_columns_splits_and_files_found_by_name(folder, tmp_path):
    names = sorted(p.name for p in folder.rglob("*.png"))[:12]
    rows = [[name, "x;y"[2 * (i % 2)], ("Train", "valid", "test")[i // 4]] for i, name in enumerate(names)]
    for name in names:
        draw(tmp_path / "deep" / "inside" / name, 0)
    table = write_table(tmp_path / "t.csv", [["which", "what", "part"], *rows])
    with pytest.raises(ImageError, match="no column of paths among which, what, part"):
        open_dataset(table, 16)
    films = open_dataset(table, 16, columns={"path": "which", "label": "what", "split": "part"})
    assert films.class_names == ["x", "y"]
    assert films.summary()["images"] == {"train": 4, "val": 4, "test": 4}
    with pytest.raises(ImageError, match="no column 'who'; found which, what, part"):
        open_dataset(table, 16, columns={"path": "which"}, group="who")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["path", "label"], ["nowhere.png", "a"]], r"1 of 1 images are not where it says: nowhere.png \(not found\)"),
        ([["path", "label"], ["a.png", "a"], ["a.png", ""]], "1 rows without a label, first in line 3"),
        ([["path", "label"], ["a.png"]], "line 2 has not 2 columns"),
        ([["path", "label", "split"], ["a.png", "a", "hold-out"]], "split 'hold-out'; expected train, val or test"),
        ([["path", "label"]], "no rows"),
        ([["path", "label"], ["a.png", "a"]], "1 images or patients; expected 7 or more"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(rows, message, tmp_path):
    draw(tmp_path / "a.png", 0)
    with pytest.raises((ImageError, FileNotFoundError), match=message):
        open_dataset(write_table(tmp_path / "t.csv", rows), 16)


def test_broken_files_are_all_named_or_left_out_and_listed(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "films")
    for i in (4, 7):
        next((tmp_path / "films").rglob(f"person{i}_0.png")).write_text("no picture")
    films = open_dataset(tmp_path / "films", 16)
    with pytest.raises(ImageError, match=r"(?s)of .* images cannot be used.*person[47]_0.png"):
        [films.images(s) for s in ("train", "val", "test")]
    films = open_dataset(tmp_path / "films", 16, on_error="skip")
    assert sum(len(films.images(s)) for s in ("train", "val", "test")) == 40
    assert sum(len(films.labels(s)) for s in ("train", "val", "test")) == 40
    assert {p.split("/")[1] for p in films.skipped} == {"person4_0.png", "person7_0.png"}


def test_decoded_images_are_kept_on_disk_and_read_anew_when_a_file_changes(folder, tmp_path, monkeypatch):
    from medzoo.data import decoding as decoded

    reads, read = [], decoded.read_image
    monkeypatch.setattr(decoded, "read_image", lambda *a: reads.append(a) or read(*a))
    first = open_dataset(folder, 16, cache=tmp_path / "kept").images("test")
    assert isinstance(first, np.memmap)
    count = len(reads)
    assert count == len(first)
    assert np.array_equal(open_dataset(folder, 16, cache=tmp_path / "kept").images("test"), first)
    assert len(reads) == count
    open_dataset(folder, 24, cache=tmp_path / "kept").images("test")
    assert len(reads) == 2 * count


def test_more_than_fits_in_memory_streams_from_a_file(folder, monkeypatch):
    from medzoo.data import decoding as decoded

    expected = open_dataset(folder, 16).images("train")
    monkeypatch.setattr(decoded, "MEMORY", 1000)
    films = open_dataset(folder, 16)
    streamed = films.images("train")
    assert isinstance(streamed, np.memmap)
    assert np.array_equal(streamed, expected)
    batches = list(films.dataset("train", 8, shuffle=False, labels=True))
    assert np.concatenate([np.asarray(x) for x, _ in batches]) == pytest.approx(expected / 255.0)
    assert np.array_equal(np.concatenate([np.asarray(y) for _, y in batches]), films.labels("train"))


def test_an_archive_is_a_collection_too(tmp_path):
    path = write_archive(tmp_path / "films.npz", size=16, counts=(10, 4, 6))
    films = open_dataset(path)
    assert films.class_names == ["dark", "chest_xray"]
    assert films.summary()["images"] == {"train": 10, "val": 4, "test": 6}
    assert np.array_equal(films.images("test"), medzoo.datasets.load_npz(path, "test"))
    assert np.array_equal(films.labels("val"), medzoo.datasets.load_npz_labels(path, "val"))
    dark = films.select_classes(["dark"])
    assert np.array_equal(dark.images("test"), medzoo.datasets.load_npz(path, "test", ["dark"]))
    with pytest.raises(ImageError, match="no class 'bright'; found dark, chest_xray"):
        films.select_classes(["bright"])


def test_dicom_trees_know_their_patients(tmp_path):
    import pydicom
    from pydicom.data import get_testdata_file

    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    for i in range(24):
        dataset.PatientID, dataset.InstanceNumber = f"P{i // 2}", str(i)
        dataset.SOPInstanceUID = f"1.2.3.{i + 1}"
        path = tmp_path / "tree" / ("a", "b")[i % 4 // 2] / f"scan{i}"  # DICOM by content: no ending
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
    assert scans.class_names is None  # a folder a patient, not a folder a class
    with pytest.raises(ImageError, match="no labels; expected a subfolder a class"):
        scans.labels("train")


def test_every_frame_of_a_file_is_an_image(tmp_path):
    from pydicom.data import get_testdata_file

    name = get_testdata_file("examples_rgb_color.dcm")
    multi = get_testdata_file("SC_rgb_rle_2frame.dcm")
    with pytest.raises(ImageError, match="say which with frame"):
        medzoo.read_image(multi)
    one, two = (medzoo.read_image(f"{multi}#{i}") for i in (0, 1))
    assert np.array_equal(one, medzoo.read_image(multi, frame=0))
    assert one.shape == two.shape
    (tmp_path / "x").mkdir()
    for source, target in ((name, "one.dcm"), (multi, "two.dcm")):
        (tmp_path / "x" / target).write_bytes(Path(source).read_bytes())
    from medzoo.io.listing import list_sources

    assert [(p, f) for p, f in list_sources(tmp_path / "x")] == [("one.dcm", None), ("two.dcm", 0), ("two.dcm", 1)]


def test_splits_are_alike_in_their_classes_and_keep_groups_whole():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 200, 1000)
    labels = (groups % 5 == 0).astype(int)
    where = stratified_group_split(labels, groups, seed=3)
    shares = {name: labels[where == name].mean() for name in ("train", "val", "test")}
    assert max(shares.values()) - min(shares.values()) < 0.05
    assert {(where == name).sum() / 1000 > 0.1 for name in shares} == {True}
    assert sum(len(set(groups[where == name])) for name in shares) == len(set(groups))
