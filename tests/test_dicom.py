"""DICOM files compared with the transforms of pydicom, closed forms, and other encodings of the same image."""

import shutil

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_windowing
from pydicom.uid import ExplicitVRLittleEndian

import medzoo
from medzoo import ImageError
from medzoo.io.dicom import open_dicom, read_values
from medzoo.io.intensity import apply_window


def dicom(name):
    return get_testdata_file(name, download=False)


def edited(tmp_path, name="CT_small.dcm", **tags):
    dataset = pydicom.dcmread(dicom(name))
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    dataset.save_as(tmp_path / "edited.dcm")
    return tmp_path / "edited.dcm"


# --- gray values ------------------------------------------------------------------------------------------------------


def test_ct_window_equals_the_formula_of_the_standard():
    dataset = pydicom.dcmread(dicom("CT_small.dcm"))
    hounsfield = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    image = medzoo.read_image(dicom("CT_small.dcm"), window=(40, 400))[..., 0]
    # PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5), clipped.
    assert image == pytest.approx(np.clip((hounsfield - 39.5) / 399 + 0.5, 0, 1), abs=1e-6)
    assert apply_window([-160.0, -159.9, 39.5, 239.0, 300.0], 40, 400) == pytest.approx(
        [0, 0.0002506, 0.5, 1, 1], abs=1e-5
    )


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_equal_pydicom(function):
    values = np.arange(0, 4096, 7, dtype="uint16")
    dataset = pydicom.Dataset()
    dataset.PhotometricInterpretation, dataset.BitsStored, dataset.PixelRepresentation = "MONOCHROME2", 12, 0
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = 1500, 900, function
    expected = apply_windowing(values, dataset) / 4095
    assert apply_window(values, 1500, 900, function) == pytest.approx(expected, abs=1e-6)


def test_window_in_the_file_is_used(tmp_path):
    path = edited(tmp_path, WindowCenter=[40, 300], WindowWidth=[400, 1500])
    assert np.array_equal(medzoo.read_image(path), medzoo.read_image(dicom("CT_small.dcm"), window=(40, 400)))


def test_without_window_values_are_scaled_from_minimum_to_maximum():
    image = medzoo.read_image(dicom("CT_small.dcm"))
    raw = pydicom.dcmread(dicom("CT_small.dcm")).pixel_array.astype(float)
    assert image[..., 0] == pytest.approx((raw - raw.min()) / (raw.max() - raw.min()), abs=1e-6)


def test_monochrome1_is_inverted(tmp_path):
    path = edited(tmp_path, PhotometricInterpretation="MONOCHROME1")
    assert medzoo.read_image(path) == pytest.approx(1 - medzoo.read_image(dicom("CT_small.dcm")), abs=1e-6)


def test_16_bit_mr_keeps_its_gray_levels():
    image = medzoo.read_image(dicom("MR_small.dcm"))
    raw = pydicom.dcmread(dicom("MR_small.dcm")).pixel_array
    assert len(np.unique(image)) > 256
    order = np.argsort(raw, axis=None, kind="stable")
    assert (np.diff(image.ravel()[order]) >= 0).all()  # the order of intensities is preserved


def test_voi_lut_is_used(tmp_path):
    item = pydicom.Dataset()
    item.LUTDescriptor, item.LUTData = [3, 0, 8], [0, 51, 255]
    dataset = pydicom.dcmread(dicom("MR_small.dcm"))
    dataset.PixelData = (np.arange(64 * 64, dtype="int16") % 4).tobytes()
    dataset.VOILUTSequence = [item]
    dataset["VOILUTSequence"][0]["LUTDescriptor"].VR = "US"
    dataset["VOILUTSequence"][0]["LUTData"].VR = "US"
    dataset.save_as(tmp_path / "lut.dcm")
    image = medzoo.read_image(tmp_path / "lut.dcm").ravel()[:4]
    assert image == pytest.approx([0, 0.2, 1, 1])  # values above the table are mapped to its last entry


def test_multi_frame_files_require_a_frame_index():
    path = dicom("SC_rgb_rle_2frame.dcm")
    with pytest.raises(ImageError, match="contains 2 frames; select one"):
        medzoo.read_image(path)
    assert medzoo.read_image(path, frame=1).shape == (100, 100, 1)
    with pytest.raises(ImageError, match="frame=2; the file contains frames 0 to 1"):
        medzoo.read_image(path, frame=2)


@pytest.mark.parametrize("name", ["rtplan.dcm", "test-SR.dcm", "MR_truncated.dcm", "no_meta.dcm", "rtstruct.dcm"])
def test_dicom_files_without_pixel_data_raise_an_error_with_their_name(name):
    with pytest.raises(ImageError, match=name.replace(".", r"\.")):
        medzoo.read_image(dicom(name))


def test_dicom_is_identified_by_content(tmp_path):
    path = tmp_path / "IM0001"
    shutil.copy(dicom("CT_small.dcm"), path)
    assert medzoo.read_image(path).shape == (128, 128, 1)


def test_window_of_the_file_can_be_selected_by_index(tmp_path):
    path = edited(tmp_path, WindowCenter=[40, 300], WindowWidth=[400, 1500])
    assert np.array_equal(medzoo.read_image(path, window=1), medzoo.read_image(path, window=(300, 1500)))
    with pytest.raises(ImageError, match="window=2; the file has 2 windows"):
        medzoo.read_image(path, window=2)


def test_named_windows_require_hounsfield_units(tmp_path):
    with pytest.raises(ImageError, match="'lung' requires CT; modality MR"):
        medzoo.read_image(dicom("MR_small.dcm"), window="lung")
    with pytest.raises(ImageError, match="values of type US"):
        medzoo.read_image(edited(tmp_path, RescaleType="US"), window="lung")
    dataset = pydicom.dcmread(dicom("CT_small.dcm"))
    del dataset.RescaleIntercept, dataset.RescaleSlope
    dataset.save_as(tmp_path / "raw.dcm")
    with pytest.raises(ImageError, match="no rescale slope and intercept"):
        medzoo.read_image(tmp_path / "raw.dcm", window="bone")


def test_ct_values_are_hounsfield_units():
    dataset = pydicom.dcmread(dicom("CT_small.dcm"))
    values = read_values(dicom("CT_small.dcm"))
    assert np.array_equal(values, dataset.pixel_array * dataset.RescaleSlope + dataset.RescaleIntercept)
    with pytest.raises(ImageError, match="color"):
        read_values(dicom("SC_rgb_small_odd.dcm"))


def test_frames_of_enhanced_ct_use_their_own_rescale(tmp_path):
    def item(**tags):
        result = pydicom.Dataset()
        for tag, value in tags.items():
            setattr(result, tag, value)
        return result

    dataset = pydicom.dcmread(dicom("CT_small.dcm"))
    one = dataset.pixel_array
    del dataset.RescaleIntercept, dataset.RescaleSlope
    dataset.NumberOfFrames, dataset.PixelData = 2, np.stack([one, one]).tobytes()
    window = item(FrameVOILUTSequence=[item(WindowCenter=40, WindowWidth=400)])
    dataset.SharedFunctionalGroupsSequence = [window]
    dataset.PerFrameFunctionalGroupsSequence = [
        item(PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=b, RescaleType="HU")])
        for b in (-1024, -900)
    ]
    dataset.save_as(tmp_path / "enhanced.dcm")
    for frame, intercept in enumerate((-1024, -900)):
        image = medzoo.read_image(tmp_path / "enhanced.dcm", frame=frame)[..., 0]
        assert np.array_equal(read_values(tmp_path / "enhanced.dcm", frame), one + float(intercept))
        assert np.array_equal(image, apply_window(one + float(intercept), 40, 400))


# --- PET --------------------------------------------------------------------------------------------------------------


def pet(tmp_path, injection=(), **tags):
    """CT_small as a PET image with a known SUV: 1 Bq/ml per level, 70 kg, 100 MBq two half-lives before the scan."""
    dataset = pydicom.dcmread(dicom("CT_small.dcm"))
    drug = pydicom.Dataset()
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = 100e6, 3600
    drug.RadiopharmaceuticalStartTime = "080000.00"
    for tag, value in dict(injection).items():
        setattr(drug, tag, value)
    known = {
        "Modality": "PT",
        "Units": "BQML",
        "CorrectedImage": ["DECY", "ATTN", "SCAT"],
        "DecayCorrection": "START",
        "PatientWeight": 70,
        "SeriesDate": "20260101",
        "SeriesTime": "100000",
        "AcquisitionDate": "20260101",
        "AcquisitionTime": "100500.5",
        "RescaleIntercept": 0,
        "RadiopharmaceuticalInformationSequence": [drug],
    }
    for tag, value in {**known, **tags}.items():
        setattr(dataset, tag, value)
    dataset.save_as(tmp_path / "pet.dcm")
    return tmp_path / "pet.dcm"


def test_suv_is_activity_times_weight_per_decayed_dose(tmp_path):
    activity = pydicom.dcmread(dicom("CT_small.dcm")).pixel_array.astype(float)
    # 100 MBq after two half-lives: 25 MBq in 70,000 g.
    assert read_values(pet(tmp_path), units="suv") == pytest.approx(activity * 70_000 / 25e6, rel=1e-6)
    # Decay-corrected to the injection: the full dose.
    path = pet(tmp_path, DecayCorrection="ADMIN")
    assert read_values(path, units="suv") == pytest.approx(activity * 70_000 / 100e6, rel=1e-6)
    # Injection late on the previous day.
    path = pet(tmp_path, {"RadiopharmaceuticalStartDateTime": "20251231230000.00+0100"}, SeriesTime="010000")
    assert read_values(path, units="suv") == pytest.approx(activity * 70_000 / 25e6, rel=1e-6)
    # Uniform distribution of the full dose in the body has SUV 1 by definition.
    path = pet(tmp_path, DecayCorrection="ADMIN", RescaleSlope=100e6 / 70_000)
    assert read_values(path, units="suv") == pytest.approx(activity, rel=1e-5)
    assert medzoo.read_image(path, window="suv")[..., 0] == pytest.approx(np.clip(activity / 10, 0, 1), abs=1e-5)
    path = pet(tmp_path, Units="GML")
    assert np.array_equal(read_values(path, units="suv"), activity)


@pytest.mark.parametrize(
    ("injection", "tags", "message"),
    [
        ({}, {"Modality": "CT"}, "modality CT, expected PT"),
        ({}, {"Units": "CNTS"}, "Units CNTS"),
        ({}, {"Units": "GML", "SUVType": "LBM"}, "SUVType LBM"),
        ({}, {"CorrectedImage": ["SCAT"]}, "expected ATTN and DECY"),
        ({}, {"PatientWeight": None}, "PatientWeight 0 kg"),
        ({"RadionuclideTotalDose": 0}, {}, "RadionuclideTotalDose 0 Bq"),
        ({"RadionuclideTotalDose": float("inf")}, {}, "RadionuclideTotalDose inf Bq"),
        ({"RadiopharmaceuticalStartTime": "110000"}, {}, "not within 24 hours before"),
        ({"RadiopharmaceuticalStartTime": ""}, {}, "the injection time is missing"),
        ({}, {"DecayCorrection": "NONE"}, "DecayCorrection NONE"),
        ({}, {"SeriesTime": "120000"}, "derived series"),
        ({}, {"RadiopharmaceuticalInformationSequence": []}, "0 radiopharmaceuticals"),
    ],
)
def test_missing_tags_for_suv_raise_an_error(tmp_path, injection, tags, message):
    with pytest.raises(ImageError, match=f"pet.dcm: no SUV: .*{message}"):
        medzoo.read_image(pet(tmp_path, injection, **tags), window="suv")


# --- encodings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "encoded"),
    [
        ("MR_small.dcm", "MR_small_RLE.dcm"),
        ("MR_small.dcm", "MR_small_bigendian.dcm"),
        ("MR_small.dcm", "MR_small_implicit.dcm"),
        ("MR_small.dcm", "MR_small_jp2klossless.dcm"),
        ("MR_small.dcm", "MR_small_jpeg_ls_lossless.dcm"),
        ("MR_small.dcm", "MR_small_padded.dcm"),
        ("rtdose_1frame.dcm", "rtdose_rle_1frame.dcm"),
        ("liver_1frame.dcm", "liver_expb_1frame.dcm"),
    ],
)
def test_lossless_encodings_give_identical_images(plain, encoded):
    pytest.importorskip("openjpeg")
    pytest.importorskip("jpeg_ls")
    assert np.array_equal(medzoo.read_image(dicom(plain)), medzoo.read_image(dicom(encoded)))


def test_12_bit_jpeg_is_read_and_overshoot_is_clipped_to_white(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    dataset = pydicom.dcmread(dicom("JPEG-lossy.dcm"))
    assert dataset.BitsStored == 12
    pixels = open_dicom(dicom("JPEG-lossy.dcm"))[1]
    assert pixels.shape == (dataset.Rows, dataset.Columns)
    assert 255 < pixels.max() < 4096
    # A 12-bit stream in a file with BitsStored 10: values of 1023 and above are white, not black.
    stream = imagecodecs.jpeg_encode(np.full((16, 16), 1030, "uint16"), bitspersample=12)
    dataset.PixelData = pydicom.encaps.encapsulate([stream])
    dataset.Rows = dataset.Columns = 16
    dataset.BitsStored, dataset.HighBit = 10, 9
    dataset.save_as(tmp_path / "bright.dcm")
    assert (open_dicom(tmp_path / "bright.dcm")[1] == 1023).all()


def test_missing_decoder_error_contains_the_installation_command(monkeypatch):
    from pydicom.pixels.decoders import JPEGLSLosslessDecoder

    monkeypatch.setattr(JPEGLSLosslessDecoder, "_available", {})
    monkeypatch.setattr("medzoo.io.dicom.find_spec", lambda name: None)
    name = "MR_small_jpeg_ls_lossless.dcm"
    with pytest.raises(ImageError, match=rf'{name}.*JPEG-LS Lossless(.|\n)*pip install "medzoo\[dicom\]"'):
        medzoo.read_image(dicom(name))


def test_files_without_preamble_are_read_if_they_are_images(tmp_path):
    dataset = pydicom.dcmread(dicom("CT_small.dcm"))
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    for syntax in ((True, True), (False, True), (False, False)):
        dataset = pydicom.dcmread(dicom("CT_small.dcm"))
        expected = medzoo.read_image(dicom("CT_small.dcm"))
        if syntax == (False, False):
            dataset = pydicom.dcmread(dicom("MR_small_bigendian.dcm"))
            expected = medzoo.read_image(dicom("MR_small_bigendian.dcm"))
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.preamble = None
        pydicom.dcmwrite(tmp_path / "old.dcm", dataset, implicit_vr=syntax[0], little_endian=syntax[1])
        assert (tmp_path / "old.dcm").read_bytes()[128:132] != b"DICM"
        assert np.array_equal(medzoo.read_image(tmp_path / "old.dcm"), expected)
    (tmp_path / "fake.dcm").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(ImageError, match="neither the DICM prefix nor the tags of an image"):
        medzoo.read_image(tmp_path / "fake.dcm")


def test_bits_outside_bits_stored_are_ignored(tmp_path):
    dataset = pydicom.dcmread(dicom("MR_small.dcm"))
    values = np.arange(64 * 64, dtype="uint16").reshape(64, 64)
    dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 0, 12, 11
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PixelData = (values | 0x8000).tobytes()  # an overlay in the highest bit, as in old files
    dataset.save_as(tmp_path / "overlay.dcm")
    assert np.array_equal(open_dicom(tmp_path / "overlay.dcm")[1], values)


# --- encodings not supported by pydicom -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CT_small.dcm", "liver_1frame.dcm"])
def test_deflated_frames_are_read(name, tmp_path):
    import zlib

    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless

    dataset = pydicom.dcmread(dicom(name))
    expected, data = dataset.pixel_array, dataset.PixelData

    def written(frame):
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.save_as(tmp_path / "deflated.dcm")
        file = (tmp_path / "deflated.dcm").read_bytes()  # pydicom does not write unknown transfer syntaxes
        (tmp_path / "deflated.dcm").write_bytes(file.replace(JPEG2000Lossless.encode(), b"1.2.840.10008.1.2.8.1\0"))
        return tmp_path / "deflated.dcm"

    packer = zlib.compressobj(wbits=-15)
    assert np.array_equal(open_dicom(written(packer.compress(data) + packer.flush()))[1], expected)
    packer = zlib.compressobj(wbits=-15)
    for damaged in (b"\xffnonsense", packer.compress(b"short") + packer.flush()):
        with pytest.raises(ImageError, match="could not be decoded"):
            open_dicom(written(damaged))


def test_rle_of_1_bit_pixels_is_read(tmp_path):
    from pydicom.encaps import encapsulate

    dataset = pydicom.dcmread(dicom("liver_1frame.dcm"))
    expected, runs, i = dataset.pixel_array, bytearray(), 0
    data = dataset.PixelData[: dataset.Rows * dataset.Columns // 8]
    while i < len(data):  # runs where possible, else single bytes
        n = 1
        while n < 128 and data[i : i + n + 1] == data[i : i + 1] * (n + 1) and i + n < len(data):
            n += 1
        runs += bytes([257 - n, data[i]]) if n > 1 else bytes([0, data[i]])
        i += n
    head = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
    dataset.PixelData = encapsulate([head + bytes(runs)])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
    dataset.save_as(tmp_path / "rle.dcm")
    assert np.array_equal(open_dicom(tmp_path / "rle.dcm")[1], expected)
