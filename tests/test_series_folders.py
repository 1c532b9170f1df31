"""Folders of exported DICOM series: duplicates, objects without pixel data, small slice distances, padding."""

import logging
import shutil

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

import medzoo
from medzoo.errors import ImageError
from medzoo.io.listing import list_sources

PIXELLESS = {
    "SR": "1.2.840.10008.5.1.4.1.1.88.11",
    "PR": "1.2.840.10008.5.1.4.1.1.11.1",
    "KO": "1.2.840.10008.5.1.4.1.1.88.59",
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
    "DOC": "1.2.840.10008.5.1.4.1.1.104.1",
    "REG": "1.2.840.10008.5.1.4.1.1.66.1",
    "RAW": "1.2.840.10008.5.1.4.1.1.66",
    "MRS": "1.2.840.10008.5.1.4.1.1.4.2",
    "private": "1.3.12.2.1107.5.9.1",
    "": "1.2.840.10008.1.3.10",  # DICOMDIR
}


def write(path, pixels, **tags):
    """Write a slice of int16 or uint16 `(H, W)`."""
    new, meta = Dataset(), FileMetaDataset()
    new.SOPClassUID = meta.MediaStorageSOPClassUID = CTImageStorage
    new.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = tags.pop("SOPInstanceUID", generate_uid())
    meta.TransferSyntaxUID, new.file_meta, new.Modality = ExplicitVRLittleEndian, meta, "CT"
    new.Rows, new.Columns = pixels.shape
    new.SamplesPerPixel, new.PhotometricInterpretation, bits = 1, "MONOCHROME2", 8 * pixels.itemsize
    new.BitsAllocated, new.BitsStored, new.HighBit = bits, bits, bits - 1
    new.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in tags.items():
        setattr(new, name, value)
    new.PixelData = pixels.tobytes()
    new["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    new.save_as(path, enforce_file_format=True)
    return path


def series(folder, count=6, step=2.0, pixels=None, **tags):
    """Write the slices of a series with the given distance; return the paths."""
    common = {"SeriesInstanceUID": generate_uid(), "PixelSpacing": [1.0, 1.0], "SeriesNumber": 1}
    common |= {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "RescaleSlope": 1, "RescaleIntercept": 0, **tags}
    return [
        write(
            folder / f"slice{i}.dcm",
            np.full((4, 4), 100 * i, "int16") if pixels is None else pixels[i],
            **{"ImagePositionPatient": [0, 0, round(i * step, 9)], "InstanceNumber": i + 1, **common},
        )
        for i in range(count)
    ]


def without_pixels(path, modality):
    new, meta = Dataset(), FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = PIXELLESS[modality], generate_uid()
    meta.TransferSyntaxUID, new.file_meta = ExplicitVRLittleEndian, meta
    if modality:
        new.SOPClassUID, new.SOPInstanceUID = PIXELLESS[modality], meta.MediaStorageSOPInstanceUID
        new.Modality, new.SeriesInstanceUID, new.SeriesNumber = modality[:16], generate_uid(), 99
    if modality == "MRS":
        new.Rows, new.Columns = 1, 1
    path.parent.mkdir(parents=True, exist_ok=True)
    new.save_as(path, enforce_file_format=True)
    return path


def changed(path, **tags):
    dataset = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)


# --- objects without pixel data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", PIXELLESS)
def test_objects_without_pixel_data_are_ignored_in_folders(tmp_path, modality):
    series(tmp_path / "scan", 8)
    other = without_pixels(tmp_path / "scan" / f"other-{modality}.dcm", modality)
    assert medzoo.read_volume(tmp_path / "scan").values.shape == (4, 4, 8)
    assert len(medzoo.datasets.list_images(tmp_path)) == 8
    assert len(medzoo.datasets.list_frames(tmp_path)) == 8
    assert len(list_sources(tmp_path)) == 8
    with pytest.raises(ImageError, match=rf"other-{modality}.dcm"):
        medzoo.read_image(other)
    with pytest.raises(ImageError, match=rf"other-{modality}.dcm.*without pixel data"):
        medzoo.read_volume(other)


def test_folder_without_images_is_not_a_volume(tmp_path):
    series(tmp_path / "cd" / "images")
    without_pixels(tmp_path / "cd" / "INDEX", "")
    without_pixels(tmp_path / "cd" / "reports" / "1.dcm", "SR")
    assert medzoo.datasets.list_volumes(tmp_path / "cd") == [tmp_path / "cd" / "images"]
    assert medzoo.read_volume(tmp_path / "cd").values.shape == (4, 4, 6)
    with pytest.raises(ImageError, match=r"reports: no image; 1 DICOM objects without pixel data \(SR\)"):
        medzoo.read_volume(tmp_path / "cd" / "reports")


def test_damaged_image_is_not_treated_as_a_report(tmp_path):
    paths = series(tmp_path / "scan")
    dataset = pydicom.dcmread(paths[2])
    del dataset.Rows, dataset.Columns, dataset.PixelData
    dataset.save_as(paths[2], enforce_file_format=True)
    assert len(medzoo.datasets.list_images(tmp_path)) == 6
    with pytest.raises(ImageError):
        medzoo.read_volume(tmp_path / "scan")


# --- duplicates -------------------------------------------------------------------------------------------------------


def test_duplicate_slice_is_ignored_and_logged(tmp_path, caplog):
    paths = series(tmp_path / "scan")
    shutil.copy(paths[2], tmp_path / "scan" / "again.dcm")
    shutil.copy(paths[3], tmp_path / "scan" / "renamed.dcm")
    changed(tmp_path / "scan" / "renamed.dcm", PatientName="anonymous")
    with caplog.at_level(logging.WARNING, "medzoo"):
        volume = medzoo.read_volume(tmp_path / "scan")
    assert np.array_equal(volume.values[0, 0], [0, 100, 200, 300, 400, 500])
    assert "a copy of" in caplog.text


@pytest.mark.parametrize("tags", [{"PixelData": bytes(32)}, {"ImagePositionPatient": [0, 0, 12]}, {"RescaleSlope": 3}])
def test_different_images_with_the_same_uid_raise_an_error(tmp_path, tags):
    paths = series(tmp_path / "scan")
    shutil.copy(paths[2], tmp_path / "scan" / "other.dcm")
    changed(tmp_path / "scan" / "other.dcm", **tags)
    with pytest.raises(ImageError, match=r"slice2.dcm: same SOPInstanceUID as other.dcm, but a different image"):
        medzoo.read_volume(tmp_path / "scan")


# --- positions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", [0.005, 1.0])
@pytest.mark.parametrize("step", [0.005, 0.0004])
def test_slices_at_microscopic_distances_are_separate_positions(tmp_path, step, spacing):
    series(tmp_path / "scan", step=step, PixelSpacing=[spacing, spacing])
    volume = medzoo.read_volume(tmp_path / "scan")
    assert volume.values.shape == (4, 4, 6)
    assert volume.spacing == pytest.approx((spacing, spacing, step))


def test_missing_slice_at_microscopic_distances_raises_an_error(tmp_path):
    series(tmp_path / "scan", step=0.005, PixelSpacing=[0.005, 0.005])[2].unlink()
    with pytest.raises(ImageError, match=r"unevenly spaced: 0.01 mm from slice1.dcm to slice3.dcm, 0.005 mm elsewhere"):
        medzoo.read_volume(tmp_path / "scan")


def test_rounding_errors_do_not_create_positions(tmp_path):
    """Two echoes whose positions differ by a few micrometers."""
    uid = generate_uid()
    series(tmp_path / "scan" / "a", EchoTime=10, SeriesInstanceUID=uid)
    for i, path in enumerate(series(tmp_path / "scan" / "b", EchoTime=20, SeriesInstanceUID=uid)):
        changed(path, ImagePositionPatient=[0, 0, 2 * i + 0.003 * (i % 2)])
    assert medzoo.read_volume(tmp_path / "scan", time=1).values.shape == (4, 4, 6)


def test_slices_shifted_in_plane_raise_an_error(tmp_path):
    changed(series(tmp_path / "scan")[2], ImagePositionPatient=[1, 0, 4])
    with pytest.raises(ImageError, match=r"not aligned: slice2.dcm is 1.000 mm off"):
        medzoo.read_volume(tmp_path / "scan")


def test_slices_of_two_frames_of_reference_raise_an_error(tmp_path):
    changed(series(tmp_path / "scan", FrameOfReferenceUID="1.2.3")[2], FrameOfReferenceUID="1.2.4")
    with pytest.raises(ImageError, match=r"different FrameOfReferenceUID"):
        medzoo.read_volume(tmp_path / "scan")


def test_interleaved_echoes_are_separated(tmp_path):
    """At every other position the second echo has the lower InstanceNumber."""
    uid = generate_uid()
    for echo in (10, 20):
        paths = series(
            tmp_path / "scan" / str(echo), pixels=[np.full((4, 4), echo, "int16")] * 6, SeriesInstanceUID=uid
        )
        for i, path in enumerate(paths):
            changed(path, EchoTime=echo, InstanceNumber=2 * i + ((echo == 20) ^ (i % 2)))
    for time, echo in enumerate((10, 20)):
        assert (medzoo.read_volume(tmp_path / "scan", time=time).values == echo).all()


def test_indistinguishable_images_at_one_position_raise_an_error(tmp_path):
    uid = generate_uid()
    for part in "ab":
        series(tmp_path / "scan" / part, SeriesInstanceUID=uid, InstanceNumber=1)
    with pytest.raises(ImageError, match=r"2 images at each position, and no tag that assigns"):
        medzoo.read_volume(tmp_path / "scan", time=0)


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "padding"), [("int16", -32768), ("uint16", 65535)])
def test_padding_is_air_and_excluded_from_the_display_range(tmp_path, kind, padding):
    pixels = np.random.default_rng(0).integers(0, 1000, (6, 8, 8)).astype(kind)
    pixels[:, 0] = padding
    series(tmp_path / "scan", pixels=pixels, PixelPaddingValue=padding)
    volume = medzoo.read_volume(tmp_path / "scan")
    assert (volume.values == -1024).sum() == 48  # in Hounsfield units, as for single images
    images = volume.to_images()
    assert not images[:, 0].any()
    assert np.ptp(images[:, 1:]) == 1
    assert images[:, 1:].std() > 0.2
    assert not volume.to_images(window=(500, 1000))[:, 0].any()
    assert medzoo.read_volume(tmp_path / "scan", spacing=1.0).display_range[1] <= 1000


def test_padding_within_the_value_range_has_no_effect(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 1000, (6, 8, 8)).astype("int16")
    series(tmp_path / "a", pixels=pixels)
    series(tmp_path / "b", pixels=pixels, PixelPaddingValue=0)
    a, b = (medzoo.read_volume(tmp_path / name) for name in "ab")
    assert np.array_equal(a.to_images(), b.to_images())


def test_32_bit_integers_are_read_exactly_or_raise_an_error(tmp_path):
    pixels = np.full((6, 4, 4), 2**24, "uint32") + np.arange(6, dtype="uint32")[:, None, None]
    paths = series(tmp_path / "scan", pixels=pixels)
    with pytest.raises(ImageError, match=r"slice0.dcm: values up to .* 32-bit integers"):
        medzoo.read_volume(tmp_path / "scan")
    for path in paths:
        dataset = pydicom.dcmread(path)
        del dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.save_as(path, enforce_file_format=True)
    assert len(np.unique(medzoo.read_volume(tmp_path / "scan").values)) == 6


def test_monochrome1_slices_are_logged(tmp_path, caplog):
    paths = series(tmp_path / "scan", PhotometricInterpretation="MONOCHROME1")
    with caplog.at_level(logging.WARNING, "medzoo"):
        medzoo.read_volume(tmp_path / "scan")
    assert "MONOCHROME1" in caplog.text
    changed(paths[0], PhotometricInterpretation="MONOCHROME2")
    with pytest.raises(ImageError, match="different PhotometricInterpretation"):
        medzoo.read_volume(tmp_path / "scan")
