"""Labels, splits, patients, CSV and NPZ files of datasets: a correct result or a clear error."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from medzoo.data.datasets import list_images, load_npz, load_npz_labels, open_dataset
from medzoo.errors import ImageError

SPLITS = ("train", "val", "test")


def write_png(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), "uint8")).save(path)
    return path


def write_images(folder, count=16, name="{:02d}.png"):
    return [write_png(folder / name.format(i), i).relative_to(folder).as_posix() for i in range(count)]


def write_table(path, lines, encoding="utf-8", end="\n"):
    path.write_bytes((end.join(lines) + end).encode(encoding))
    return path


def write_dicom(path, seed, frames=1, **tags):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    shape = (frames, 8, 8) if frames > 1 else (8, 8)
    new, new.file_meta = Dataset(), FileMetaDataset()
    new.SOPClassUID = new.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    new.SOPInstanceUID = new.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    new.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    new.Rows, new.Columns, new.SamplesPerPixel, new.PhotometricInterpretation = 8, 8, 1, "MONOCHROME2"
    new.BitsAllocated, new.BitsStored, new.HighBit, new.PixelRepresentation = 8, 8, 7, 0
    if frames > 1:
        new.NumberOfFrames = frames
    for name, value in tags.items():
        setattr(new, name, value)
    new.PixelData = np.random.default_rng(seed).integers(0, 256, shape, "uint8").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    new.save_as(path, enforce_file_format=True)
    return path


def splits_of(dataset, key=str):
    """Return `{key of an image: its splits}`."""
    splits = {}
    for (path, _), split in zip(dataset.sources, dataset.splits, strict=True):
        splits.setdefault(key(path), set()).add(str(split))
    return splits


def images_of(dataset):
    return np.concatenate([dataset.images(split) for split in dict.fromkeys(dataset.splits.tolist())])


# --- one image is in one split ----------------------------------------------------------------------------------------


def test_duplicate_entries_of_an_image_are_removed(tmp_path, caplog):
    names = write_images(tmp_path / "data")
    os.symlink(tmp_path / "data" / names[0], tmp_path / "data" / "link.png")
    (tmp_path / "data" / "sub").mkdir()
    spellings = ["{}", "./{}", "sub/../{}", ".\\{}", str(tmp_path / "data" / "{}")]
    lines = [f"{s.format(name)},{i % 2}" for i, name in enumerate(names) for s in spellings]
    table = write_table(tmp_path / "data" / "table.csv", ["path,label", *lines, "link.png,0"])
    dataset = open_dataset(table, 8)
    assert len(dataset.sources) == len(splits_of(dataset)) == 16
    assert "65 of 81 entries are duplicates" in dataset.summary()["notes"][0]
    assert "65 of 81 entries are duplicates" in caplog.text


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("path,label", ("{},normal", "{},mass"), r"label 'normal' \(line 2\) and 'mass' \(line 10\)"),
        ("path,label", ("{},mass|nodule", "{},mass"), "separate several labels of one image by '|'"),
        ("path,label,split", ("{},mass,train", "{},mass,test"), r"split 'train' \(line 2\) and 'test' \(line 10\)"),
        ("path,label,patient", ("{},mass,p1", "{},mass,p2"), "patient 'p1'"),
        ("path,label,sex", ("{},mass,F", "{},mass,M"), "sex 'F'"),
    ],
)
def test_contradictory_rows_of_one_image_raise_an_error(header, rows, message, tmp_path):
    names = write_images(tmp_path, 8)
    lines = [header, *(rows[0].format(name) for name in names), rows[1].format(names[0])]
    with pytest.raises(ImageError, match=f"(?s)00.png.*{message}|{message}.*00.png"):
        open_dataset(write_table(tmp_path / "t.csv", lines), 8)


def test_rows_with_equivalent_labels_are_duplicates(tmp_path):
    names = write_images(tmp_path, 8)
    lines = ["path,label", *(f"{name},Mass|Edema" for name in names), f"{names[0]},edema | mass|No Finding"]
    assert len(open_dataset(write_table(tmp_path / "t.csv", lines), 8).sources) == 8


def test_frames_of_one_file_stay_in_one_split(tmp_path):
    for i in range(14):
        write_dicom(tmp_path / "data" / f"{i}.dcm", i, frames=3)
    dataset = open_dataset(tmp_path / "data", 8)
    assert len(dataset.sources) == 42
    assert all(len(own) == 1 for own in splits_of(dataset).values())
    assert dataset.describe_splits() == "by examination: patients are unknown"
    lines = [f"data/{i}.dcm#{k},{i % 2}" for i in range(14) for k in range(3)]
    dataset = open_dataset(write_table(tmp_path / "t.csv", ["path,label", *lines]), 8)
    assert all(len(own) == 1 for own in splits_of(dataset).values())


def test_image_linked_into_two_splits_or_classes_raises_an_error(tmp_path):
    for split in ("train", "test"):
        write_images(tmp_path / "a" / split / "mass", 4)
    os.remove(tmp_path / "a" / "test" / "mass" / "00.png")
    os.symlink(tmp_path / "a" / "train" / "mass" / "00.png", tmp_path / "a" / "test" / "mass" / "00.png")
    with pytest.raises(ImageError, match=r"00\.png: split 'test'"):
        open_dataset(tmp_path / "a", 8)
    write_images(tmp_path / "b" / "mass", 8)
    os.symlink(tmp_path / "b" / "mass", tmp_path / "b" / "normal")
    with pytest.raises(ImageError, match=r"00\.png: label 'mass'"):
        open_dataset(tmp_path / "b", 8)


def test_byte_identical_copies_stay_in_one_split_or_are_reported(tmp_path):
    for i in range(20):
        for k in range(3):
            write_png(tmp_path / "a" / ("mass", "normal")[i % 2] / f"{i}-{k}.png", i)
    dataset = open_dataset(tmp_path / "a", 8)
    assert all(len(own) == 1 for own in splits_of(dataset, lambda p: p.split("/")[1].split("-")[0]).values())
    for split in SPLITS:
        write_images(tmp_path / "b" / split / "mass", 4)
    assert "4 images have byte-identical copies in another split" in open_dataset(tmp_path / "b", 8).summary()["split"]


# --- one patient is in one split --------------------------------------------------------------------------------------


@pytest.mark.parametrize("blank", ["", "nan", "None", "unknown", "N/A", " "])
def test_blank_patients_are_not_one_patient(blank, tmp_path, caplog):
    names = write_images(tmp_path, 40)
    lines = [f"{name},{i % 2},{f'p{i // 2}' if i < 20 else blank}" for i, name in enumerate(names)]
    dataset = open_dataset(write_table(tmp_path / "t.csv", ["path,label,patient", *lines]), 8)
    assert dataset.split_by == "patient"
    assert len(set(dataset.groups.tolist())) == 10 + 20
    assert "20 of 40 images have no patient ID" in dataset.describe_splits()
    assert "20 of 40 images have no patient ID" in caplog.text


def test_spellings_of_one_patient_are_merged(tmp_path):
    names = write_images(tmp_path, 40)
    lines = [f"{name},{i % 2},{('P{}', 'p{} ')[i % 2].format(i // 2)}" for i, name in enumerate(names)]
    dataset = open_dataset(write_table(tmp_path / "t.csv", ["path,label,patient", *lines]), 8)
    assert len(set(dataset.groups.tolist())) == 20


def test_patients_in_two_given_splits_are_reported(tmp_path, caplog):
    names = write_images(tmp_path, 12)
    lines = [f"{name},{i % 2},{SPLITS[i % 3]},p{i // 2}" for i, name in enumerate(names)]
    dataset = open_dataset(write_table(tmp_path / "t.csv", ["path,label,split,patient", *lines]), 8)
    assert "6 patients are in more than one split" in dataset.describe_splits()
    assert "6 patients are in more than one split" in caplog.text


def test_dicom_files_without_patient_do_not_split_other_patients(tmp_path):
    for i in range(80):
        tags = {"PatientID": f"p{i // 4}"} if i else {}
        write_dicom(tmp_path / "data" / ("mass", "normal")[i // 4 % 2] / f"{i // 4}-{i}.dcm", i, **tags)
    write_png(tmp_path / "data" / "mass" / "image.png")
    (tmp_path / "data" / "mass" / "damaged.dcm").write_bytes(b"damaged")
    for data in (tmp_path / "data", write_table(tmp_path / "t.csv", _rows_of(tmp_path / "data"))):
        dataset = open_dataset(data, 8, on_error="skip")
        assert dataset.split_by == "patient"
        patients = splits_of(dataset, lambda path: str(path).rpartition("/")[2].partition("-")[0])
        assert all(len(own) == 1 for name, own in patients.items() if name != "0")
        assert "3 of 82 images have no patient ID" in dataset.summary()["split"]


def _rows_of(folder):
    files = sorted(path for path in folder.rglob("*.*"))
    return ["path,label", *(f"{path.relative_to(folder.parent)},{path.parent.name}" for path in files)]


def test_files_of_one_study_stay_in_one_split_if_patients_are_unknown(tmp_path):
    for i in range(60):
        write_dicom(tmp_path / f"{i // 4}-{i}.dcm", i, StudyInstanceUID=f"1.2.{i // 4}", PatientID="Anonymous")
    dataset = open_dataset(tmp_path, 8)
    assert dataset.split_by == "examination"
    assert all(len(own) == 1 for own in splits_of(dataset, lambda path: path.split("-")[0]).values())


def test_patients_can_be_extracted_from_the_paths_of_a_csv_file(tmp_path):
    names = write_images(tmp_path, 40, "patient{}.png")
    lines = [f"{name},{i % 2}" for i, name in enumerate(names)]
    table = write_table(tmp_path / "t.csv", ["path,label", *lines])
    dataset = open_dataset(table, 8, group=r"(patient\d)\d*")
    assert len(set(dataset.groups.tolist())) == 10
    assert dataset.split_by == "patient"
    with pytest.raises(ImageError, match="no column 'who'"):
        open_dataset(table, 8, group="who")


def test_rows_without_patient_use_the_patient_of_their_dicom_tags(tmp_path):
    for i in range(40):
        write_dicom(tmp_path / f"{i}.dcm", i, PatientID=f"tag{i // 4}")
    lines = [f"{i}.dcm,{i % 2},{f'p{i // 4}' if i % 4 else ''}" for i in range(40)]
    dataset = open_dataset(write_table(tmp_path / "t.csv", ["path,label,patient", *lines]), 8)
    assert dataset.groups.tolist() == [f"p{i // 4}" for i in range(40)]


def test_one_patient_id_for_all_files_raises_an_error(tmp_path):
    for i in range(20):
        write_dicom(tmp_path / ("mass", "normal")[i % 2] / f"{i}.dcm", i, PatientID="X1")
    with pytest.raises(ImageError, match="all 20 images have the same patient, 'X1', as in some anonymized data"):
        open_dataset(tmp_path, 8)
    assert open_dataset(tmp_path, 8, group=r"(\d+)\.dcm").class_names == ["normal", "mass"]


def test_paths_without_group_raise_an_error(tmp_path):
    for i in range(16):
        write_png(tmp_path / (f"p{i}.png" if i % 2 else f"x{i}.png"), i)
    with pytest.raises(ImageError, match="matches nothing in 8 of 16 paths"):
        open_dataset(tmp_path, 8, group=r"p(\d+)|x")


# --- classes ----------------------------------------------------------------------------------------------------------


def test_spellings_of_one_label_are_merged(tmp_path, caplog):
    names = write_images(tmp_path, 24)
    labels = ["Mass", "mass", " MASS ", "Pleural  effusion", "Pleural effusion", "1", "1.0", "Ödem"]
    labels[-1:] = [unicodedata.normalize("NFD", "Ödem")]
    lines = [f"{name},{labels[i % 8]}" for i, name in enumerate(names)]
    dataset = open_dataset(write_table(tmp_path / "t.csv", ["path,label", *lines]), 8)
    assert len(dataset.class_names) == 4
    assert {"1", "Pleural effusion", "Ödem"} < set(dataset.class_names)
    assert "the spellings '1', '1.0' are one class, '1'" in dataset.summary()["notes"]
    assert "'MASS', 'Mass', 'mass'" in caplog.text


def test_spellings_of_multi_label_classes_are_merged(tmp_path):
    names = write_images(tmp_path)
    lines = [f"{name},{('Mass|Edema', 'mass', 'No Finding', 'edema ')[i % 4]}" for i, name in enumerate(names)]
    dataset = open_dataset(write_table(tmp_path / "t.csv", ["path,label", *lines]), 8)
    assert [name.lower() for name in dataset.class_names] == ["edema", "mass"]
    assert dataset.targets[:4].tolist() == [[1, 1], [0, 1], [0, 0], [1, 0]]


def test_folders_that_differ_in_case_or_unicode_form_are_one_class(tmp_path):
    for name in ("Mass", "mass", *(unicodedata.normalize(form, "Ödem") for form in ("NFC", "NFD"))):
        for i in range(6):
            write_png(tmp_path / name / f"{i}.png", hash((name, i)) % 2**32)
    dataset = open_dataset(tmp_path, 8)
    assert dataset.summary()["classes"] == {"Mass": 12, "Ödem": 12}
    assert len(dataset.select_classes("mass").sources) == 12


@pytest.mark.parametrize("label", ["", "nan", "None", "NA", "n/a", "NULL", "0.5", "-1", "-1.0", "1e-3", "0,5", "inf"])
def test_invalid_labels_error_contains_their_lines(label, tmp_path):
    names = write_images(tmp_path, 14)
    lines = [f"{name}\t{label if i == 3 else i % 2}" for i, name in enumerate(names)]
    with pytest.raises(ImageError, match=r"t\.tsv: 1 rows .*first in line 5"):
        open_dataset(write_table(tmp_path / "t.tsv", ["path\tlabel", *lines]), 8)


def test_label_columns_must_contain_zeros_and_ones(tmp_path):
    names = write_images(tmp_path, 14)
    lines = [f"{name},{i % 2},{float(i % 3 == 0)},1" for i, name in enumerate(names)]
    table = write_table(tmp_path / "t.csv", ["path,Edema,Mass,Other", *lines])
    dataset = open_dataset(table, 8, columns={"label": "Edema|Mass"})
    assert dataset.class_names == ["Edema", "Mass"]
    assert dataset.targets[:4].tolist() == [[0, 1], [1, 0], [0, 0], [1, 1]]
    with pytest.raises(ImageError, match="several of 0 and 1"):
        open_dataset(table, 8).labels("train")
    for value in ("-1.0", "", "0.5"):
        table = write_table(tmp_path / "t.csv", ["path,Edema,Mass", f"{names[0]},{value},0", f"{names[1]},1,0"])
        with pytest.raises(ImageError, match=r"1 label cells .* first in line 2: Edema is"):
            open_dataset(table, 8, columns={"label": "Edema|Mass"})


# --- files and folders ------------------------------------------------------------------------------------------------


def test_hidden_and_system_files_are_skipped(tmp_path):
    write_images(tmp_path / "mass", 8)
    write_images(tmp_path / "normal", 8)
    for folder in (".ipynb_checkpoints", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "mass/@eaDir", "mass/.thumbs"):
        write_images(tmp_path / folder, 2)
    for name in ("._00.png", ".hidden.png"):
        (tmp_path / "mass" / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "Thumbs.db").write_bytes(b"\0" * 200)
    assert open_dataset(tmp_path, 8).class_names == ["normal", "mass"]
    assert len(list_images(tmp_path)) == 16


def test_hidden_files_are_skipped_for_volumes_and_masks(tmp_path):
    from medzoo.data.datasets import list_frames, list_volumes
    from medzoo.data.masks import load_masks
    from medzoo.io.nifti import list_nifti

    write_images(tmp_path / "images", 2)
    for i in range(2):
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        Image.fromarray(np.eye(8, dtype="uint8")).save(tmp_path / "elsewhere" / f"0{i}.png")
    (tmp_path / "masks").symlink_to(tmp_path / "elsewhere")
    for name in ("images/._00.png", "masks/._00.png", "._v.nii.gz", ".cache.dcm"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert len(load_masks(tmp_path / "images", tmp_path / "masks")[0]) == 2
    for read in (list_frames, list_volumes, list_nifti):
        with pytest.raises(FileNotFoundError):
            read(tmp_path)


def test_links_to_folders_are_followed_and_cycles_are_detected(tmp_path):
    write_images(tmp_path / "elsewhere", 8)
    write_images(tmp_path / "data" / "normal", 8)
    os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "mass")
    os.symlink(tmp_path / "data", tmp_path / "data" / "normal" / "again")
    os.symlink("self", tmp_path / "data" / "normal" / "self.png")
    assert len(list_images(tmp_path / "data")) == 17  # the link to itself is reported when it is read
    dataset = open_dataset(tmp_path / "data", 8, on_error="skip")
    assert dataset.class_names == ["normal", "mass"]
    assert len(images_of(dataset)) == 16
    assert list(dataset.skipped) == ["normal/self.png"]


@pytest.mark.parametrize("link", ["mass/gone.png", "mass/gone", "mass/gone.dcm"])
def test_broken_links_are_reported_like_unreadable_files(link, tmp_path):
    write_images(tmp_path / "mass", 8)
    write_images(tmp_path / "normal", 8)
    os.symlink(tmp_path / "nowhere", tmp_path / link)
    dataset = open_dataset(tmp_path, 8, on_error="skip", cache=tmp_path.parent / "cache")
    assert len(images_of(dataset)) == 16
    assert list(dataset.skipped) == [link]
    with pytest.raises(ImageError, match="gone"):
        images_of(open_dataset(tmp_path, 8))


def test_class_folder_without_images_is_reported(tmp_path):
    for name in ("mass", "normal"):
        write_images(tmp_path / name, 8)
    (tmp_path / "nodule").mkdir()
    (tmp_path / "nodule" / "1.bmp").write_bytes(b"BM")
    assert open_dataset(tmp_path, 8).summary()["notes"] == ["folders without images: nodule"]


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_dialects_are_supported(encoding, end, separator, tmp_path):
    names = write_images(tmp_path, 8)
    rows = [f'{name},{i % 2},"a{end}note; ""quoted"", long",' for i, name in enumerate(names)]
    rows = [row.replace(",", separator) for row in rows]
    header = " Path ,label ,note,".replace(",", separator)
    for first in ([], [f"sep={separator}"]):
        table = write_table(tmp_path / "t.csv", [*first, header, *rows, 3 * separator, ""], encoding, end)
        dataset = open_dataset(table, 8)
        assert dataset.class_names == ["0", "1"]
        assert len(dataset.sources) == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,label\na.png,1,0\n", "several columns with the same name, 'label', 'label'"),
        ("path,Label, label\na.png,1,0\n", "several columns with the same name, 'Label', 'label'"),
        ("path,label\na.png,Ödem\n".encode("latin-1"), "Windows-1252 or Latin-1"),
        ("path,label\na.png,1\n".encode("utf-16-le"), "zero bytes"),
        ('path,label\na.png,"1\nb.png,0\n', "quotation mark"),
        ("path,label\na.png,1,more\n", "line 2 does not have 2 columns"),
    ],
)
def test_invalid_csv_files_raise_an_error(text, message, tmp_path):
    write_png(tmp_path / "a.png")
    (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ImageError, match=rf"t\.csv: .*{message}"):
        open_dataset(tmp_path / "t.csv", 8)


@pytest.mark.parametrize(
    "path",
    [
        "set/{}/view.png",
        "set\\{}\\view.png",
        "{}/view",
        "{}/VIEW.PNG",
        "C:\\data\\set\\{}\\view.png",
        "/home/somebody/set/{}/view.png",
        "old/name/{}/view.png",
        "set/{}/view",
    ],
)
def test_paths_of_moved_csv_files_are_resolved(path, tmp_path):
    write_images(tmp_path / "set", 8, "p{}/view.png")
    lines = [f"{path.format(f'p{i}')},{i % 2}" for i in range(8)]
    dataset = open_dataset(write_table(tmp_path / "set" / "t.csv", ["path,label", *lines]), 8)
    resolved = [(dataset.read.root / p).resolve().relative_to(tmp_path).as_posix() for p, _ in dataset.sources]
    assert resolved == [f"set/p{i}/view.png" for i in range(8)]


def test_ambiguous_paths_raise_an_error(tmp_path):
    write_images(tmp_path, 8, "{}.png")
    Image.fromarray(np.zeros((8, 8), "uint8")).save(tmp_path / "3.jpg")
    table = write_table(tmp_path / "t.csv", ["path,label", *(f"{i},{i % 2}" for i in range(8))])
    with pytest.raises(FileNotFoundError, match=r"3 \(ambiguous: .*\), line 5"):
        open_dataset(table, 8)
    write_images(tmp_path / "set", 8)  # images of another folder are not used
    table = write_table(tmp_path / "set" / "t.csv", ["path,label", *(f"test/0{i}.png,{i % 2}" for i in range(8))])
    with pytest.raises(FileNotFoundError, match="8 of 8 images were not found"):
        open_dataset(table, 8)


# --- NPZ files --------------------------------------------------------------------------------------------------------


def save_npz(path, labels=None, images=None, **more):
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), "uint8") if images is None else images
    arrays = {f"{split}_images": images for split in SPLITS}
    if labels is not None:
        arrays |= {f"{split}_labels": labels for split in SPLITS}
    np.savez(path, **arrays, **more)
    return path


def test_multi_label_npz_file_remains_multi_label(tmp_path):
    labels = np.random.default_rng(0).integers(0, 2, (12, 14), dtype="uint8")
    path = save_npz(tmp_path / "a.npz", labels)
    dataset = open_dataset(path)
    assert dataset.multi_label
    assert np.array_equal(dataset.labels("test"), labels)
    assert np.array_equal(load_npz_labels(path, "val"), labels)
    assert len(load_npz(path, classes=3)) == labels[:, 3].sum()
    dataset = open_dataset(save_npz(tmp_path / "b.npz", np.eye(3, dtype="uint8")[np.arange(12) % 3]))
    assert "every image has exactly one of 3 findings" in dataset.summary()["notes"][0]


def test_color_of_an_npz_file_is_converted_to_luminance(tmp_path):
    colors = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), "uint8")
    images = load_npz(save_npz(tmp_path / "a.npz", images=colors))
    assert images.shape == (12, 8, 8, 1)
    pillow = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in colors])
    assert np.abs(images[..., 0].astype(int) - pillow).max() <= 1


@pytest.mark.parametrize(
    ("labels", "more", "message"),
    [
        (np.arange(8)[:, None], {}, "one label for each of 12 images"),
        (np.arange(14)[:, None], {}, "one label for each of 12 images"),
        (np.linspace(0, 1, 12), {}, "fractions or NaN"),
        (np.full(12, np.nan), {}, "fractions or NaN"),
        (np.arange(12) % 3 - 1, {}, "values down to -1"),
        (np.arange(24).reshape(12, 2), {}, "expected 0 and 1"),
        (np.array(["a", "b"] * 6), {}, "class_names"),
        (np.array([0, 1] * 6, object), {}, "Python objects"),
        (np.arange(12) % 3, {"class_names": np.array(["a", "b"])}, "2 names, the labels 3 classes"),
        (np.arange(12) % 2, {"class_names": np.array(["a", "A"])}, "more than once"),
        (np.zeros((12, 2, 2), int), {}, "one integer per image"),
        ((np.arange(12) % 3 - 1).astype("uint8"), {}, "255, which -1 becomes without sign"),
    ],
)
def test_invalid_labels_of_an_npz_file_raise_an_error(labels, more, message, tmp_path):
    with pytest.raises(ImageError, match=rf"(?s)a\.npz.*{message}"):
        open_dataset(save_npz(tmp_path / "a.npz", labels, **more))


@pytest.mark.parametrize("shape", [(4, 8, 8, 8), (4, 3, 8, 8), (4, 8, 8, 4), (4, 8, 8, 8, 1)])
def test_volumes_and_channels_first_npz_files_raise_an_error(shape, tmp_path):
    path = save_npz(tmp_path / "a.npz", images=np.zeros(shape, "uint8"))
    for read in (open_dataset, load_npz):
        with pytest.raises(ImageError, match=r"a\.npz: train_images is uint8 .*Volumes"):
            read(path)


def test_npz_images_of_16_bits_keep_their_depth_and_12_bits_in_16_raise_an_error(tmp_path):
    values = np.linspace(0, 65535, 12 * 64).astype("uint16").reshape(12, 8, 8)
    path = save_npz(tmp_path / "deep.npz", np.arange(12) % 2, values)
    assert np.array_equal(open_dataset(path).images("train")[..., 0], values)
    path = save_npz(tmp_path / "dark.npz", np.arange(12) % 2, values // 16)
    with pytest.raises(ImageError, match=r"dark.npz: train_images is uint16 with values up to 4095 only"):
        open_dataset(path).images("train")


@pytest.mark.parametrize("dtype", ["float32", "bool", "int64"])
def test_npz_images_of_other_types_raise_an_error(dtype, tmp_path):
    path = save_npz(tmp_path / "a.npz", np.arange(12) % 2, np.ones((12, 8, 8), dtype))
    with pytest.raises(ImageError, match=f"a.npz: train_images is {dtype}"):
        open_dataset(path)


def test_labels_missing_in_some_splits_are_reported(tmp_path):
    images = np.zeros((4, 8, 8), "uint8")
    np.savez(
        tmp_path / "a.npz", train_images=images, test_images=images, valid_images=images, train_labels=np.arange(4)
    )
    notes = open_dataset(tmp_path / "a.npz").summary()["notes"]
    assert notes == [
        "arrays of unknown splits are ignored: valid_images",
        "labels are ignored because they are missing for test",
    ]


# --- the cache --------------------------------------------------------------------------------------------------------


def test_cache_contains_the_unreadable_files(tmp_path):
    write_images(tmp_path / "data", 16)
    (tmp_path / "data" / "03.png").write_bytes(b"damaged")
    options = {"size": 8, "cache": tmp_path / "cache"}
    runs = [open_dataset(tmp_path / "data", on_error="skip", **options) for _ in range(2)]
    first, second = (images_of(run) for run in runs)
    assert np.array_equal(first, second)
    assert len(first) == 15
    assert [list(run.skipped) for run in runs] == [["03.png"]] * 2
    assert sum(runs[1].summary()["images"].values()) == 15
    with pytest.raises(ImageError, match=r"03\.png"):
        images_of(open_dataset(tmp_path / "data", **options))
    write_png(tmp_path / "data" / "03.png", 3)
    assert len(images_of(open_dataset(tmp_path / "data", on_error="skip", **options))) == 16


def test_damaged_cache_is_rebuilt(tmp_path):
    write_images(tmp_path / "data")
    options = {"size": 8, "cache": tmp_path / "cache"}
    first = images_of(open_dataset(tmp_path / "data", **options))
    for damage in (lambda f: f.write_bytes(f.read_bytes()[:-100]), lambda f: f.write_bytes(b""), os.remove):
        for suffix in ("*.npy", "*.json"):
            for file in (tmp_path / "cache").glob(suffix):
                damage(file)
            assert np.array_equal(images_of(open_dataset(tmp_path / "data", **options)), first)


def test_cache_key_includes_folder_and_window(tmp_path):
    for folder in ("a", "b"):
        for i in range(8):
            path = tmp_path / folder / f"{i}.npy"
            path.parent.mkdir(exist_ok=True)
            np.save(path, np.full((8, 8), (folder == "b") * 100 + i, "uint8"))
            os.utime(path, (0, 0))  # same size and modification time
    options = {"size": 8, "cache": tmp_path / "cache"}
    a, b, dark = (
        images_of(open_dataset(tmp_path / f, window=w, **options))
        for f, w in (("a", None), ("b", None), ("a", (128, 10)))
    )
    assert (b == a + 100).all()
    assert not dark.any()
