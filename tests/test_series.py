"""DICOM series are read as volumes with correct geometry; ambiguous series raise an error."""

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

import medzoo
from medzoo.errors import ImageError

SERIES = "1.2.826.0.1.3680043.8.498.1"
TILT = np.radians(20)  # oblique slices: rows along x, columns inferior and posterior
ROWS, COLUMNS = np.array([1.0, 0, 0]), np.array([0, np.cos(TILT), -np.sin(TILT)])
NORMAL = np.cross(ROWS, COLUMNS)
START = np.array([-20.0, -30, 10])


@pytest.fixture
def values():
    """4 slices of 5 rows and 6 columns with unique values."""
    return np.random.default_rng(0).permutation(120).reshape(4, 5, 6).astype("int16")


def header(**own):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SeriesInstanceUID, dataset.SeriesNumber, dataset.SeriesDescription = SERIES, 3, "thin"
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 2, -1000
    dataset.PixelSpacing = [2.0, 3.0]  # between rows, between columns
    dataset.ImageOrientationPatient = [*ROWS, *COLUMNS]
    for name, value in own.items():
        setattr(dataset, name, value)
    return dataset


def write(folder, pixels, at, name=None, **own):
    """Write one slice at a position along the normal in millimeters."""
    dataset = header(ImagePositionPatient=[*(START + at * NORMAL)], InstanceNumber=1, **own)
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()
    folder.mkdir(exist_ok=True)
    path = folder / (name or f"{at:07.2f}-{generate_uid()[-6:]}")
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def folder(values, tmp_path):
    """Slices with a distance of 5 mm in files with unordered names, and a text file."""
    for i in (2, 0, 3, 1):
        write(tmp_path / "series", values[i], 5.0 * i, name=f"IM{(7 * i) % 4}")
    (tmp_path / "series" / "README.txt").write_text("no image")
    return tmp_path / "series"


def test_slices_are_sorted_rescaled_and_positioned(folder, values):
    volume = medzoo.read_volume(folder, orient=None)
    assert volume.values.shape == (6, 5, 4)
    assert np.array_equal(volume.values, 2.0 * values.transpose(2, 1, 0) - 1000)
    for column, row, number in ((0, 0, 0), (5, 1, 2), (3, 4, 3)):
        position = START + 3 * column * ROWS + 2 * row * COLUMNS + 5 * number * NORMAL
        assert volume.affine @ [column, row, number, 1] == pytest.approx([-position[0], -position[1], position[2], 1])
    reoriented = medzoo.read_volume(folder)
    assert reoriented.orientation == "RAS"
    assert reoriented.spacing == pytest.approx((3, 2, 5))
    assert sorted(reoriented.values.ravel()) == sorted(volume.values.ravel())


def test_list_of_files_equals_folder(folder, values):
    files = [path for path in folder.iterdir() if path.suffix != ".txt"]
    assert np.array_equal(medzoo.read_volume(files).values, medzoo.read_volume(folder).values)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        medzoo.read_volume([*files, folder / "nowhere"])
    with pytest.raises(ImageError, match="empty list"):
        medzoo.read_volume([])


def test_enhanced_multi_frame_file_equals_single_frame_series(folder, values, tmp_path):
    dataset = header(SOPClassUID=EnhancedMRImageStorage)
    for tag in ("PixelSpacing", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"):
        delattr(dataset, tag)

    def item(**own):
        new = Dataset()
        for name, value in own.items():
            setattr(new, name, value)
        return Sequence([new])

    shared = Dataset()
    shared.PixelMeasuresSequence = item(PixelSpacing=[2.0, 3.0])
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=[*ROWS, *COLUMNS])
    shared.PixelValueTransformationSequence = item(RescaleSlope=2, RescaleIntercept=-1000)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    order, groups = (3, 1, 0, 2), []
    for i in order:
        group = Dataset()
        group.PlanePositionSequence = item(ImagePositionPatient=[*(START + 5.0 * i * NORMAL)])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = 4, 5, 6
    dataset.PixelData = values[list(order)].tobytes()
    dataset.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    one, many = medzoo.read_volume(tmp_path / "enhanced.dcm"), medzoo.read_volume(folder)
    assert np.array_equal(one.values, many.values)
    assert one.affine == pytest.approx(many.affine)
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.save_as(tmp_path / "bare.dcm", enforce_file_format=True)
    with pytest.raises(ImageError, match=r"4 frames without positions"):
        medzoo.read_volume(tmp_path / "bare.dcm")


def test_missing_duplicate_or_unevenly_spaced_slices_raise_an_error(folder, values):
    extra = write(folder, values[1], 5.0, SOPInstanceUID=generate_uid())
    with pytest.raises(ImageError, match=r"missing or duplicated: 2 at .* mm along the normal .*, 1 elsewhere"):
        medzoo.read_volume(folder)
    extra.unlink()
    (folder / "IM3").unlink()  # the second
    with pytest.raises(ImageError, match=r"unevenly spaced: 10.000 mm from IM0 to .*, 5.000 mm elsewhere"):
        medzoo.read_volume(folder)
    write(folder, values[1], 5.3)
    with pytest.raises(ImageError, match=r"unevenly spaced"):
        medzoo.read_volume(folder)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"PixelSpacing": [2.0, 2.0]}, "different size"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "different orientation"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "1 of 5 files are localizers"),
        ({"SamplesPerPixel": 3}, "a color image"),
        ({"PixelSpacing": None}, "missing or invalid PixelSpacing"),
        ({"PixelSpacing": [0, 1]}, "positive millimeters"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "orthogonal unit vectors"),
    ],
)
def test_inconsistent_slices_raise_an_error(folder, values, own, message):
    write(folder, values[0], 20.0, **own)
    with pytest.raises(ImageError, match=message):
        medzoo.read_volume(folder)


def test_slice_without_position_raises_an_error(folder, values):
    path = write(folder, values[0], 20.0)
    dataset = pydicom.dcmread(path)
    del dataset.ImagePositionPatient
    dataset.save_as(path)
    with pytest.raises(ImageError, match=r"missing or invalid ImagePositionPatient"):
        medzoo.read_volume(folder)


def test_tilted_gantry_raises_an_error(values, tmp_path):
    for i in range(4):
        position = START + 5.0 * i * (NORMAL + np.tan(np.radians(15)) * COLUMNS)
        write(tmp_path / "tilted", values[i], 0, name=str(i), GantryDetectorTilt=15)
        dataset = pydicom.dcmread(tmp_path / "tilted" / str(i))
        dataset.ImagePositionPatient = [*position]
        dataset.save_as(tmp_path / "tilted" / str(i))
    with pytest.raises(ImageError, match=r"tilted gantry: the slices shift 15.0 degrees"):
        medzoo.read_volume(tmp_path / "tilted")


def test_several_time_points_or_echoes_require_an_index(folder, values):
    for path in list(folder.glob("IM?")):
        dataset = pydicom.dcmread(path)
        dataset.EchoTime = 10
        dataset.save_as(path)
    for i in range(4):
        write(folder, values[i] + 200, 5.0 * i, EchoTime=30, AcquisitionNumber=2)
    with pytest.raises(ImageError, match=r"contains 2 volumes at each position, which differ in EchoTime.*time=0 to 1"):
        medzoo.read_volume(folder)
    first, second = (medzoo.read_volume(folder, time=i) for i in (0, 1))
    assert np.array_equal(second.values, first.values + 400)
    with pytest.raises(ImageError, match=r"time=2; expected 0 to 1"):
        medzoo.read_volume(folder, time=2)


def test_several_series_are_listed_in_the_error(folder, values):
    write(folder, values[0], 0.0, SeriesInstanceUID=SERIES + ".2", SeriesNumber=9, SeriesDescription="scout")
    with pytest.raises(ImageError, match=r"several series(.|\n)*number 3, 'thin', CT, 4 files(.|\n)*number 9, 'scout'"):
        medzoo.read_volume(folder)
    for wanted in (3, "thin", SERIES):
        assert medzoo.read_volume(folder, series=wanted).values.shape[2] == 4
    with pytest.raises(ImageError, match=r"series=4 matches none of these"):
        medzoo.read_volume(folder, series=4)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        medzoo.read_volume(folder / "elsewhere")
    (folder / "empty").mkdir()
    with pytest.raises(ImageError, match="no DICOM files"):
        medzoo.read_volume(folder / "empty")


# --- resampling and saving --------------------------------------------------------------------------------------------


def test_saved_slices_are_on_the_grid_of_the_series(folder, tmp_path):
    stored, reoriented = medzoo.read_volume(folder, orient=None), medzoo.read_volume(folder)
    reoriented.save(reoriented.slices(), tmp_path / "same.nii.gz")
    again = nibabel.load(tmp_path / "same.nii.gz")
    assert np.array_equal(again.get_fdata(), stored.values)
    assert again.affine == pytest.approx(stored.affine)


def test_resampling_preserves_a_ramp_and_is_inverted_by_save(tmp_path):
    x, y, z = np.mgrid[:20, :16, :12].astype("float32")
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(x + 2 * y + 3 * z, affine), tmp_path / "ramp.nii.gz")
    volume = medzoo.read_volume(tmp_path / "ramp.nii.gz", spacing=(2, 2, 1.5))
    assert volume.spacing == pytest.approx((2, 2, 1.5))
    assert volume.values.shape == (10, 8, 24)
    i, j, k = np.mgrid[2:8, 2:6, 4:20]
    points = np.stack([i, j, k, np.ones_like(i)], axis=-1) @ volume.affine.T
    expected = points[..., 0] + 2 * points[..., 1] + points[..., 2]
    assert volume.values[2:8, 2:6, 4:20] == pytest.approx(expected, abs=0.05)
    volume.save(volume.slices(), tmp_path / "back.nii.gz")
    back = nibabel.load(tmp_path / "back.nii.gz")
    assert back.shape == (20, 16, 12)
    assert back.affine == pytest.approx(affine)
    assert back.get_fdata()[4:16, 4:12, 2:10] == pytest.approx((x + 2 * y + 3 * z)[4:16, 4:12, 2:10], abs=0.1)
    labels = (volume.slices() > 30).astype("uint8")
    volume.save(labels, tmp_path / "labels.nii.gz")
    assert set(np.unique(nibabel.load(tmp_path / "labels.nii.gz").get_fdata())) == {0, 1}
    with pytest.raises(ValueError, match="spacing=0"):
        medzoo.read_volume(tmp_path / "ramp.nii.gz", spacing=0)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAR", "AIR"])
def test_reorientation_preserves_voxels_and_their_positions(folder, codes):
    volume, reoriented = medzoo.read_volume(folder), medzoo.read_volume(folder, orient=codes)
    assert reoriented.orientation == codes
    index = np.argwhere(reoriented.values == volume.values[1, 2, 3])[0]
    assert reoriented.affine @ [*index, 1] == pytest.approx(volume.affine @ [1, 2, 3, 1])
    if codes != "RAS":
        with pytest.raises(ValueError, match="orientation RAS"):
            reoriented.to_images()
    with pytest.raises(ValueError, match="one letter each"):
        volume.reorient("RAL")


def test_time_points_of_a_nifti_file(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 5, 6, 3)).astype("float32")
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "four.nii")
    with pytest.raises(ImageError, match="contains 3 volumes; select one with time=0 to 2"):
        medzoo.read_volume(tmp_path / "four.nii")
    assert np.array_equal(medzoo.read_volume(tmp_path / "four.nii", time=1).values, values[..., 1])
    with pytest.raises(ImageError, match="time=3"):
        medzoo.read_volume(tmp_path / "four.nii", time=3)


# --- datasets, masks, reconstructions ---------------------------------------------------------------------------------


@pytest.fixture
def scans(tmp_path):
    """Three small volumes of different size, and labels with the same names."""
    rng = np.random.default_rng(0)
    for i, shape in enumerate([(12, 14, 10), (16, 16, 16), (20, 12, 18)]):
        for kind, values in (("images", rng.normal(size=shape)), ("labels", rng.integers(0, 3, shape))):
            (tmp_path / kind).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values.astype("float32"), np.eye(4)), tmp_path / kind / f"v{i}.nii.gz")
    return tmp_path


def test_from_volumes_returns_crops(scans, folder):
    batches = list(medzoo.datasets.from_volumes(scans / "images", (8, 16, 8), batch_size=4, crops=2, seed=0))
    assert [b.shape for b in batches] == [(4, 8, 16, 8, 1), (2, 8, 16, 8, 1)]
    assert all(b.dtype == "float32" and np.min(b) >= 0 and np.max(b) <= 1 for b in batches)
    again = list(medzoo.datasets.from_volumes(scans / "images", (8, 16, 8), batch_size=4, crops=2, seed=0))
    assert np.array_equal(batches[0], again[0])
    (middle,) = medzoo.datasets.from_volumes([scans / "images" / "v1.nii.gz", folder], 8, crops=None, shuffle=False)
    volume = medzoo.read_volume(scans / "images" / "v1.nii.gz").to_images()
    assert np.asarray(middle[0]) == pytest.approx(volume[4:12, 4:12, 4:12], abs=1 / 255)
    (scans / "images" / "damaged.nii").write_text("no")
    with pytest.raises(ImageError, match=r"damaged.nii: not readable"):
        medzoo.datasets.from_volumes(scans / "images", 8)


def test_labels_are_aligned_with_their_volume(scans):
    x, y = medzoo.load_masks(scans / "images", scans / "labels", (12, 16, 16))
    assert (x.shape, y.shape, y.dtype) == ((3, 12, 16, 16, 1), (3, 12, 16, 16), "int32")
    stored = nibabel.load(scans / "labels" / "v1.nii.gz").get_fdata()
    assert y[1, 0, 0, 0] == stored[15, 15, 2]  # most inferior remaining slice, anterior, patient's right
    other = nibabel.Nifti1Image(np.zeros((4, 4, 4), "float32"), np.eye(4))
    nibabel.save(other, scans / "labels" / "v2.nii.gz")
    with pytest.raises(ImageError, match=r"v2.nii.gz: not on the grid"):
        medzoo.load_masks(scans / "images", scans / "labels", (12, 16, 16))
    (scans / "labels" / "v2.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"no labels for 1 of 3 volumes, e.g. v2.nii.gz"):
        medzoo.load_masks(scans / "images", scans / "labels", (12, 16, 16))


def test_dataset_of_volumes_uses_the_splits_of_its_csv_file(scans):
    (scans / "split.csv").write_text("file,split\nv0.nii.gz,train\nv1.nii.gz,val\nv2.nii.gz,test\n")
    dataset = medzoo.datasets.open_dataset(scans, (8, 16, 16))
    assert dataset.images("train").shape == (1, 8, 16, 16, 1)
    assert dataset.paths("test") == ["images/v2.nii.gz"]
    (scans / "split.csv").write_text("file,split\nv0.nii.gz,train\n")
    with pytest.raises(ImageError, match=r"no split for 2 of 3 files, e.g. v1.nii.gz"):
        medzoo.datasets.open_dataset(scans, (8, 16, 16))


@pytest.mark.parametrize("family", ["vae-volume", "ae-volume", "ae-spatial"])
def test_reconstructed_volumes_have_the_grid_of_the_file(family, scans, folder, tmp_path):
    from click.testing import CliRunner
    from conftest import FAMILIES, VOLUMES

    from medzoo.cli import main

    preset = medzoo.save_preset({**FAMILIES, **VOLUMES}[family](), tmp_path / family)
    file = scans / "images" / "v2.nii.gz"
    sources = [file, folder] if family == "vae-volume" else [file]
    result = CliRunner().invoke(main, ["reconstruct", str(preset), *map(str, sources), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    output, source = nibabel.load(tmp_path / "out" / f"v2-{family}.nii.gz"), nibabel.load(file)
    assert output.shape == source.shape
    assert output.affine == pytest.approx(source.affine)
    low, high = medzoo.read_volume(file).display_range
    assert output.get_fdata().min() >= low - 1e-3
    assert output.get_fdata().max() <= high + 1e-3
    assert (tmp_path / "out" / f"v2-{family}.png").is_file()
    if folder in sources:
        assert nibabel.load(tmp_path / "out" / f"series-{family}.nii.gz").shape == (6, 5, 4)
    again = CliRunner().invoke(main, ["reconstruct", str(preset), str(file), "-o", str(tmp_path / "out")])
    assert "pass --overwrite" in again.output
