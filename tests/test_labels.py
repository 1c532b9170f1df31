"""Labels, splits and files of data sets as people really have them: a correct result or a clear refusal."""

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


def splits_of(collection, key=str):
    """`{key of an image: its splits}`."""
    found = {}
    for (path, _), split in zip(collection.sources, collection.where, strict=True):
        found.setdefault(key(path), set()).add(str(split))
    return found


def images_of(collection):
    return np.concatenate([collection.images(split) for split in dict.fromkeys(collection.where.tolist())])


# --- one image is in one split ----------------------------------------------------------------------------------------


def test_each_image_is_used_once_however_often_and_by_whatever_path_it_is_named(tmp_path, caplog):
    names = write_images(tmp_path / "data")
    os.symlink(tmp_path / "data" / names[0], tmp_path / "data" / "link.png")
    (tmp_path / "data" / "sub").mkdir()
    spellings = ["{}", "./{}", "sub/../{}", ".\\{}", str(tmp_path / "data" / "{}")]
    lines = [f"{s.format(name)},{i % 2}" for i, name in enumerate(names) for s in spellings]
    table = write_table(tmp_path / "data" / "table.csv", ["path,label", *lines, "link.png,0"])
    collection = open_dataset(table, 8)
    assert len(collection.sources) == len(splits_of(collection)) == 16
    assert "65 of 81 entries name an image again" in collection.facts()["notes"][0]
    assert "65 of 81 entries name an image again" in caplog.text


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        ("path,label", ("{},normal", "{},mass"), r"label 'normal' \(line 2\) and 'mass' \(line 10\)"),
        ("path,label", ("{},mass|nodule", "{},mass"), "join several findings of one image by '|'"),
        ("path,label,split", ("{},mass,train", "{},mass,test"), r"split 'train' \(line 2\) and 'test' \(line 10\)"),
        ("path,label,patient", ("{},mass,p1", "{},mass,p2"), "patient 'p1'"),
        ("path,label,sex", ("{},mass,F", "{},mass,M"), "sex 'F'"),
    ],
)
def test_contradictory_rows_of_one_image_are_refused(header, rows, said, tmp_path):
    names = write_images(tmp_path, 8)
    lines = [header, *(rows[0].format(name) for name in names), rows[1].format(names[0])]
    with pytest.raises(ImageError, match=f"(?s)00.png.*{said}|{said}.*00.png"):
        open_dataset(write_table(tmp_path / "t.csv", lines), 8)


def test_rows_that_agree_in_other_words_are_one(tmp_path):
    names = write_images(tmp_path, 8)
    lines = ["path,label", *(f"{name},Mass|Edema" for name in names), f"{names[0]},edema | mass|No Finding"]
    assert len(open_dataset(write_table(tmp_path / "t.csv", lines), 8).sources) == 8


def test_frames_of_one_file_stay_in_one_split(tmp_path):
    for i in range(14):
        write_dicom(tmp_path / "data" / f"{i}.dcm", i, frames=3)
    collection = open_dataset(tmp_path / "data", 8)
    assert len(collection.sources) == 42
    assert all(len(own) == 1 for own in splits_of(collection).values())
    assert collection.describe_splits() == "by examination: whose each image is, is not known"
    lines = [f"data/{i}.dcm#{k},{i % 2}" for i in range(14) for k in range(3)]
    collection = open_dataset(write_table(tmp_path / "t.csv", ["path,label", *lines]), 8)
    assert all(len(own) == 1 for own in splits_of(collection).values())


def test_an_image_linked_into_two_splits_or_classes_is_refused(tmp_path):
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


def test_copies_byte_for_byte_stay_together_or_are_reported(tmp_path):
    for i in range(20):
        for k in range(3):
            write_png(tmp_path / "a" / ("mass", "normal")[i % 2] / f"{i}-{k}.png", i)
    collection = open_dataset(tmp_path / "a", 8)
    assert all(len(own) == 1 for own in splits_of(collection, lambda p: p.split("/")[1].split("-")[0]).values())
    for split in SPLITS:
        write_images(tmp_path / "b" / split / "mass", 4)
    assert "4 images have copies, byte for byte, in another split" in open_dataset(tmp_path / "b", 8).facts()["split"]


# --- one patient is in one split --------------------------------------------------------------------------------------


@pytest.mark.parametrize("blank", ["", "nan", "None", "unknown", "N/A", " "])
def test_blank_patients_are_not_one_patient(blank, tmp_path, caplog):
    names = write_images(tmp_path, 40)
    lines = [f"{name},{i % 2},{f'p{i // 2}' if i < 20 else blank}" for i, name in enumerate(names)]
    collection = open_dataset(write_table(tmp_path / "t.csv", ["path,label,patient", *lines]), 8)
    assert collection.split_by == "patient"
    assert len(set(collection.groups.tolist())) == 10 + 20
    assert "20 of 40 images have no patient ID" in collection.describe_splits()
    assert "20 of 40 images have no patient ID" in caplog.text


def test_a_patient_spelled_in_two_ways_is_one(tmp_path):
    names = write_images(tmp_path, 40)
    lines = [f"{name},{i % 2},{('P{}', 'p{} ')[i % 2].format(i // 2)}" for i, name in enumerate(names)]
    collection = open_dataset(write_table(tmp_path / "t.csv", ["path,label,patient", *lines]), 8)
    assert len(set(collection.groups.tolist())) == 20


def test_patients_in_two_given_splits_are_reported(tmp_path, caplog):
    names = write_images(tmp_path, 12)
    lines = [f"{name},{i % 2},{SPLITS[i % 3]},p{i // 2}" for i, name in enumerate(names)]
    collection = open_dataset(write_table(tmp_path / "t.csv", ["path,label,split,patient", *lines]), 8)
    assert "6 patients stand in more than one" in collection.describe_splits()
    assert "6 patients stand in more than one" in caplog.text


def test_dicom_files_without_a_patient_do_not_part_the_others(tmp_path):
    for i in range(80):
        tags = {"PatientID": f"p{i // 4}"} if i else {}
        write_dicom(tmp_path / "data" / ("mass", "normal")[i // 4 % 2] / f"{i // 4}-{i}.dcm", i, **tags)
    write_png(tmp_path / "data" / "mass" / "picture.png")
    (tmp_path / "data" / "mass" / "broken.dcm").write_bytes(b"broken")
    for data in (tmp_path / "data", write_table(tmp_path / "t.csv", _rows_of(tmp_path / "data"))):
        collection = open_dataset(data, 8, on_error="skip")
        assert collection.split_by == "patient"
        patients = splits_of(collection, lambda path: str(path).rpartition("/")[2].partition("-")[0])
        assert all(len(own) == 1 for name, own in patients.items() if name != "0")
        assert "3 of 82 images have no patient ID" in collection.facts()["split"]


def _rows_of(folder):
    files = sorted(path for path in folder.rglob("*.*"))
    return ["path,label", *(f"{path.relative_to(folder.parent)},{path.parent.name}" for path in files)]


def test_files_of_one_study_stay_together_where_nobody_knows_the_patient(tmp_path):
    for i in range(60):
        write_dicom(tmp_path / f"{i // 4}-{i}.dcm", i, StudyInstanceUID=f"1.2.{i // 4}", PatientID="Anonymous")
    collection = open_dataset(tmp_path, 8)
    assert collection.split_by == "examination"
    assert all(len(own) == 1 for own in splits_of(collection, lambda path: path.split("-")[0]).values())


def test_patients_of_a_table_may_be_in_its_paths(tmp_path):
    names = write_images(tmp_path, 40, "patient{}.png")
    lines = [f"{name},{i % 2}" for i, name in enumerate(names)]
    table = write_table(tmp_path / "t.csv", ["path,label", *lines])
    collection = open_dataset(table, 8, group=r"(patient\d)\d*")
    assert len(set(collection.groups.tolist())) == 10
    assert collection.split_by == "patient"
    with pytest.raises(ImageError, match="no column 'who'"):
        open_dataset(table, 8, group="who")


def test_rows_without_a_patient_join_the_patient_of_their_dicom_tags(tmp_path):
    for i in range(40):
        write_dicom(tmp_path / f"{i}.dcm", i, PatientID=f"tag{i // 4}")
    lines = [f"{i}.dcm,{i % 2},{f'p{i // 4}' if i % 4 else ''}" for i in range(40)]
    collection = open_dataset(write_table(tmp_path / "t.csv", ["path,label,patient", *lines]), 8)
    assert collection.groups.tolist() == [f"p{i // 4}" for i in range(40)]


def test_one_id_for_all_files_is_refused(tmp_path):
    for i in range(20):
        write_dicom(tmp_path / ("mass", "normal")[i % 2] / f"{i}.dcm", i, PatientID="X1")
    with pytest.raises(ImageError, match="all 20 images are of one patient, 'X1', as anonymized files may claim"):
        open_dataset(tmp_path, 8)
    assert open_dataset(tmp_path, 8, group=r"(\d+)\.dcm").class_names == ["normal", "mass"]


def test_a_group_that_may_be_missing_from_the_path_is_refused(tmp_path):
    for i in range(16):
        write_png(tmp_path / (f"p{i}.png" if i % 2 else f"x{i}.png"), i)
    with pytest.raises(ImageError, match="matches nothing in 8 of 16 paths"):
        open_dataset(tmp_path, 8, group=r"p(\d+)|x")


# --- classes ----------------------------------------------------------------------------------------------------------


def test_spellings_of_one_label_are_one_class(tmp_path, caplog):
    names = write_images(tmp_path, 24)
    labels = ["Mass", "mass", " MASS ", "Pleural  effusion", "Pleural effusion", "1", "1.0", "Ödem"]
    labels[-1:] = [unicodedata.normalize("NFD", "Ödem")]
    lines = [f"{name},{labels[i % 8]}" for i, name in enumerate(names)]
    collection = open_dataset(write_table(tmp_path / "t.csv", ["path,label", *lines]), 8)
    assert len(collection.class_names) == 4
    assert {"1", "Pleural effusion", "Ödem"} < set(collection.class_names)
    assert "the spellings '1', '1.0' are one class, '1'" in collection.facts()["notes"]
    assert "'MASS', 'Mass', 'mass'" in caplog.text


def test_spellings_of_findings_are_one_finding(tmp_path):
    names = write_images(tmp_path)
    lines = [f"{name},{('Mass|Edema', 'mass', 'No Finding', 'edema ')[i % 4]}" for i, name in enumerate(names)]
    collection = open_dataset(write_table(tmp_path / "t.csv", ["path,label", *lines]), 8)
    assert [name.lower() for name in collection.class_names] == ["edema", "mass"]
    assert collection.targets[:4].tolist() == [[1, 1], [0, 1], [0, 0], [1, 0]]


def test_folders_whose_names_differ_in_case_or_composition_are_one_class(tmp_path):
    for name in ("Mass", "mass", *(unicodedata.normalize(form, "Ödem") for form in ("NFC", "NFD"))):
        for i in range(6):
            write_png(tmp_path / name / f"{i}.png", hash((name, i)) % 2**32)
    collection = open_dataset(tmp_path, 8)
    assert collection.facts()["classes"] == {"Mass": 12, "Ödem": 12}
    assert len(collection.only("mass").sources) == 12


@pytest.mark.parametrize("label", ["", "nan", "None", "NA", "n/a", "NULL", "0.5", "-1", "-1.0", "1e-3", "0,5", "inf"])
def test_labels_that_are_no_classes_are_refused_with_their_lines(label, tmp_path):
    names = write_images(tmp_path, 14)
    lines = [f"{name}\t{label if i == 3 else i % 2}" for i, name in enumerate(names)]
    with pytest.raises(ImageError, match=r"t\.tsv: 1 rows .*first in line 5"):
        open_dataset(write_table(tmp_path / "t.tsv", ["path\tlabel", *lines]), 8)


def test_a_column_for_each_finding_needs_zeros_and_ones(tmp_path):
    names = write_images(tmp_path, 14)
    lines = [f"{name},{i % 2},{float(i % 3 == 0)},1" for i, name in enumerate(names)]
    table = write_table(tmp_path / "t.csv", ["path,Edema,Mass,Other", *lines])
    collection = open_dataset(table, 8, columns={"label": "Edema|Mass"})
    assert collection.class_names == ["Edema", "Mass"]
    assert collection.targets[:4].tolist() == [[0, 1], [1, 0], [0, 0], [1, 1]]
    with pytest.raises(ImageError, match="several of 0 and 1"):
        open_dataset(table, 8).labels("train")
    for value in ("-1.0", "", "0.5"):
        table = write_table(tmp_path / "t.csv", ["path,Edema,Mass", f"{names[0]},{value},0", f"{names[1]},1,0"])
        with pytest.raises(ImageError, match=r"1 cells .* first in line 2: Edema is"):
            open_dataset(table, 8, columns={"label": "Edema|Mass"})


# --- files and folders ------------------------------------------------------------------------------------------------


def test_hidden_files_and_what_systems_leave_behind_are_skipped(tmp_path):
    write_images(tmp_path / "mass", 8)
    write_images(tmp_path / "normal", 8)
    for folder in (".ipynb_checkpoints", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "mass/@eaDir", "mass/.thumbs"):
        write_images(tmp_path / folder, 2)
    for name in ("._00.png", ".hidden.png"):
        (tmp_path / "mass" / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "Thumbs.db").write_bytes(b"\0" * 200)
    assert open_dataset(tmp_path, 8).class_names == ["normal", "mass"]
    assert len(list_images(tmp_path)) == 16


def test_volumes_and_masks_are_listed_like_images(tmp_path):
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


def test_links_to_folders_are_followed_and_circles_end(tmp_path):
    write_images(tmp_path / "elsewhere", 8)
    write_images(tmp_path / "data" / "normal", 8)
    os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "mass")
    os.symlink(tmp_path / "data", tmp_path / "data" / "normal" / "again")
    os.symlink("self", tmp_path / "data" / "normal" / "self.png")
    assert len(list_images(tmp_path / "data")) == 17  # the link to itself is reported when it is read
    collection = open_dataset(tmp_path / "data", 8, on_error="skip")
    assert collection.class_names == ["normal", "mass"]
    assert len(images_of(collection)) == 16
    assert list(collection.skipped) == ["normal/self.png"]


@pytest.mark.parametrize("link", ["mass/gone.png", "mass/gone", "mass/gone.dcm"])
def test_links_to_nothing_are_reported_like_broken_files(link, tmp_path):
    write_images(tmp_path / "mass", 8)
    write_images(tmp_path / "normal", 8)
    os.symlink(tmp_path / "nowhere", tmp_path / link)
    collection = open_dataset(tmp_path, 8, on_error="skip", cache=tmp_path.parent / "cache")
    assert len(images_of(collection)) == 16
    assert list(collection.skipped) == [link]
    with pytest.raises(ImageError, match="gone"):
        images_of(open_dataset(tmp_path, 8))


def test_a_folder_without_images_beside_classes_is_reported(tmp_path):
    for name in ("mass", "normal"):
        write_images(tmp_path / name, 8)
    (tmp_path / "nodule").mkdir()
    (tmp_path / "nodule" / "1.bmp").write_bytes(b"BM")
    assert open_dataset(tmp_path, 8).facts()["notes"] == ["folders without images: nodule"]


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_are_read_as_programs_write_them(encoding, end, separator, tmp_path):
    names = write_images(tmp_path, 8)
    rows = [f'{name},{i % 2},"a{end}note; ""quoted"", long",' for i, name in enumerate(names)]
    rows = [row.replace(",", separator) for row in rows]
    header = " Path ,label ,note,".replace(",", separator)
    for first in ([], [f"sep={separator}"]):
        table = write_table(tmp_path / "t.csv", [*first, header, *rows, 3 * separator, ""], encoding, end)
        collection = open_dataset(table, 8)
        assert collection.class_names == ["0", "1"]
        assert len(collection.sources) == 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label,label\na.png,1,0\n", "several columns of one name, 'label', 'label'"),
        ("path,Label, label\na.png,1,0\n", "several columns of one name, 'Label', 'label'"),
        ("path,label\na.png,Ödem\n".encode("latin-1"), "Windows-1252 or Latin-1"),
        ("path,label\na.png,1\n".encode("utf-16-le"), "zero bytes"),
        ('path,label\na.png,"1\nb.png,0\n', "quotation mark"),
        ("path,label\na.png,1,more\n", "line 2 has not 2 columns"),
    ],
)
def test_tables_that_say_two_things_are_refused(text, said, tmp_path):
    write_png(tmp_path / "a.png")
    (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ImageError, match=rf"t\.csv: .*{said}"):
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
def test_paths_of_tables_from_elsewhere_are_found(path, tmp_path):
    write_images(tmp_path / "set", 8, "p{}/view.png")
    lines = [f"{path.format(f'p{i}')},{i % 2}" for i in range(8)]
    collection = open_dataset(write_table(tmp_path / "set" / "t.csv", ["path,label", *lines]), 8)
    found = [(collection.read.root / p).resolve().relative_to(tmp_path).as_posix() for p, _ in collection.sources]
    assert found == [f"set/p{i}/view.png" for i in range(8)]


def test_names_that_could_be_several_files_are_refused(tmp_path):
    write_images(tmp_path, 8, "{}.png")
    Image.fromarray(np.zeros((8, 8), "uint8")).save(tmp_path / "3.jpg")
    table = write_table(tmp_path / "t.csv", ["path,label", *(f"{i},{i % 2}" for i in range(8))])
    with pytest.raises(FileNotFoundError, match=r"3 \(could be: .*\), line 5"):
        open_dataset(table, 8)
    write_images(tmp_path / "set", 8)  # not one folder's images for those of another
    table = write_table(tmp_path / "set" / "t.csv", ["path,label", *(f"test/0{i}.png,{i % 2}" for i in range(8))])
    with pytest.raises(FileNotFoundError, match="8 of 8 images are not where it says"):
        open_dataset(table, 8)


# --- NPZ files --------------------------------------------------------------------------------------------------------


def save_npz(path, labels=None, images=None, **more):
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), "uint8") if images is None else images
    arrays = {f"{split}_images": images for split in SPLITS}
    if labels is not None:
        arrays |= {f"{split}_labels": labels for split in SPLITS}
    np.savez(path, **arrays, **more)
    return path


def test_findings_of_an_npz_file_stay_several(tmp_path):
    labels = np.random.default_rng(0).integers(0, 2, (12, 14), dtype="uint8")
    path = save_npz(tmp_path / "a.npz", labels)
    collection = open_dataset(path)
    assert collection.multi_label
    assert np.array_equal(collection.labels("test"), labels)
    assert np.array_equal(load_npz_labels(path, "val"), labels)
    assert len(load_npz(path, classes=3)) == labels[:, 3].sum()
    collection = open_dataset(save_npz(tmp_path / "b.npz", np.eye(3, dtype="uint8")[np.arange(12) % 3]))
    assert "every image has exactly one of 3 findings" in collection.facts()["notes"][0]


def test_color_of_an_npz_file_becomes_luminance(tmp_path):
    colors = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), "uint8")
    images = load_npz(save_npz(tmp_path / "a.npz", images=colors))
    assert images.shape == (12, 8, 8, 1)
    pillow = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in colors])
    assert np.abs(images[..., 0].astype(int) - pillow).max() <= 1


@pytest.mark.parametrize(
    ("labels", "more", "said"),
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
        (np.zeros((12, 2, 2), int), {}, "one integer for each image"),
        ((np.arange(12) % 3 - 1).astype("uint8"), {}, "255, which -1 becomes without sign"),
    ],
)
def test_labels_of_an_npz_file_that_are_no_classes_are_refused(labels, more, said, tmp_path):
    with pytest.raises(ImageError, match=rf"(?s)a\.npz.*{said}"):
        open_dataset(save_npz(tmp_path / "a.npz", labels, **more))


@pytest.mark.parametrize("shape", [(4, 8, 8, 8), (4, 3, 8, 8), (4, 8, 8, 4), (4, 8, 8, 8, 1)])
def test_volumes_and_other_channels_of_an_npz_file_are_refused(shape, tmp_path):
    path = save_npz(tmp_path / "a.npz", images=np.zeros(shape, "uint8"))
    for read in (open_dataset, load_npz):
        with pytest.raises(ImageError, match=r"a\.npz: train_images is uint8 .*Volumes"):
            read(path)


@pytest.mark.parametrize("dtype", ["uint16", "float32", "bool", "int64"])
def test_other_types_of_images_in_an_npz_file_are_refused(dtype, tmp_path):
    path = save_npz(tmp_path / "a.npz", np.arange(12) % 2, np.ones((12, 8, 8), dtype))
    with pytest.raises(ImageError, match=f"a.npz: train_images is {dtype}"):
        open_dataset(path)


def test_labels_of_some_splits_only_are_reported(tmp_path):
    images = np.zeros((4, 8, 8), "uint8")
    np.savez(
        tmp_path / "a.npz", train_images=images, test_images=images, valid_images=images, train_labels=np.arange(4)
    )
    notes = open_dataset(tmp_path / "a.npz").facts()["notes"]
    assert notes == [
        "arrays that belong to no split are left out: valid_images",
        "labels are left out, since there are none for test",
    ]


# --- the cache --------------------------------------------------------------------------------------------------------


def test_the_cache_knows_which_files_were_broken(tmp_path):
    write_images(tmp_path / "data", 16)
    (tmp_path / "data" / "03.png").write_bytes(b"broken")
    how = {"size": 8, "cache": tmp_path / "cache"}
    runs = [open_dataset(tmp_path / "data", on_error="skip", **how) for _ in range(2)]
    first, second = (images_of(run) for run in runs)
    assert np.array_equal(first, second)
    assert len(first) == 15
    assert [list(run.skipped) for run in runs] == [["03.png"]] * 2
    assert sum(runs[1].facts()["images"].values()) == 15
    with pytest.raises(ImageError, match=r"03\.png"):
        images_of(open_dataset(tmp_path / "data", **how))
    write_png(tmp_path / "data" / "03.png", 3)
    assert len(images_of(open_dataset(tmp_path / "data", on_error="skip", **how))) == 16


def test_a_damaged_cache_is_written_again(tmp_path):
    write_images(tmp_path / "data")
    how = {"size": 8, "cache": tmp_path / "cache"}
    first = images_of(open_dataset(tmp_path / "data", **how))
    for spoil in (lambda f: f.write_bytes(f.read_bytes()[:-100]), lambda f: f.write_bytes(b""), os.remove):
        for suffix in ("*.npy", "*.json"):
            for file in (tmp_path / "cache").glob(suffix):
                spoil(file)
            assert np.array_equal(images_of(open_dataset(tmp_path / "data", **how)), first)


def test_the_cache_tells_apart_what_is_read_otherwise_or_elsewhere(tmp_path):
    for folder in ("a", "b"):
        for i in range(8):
            path = tmp_path / folder / f"{i}.npy"
            path.parent.mkdir(exist_ok=True)
            np.save(path, np.full((8, 8), (folder == "b") * 100 + i, "uint8"))
            os.utime(path, (0, 0))  # of one size and date, as unpacked files are
    how = {"size": 8, "cache": tmp_path / "cache"}
    a, b, dark = (
        images_of(open_dataset(tmp_path / f, window=w, **how)) for f, w in (("a", None), ("b", None), ("a", (128, 10)))
    )
    assert (b == a + 100).all()
    assert not dark.any()
