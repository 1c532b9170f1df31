"""NIfTI files: units, data types, NaN, display range and saving."""

import logging

import nibabel
import numpy as np
import pytest

import medzoo
from medzoo.errors import ImageError
from medzoo.io.dicom_secondary_capture import write_secondary
from medzoo.io.file_info import file_info
from medzoo.io.image import read_stored
from medzoo.io.intensity import display_range, to_lossless_float
from medzoo.io.writers import write_labels

RNG = np.random.default_rng(0)


def nifti(path, values, step=1.0, units="mm", affine=None, **options):
    """Write a NIfTI file with isotropic voxels."""
    affine = np.diag([step, step, step, 1.0]) if affine is None else affine
    image = nibabel.Nifti1Image(values, affine, dtype=values.dtype, **options)
    image.header.set_xyzt_units(units)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def random_values(shape=(4, 5, 6), dtype="int16"):
    return RNG.integers(0, 200, shape).astype(dtype)


# --- units and affines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("units", "step"), [("micron", 50.0), ("meter", 5e-5), ("mm", 0.05), ("unknown", 0.05)])
def test_spacing_is_in_millimeters_for_every_unit(tmp_path, units, step):
    path = nifti(tmp_path / "mouse.nii", random_values(), step, units)
    volume = medzoo.read_volume(path)
    assert volume.spacing == pytest.approx([0.05] * 3)
    assert file_info(path)["voxel_mm"] == pytest.approx([0.05] * 3)
    volume.save(volume.slices(), tmp_path / "again.nii")
    stored = nibabel.load(tmp_path / "again.nii")
    assert stored.header.get_xyzt_units()[0] == "mm"
    assert stored.affine == pytest.approx(volume.affine)


def test_origin_of_a_volume_in_micrometers_is_in_millimeters(tmp_path):
    affine = np.diag([50.0, 50, 50, 1])
    affine[:3, 3] = 1000, 2000, -3000
    volume = medzoo.read_volume(nifti(tmp_path / "mouse.nii", random_values(), units="micron", affine=affine))
    assert volume.affine[:3, 3] == pytest.approx([1, 2, -3])


def test_voxels_of_50_nanometers_are_supported(tmp_path):
    volume = medzoo.read_volume(nifti(tmp_path / "cell.nii", random_values(), 0.05, "micron"))
    assert volume.spacing == pytest.approx([5e-5] * 3)


def test_grids_shifted_by_half_a_small_voxel_are_different(tmp_path):
    """Half a voxel of 5 micrometers is far below a hundredth of a millimeter."""
    labels = random_values() % 2
    nifti(tmp_path / "images" / "a.nii", random_values(), 0.005)
    shifted = np.diag([0.005, 0.005, 0.005, 1])
    shifted[0, 3] = 0.0025
    nifti(tmp_path / "labels" / "a.nii", labels, affine=shifted)
    with pytest.raises(ImageError, match=r"a.nii: not on the grid"):
        medzoo.load_masks(tmp_path / "images", tmp_path / "labels", (4, 4, 4))


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_singular_affine_raises_an_error(tmp_path, value):
    image = nibabel.Nifti1Image(random_values(), np.eye(4))
    image.header["srow_x"] = value
    path = tmp_path / "nowhere.nii"
    path.write_bytes(image.header.binaryblock + bytes(4) + np.asarray(image.dataobj).tobytes(order="F"))
    with pytest.raises(ImageError, match=r"nowhere.nii: the affine is singular"):
        medzoo.read_volume(path)


def test_unknown_orientation_is_logged(tmp_path, caplog):
    image = nibabel.Nifti1Image(random_values(), None)
    nibabel.save(image, tmp_path / "open.nii")
    with caplog.at_level(logging.WARNING, "medzoo"):
        medzoo.read_volume(tmp_path / "open.nii")
    assert "open.nii: no orientation" in caplog.text


def test_contradictory_qform_and_sform_are_logged(tmp_path, caplog):
    image = nibabel.Nifti1Image(random_values(), np.eye(4))
    image.set_sform(np.diag([-1.0, 1, 1, 1]), 1)
    image.set_qform(np.eye(4), 1)
    nibabel.save(image, tmp_path / "two.nii")
    with caplog.at_level(logging.WARNING, "medzoo"):
        medzoo.read_volume(tmp_path / "two.nii")
    assert "two.nii: qform and sform with the same code (1) disagree" in caplog.text
    image.set_qform(np.diag([-1.0, 1, 1, 1]), 1)
    nibabel.save(image, tmp_path / "one.nii")
    caplog.clear()
    medzoo.read_volume(tmp_path / "one.nii")
    assert not caplog.records


@pytest.mark.parametrize("name", ["pair.img", "pair.hdr"])
def test_volumes_in_two_files_error_contains_the_fix(tmp_path, name):
    nibabel.save(nibabel.Nifti1Pair(random_values(), np.eye(4)), tmp_path / "pair.img")
    with pytest.raises(ImageError, match=rf"{name}: a volume in two files.*nibabel.save"):
        medzoo.read_volume(tmp_path / name)


# --- data types -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["complex64", "complex128"])
def test_complex_values_error_contains_the_fix(tmp_path, kind):
    path = nifti(tmp_path / "raw.nii", random_values().astype(kind))
    with pytest.raises(ImageError, match=r"raw.nii: complex values.*numpy.abs"):
        medzoo.read_volume(path)


def test_color_volumes_raise_an_error(tmp_path):
    values = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    path = nifti(tmp_path / "color.nii", values)
    with pytest.raises(ImageError, match=r"color.nii: in color \(R, G, B\)"):
        medzoo.read_volume(path)


@pytest.mark.parametrize("kind", ["int32", "uint32", "int64", "uint64", "float64"])
def test_labels_beyond_float32_precision_are_exact(tmp_path, kind):
    values = np.zeros((4, 4, 4), kind)
    values[0], values[1] = 2**24, 2**24 + 1
    volume = medzoo.read_volume(nifti(tmp_path / "atlas.nii", values))
    assert np.array_equal(volume.values, values)
    volume.save(volume.slices(), tmp_path / "again.nii")
    assert np.array_equal(medzoo.read_volume(tmp_path / "again.nii").values, values)


def test_values_with_a_large_intercept_are_exact(tmp_path):
    values = np.arange(64).reshape(4, 4, 4).astype("int16")
    image = nibabel.Nifti1Image(values, np.eye(4))
    image.header.set_slope_inter(1, 2**25)
    nibabel.save(image, tmp_path / "a.nii")
    stored = bytearray((tmp_path / "a.nii").read_bytes())
    stored[112:120] = np.array([1, 2**25], "<f4").tobytes()  # nibabel does not write the intercept
    stored[352:] = values.tobytes(order="F")
    (tmp_path / "a.nii").write_bytes(stored)
    assert np.array_equal(medzoo.read_volume(tmp_path / "a.nii").values, values + 2.0**25)


def test_integers_beyond_float64_precision_raise_an_error(tmp_path):
    path = nifti(tmp_path / "huge.nii", np.full((4, 4, 4), 2**60, "int64"))
    with pytest.raises(ImageError, match=r"huge.nii: integers .* at most 2\*\*53"):
        medzoo.read_volume(path)


@pytest.mark.parametrize(
    ("values", "kind"), [([0.1, 0.2], "float32"), ([1e9, 1e9 + 0.5], "float64"), ([1e300, 1], "float64")]
)
def test_float64_is_used_only_if_float32_is_not_exact(tmp_path, values, kind):
    values = np.resize(values, (4, 4, 4)).astype("float64")
    read = medzoo.read_volume(nifti(tmp_path / "a.nii", values)).values
    assert read.dtype == kind
    assert read == pytest.approx(values)
    assert to_lossless_float(values).dtype == kind


@pytest.mark.parametrize("slope", [0, np.nan, np.inf])
def test_invalid_slope_is_ignored(tmp_path, slope):
    """As the NIfTI-1 standard defines for 0 and its C library for non-finite values."""
    values = random_values()
    path = nifti(tmp_path / "a.nii", values)
    stored = bytearray(path.read_bytes())
    stored[112:120] = np.array([slope, 5], "<f4").tobytes()
    path.write_bytes(stored)
    assert np.array_equal(medzoo.read_volume(path).values, values)


def test_nan_raises_an_error_or_is_replaced(tmp_path):
    values = random_values(dtype="float32")
    values[0, 0, 0] = np.nan
    path = nifti(tmp_path / "map.nii", values)
    with pytest.raises(ImageError, match=r"map.nii: contains NaN.*1 of 120.*nan=0"):
        medzoo.read_volume(path)
    read = medzoo.read_volume(path, nan=-7).values
    assert read[0, 0, 0] == -7
    assert np.array_equal(read.ravel()[1:], values.ravel()[1:])
    with pytest.raises(ValueError, match="finite"):
        medzoo.read_volume(path, nan=np.nan)
    (batch,) = medzoo.datasets.from_volumes([path], 4, crops=None, nan=0)
    assert np.isfinite(np.asarray(batch)).all()
    values[0, 0, 1] = np.inf
    with pytest.raises(ImageError, match=r"map.nii: contains NaN or infinity"):
        medzoo.read_volume(nifti(tmp_path / "map.nii", values), nan=0)


def test_dicom_options_raise_an_error_for_nifti(tmp_path):
    path = nifti(tmp_path / "a.nii", random_values())
    for option in ({"units": "suv"}, {"series": 3}):
        with pytest.raises(ImageError, match=r"a.nii: .* applies to DICOM series only"):
            medzoo.read_volume(path, **option)


# --- display range ----------------------------------------------------------------------------------------------------


def test_display_range_of_a_sparse_volume_covers_its_foreground(tmp_path):
    values = np.zeros((20, 20, 20), "float32")
    values[10, 10, :8] = np.arange(1, 9)
    images = medzoo.read_volume(nifti(tmp_path / "map.nii", values)).to_images()
    assert len(np.unique(images.round(3))) == 9
    values[10, 10, :8] *= -1
    images = medzoo.read_volume(nifti(tmp_path / "map.nii", values)).to_images()
    assert len(np.unique(images.round(3))) == 9


def test_display_range_of_a_sparse_map_covers_both_signs():
    values = np.zeros(10000)
    values[:60], values[-60:] = -np.arange(1, 61), np.arange(1, 61)
    low, high = display_range(values)
    assert low < -59
    assert high > 59


def test_sparse_mask_is_black_and_white(tmp_path):
    values = np.zeros((20, 20, 20), "uint8")
    values[10, 10, 3] = 1
    images = medzoo.read_volume(nifti(tmp_path / "mask.nii", values)).to_images()
    assert np.array_equal(np.unique(images), [0, 1])
    assert images.sum() == 1


def test_display_range_excludes_outliers(tmp_path):
    values = RNG.normal(100, 10, (20, 20, 20)).astype("float32")
    values[0, 0, :3] = 1e6
    low, high = display_range(values)
    assert 60 < low < high < 140


def test_constant_volume_is_black(tmp_path):
    volume = medzoo.read_volume(nifti(tmp_path / "flat.nii", np.full((4, 4, 4), 7, "int16")))
    assert not volume.to_images().any()


def test_small_values_use_the_full_range(tmp_path):
    values = np.linspace(0, 1e-15, 120).reshape(4, 5, 6).astype("float32")
    assert np.ptp(medzoo.read_volume(nifti(tmp_path / "diffusion.nii", values)).to_images()) == 1


def test_display_range_of_dense_volumes_uses_all_voxels():
    values = RNG.normal(size=4000)
    values[:2000] = 0
    assert display_range(values) == tuple(np.percentile(values, (0.5, 99.5)))


# --- saving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("largest", [255, 40000, 2**31 - 1, 2**40])
@pytest.mark.parametrize("spacing", [None, 2.0])
def test_saved_labels_are_unchanged(tmp_path, largest, spacing):
    volume = medzoo.read_volume(nifti(tmp_path / "scan.nii", random_values((4, 4, 4))), spacing=spacing)
    labels = np.zeros(volume.slices().shape, "int64")
    labels[1] = largest
    volume.save(labels, tmp_path / "labels.nii")
    assert set(np.unique(medzoo.read_volume(tmp_path / "labels.nii").values)) == {0, largest}


@pytest.mark.parametrize(
    ("kind", "value"), [("uint16", 65535), ("uint32", 2**32 - 1), ("int8", -128), ("bool", 1), ("float64", 1e300)]
)
def test_saved_values_of_any_type_are_unchanged(tmp_path, kind, value):
    volume = medzoo.read_volume(nifti(tmp_path / "scan.nii", random_values((4, 4, 4))))
    images = np.zeros((4, 4, 4, 1), kind)
    images[2] = value
    volume.save(images, tmp_path / "out.nii.gz")
    assert set(np.unique(medzoo.read_volume(tmp_path / "out.nii.gz").values)) == {0, value}


def test_values_beyond_every_data_type_raise_an_error(tmp_path):
    volume = medzoo.read_volume(nifti(tmp_path / "scan.nii", random_values((4, 4, 4))))
    for images, message in (
        (np.full((4, 4, 4), 2**63, "uint64"), "out.nii: labels from"),
        (np.zeros((4, 4, 4), "complex64"), "out.nii: array of complex64"),
        (np.zeros((4, 4, 4, 3)), r"out.nii: array of shape"),
        (np.zeros((4, 4, 5)), r"out.nii: \(.*\) voxels"),
    ):
        with pytest.raises(ValueError, match=message):
            volume.save(images, tmp_path / "out.nii")
    with pytest.raises(ValueError, match=r"out.png: expected a name"):
        volume.save(np.zeros((4, 4, 4)), tmp_path / "out.png")
    assert not list(tmp_path.glob("out*"))


def test_labels_out_of_range_raise_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"mask: .* expected integer labels from 0 to 65535"):
        write_labels(tmp_path / "mask", np.array([[0, 70000]]))
    with pytest.raises(ValueError, match=r"mask: .* expected integer labels from 0 to 1"):
        write_labels(tmp_path / "mask", np.array([[[0, 2]]]))


def test_pixels_beyond_bits_stored_are_not_wrapped(tmp_path):
    pixels = np.array([[0, 4096]], "uint16")
    tags = {"BitsStored": "12", "PhotometricInterpretation": "MONOCHROME2"}
    write_secondary(tmp_path / "exact.dcm", pixels, tags)
    assert np.array_equal(read_stored(tmp_path / "exact.dcm"), pixels)
    assert file_info(tmp_path / "exact.dcm")["BitsStored"] == "16"
    write_secondary(tmp_path / "lossy.dcm", pixels, tags, lossy=(10.0, "ISO_10918_1"))
    assert np.array_equal(read_stored(tmp_path / "lossy.dcm"), [[0, 4095]])
    assert file_info(tmp_path / "lossy.dcm")["BitsStored"] == "12"
