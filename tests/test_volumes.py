"""Slicing and saving of volumes, named windows, TIFF files, folders with unreadable files, file information."""

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

import medzoo
from medzoo.errors import ImageError
from medzoo.io.intensity import apply_window


@pytest.fixture
def volume(tmp_path):
    """4×5×6 voxels whose values encode their position (100 right + 10 anterior + superior), stored as LAS."""
    x, y, z = np.mgrid[:4, :5, :6]
    values = (100 * x + 10 * y + z).astype("int16")
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    flipped, affine[0, 0], affine[0, 3] = values[::-1], -2.0, 6.0  # the first axis points to the left
    path = tmp_path / "v.nii.gz"
    nibabel.save(nibabel.Nifti1Image(flipped, affine), path)
    return path


def test_slices_have_radiological_orientation(volume):
    loaded = medzoo.read_volume(volume)
    assert loaded.values.shape == (4, 5, 6)
    axial = loaded.slice(2, "axial")
    assert axial.shape == (5, 4)
    assert axial[0, 0] == 342  # top left: patient's right (3), anterior (4), third slice from inferior
    assert axial[-1, -1] == 2
    assert loaded.slice(1, "coronal")[0, 0] == 315  # right, superior
    assert loaded.slice(0, "sagittal")[0, 0] == 45  # anterior, superior
    assert np.allclose(loaded.affine @ [3, 0, 0, 1], [6, 0, 0, 1])  # position of the rightmost voxel in millimeters


def test_read_image_returns_one_windowed_slice_of_a_volume(volume):
    image = medzoo.read_image(volume, window=(200, 100), frame=2, axis="axial")
    assert image.shape == (5, 4, 1)
    assert image[..., 0] == pytest.approx(apply_window(medzoo.read_volume(volume).slice(2), 200, 100))
    with pytest.raises(ImageError, match="select a slice"):
        medzoo.read_image(volume)
    with pytest.raises(ImageError, match=r"slice 6\. Expected 0 to 5"):
        medzoo.read_image(volume, frame=6)


def test_saved_slices_have_the_grid_of_the_volume(volume, tmp_path):
    loaded = medzoo.read_volume(volume)
    for axis in ("axial", "coronal", "sagittal"):
        count = loaded.values.shape[{"sagittal": 0, "coronal": 1, "axial": 2}[axis]]
        slices = np.stack([loaded.slice(i, axis) for i in range(count)])
        loaded.save(slices, tmp_path / f"{axis}.nii.gz", axis)
        again = medzoo.read_volume(tmp_path / f"{axis}.nii.gz")
        assert np.array_equal(again.values, loaded.values)
        assert np.allclose(again.affine, loaded.affine)
    with pytest.raises(FileExistsError):
        loaded.save(slices, tmp_path / "axial.nii.gz")
    assert loaded.to_images("axial", size=8).shape == (6, 8, 8, 1)


def test_damaged_volumes_raise_an_error_with_the_file_name(volume, tmp_path):
    data = volume.read_bytes()
    for name, content in (("cut.nii.gz", data[: len(data) // 2]), ("text.nii", b"hello" * 100)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=name):
            medzoo.read_volume(tmp_path / name)
    four = tmp_path / "four.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3, 2, 2), "float32"), np.eye(4)), four)
    with pytest.raises(ImageError, match="3 axes"):
        medzoo.read_volume(four)


@pytest.mark.parametrize(
    ("name", "center", "width"),
    [("lung", -600, 1500), ("bone", 400, 1800), ("soft_tissue", 40, 400), ("brain", 40, 80)],
)
def test_named_windows_of_ct(name, center, width):
    path = get_testdata_file("CT_small.dcm")
    assert np.array_equal(medzoo.read_image(path, window=name), medzoo.read_image(path, window=(center, width)))


def test_named_windows_are_for_ct_only(tmp_path):
    with pytest.raises(ImageError, match="requires CT; modality MR"):
        medzoo.read_image(get_testdata_file("MR_small.dcm"), window="brain")
    with pytest.raises(ImageError, match="window='liver'"):
        medzoo.read_image(get_testdata_file("CT_small.dcm"), window="liver")
    Image.fromarray(np.zeros((4, 4), "uint8")).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="Hounsfield"):
        medzoo.read_image(tmp_path / "a.png", window="lung")


def test_tiff_is_read_like_png(tmp_path):
    rng = np.random.default_rng(0)
    for dtype, high in (("uint8", 255), ("uint16", 65535)):
        values = rng.integers(0, high + 1, (9, 7)).astype(dtype)
        Image.fromarray(values).save(tmp_path / "a.tif")
        Image.fromarray(values).save(tmp_path / "a.png")
        assert np.array_equal(medzoo.read_image(tmp_path / "a.tif"), medzoo.read_image(tmp_path / "a.png"))
    pages = [Image.fromarray(np.full((4, 4), v, "uint8")) for v in (10, 20)]
    pages[0].save(tmp_path / "b.tiff", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageError, match="contains 2 frames"):
        medzoo.read_image(tmp_path / "b.tiff")
    assert medzoo.read_image(tmp_path / "b.tiff", frame=1)[0, 0, 0] == pytest.approx(20 / 255)


# --- folders with unreadable files ------------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(np.full((20, 20), 80 * i, "uint8")).save(folder / f"valid{i}.png")
    for i in range(25):
        (folder / f"invalid{i:02d}.png").write_bytes(b"\x89PNG nothing")
    return folder


@pytest.mark.parametrize("cache", [True, False])
def test_all_unreadable_files_are_listed_in_the_error_or_in_a_file(mixed, tmp_path, cache):
    with pytest.raises(ImageError, match=r"25 of 28 images cannot be read") as error:
        medzoo.datasets.from_folder(mixed, 16, cache=cache)
    assert "invalid00.png" in str(error.value)
    assert "and 5 more" in str(error.value)
    skipped = tmp_path / "skipped.txt"
    options = {"cache": cache, "on_error": "skip", "skipped": skipped}
    data = medzoo.datasets.from_folder(mixed, 16, batch_size=8, shuffle=False, **options)
    (batch,) = [np.asarray(b) for b in data]
    assert batch[:, 0, 0, 0] == pytest.approx(np.array([0, 80, 160]) / 255)
    assert len(skipped.read_text().splitlines()) == 25
    with pytest.raises(FileExistsError):  # an existing list is not overwritten
        medzoo.datasets.from_folder(mixed, 16, **options)


def test_skipping_requires_a_file_for_the_list(mixed, tmp_path):
    with pytest.raises(ValueError, match=r"skipped='skipped\.txt'"):
        medzoo.datasets.from_folder(mixed, 16, on_error="skip")
    for path in mixed.glob("valid*"):
        path.unlink()
    with pytest.raises(ImageError, match="25 of 25"):
        medzoo.datasets.from_folder(mixed, 16, on_error="skip", skipped=tmp_path / "s.txt")


def test_from_dicom_reads_every_frame_of_a_dicom_tree(tmp_path):
    import shutil

    (tmp_path / "a" / "b").mkdir(parents=True)
    shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "a" / "IM0001")
    shutil.copy(get_testdata_file("rtdose.dcm"), tmp_path / "a" / "b" / "IM0002.x")
    (tmp_path / "a" / "DICOMDIR.txt").write_text("no image")
    sources = medzoo.datasets.list_frames(tmp_path)
    assert len(sources) == 1 + 15
    data = medzoo.datasets.from_dicom(tmp_path, 16, batch_size=16, shuffle=False)
    (batch,) = [np.asarray(b) for b in data]
    assert batch.shape == (16, 16, 16, 1)
    expected = medzoo.read_image(tmp_path / "a" / "IM0001", size=16)
    assert batch[0] == pytest.approx(expected, abs=1 / 255)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no DICOM files"):
        medzoo.datasets.from_dicom(tmp_path / "empty", 16)


def test_palette_colors_are_converted_to_luminance(tmp_path):
    from pydicom import dcmread

    dataset = dcmread(get_testdata_file("CT_small.dcm"))
    indices = np.random.default_rng(0).integers(0, 256, (128, 128)).astype("uint8")
    tables = np.random.default_rng(1).integers(0, 65536, (3, 256)).astype("uint16")
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    for color, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        dataset.add_new(f"{color}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        dataset.add_new(f"{color}PaletteColorLookupTableData", "OW", table.tobytes())
    dataset.PixelData = indices.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.save_as(tmp_path / "palette.dcm")
    expected = np.tensordot([0.299, 0.587, 0.114], tables[:, indices] / 65535, 1)
    assert medzoo.read_image(tmp_path / "palette.dcm")[..., 0] == pytest.approx(expected, abs=1e-4)


# --- file information -------------------------------------------------------------------------------------------------


def test_info_contains_technical_tags_and_no_patient_information(volume, tmp_path):
    import json

    from click.testing import CliRunner
    from pydicom import dcmread

    from medzoo.cli import main

    path = get_testdata_file("CT_small.dcm")
    result = CliRunner().invoke(main, ["info", str(path)])
    info = json.loads(result.output)
    assert (info["Modality"], info["Rows"], info["TransferSyntax"]) == ("CT", "128", "Explicit VR Little Endian")
    dataset = dcmread(path)
    for tag in ("PatientName", "PatientID", "StudyDate", "InstitutionName", "StudyInstanceUID", "AccessionNumber"):
        value = str(dataset.get(tag, ""))
        assert not value or value not in result.output, tag
    assert json.loads(CliRunner().invoke(main, ["info", str(volume)]).output)["shape"] == [4, 5, 6]
    Image.fromarray(np.zeros((3, 5), "uint16")).save(tmp_path / "a.png")
    assert json.loads(CliRunner().invoke(main, ["info", str(tmp_path / "a.png")]).output)["width"] == 5
