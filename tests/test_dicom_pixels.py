"""Bit alignment, padding, rescale, windows and aspect ratio of DICOM pixels, as defined in PS3.3 and PS3.5."""

import logging

import numpy as np
import pydicom
import pytest
from dicom_files import element, item, write_dicom
from pydicom.data import get_testdata_file

import medzoo
from medzoo import ImageError
from medzoo.io.dicom import open_dicom, read_values
from medzoo.io.image import read_stored
from medzoo.io.notices import MAX_PER_MINUTE

RAMP = np.linspace(0, 4095, 64).astype("uint16").reshape(8, 8)
SIGNED = np.linspace(-2048, 2047, 64).astype("int16").reshape(8, 8)
RESCALE = {"RescaleSlope": 1, "RescaleIntercept": 0}


def warnings_of(caplog, name):
    return [record.getMessage() for record in caplog.records if name in record.getMessage()]


# --- bits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("high", [11, 13, 15])
@pytest.mark.parametrize("values", [RAMP, SIGNED], ids=["unsigned", "signed"])
@pytest.mark.parametrize("other", [0, 0xFFFF], ids=["empty", "overlay"])
def test_stored_bits_end_at_the_high_bit_and_other_bits_are_ignored(tmp_path, high, values, other):
    mask = 0xFFF << (high - 11)
    words = (values.view("uint16") << (high - 11)) & mask | other & ~mask & 0xFFFF
    bits = {"BitsStored": 12, "HighBit": high, "PixelRepresentation": int(values.dtype.kind == "i")}
    path = write_dicom(tmp_path / "a.dcm", words.astype("uint16"), **bits)
    assert np.array_equal(open_dicom(path)[1], values)
    assert np.array_equal(read_stored(path), values)
    assert np.array_equal(read_values(path), values)
    assert medzoo.read_image(path, window=(values.min() + 2048, 4096))[..., 0] == pytest.approx(
        (values - values.min()) / 4095, abs=1e-6
    )


def test_high_bit_is_applied_in_rle_and_big_endian_files(tmp_path):
    words = (RAMP << 4).astype("uint16")
    path = write_dicom(tmp_path / "a.dcm", words, BitsStored=12, HighBit=15)
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.RLELossless)
    dataset.save_as(tmp_path / "rle.dcm")
    assert np.array_equal(open_dicom(tmp_path / "rle.dcm")[1], RAMP)
    path = write_dicom(tmp_path / "b.dcm", words, big=True, BitsStored=12, HighBit=15)
    assert np.array_equal(open_dicom(path)[1], RAMP)


@pytest.mark.parametrize(
    ("words", "stored", "high"),
    [(RAMP, 12, 15), (RAMP, 12, 16), (RAMP, 12, 10)],
    ids=["words fit the low bits", "outside the word", "fewer bits than stored"],
)
def test_high_bit_contradicting_the_words_raises_an_error(tmp_path, words, stored, high):
    path = write_dicom(tmp_path / "odd.dcm", words, BitsStored=stored, HighBit=high)
    with pytest.raises(ImageError, match=f"odd.dcm: .*HighBit {high} with BitsStored {stored}"):
        medzoo.read_image(path)


def test_high_bit_above_the_bits_of_compressed_pixels_raises_an_error(tmp_path):
    pytest.importorskip("openjpeg")
    dataset = pydicom.dcmread(get_testdata_file("693_J2KI.dcm", download=False))
    dataset.HighBit = 15
    dataset.save_as(tmp_path / "odd.dcm")
    with pytest.raises(ImageError, match=r"odd.dcm: .*HighBit 15 with BitsStored 14"):
        medzoo.read_image(tmp_path / "odd.dcm")


def test_1_bit_frame_with_all_bits_set_is_white(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.full((1, 8), 255, "uint8"), BitsAllocated=1, Rows=8, Columns=8)
    bits = {"BitsStored": 1, "HighBit": 0}
    dataset = pydicom.dcmread(path)
    for name, value in bits.items():
        setattr(dataset, name, value)
    dataset.save_as(path)
    assert (medzoo.read_image(path) == 1).all()


# --- padding ----------------------------------------------------------------------------------------------------------


def padded(value, dtype="int16", low=0):
    values = np.linspace(low, 1000, 64).astype(dtype).reshape(8, 8)
    values[0] = value
    return values


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("values", "tags"),
    [
        (padded(-32768), {"PixelPaddingValue": element("SS", -32768)}),
        (padded(-2000), {"PixelPaddingValue": element("US", 63536)}),
        (padded(63536, "uint16"), {"PixelPaddingValue": element("SS", -2000)}),
        (padded(63536, "uint16") & 0xFFFF, {"PixelPaddingValue": element("US", 63536)}),
        (padded(4000, "uint16"), {"PixelPaddingValue": 3000, "PixelPaddingRangeLimit": 4095}),
        (padded(4000, "uint16"), {"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 3000}),
        (padded(-2000), {"PixelPaddingValue": 2096, "BitsStored": 12, "HighBit": 11}),
        (padded(63536, "uint16"), {"PixelPaddingValue": 63536, "BitsStored": 12, "HighBit": 11}),
    ],
)
def test_padding_is_background_and_excluded_from_the_range(tmp_path, values, tags, kind):
    path = write_dicom(tmp_path / "ct.dcm", values, PhotometricInterpretation=kind, **tags)
    image = medzoo.read_image(path)[..., 0]
    inside = values[1:].astype(float)
    expected = (inside - inside.min()) / np.ptp(inside)
    assert image[1:] == pytest.approx(1 - expected if kind == "MONOCHROME1" else expected, abs=1e-6)
    assert (image[0] == 0).all()


def test_padding_is_background_under_a_window_and_a_voi_lut(tmp_path):
    tags = {"PixelPaddingValue": 1000, "PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 500}
    path = write_dicom(tmp_path / "a.dcm", padded(1000, "uint16"), WindowWidth=1000, **tags)
    assert (medzoo.read_image(path)[0] == 0).all()
    assert (medzoo.read_image(path, window=(100, 50))[0] == 0).all()
    table = item(np.arange(1024)[::-1], 0, 10)
    path = write_dicom(tmp_path / "b.dcm", padded(1000, "uint16"), VOILUTSequence=[table], PixelPaddingValue=1000)
    assert (medzoo.read_image(path)[0] == 0).all()


@pytest.mark.parametrize("padding", [np.nan, -1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_padding_of_floats_is_background(tmp_path, padding, dtype):
    values = padded(padding, dtype, low=-3)
    prefix = "Float" if dtype == "float32" else "DoubleFloat"
    path = write_dicom(tmp_path / "map.dcm", values, **{f"{prefix}PixelPaddingValue": float(values[0, 0])})
    image = medzoo.read_image(path)[..., 0]
    assert image[1:].min() == 0
    assert image.max() == 1
    assert (image[0] == 0).all()
    assert read_values(path)[0] == pytest.approx(0 if np.isnan(padding) else values[1:].min(), abs=200)
    assert np.isfinite(read_values(path)).all()


def test_nan_without_padding_value_raises_an_error(tmp_path):
    with pytest.raises(ImageError, match="NaN"):
        medzoo.read_image(write_dicom(tmp_path / "map.dcm", padded(np.nan, "float32")))


def test_padding_is_air_in_ct_and_clipped_elsewhere(tmp_path):
    values = padded(-2000)
    path = write_dicom(tmp_path / "ct.dcm", values, PixelPaddingValue=-2000, RescaleSlope=1, RescaleIntercept=-1024)
    assert (read_values(path)[0] == -1024).all()
    assert np.array_equal(read_values(path)[1:], values[1:] - 1024.0)
    path = write_dicom(tmp_path / "mr.dcm", padded(-2000, low=50), Modality="MR", PixelPaddingValue=-2000, **RESCALE)
    assert (read_values(path)[0] == 0).all()
    values = padded(0, low=50)  # zero signal, as MR systems write it
    path = write_dicom(tmp_path / "mr.dcm", values, Modality="MR", PixelPaddingValue=0)
    assert np.array_equal(read_values(path), values)


def test_image_of_padding_only_is_black_and_padding_range_of_all_values_raises_an_error(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.full((8, 8), -2000, "int16"), PixelPaddingValue=-2000)
    assert (medzoo.read_image(path) == 0).all()
    path = write_dicom(tmp_path / "b.dcm", RAMP, PixelPaddingValue=0, PixelPaddingRangeLimit=4095)
    with pytest.raises(ImageError, match=r"b.dcm: .*covers every pixel"):
        medzoo.read_image(path)


def test_padding_in_lossy_compressed_pixels_is_logged(tmp_path, caplog):
    path = write_dicom(tmp_path / "a.dcm", padded(-2000), PixelPaddingValue=-2000, LossyImageCompression="01")
    medzoo.read_image(path)
    assert warnings_of(caplog, "a.dcm: padding")


# --- rescale and windows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [medzoo.read_image, read_values, lambda p: medzoo.read_image(p, window=(0, 100))])
@pytest.mark.parametrize("tags", [(0, -1024), ("nan", 0), ("inf", 0), (1, "nan"), (1, "-inf"), (0, None)])
def test_invalid_rescale_raises_an_error(tmp_path, tags, read):
    with pydicom.config.disable_value_validation():
        rescale = dict(zip(("RescaleSlope", "RescaleIntercept"), tags, strict=True))
        path = write_dicom(tmp_path / "ct.dcm", RAMP, **rescale)
    with pytest.raises(ImageError, match=r"ct.dcm: invalid rescale .*expected finite numbers and a slope other than 0"):
        read(path)


def test_zero_slope_of_one_frame_raises_an_error(tmp_path):
    def group(slope):
        new, inner = pydicom.Dataset(), pydicom.Dataset()
        inner.RescaleSlope, inner.RescaleIntercept = slope, 0
        new.PixelValueTransformationSequence = [inner]
        return new

    groups = [group(1), group(0)]
    path = write_dicom(
        tmp_path / "ct.dcm", np.stack([RAMP, RAMP]), NumberOfFrames=3, PerFrameFunctionalGroupsSequence=groups
    )
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames, dataset.PixelData = 3, RAMP.tobytes() * 3
    dataset.save_as(path)
    assert np.array_equal(read_values(path, 0), RAMP)
    with pytest.raises(ImageError, match=r"slope other than 0"):
        medzoo.read_image(path, frame=1)
    with pytest.raises(ImageError, match="frame 2, but the functional groups describe 2 frames only"):
        medzoo.read_image(path, frame=2)


def test_empty_rescale_tags_are_ignored_and_an_incomplete_rescale_is_logged(tmp_path, caplog):
    path = write_dicom(tmp_path / "a.dcm", RAMP, RescaleSlope=None, RescaleIntercept=None)
    assert np.array_equal(read_values(path), RAMP)
    assert not warnings_of(caplog, "a.dcm")
    path = write_dicom(tmp_path / "b.dcm", RAMP, RescaleSlope=None, RescaleIntercept=-1024)
    assert np.array_equal(read_values(path), RAMP - 1024.0)
    assert warnings_of(caplog, "b.dcm: RescaleIntercept -1024 without RescaleSlope")


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": 0, "WindowWidth": 0},
        {"WindowCenter": 40, "WindowWidth": -400},
        {"WindowCenter": 40, "WindowWidth": "nan"},
        {"WindowCenter": "nan", "WindowWidth": 400},
        {"WindowCenter": 40, "WindowWidth": "inf"},
        {"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "CUBIC"},
    ],
)
def test_invalid_window_error_contains_the_fix(tmp_path, tags):
    with pydicom.config.disable_value_validation():
        path = write_dicom(tmp_path / "mr.dcm", RAMP, **tags)
    with pytest.raises(ImageError, match=r"mr.dcm: .*window=\(center, width\)"):
        medzoo.read_image(path)
    assert np.ptp(medzoo.read_image(path, window=(2048, 4096))) == 1


def test_invalid_window_error_suggests_another_window_of_the_file(tmp_path):
    path = write_dicom(tmp_path / "mr.dcm", RAMP, WindowCenter=[0, 2048], WindowWidth=[0, 4096])
    with pytest.raises(ImageError, match="or window=1 for another window of the file"):
        medzoo.read_image(path)
    expected = medzoo.read_image(path, window=(2048, 4096))
    assert np.array_equal(medzoo.read_image(path, window=1), expected)
    assert np.array_equal(medzoo.read_image(path, window=np.int64(1)), expected)


@pytest.mark.parametrize("written", [" sigmoid", "Sigmoid ", "SIGMOID"])
def test_voi_lut_function_is_case_insensitive(tmp_path, written):
    with pydicom.config.disable_value_validation():
        path = write_dicom(tmp_path / "a.dcm", RAMP, WindowCenter=2048, WindowWidth=4096, VOILUTFunction=written)
    expected = 1 / (1 + np.exp(-4 * (RAMP.astype(float) - 2048) / 4096))
    assert medzoo.read_image(path)[..., 0] == pytest.approx(expected, abs=1e-6)
    path = write_dicom(tmp_path / "b.dcm", RAMP, WindowCenter=2048, WindowWidth=4096, VOILUTFunction=None)
    assert medzoo.read_image(path)[..., 0] == pytest.approx(RAMP / 4095, abs=1e-6)


@pytest.mark.parametrize("window", [(40, 0), (np.nan, 400), (40, np.inf), (40,), "lungs", True, 1.5])
def test_invalid_window_argument_raises_an_error(tmp_path, window):
    with pytest.raises(ImageError, match=r"a.dcm: invalid window=.*Expected \(center, width\), a name or an index"):
        medzoo.read_image(write_dicom(tmp_path / "a.dcm", RAMP), window=window)


@pytest.mark.parametrize("window", [(60, 20), "lung", "suv", 0])
@pytest.mark.parametrize("kind", ["RGB", "PALETTE COLOR"])
def test_window_for_a_color_image_raises_an_error(tmp_path, window, kind):
    pixels = np.arange(192, dtype="uint8").reshape(8, 8, 3)
    path = write_dicom(tmp_path / "us.dcm", pixels if kind == "RGB" else pixels[..., 0], PhotometricInterpretation=kind)
    with pytest.raises(ImageError, match=rf"us.dcm: window=.*color image \({kind}\)"):
        medzoo.read_image(path, window=window)


# --- color and shape --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "kind"), [(1, "RGB"), (3, "MONOCHROME2"), (3, "PALETTE COLOR"), (3, "YBR_ICT")])
def test_photometric_interpretation_contradicting_the_samples_raises_an_error(tmp_path, samples, kind):
    pixels = np.arange(192, dtype="uint8").reshape(8, 8, 3)
    path = write_dicom(tmp_path / "us.dcm", pixels if samples == 3 else pixels[..., 0], PhotometricInterpretation=kind)
    with pytest.raises(ImageError, match=f"us.dcm: .*{kind}"):
        medzoo.read_image(path)


def test_stored_values_of_palette_images_raise_an_error(tmp_path):
    path = write_dicom(tmp_path / "us.dcm", RAMP.astype("uint8"), PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(ImageError, match=r"us.dcm: PALETTE COLOR"):
        read_stored(path)


def test_monochrome1_is_inverted_once_for_any_presentation_lut_shape(tmp_path, caplog):
    def read(kind, shape):
        path = write_dicom(
            tmp_path / f"{kind}{shape}.dcm", RAMP, PhotometricInterpretation=kind, PresentationLUTShape=shape
        )
        return medzoo.read_image(path)[..., 0]

    plain = RAMP / 4095
    assert read("MONOCHROME1", "INVERSE") == pytest.approx(1 - plain, abs=1e-6)
    assert read("MONOCHROME2", "IDENTITY") == pytest.approx(plain, abs=1e-6)
    assert not warnings_of(caplog, "MONOCHROME")
    assert read("MONOCHROME1", "IDENTITY") == pytest.approx(1 - plain, abs=1e-6)
    assert warnings_of(caplog, "MONOCHROME1IDENTITY.dcm")
    with pytest.raises(ImageError, match="PresentationLUTShape INVERSE with MONOCHROME2"):
        read("MONOCHROME2", "INVERSE")


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ({"PixelSpacing": [2, 1]}, True),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, True),
        ({"NominalScannedPixelSpacing": [0.1, 0.2]}, True),
        ({"PixelAspectRatio": [4, 3]}, True),
        ({"PixelSpacing": [1, 1.005]}, False),
        ({"PixelSpacing": [0.5, 0.5], "PixelAspectRatio": [1, 1]}, False),
        ({"PixelAspectRatio": [0, 0]}, False),
        ({"PixelSpacing": None}, False),
        ({}, False),
    ],
)
def test_non_square_pixels_are_logged_once(tmp_path, caplog, tags, named):
    path = write_dicom(tmp_path / "us.dcm", RAMP, **tags)
    for _ in range(3):
        medzoo.read_image(path, size=8)
    assert len(warnings_of(caplog, "us.dcm: pixel height is")) == int(named)


def test_ultrasound_regions_and_functional_groups_define_the_pixel_aspect_ratio(tmp_path, caplog):
    def holder(sequence, **tags):
        new, inner = pydicom.Dataset(), pydicom.Dataset()
        for name, value in tags.items():
            setattr(inner, name, value)
        setattr(new, sequence, [inner])
        return new[sequence].value if sequence == "SequenceOfUltrasoundRegions" else [new]

    units = {"RegionSpatialFormat": 1, "PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3}
    for name, step, kind in (("a.dcm", 0.02, 1), ("b.dcm", 0.01, 1), ("c.dcm", 0.02, 3)):
        tags = {**units, "RegionSpatialFormat": kind, "PhysicalDeltaX": step, "PhysicalDeltaY": -0.01}
        regions = holder("SequenceOfUltrasoundRegions", **tags)  # kind 3: a spectrum, whose axes are not lengths
        medzoo.read_image(write_dicom(tmp_path / name, RAMP, SequenceOfUltrasoundRegions=regions))
    groups = holder("PixelMeasuresSequence", PixelSpacing=[3, 1])
    medzoo.read_image(write_dicom(tmp_path / "d.dcm", RAMP, SharedFunctionalGroupsSequence=groups))
    assert [bool(warnings_of(caplog, f"{name}.dcm: pixel height is")) for name in "abcd"] == [True, False, False, True]


def test_warnings_about_non_square_pixels_are_rate_limited(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("medzoo.io.notices._counts", {})
    path = write_dicom(tmp_path / "0.dcm", RAMP, PixelSpacing=[2, 1])
    for i in range(MAX_PER_MINUTE + 20):
        new = tmp_path / f"{i}.dcm"
        new.write_bytes(path.read_bytes())
        medzoo.read_image(new)
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == MAX_PER_MINUTE + 1


# --- compression ------------------------------------------------------------------------------------------------------


def test_padding_is_preserved_by_the_technical_tags(tmp_path, caplog):
    from medzoo.io.dicom_secondary_capture import technical_tags, write_secondary

    values = padded(-2000)
    tags = {"PixelPaddingValue": element("US", 63536), "RescaleSlope": 1, "RescaleIntercept": -1024}
    path = write_dicom(tmp_path / "ct.dcm", values, **tags)
    write_secondary(tmp_path / "out.dcm", read_stored(path), technical_tags(path))
    assert np.array_equal(read_values(tmp_path / "out.dcm"), read_values(path))
    path = write_dicom(tmp_path / "lut.dcm", RAMP, VOILUTSequence=[item(np.arange(4096), 0, 12)])
    technical_tags(path)
    assert warnings_of(caplog, "lut.dcm: VOILUTSequence not retained")
