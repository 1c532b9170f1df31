"""Lookup tables of DICOM files: encodings allowed by PS3.3 C.11.1, C.11.2 and C.7.9, and common deviations."""

import numpy as np
import pydicom
import pytest
from dicom_files import element, item, words, write_dicom

import medzoo
from medzoo import ImageError
from medzoo.io.dicom import read_values
from medzoo.io.dicom_lut import expand_segments, find_depth

BYTES = np.linspace(0, 255, 64).astype("uint8").reshape(8, 8)
RAMP = np.linspace(0, 4095, 64).astype("uint16").reshape(8, 8)
HOUNSFIELD = np.linspace(-1000, 1000, 64).astype("int16").reshape(8, 8)
CURVE = (255 * np.sqrt(np.arange(256) / 255)).round().astype("uint16")  # an 8-bit table


def shown(path, **options):
    return medzoo.read_image(path, **options)[..., 0]


# --- VOI LUT ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("descriptor", ["US", "SS"])
@pytest.mark.parametrize("stored", ["signed", "unsigned with intercept"])
def test_first_value_of_a_table_has_the_signedness_of_the_values(tmp_path, implicit, descriptor, stored):
    table = np.linspace(0, 65535, 2001).astype("uint16")
    tags = {"RescaleSlope": 1, "RescaleIntercept": 0}
    pixels = HOUNSFIELD
    if stored != "signed":
        pixels, tags["RescaleIntercept"] = (HOUNSFIELD + 1024).astype("uint16"), -1024
    tables = [item(table, -1000, 16, descriptor=descriptor)]
    path = write_dicom(tmp_path / "ct.dcm", pixels, implicit=implicit, VOILUTSequence=tables, **tags)
    assert shown(path) == pytest.approx(table[HOUNSFIELD + 1000] / 65535, abs=1e-6)


@pytest.mark.parametrize("descriptor", ["US", "SS"])
def test_large_first_value_of_unsigned_pixels_is_unsigned(tmp_path, descriptor):
    pixels = np.linspace(40000, 42000, 64).astype("uint16").reshape(8, 8)
    table = np.linspace(0, 65535, 2001).astype("uint16")
    path = write_dicom(tmp_path / "a.dcm", pixels, VOILUTSequence=[item(table, 40000, 16, descriptor=descriptor)])
    assert shown(path) == pytest.approx(table[pixels - 40000] / 65535, abs=1e-6)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("vr", ["OW", "OB", "US"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("count", [256, 255])
def test_8_bit_entries_are_stored_as_words_or_bytes(tmp_path, big, vr, packed, count):
    table, data = CURVE[:count], None
    if packed:  # the first entry is the lower byte of the word, which is second in big endian
        data = table.astype("u1").tobytes() + b"\0" * (count % 2)
        if vr == "US":
            table, data = np.frombuffer(data, "<u2"), None
        elif vr == "OW" and big:
            data = np.frombuffer(data, "<u2").astype(">u2").tobytes()
    tables = [item(table, 0, 8, vr=vr, data=data, count=count, big=big)]
    path = write_dicom(tmp_path / "a.dcm", BYTES, big=big, VOILUTSequence=tables)
    assert shown(path) == pytest.approx(CURVE[np.minimum(BYTES, count - 1)] / 255, abs=1e-6)


@pytest.mark.parametrize(
    ("specified", "used"),
    [(16, 16), (12, 12), (10, 10), (8, 8), (16, 12), (14, 12), (16, 14), (16, 8), (8, 12), (10, 12)],
)
def test_table_is_scaled_by_the_bits_that_it_uses(tmp_path, caplog, specified, used):
    table = np.linspace(0, 2**used - 1, 4096).astype("uint16")
    path = write_dicom(tmp_path / "a.dcm", RAMP, VOILUTSequence=[item(table, 0, specified)])
    assert shown(path) == pytest.approx(table[RAMP] / (2**used - 1), abs=1e-6)
    assert ("a.dcm: the VOI LUT specifies" in caplog.text) == (specified != used)


def test_depth_of_tables_that_do_not_use_their_full_range():
    assert find_depth(4000, 12) == 12  # as specified
    assert find_depth(4000, 16) == 12
    assert find_depth(3000, 14) == 12
    assert find_depth(40000, 16) == 16
    assert find_depth(65280, 16) == 16  # 8 bits in the upper half of the word
    assert find_depth(100, 8) == 8
    assert find_depth(32767, 16) == 15


def test_table_of_65536_entries_has_count_0_in_its_descriptor(tmp_path):
    pixels = np.linspace(0, 65535, 64).astype("uint16").reshape(8, 8)
    table = np.arange(65536)[::-1]
    path = write_dicom(tmp_path / "a.dcm", pixels, VOILUTSequence=[item(table, 0, 16, count=0)])
    assert shown(path) == pytest.approx(1 - pixels / 65535, abs=1e-6)


def test_values_outside_a_table_are_clamped_and_fractional_values_are_rounded_down(tmp_path):
    tables = [item([0, 51, 255], 10, 8)]
    pixels = np.array([[0, 10, 11, 12, 13, 255]], "uint8")
    path = write_dicom(tmp_path / "a.dcm", pixels, VOILUTSequence=tables)
    assert shown(path)[0] == pytest.approx([0, 0, 0.2, 1, 1, 1])
    rescale = {"RescaleSlope": 0.5, "RescaleIntercept": 5}
    path = write_dicom(tmp_path / "b.dcm", pixels, VOILUTSequence=tables, **rescale)
    assert shown(path)[0] == pytest.approx([0, 0, 0, 0.2, 0.2, 1])


def test_voi_lut_takes_precedence_over_windows(tmp_path):
    tables = [item(np.arange(4096)[::-1], 0, 12), item(np.arange(4096), 0, 12)]
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    path = write_dicom(tmp_path / "a.dcm", RAMP, VOILUTSequence=tables, **window)
    assert shown(path) == pytest.approx(1 - RAMP / 4095, abs=1e-6)
    assert shown(path, window=0) == pytest.approx(RAMP / 4095, abs=1e-6)
    path = write_dicom(tmp_path / "b.dcm", RAMP, VOILUTSequence=[], **window)
    assert shown(path) == pytest.approx(RAMP / 4095, abs=1e-6)


def test_monochrome1_is_inverted_after_the_table(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", BYTES, VOILUTSequence=[item(CURVE, 0, 8)], PhotometricInterpretation="MONOCHROME1"
    )
    assert shown(path) == pytest.approx(1 - CURVE[BYTES] / 255, abs=1e-6)


def without(keyword):
    new = item(CURVE, 0, 8)
    del new[keyword]
    return new


def descriptor_of(*values):
    new = item(CURVE, 0, 8)
    new["LUTDescriptor"].value = list(values)
    return new


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (item(np.arange(4096), 0, 12, data=words(range(2048))), "contains 4096 bytes; .* 4096 entries of 12 bits"),
        (item(CURVE, 0, 16, data=words(CURVE)[:256]), "contains 256 bytes"),
        (item(CURVE, 0, 8, data=words(CURVE)[:256]), "contains 256 bytes"),  # truncated words, not packed entries
        (item(CURVE, 0, 8, data=b""), "contains 0 bytes"),
        (item([7] * 256, 0, 8), "all 256 entries are 7"),
        (without("LUTData"), "no LUTData"),
        (without("LUTDescriptor"), "no LUTDescriptor"),
        (descriptor_of(256, 0), "LUTDescriptor of 2 values"),
        (descriptor_of(256, 0, 0), "specifies 0 bits"),
        (descriptor_of(256, 0, 32), "specifies 32 bits"),
    ],
)
def test_damaged_table_error_contains_the_fix(tmp_path, table, message):
    path = write_dicom(tmp_path / "a.dcm", RAMP, VOILUTSequence=[table], WindowCenter=2048, WindowWidth=4096)
    with pytest.raises(ImageError, match=rf"a.dcm: invalid VOI LUT \(.*{message}.*window=\(center, w"):
        medzoo.read_image(path)
    assert np.ptp(shown(path, window=0)) == 1


def test_table_longer_than_its_descriptor_is_logged(tmp_path, caplog):
    table = item(np.arange(4096), 0, 12, count=4000)
    path = write_dicom(tmp_path / "a.dcm", RAMP, VOILUTSequence=[table])
    assert shown(path) == pytest.approx(np.minimum(RAMP, 3999) / 4095, abs=1e-6)
    assert "a.dcm: LUTData contains 8192 bytes; only the 4000 entries" in caplog.text


# --- modality LUT -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("vr", ["OW", "US", "packed"])
def test_modality_lut_maps_values_of_any_depth(tmp_path, bits, vr):
    table = ((2**bits - 1) * np.sqrt(np.arange(256) / 255)).astype("uint16")
    if vr == "packed" and bits > 8:
        pytest.skip("one entry per word")
    new = item(table, 0, bits, vr="OW", data=table.astype("u1").tobytes(), ModalityLUTType="US")
    new = new if vr == "packed" else item(table, 0, bits, vr=vr, ModalityLUTType="US")
    path = write_dicom(tmp_path / "a.dcm", BYTES, ModalityLUTSequence=[new])
    assert np.array_equal(read_values(path), table[BYTES])
    top = 2**bits
    assert shown(path, window=(top / 2, top)) == pytest.approx(table[BYTES] / (top - 1), abs=1e-6)
    with pytest.raises(ImageError, match="values of type US"):
        medzoo.read_image(path, window="lung")


def test_modality_lut_of_signed_pixels_has_a_signed_first_value(tmp_path):
    table = np.arange(2001)[::-1]
    for descriptor in ("US", "SS"):
        tables = [item(table, -1000, 16, descriptor=descriptor)]
        path = write_dicom(tmp_path / "a.dcm", HOUNSFIELD, implicit=True, ModalityLUTSequence=tables)
        assert np.array_equal(read_values(path), table[HOUNSFIELD + 1000])


def test_voi_lut_is_applied_after_the_modality_lut(tmp_path):
    modality, voi = item(np.arange(256) * 4, 0, 10), item(np.arange(1024)[::-1], 0, 10)
    path = write_dicom(tmp_path / "a.dcm", BYTES, ModalityLUTSequence=[modality], VOILUTSequence=[voi])
    assert shown(path) == pytest.approx(1 - BYTES * 4.0 / 1023, abs=1e-6)


@pytest.mark.parametrize("table", [item(CURVE, 0, 16, data=words(CURVE)[:100]), item([3, 3], 0, 8), without("LUTData")])
def test_damaged_modality_lut_raises_an_error(tmp_path, table):
    path = write_dicom(tmp_path / "a.dcm", BYTES, ModalityLUTSequence=[table])
    for read in (medzoo.read_image, read_values):
        with pytest.raises(ImageError, match=r"a.dcm: invalid rescale or modality LUT"):
            read(path)


# --- palettes ---------------------------------------------------------------------------------------------------------


def palette(data, count, first, bits, segmented=False, signed=False):
    """Tags of a palette with the same entries for every color."""
    tags = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color in ("Red", "Green", "Blue"):
        vr = "SS" if signed else "US"
        tags[f"{color}PaletteColorLookupTableDescriptor"] = element(vr, [count, first, bits])
        name = f"{'Segmented' if segmented else ''}{color}PaletteColorLookupTableData"
        tags[name] = element("OW", data)
    return tags


@pytest.mark.parametrize(
    ("data", "bits", "top"),
    [
        (CURVE.astype("u1").tobytes(), 8, 255),
        (words(CURVE), 8, 255),
        (words(CURVE), 16, 255),  # 8-bit entries in a 16-bit table
        (words(CURVE * 257), 16, 255),
        (words(CURVE * 256), 16, 255.996),
    ],
)
def test_palettes_with_one_and_two_bytes_per_entry(tmp_path, data, bits, top):
    path = write_dicom(tmp_path / "us.dcm", BYTES, **palette(data, 256, 0, bits))
    assert shown(path) == pytest.approx(CURVE[BYTES] / top, abs=1e-5)


def test_palette_of_signed_indices_has_a_signed_first_value(tmp_path):
    pixels = np.linspace(-128, 127, 64).astype("int8").reshape(8, 8)
    for signed, first in ((True, -128), (False, 65408)):
        tags = palette(CURVE.astype("u1").tobytes(), 256, first, 8, signed=signed)
        path = write_dicom(tmp_path / "us.dcm", pixels, **tags)
        assert shown(path) == pytest.approx(CURVE[pixels.astype(int) + 128] / 255, abs=1e-5)


@pytest.mark.parametrize("wide", [False, True])
def test_segments_of_a_palette_are_expanded(tmp_path, wide):
    # Three entries, a line of 4 from 30 to 70, and the first two segments again (PS3.3 C.7.9.2).
    back = [2, 2, 0, 0] if wide else [2, 2, 0, 0, 0, 0]
    units = [0, 3, 10, 20, 30, 1, 4, 70, *back, 0, 1, 255]
    expected = [10, 20, 30, 40, 50, 60, 70, 10, 20, 30, 40, 50, 60, 70, 255]
    data = words(units) if wide else bytes(units) + b"\0" * (len(units) % 2)
    assert expand_segments(data, 15, wide).tolist() == expected
    pixels = np.arange(16, dtype="uint8").reshape(4, 4)
    tags = palette(data, 15, 0, 16 if wide else 8, segmented=True)
    path = write_dicom(tmp_path / "us.dcm", pixels, **tags)
    assert shown(path).ravel() == pytest.approx(np.array([*expected, 255]) / 255, abs=1e-5)


@pytest.mark.parametrize(
    "units",
    [
        [1, 4, 70],  # a linear segment without a previous entry
        [0, 9, 1, 2],  # fewer entries than specified
        [0, 1, 5, 2, 1, 99, 0, 0, 0],  # a copy of a segment beyond the data
        [0, 1, 5, 2, 1, 3, 0, 0, 0],  # a copy of itself
        [7, 1, 1],
        [0, 2, 1, 2],  # too short
        [],
    ],
)
def test_damaged_segments_raise_an_error(tmp_path, units):
    data = bytes(units) + b"\0" * (len(units) % 2)
    path = write_dicom(tmp_path / "us.dcm", BYTES, **palette(data, 256, 0, 8, segmented=True))
    with pytest.raises(ImageError, match=r"us.dcm: invalid palette"):
        medzoo.read_image(path)


@pytest.mark.parametrize(
    "tags",
    [
        palette(words(CURVE)[:256], 256, 0, 16),
        palette(bytes(256), 256, 0, 8),
        palette(b"", 256, 0, 8),
        {"PhotometricInterpretation": "PALETTE COLOR"},
    ],
)
def test_damaged_palettes_raise_an_error(tmp_path, tags):
    with pytest.raises(ImageError, match=r"us.dcm: invalid palette"):
        medzoo.read_image(write_dicom(tmp_path / "us.dcm", BYTES, **tags))


def test_palettes_and_tables_of_real_files_equal_pydicom():
    for name in ("examples_palette.dcm", "mlut_18.dcm"):
        path = pydicom.data.get_testdata_file(name, download=False)
        if not path:
            continue
        dataset = pydicom.dcmread(path)
        if name == "mlut_18.dcm":
            expected = pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset)
            assert np.array_equal(read_values(path), expected)
        else:
            colors = pydicom.pixels.apply_color_lut(dataset.pixel_array, dataset).astype("float64")
            assert shown(path) == pytest.approx(colors @ [0.299, 0.587, 0.114] / 65535, abs=1e-5)
