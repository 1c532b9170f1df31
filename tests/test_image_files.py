"""PNG, JPEG, TIFF and NPY files: orientation, bit depth, color, transparency, frames, NaN and masks."""

import struct
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageFile

import medzoo
from medzoo import ImageError
from medzoo.data.augmentation import AugmentedDataset
from medzoo.data.lesions import add_lesion
from medzoo.data.masks import load_mask_npz, load_masks, read_mask
from medzoo.io.file_info import file_info
from medzoo.io.image import read_stored, title_of
from medzoo.io.intensity import apply_window, equalize_histogram, standardize
from medzoo.io.writers import write_labels, write_png
from medzoo.utils.files import unique_names

BLOCKS = np.kron(np.arange(0, 240, 40, dtype="uint8").reshape(3, 2), np.ones((8, 8), "uint8"))  # preserved by JPEG
TRANSFORMS = {  # by EXIF orientation: from stored to displayed pixels (EXIF 2.32, tag 274)
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),  # clockwise
    7: lambda a: np.rot90(np.transpose(a), 2),
    8: lambda a: np.rot90(a, 1),
}


def noise(shape=(9, 11), seed=0, dtype="uint8"):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def exif_with(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_raw_png(path, rows, width, bits, kind, extra=b""):
    """Write a PNG of packed rows; `kind` is 0 gray, 2 color, 4 gray with alpha, 6 color with alpha."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def write_png16(path, values, extra=b""):
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[-1]]
    return write_raw_png(path, [row.astype(">u2").tobytes() for row in values], values.shape[1], 16, kind, extra)


def read_or_none(path, window):
    """Return the image, or `None` if reading raises ImageError."""
    try:
        return medzoo.read_image(path, window=window)
    except ImageError:
        return None


# --- orientation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", TRANSFORMS)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "lzw.tif", "deep.png", "phone.jpg"])
def test_exif_orientation_is_applied_to_images(tmp_path, name, orientation):
    stored, options = BLOCKS, {"quality": 95} if name.endswith("jpg") else {}
    if name == "phone.jpg":
        options |= {"format": "MPO", "save_all": True, "append_images": [Image.fromarray(255 - BLOCKS)]}
    if name == "lzw.tif":
        options["compression"] = "tiff_lzw"
    values = stored.astype("uint16") * 257 if name == "deep.png" else stored
    Image.fromarray(values).save(tmp_path / name, exif=exif_with(orientation), **options)
    frame = 0 if name == "phone.jpg" else None
    image = medzoo.read_image(tmp_path / name, frame=frame)[..., 0]
    shown = TRANSFORMS[orientation](stored) / 255
    assert image.shape == shown.shape
    assert np.abs(image - shown).max() < 0.05
    info = file_info(tmp_path / name)
    assert (info["height"], info["width"]) == shown.shape


def test_exif_orientation_is_applied_to_masks_and_stored_values(tmp_path):
    Image.fromarray(BLOCKS // 40).save(tmp_path / "mask.png", exif=exif_with(6))
    assert np.array_equal(read_mask(tmp_path / "mask.png"), np.rot90(BLOCKS // 40, -1))
    Image.fromarray(BLOCKS).save(tmp_path / "a.png", exif=exif_with(8))
    assert np.array_equal(read_stored(tmp_path / "a.png"), np.rot90(BLOCKS))


def test_damaged_exif_and_unknown_orientations_are_ignored(tmp_path):
    for exif in (b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01", b"garbage", exif_with(9)):
        Image.fromarray(BLOCKS).save(tmp_path / "a.jpg", exif=exif, quality=95)
        assert medzoo.read_image(tmp_path / "a.jpg").shape == (24, 16, 1)


# --- TIFF -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_tiff_values_are_correct_or_raise_an_error(tmp_path, dtype, photometric, order, compression):
    tifffile = pytest.importorskip("tifffile")
    path, integers = tmp_path / "image.tif", np.dtype(dtype).kind != "f"
    values = noise(dtype=dtype) if integers else np.random.default_rng(0).random((9, 11), dtype)
    if dtype.startswith("int"):
        values = values // 2 - 5
    tifffile.imwrite(path, values, photometric=photometric, byteorder=order, compression=compression)
    low, high = float(values.min()), float(values.max())
    window = ((low + high) / 2 + 0.5, high - low + 1)  # a window of width w has w - 1 steps between black and white
    expected = (values.astype("float64") - low) / (high - low)
    if not integers:
        window = None
        expected = values
    image = read_or_none(path, window)
    if image is None:  # types that Pillow cannot decode may raise an error
        assert (dtype, photometric) not in {("uint8", "minisblack"), ("uint16", "minisblack"), ("uint8", "miniswhite")}
        return
    shown = expected if photometric == "minisblack" else 1 - expected
    assert image[..., 0] == pytest.approx(shown, abs=1e-4)


def test_white_is_zero_tiff_is_inverted(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    values = np.linspace(10000, 60000, 64).astype("uint16").reshape(8, 8)
    tifffile.imwrite(tmp_path / "image.tif", values, photometric="miniswhite")
    assert medzoo.read_image(tmp_path / "image.tif")[..., 0] == pytest.approx(1 - values / 65535, abs=1e-4)
    assert np.array_equal(read_stored(tmp_path / "image.tif"), 65535 - values)
    tifffile.imwrite(tmp_path / "image.tif", values // 16, photometric="miniswhite")
    with pytest.raises(ImageError, match=r"image\.tif: 16-bit values up to 3750"):
        medzoo.read_image(tmp_path / "image.tif")
    windowed = medzoo.read_image(tmp_path / "image.tif", window=(2048, 4096))[..., 0]
    assert windowed == pytest.approx(1 - (values // 16) / 4095, abs=1e-4)


def test_signed_tiff_requires_a_window(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    values = np.linspace(-1000, 1000, 64).astype("int16").reshape(8, 8)
    tifffile.imwrite(tmp_path / "slice.tif", values, photometric="minisblack")
    image = medzoo.read_image(tmp_path / "slice.tif", window=(40, 400))[..., 0]
    assert image == pytest.approx(apply_window(values, 40, 400), abs=1e-5)
    with pytest.raises(ImageError, match=r"slice\.tif: int16 values from -1000 to 1000.*window="):
        medzoo.read_image(tmp_path / "slice.tif")
    assert np.array_equal(read_stored(tmp_path / "slice.tif"), values)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_colors_keep_their_depth_or_raise_an_error(tmp_path, planar, dtype, compression):
    tifffile = pytest.importorskip("tifffile")
    values, path = noise((9, 11, 3), dtype=dtype), tmp_path / "a.tif"
    planes = values if planar == "contig" else np.moveaxis(values, -1, 0)
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig=planar, compression=compression)
    if (planar, dtype) == ("separate", "uint16"):
        with pytest.raises(ImageError, match=r"a\.tif: TIFF with 16-bit colors in separate planes"):
            medzoo.read_image(path)
        return
    white = np.iinfo(dtype).max
    expected = values @ [0.299, 0.587, 0.114] / white
    assert medzoo.read_image(path)[..., 0] == pytest.approx(expected, abs=0.6 / white)


def test_imagej_stacks_behind_one_page_raise_an_error(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "a.tif", description="ImageJ=1.53\nimages=40\nslices=40")
    with pytest.raises(ImageError, match="40 ImageJ images in 1 page"):
        medzoo.read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("mode", "message"), [("LAB", "unsupported color mode LAB"), ("YCbCr", "YCbCr colors without JPEG")]
)
def test_other_color_spaces_raise_an_error(tmp_path, mode, message):
    Image.new(mode, (8, 8)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=message):
        medzoo.read_image(tmp_path / "a.tif")


# --- depth ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_is_exact_and_12_bit_data_require_a_window(tmp_path, channels):
    gray = noise((9, 11, 1), dtype="uint16")
    opaque = np.full_like(gray, 65535)
    stack = {1: [gray], 2: [gray, opaque], 3: [gray] * 3, 4: [gray] * 3 + [opaque]}[channels]
    path = write_png16(tmp_path / "image.png", np.concatenate(stack, axis=-1))
    assert medzoo.read_image(path) == pytest.approx(gray / 65535, abs=1e-6)
    assert np.array_equal(read_stored(path), gray[..., 0])
    stack = [part if part is opaque else part >> 4 for part in stack]
    write_png16(path, np.concatenate(stack, axis=-1))
    with pytest.raises(ImageError, match=r"image\.png: 16-bit values up to \d+ only.*window="):
        medzoo.read_image(path)
    assert medzoo.read_image(path, window=(2048, 4096)) == pytest.approx((gray >> 4) / 4095, abs=1e-4)


def test_luminance_of_16_bit_colors_has_16_bits(tmp_path):
    values = noise((9, 11, 3), dtype="uint16")
    expected = values @ [0.299, 0.587, 0.114] / 65535
    image = medzoo.read_image(write_png16(tmp_path / "a.png", values))[..., 0]
    assert image == pytest.approx(expected, abs=1e-5)


def test_adobe_cmyk_is_read_and_other_cmyk_raises_an_error(tmp_path):
    colors = np.stack([BLOCKS, 255 - BLOCKS, BLOCKS // 2], axis=-1)
    Image.fromarray(colors).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    expected = colors @ [0.299, 0.587, 0.114] / 255
    assert medzoo.read_image(tmp_path / "a.jpg")[..., 0] == pytest.approx(expected, abs=0.03)
    data = (tmp_path / "a.jpg").read_bytes()
    start = data.index(b"Adobe") - 4
    size = int.from_bytes(data[start + 2 : start + 4], "big")
    (tmp_path / "b.jpg").write_bytes(data[:start] + data[start + 2 + size :])
    with pytest.raises(ImageError, match=r"b\.jpg: unsupported color mode CMYK"):
        medzoo.read_image(tmp_path / "b.jpg")


# --- transparency -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [2, bytes([255, 255, 128])])
def test_used_transparent_palette_colors_raise_an_error(tmp_path, key):
    pillow_image = Image.fromarray(noise((8, 8)) % 4)
    pillow_image.putpalette([0, 0, 0, 80, 80, 80, 160, 160, 160, 240, 240, 240])
    pillow_image.save(tmp_path / "image.png", transparency=key)
    with pytest.raises(ImageError, match=r"image\.png: transparent pixels"):
        medzoo.read_image(tmp_path / "image.png")
    pillow_image.save(tmp_path / "image.png", transparency=200)  # a color that no pixel has
    assert medzoo.read_image(tmp_path / "image.png")[..., 0] == pytest.approx(np.asarray(pillow_image) * 80 / 255)


@pytest.mark.parametrize(("bits", "kind"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2)])
def test_used_transparent_color_raises_an_error(tmp_path, bits, kind):
    samples = 3 if kind == 2 else 1
    width = 8 // bits if bits < 8 else 4
    row = bytes([0b00011011]) if bits < 8 else bytes(range(100, 100 + 4 * samples * bits // 8))
    first = {1: 0, 2: 0, 4: 1, 8: 100, 16: 100 * 256 + 101}[bits]
    step = {8: 1, 16: 514}.get(bits, 0)
    key = b"".join(struct.pack(">H", first + i * step) for i in range(samples))
    path = write_raw_png(tmp_path / "a.png", [row], width, bits, kind, chunk(b"tRNS", key))
    with pytest.raises(ImageError, match=r"a\.png: transparent pixels"):
        medzoo.read_image(path)
    unused = struct.pack(">H", {4: 7}.get(bits, first + 1)) * samples
    if bits > 2:
        write_raw_png(path, [row], width, bits, kind, chunk(b"tRNS", unused if kind == 2 else struct.pack(">H", 7)))
        assert medzoo.read_image(path).shape == (1, width, 1)


@pytest.mark.parametrize(("mode", "ending"), [("LA", "png"), ("RGBA", "png"), ("LA", "tif"), ("RGBA", "tif")])
def test_opaque_alpha_is_accepted(tmp_path, mode, ending):
    pillow_image = Image.fromarray(BLOCKS).convert(mode)
    pillow_image.save(tmp_path / f"a.{ending}")
    assert medzoo.read_image(tmp_path / f"a.{ending}")[..., 0] == pytest.approx(BLOCKS / 255, abs=1e-6)
    pillow_image.putalpha(254)
    pillow_image.save(tmp_path / f"a.{ending}")
    with pytest.raises(ImageError, match="transparent pixels"):
        medzoo.read_image(tmp_path / f"a.{ending}")


def test_16_bit_alpha_is_checked_at_full_precision(tmp_path):
    values = np.full((4, 4, 4), 65535, "uint16")
    values[1, 1, 3] = 65534
    for channels in ([0, 3], [0, 1, 2, 3]):
        with pytest.raises(ImageError, match="transparent pixels"):
            medzoo.read_image(write_png16(tmp_path / "a.png", values[..., channels]))


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["photo.jpg", "moving.png", "pages.tif"])
def test_multi_frame_files_require_a_frame_index(tmp_path, name):
    first, second = Image.fromarray(BLOCKS), Image.fromarray(255 - BLOCKS)
    options = {"format": "MPO", "quality": 95} if name == "photo.jpg" else {}
    first.save(tmp_path / name, save_all=True, append_images=[second], **options)
    with pytest.raises(ImageError, match=rf"{name}: contains 2 frames; select one with frame=0 to 1, or as .*{name}#0"):
        medzoo.read_image(tmp_path / name)
    with pytest.raises(ImageError, match="frame=2; expected 0 to 1"):
        medzoo.read_image(tmp_path / name, frame=2)
    for frame, shown in enumerate((BLOCKS, 255 - BLOCKS)):
        for image in (
            medzoo.read_image(tmp_path / name, frame=frame)[..., 0],
            medzoo.read_image(f"{tmp_path / name}#{frame}")[..., 0],
            read_stored(f"{tmp_path / name}#{frame}") / 255,
        ):
            assert image == pytest.approx(shown / 255, abs=0.05)


# --- floats -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["map.npy", "map.tif"])
def test_nan_pixels_are_replaced_by_the_given_value(tmp_path, name):
    values = np.linspace(0, 1, 64, dtype="float32").reshape(8, 8)
    holes = values.copy()
    holes[:2] = np.nan
    np.save(tmp_path / name, holes) if name.endswith("npy") else Image.fromarray(holes).save(tmp_path / name)
    with pytest.raises(ImageError, match=r"16 of 64 pixels are NaN.*nan=0"):
        medzoo.read_image(tmp_path / name)
    image = medzoo.read_image(tmp_path / name, nan=0.25)[..., 0]
    assert image == pytest.approx(np.nan_to_num(holes, nan=0.25))
    windowed = medzoo.read_image(tmp_path / name, window=(0.5, 1), nan=-1000)[..., 0]
    assert windowed[:2].max() == 0
    with pytest.raises(ImageError, match="expected a finite replacement"):
        medzoo.read_image(tmp_path / name, nan=np.nan)
    holes[3, 3] = np.inf
    np.save(tmp_path / "b.npy", holes)
    with pytest.raises(ImageError, match=r"b\.npy: contains infinity"):
        medzoo.read_image(tmp_path / "b.npy", nan=0)


def test_datasets_and_masks_accept_nan(tmp_path):
    values = np.full((8, 8), np.nan, "float32")
    (tmp_path / "images").mkdir()
    np.save(tmp_path / "images/1.npy", values)
    (batch,) = medzoo.datasets.from_folder(tmp_path / "images", size=8, nan=1.0)
    assert np.asarray(batch).min() == 1
    write_labels(tmp_path / "masks/1", np.ones((8, 8), "uint8"))
    assert load_masks(tmp_path / "images", tmp_path / "masks", nan=0)[0].max() == 0


def test_npy_byte_order_has_no_effect(tmp_path):
    values = noise(dtype="uint16")
    for order in "<>":
        np.save(tmp_path / "a.npy", values.astype(f"{order}u2"))
        assert medzoo.read_image(tmp_path / "a.npy")[..., 0] == pytest.approx(values / 65535)


def test_image_functions_scale_integers_or_raise_an_error():
    gray = noise((16, 16, 1))[None]
    for dtype, white in (("uint8", 255), ("uint16", 65535)):
        whole, parts = gray.astype(dtype) * (white // 255), gray.astype("float32") / 255
        assert medzoo.center_crop_resize(whole, 8) == pytest.approx(medzoo.center_crop_resize(parts, 8), abs=1e-5)
        assert standardize(whole) == pytest.approx(standardize(parts), abs=1e-4)
        assert equalize_histogram(whole) == pytest.approx(equalize_histogram(parts), abs=1e-6)
        assert add_lesion(whole[0])[0] == pytest.approx(add_lesion(parts[0])[0], abs=1e-5)
    volumes = noise((1, 8, 8, 8, 1))
    assert medzoo.center_crop_resize(volumes, (4, 4, 4)) == pytest.approx(
        medzoo.center_crop_resize(volumes / 255, (4, 4, 4)), abs=1e-5
    )
    for wrong in (gray.astype("int32"), gray.astype("float32"), gray // 128, gray.astype("uint16") * 16, parts - 0.5):
        with pytest.raises(ValueError, match="expected"):
            medzoo.center_crop_resize(wrong, 8)
    with pytest.raises(ValueError, match="expected"):
        medzoo.center_crop_resize(np.where(parts > 0.5, np.nan, parts), 8)
    with pytest.raises(ValueError, match="AugmentedDataset: float32 values from 0 to 255"):
        AugmentedDataset(gray.astype("float32"), 1)


# --- damaged files ----------------------------------------------------------------------------------------------------


def test_truncated_images_raise_an_error_even_if_pillow_would_fill_them(tmp_path, monkeypatch):
    for name in ("a.jpg", "a.png"):
        Image.fromarray(noise((64, 64))).save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: 2 * len(data) // 3])
        for filled in (False, True):
            monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", filled)
            with pytest.raises(ImageError, match=name):
                medzoo.read_image(tmp_path / name)
            assert ImageFile.LOAD_TRUNCATED_IMAGES is filled


def test_empty_files_other_formats_and_other_endings(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"empty\.png: .*an empty file"):
        medzoo.read_image(tmp_path / "empty.png")
    Image.fromarray(noise()).save(tmp_path / "other.png", format="GIF")
    with pytest.raises(ImageError, match=r"other\.png: .*begins with b'GIF8'"):
        medzoo.read_image(tmp_path / "other.png")
    Image.fromarray(noise()).save(tmp_path / "a.JPG", format="PNG")
    assert medzoo.read_image(tmp_path / "a.JPG")[..., 0] == pytest.approx(noise() / 255)
    np.savez(tmp_path / "a.npz", noise())
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(ImageError, match=r"a\.npy: .*several arrays"):
        medzoo.read_image(tmp_path / "a.npy")


# --- masks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (np.uint8([0, 255]), [0, 1]),
        (np.uint16([0, 65535]), [0, 1]),
        (np.uint16([0, 3]), [0, 3]),
        (np.uint8([0, 1, 2, 7]), [0, 1, 2, 7]),
        (np.uint8([0, 128, 255]), None),
        (np.uint8([0, 128]), None),
        (np.uint8([0, 1, 255]), None),
        (np.uint16([0, 1000, 2000]), None),
    ],
)
def test_gray_values_that_are_not_labels_raise_an_error(tmp_path, values, labels):
    Image.fromarray(values[None]).save(tmp_path / "mask.png")
    np.save(tmp_path / "mask.npy", values[None])
    for name in ("mask.png", "mask.npy"):
        if labels is None:
            with pytest.raises(ImageError, match=rf"{name}: values 0, .*; expected labels 0, 1, 2"):
                read_mask(tmp_path / name)
        else:
            assert read_mask(tmp_path / name).tolist() == [labels]
    images = np.zeros((1, 1, len(values)), "uint8")
    np.savez(tmp_path / "pairs.npz", train_images=images, train_masks=values[None, None])
    if labels is None:
        with pytest.raises(ImageError, match="train_masks: values 0, "):
            load_mask_npz(tmp_path / "pairs.npz")
    else:
        assert load_mask_npz(tmp_path / "pairs.npz")[0]["train"][1].tolist() == [[labels]]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_labels_of_fewer_than_8_bits_are_the_stored_values(tmp_path, bits):
    path = write_raw_png(tmp_path / "mask.png", [bytes([0b00011011])], 8 // bits, bits, 0)
    assert read_mask(path).tolist() == [{1: [0, 0, 0, 1, 1, 0, 1, 1], 2: [0, 1, 2, 3], 4: [1, 11]}[bits]]


def test_palette_with_another_background_than_zero_raises_an_error(tmp_path):
    mask = Image.fromarray(np.uint8([[0, 1, 1]]))
    mask.putpalette([0, 0, 0, 255, 0, 0])
    mask.save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == [[0, 1, 1]]
    for values in ([[0, 1, 1]], [[1, 1, 1]]):
        mask = Image.fromarray(np.uint8(values))
        mask.putpalette([255, 255, 255, 0, 0, 0])
        mask.save(tmp_path / "mask.png")
        with pytest.raises(ImageError, match=r"mask\.png: a palette in which 0 is \(255, 255, 255\) and 1 is black"):
            read_mask(tmp_path / "mask.png")


def test_color_and_lossy_masks_raise_an_error(tmp_path):
    labels = noise() % 2
    for name, pixels in (("a.tif", np.stack([labels] * 3, -1)), ("a.png", np.stack([labels, labels | 255], -1))):
        Image.fromarray(pixels).save(tmp_path / name)
        with pytest.raises(ImageError, match=r"mode (RGB|LA).*expected integer labels"):
            read_mask(tmp_path / name)
    Image.fromarray(255 * labels).save(tmp_path / "b.png", format="JPEG")
    with pytest.raises(ImageError, match="lossless"):
        read_mask(tmp_path / "b.png")


def test_white_is_zero_masks_are_inverted(tmp_path):
    for values in (np.uint8([[0, 255]]), np.uint16([[0, 65535]]), np.array([[False, True]])):
        Image.fromarray(values).save(tmp_path / "mask.tif", tiffinfo={262: 0})
        shown = values[:, ::-1] if values.dtype == "uint16" else values  # Pillow inverts the others when saving
        assert read_mask(tmp_path / "mask.tif").tolist() == (shown > 0).astype(int).tolist()


def test_ambiguous_image_mask_pairs_raise_an_error(tmp_path):
    for name in ("images/1.png", "images/1.jpg", "masks/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((8, 8), "uint8")).save(tmp_path / name)
    with pytest.raises(ImageError, match=r"1\.jpg and .*1\.png: two images with the same name"):
        load_masks(tmp_path / "images", tmp_path / "masks")
    (tmp_path / "images/1.jpg").unlink()
    np.save(tmp_path / "masks/1.npy", np.zeros((8, 8), "uint8"))
    with pytest.raises(ImageError, match=r"1\.npy and .*1\.png: two masks with the same name"):
        load_masks(tmp_path / "images", tmp_path / "masks")
    (tmp_path / "masks/1.npy").rename(tmp_path / "masks/2.npy")  # without image
    assert len(load_masks(tmp_path / "images", tmp_path / "masks")[0]) == 1


def test_written_labels_are_read_back_and_invalid_labels_raise_an_error(tmp_path):
    assert np.asarray(Image.open(write_labels(tmp_path / "a", np.array([[0, 300]])))).tolist() == [[0, 300]]
    for wrong in (np.array([[-1, 0]]), np.array([[0.5]]), np.full((2, 2, 2), 3)):
        with pytest.raises(ValueError, match="expected integer labels"):
            write_labels(tmp_path / "b", wrong)
    with pytest.raises(ValueError, match=r"c\.png: float32 of shape"):
        write_png(tmp_path / "c.png", np.zeros((4, 4), "float32"))


# --- names of output files --------------------------------------------------------------------------------------------


def test_unique_names_are_unique():
    assert unique_names(["a", "b", "a"]) == ["00000-a", "b", "00002-a"]
    assert len(set(unique_names(["a", "a", "00000-a"]))) == 3
    assert [title_of(f) for f in ("1.2.840.dcm", "scan.dcm#3", "scan.nii.gz")] == ["1.2.840", "scan-3", "scan"]


def test_images_with_the_same_name_are_all_reconstructed(tmp_path):
    from medzoo.cli import main

    for i, name in enumerate(("a/1.png", "b/1.png", "b/1.jpg")):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise((64, 64), i)).save(tmp_path / "images" / name)
    command = ["reconstruct", "ae-chestxray-64", str(tmp_path / "images"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").glob("*.png"))) == 3
