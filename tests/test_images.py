"""Reading of images, resizing, batches from NPZ files and folders, and phantoms."""

import shutil

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

import medzoo
from medzoo import ImageError


def dicom(name):
    return get_testdata_file(name, download=False)


# --- image files ------------------------------------------------------------------------------------------------------


def test_png_of_8_and_16_bits_and_jpeg(tmp_path):
    gray = np.arange(0, 240, dtype="uint8").reshape(12, 20)
    Image.fromarray(gray).save(tmp_path / "a.png")
    Image.fromarray(gray.astype("uint16") * 257).save(tmp_path / "b.png")
    Image.fromarray(gray).save(tmp_path / "c.jpg", quality=100)
    for name, tolerance in (("a.png", 1e-6), ("b.png", 1e-6), ("c.jpg", 0.02)):
        image = medzoo.read_image(tmp_path / name)
        assert image.shape == (12, 20, 1)
        assert image.dtype == "float32"
        assert image[..., 0] == pytest.approx(gray / 255, abs=tolerance)


def test_color_is_converted_to_luminance(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (5, 6, 3), "uint8")
    Image.fromarray(rgb).save(tmp_path / "a.png")
    expected = rgb @ [0.299, 0.587, 0.114] / 255
    assert medzoo.read_image(tmp_path / "a.png")[..., 0] == pytest.approx(expected, abs=0.003)


def test_12_bit_data_in_16_bits_require_a_window(tmp_path):
    values = np.linspace(0, 4095, 64).reshape(8, 8).astype("uint16")
    Image.fromarray(values).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png: 16-bit values up to 4095"):
        medzoo.read_image(tmp_path / "a.png")
    image = medzoo.read_image(tmp_path / "a.png", window=(2048, 4096))
    assert image[..., 0] == pytest.approx(values / 4095, abs=1e-4)


def test_npy_floats_must_be_in_range(tmp_path):
    valid = np.random.default_rng(0).random((7, 9)).astype("float32")
    np.save(tmp_path / "valid.npy", valid)
    assert medzoo.read_image(tmp_path / "valid.npy")[..., 0] == pytest.approx(valid)
    for wrong in (
        valid * 255,
        valid - 1,
        np.where(valid > 0.5, np.nan, valid),
        valid.astype(complex),
        valid[None, None],
    ):
        np.save(tmp_path / "wrong.npy", wrong)
        with pytest.raises(ImageError, match=r"wrong\.npy"):
            medzoo.read_image(tmp_path / "wrong.npy")


def test_center_crop_resize_preserves_the_aspect_ratio():
    image = np.zeros((40, 80, 1), "float32")
    image[:, 20:60] = 1.0  # the central square
    assert medzoo.center_crop_resize(image, 20) == pytest.approx(np.ones((20, 20, 1)), abs=0.3)
    assert medzoo.center_crop_resize(image, (20, 40)).shape == (20, 40, 1)
    assert medzoo.center_crop_resize(np.stack([image] * 3), (20, 40)).shape == (3, 20, 40, 1)
    assert medzoo.center_crop_resize(np.ones((3, 30, 50), "float32"), 10) == pytest.approx(1.0)


def test_downsampling_does_not_alias():
    stripes = np.tile([0.0, 1.0], 64)[None].repeat(128, axis=0).astype("float32")
    small = medzoo.center_crop_resize(stripes, 32)
    assert small[4:-4, 4:-4] == pytest.approx(0.5, abs=0.05)


# --- DICOM ------------------------------------------------------------------------------------------------------------


def test_damaged_files_raise_an_error_with_their_name(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not an image")
    (tmp_path / "b.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    (tmp_path / "c.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "d.txt").write_text("text")
    for name in ("a.png", "b.dcm", "c.npy", "d.txt"):
        with pytest.raises(ImageError, match=name.replace(".", r"\.")):
            medzoo.read_image(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        medzoo.read_image(tmp_path / "nowhere.png")


# --- datasets ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"class_names": np.array(["cat", "dog"])}
    for split, n in (("train", 20), ("val", 6), ("test", 8)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (n, 16, 16), "uint8")
        arrays[f"{split}_labels"] = (np.arange(n) % 2)[:, None].astype("uint8")
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path / "data.npz"


def test_npz_batches_contain_every_image_once(archive):
    stored = np.load(archive)["train_images"]
    batches = [np.asarray(b) for b in medzoo.datasets.from_npz(archive, batch_size=8, seed=0)]
    assert [len(b) for b in batches] == [8, 8, 4]
    assert batches[0].dtype == "float32"
    images = np.round(np.concatenate(batches)[..., 0] * 255).astype("uint8")
    assert not np.array_equal(images, stored)  # shuffled
    assert sorted(map(bytes, images)) == sorted(map(bytes, stored))


def test_npz_classes_by_name_or_label_and_order_of_test_split(archive):
    dogs = np.concatenate([np.asarray(b) for b in medzoo.datasets.from_npz(archive, "test", classes="dog")])
    assert np.array_equal(np.round(dogs[..., 0] * 255), np.load(archive)["test_images"][1::2])
    assert np.array_equal(
        medzoo.datasets.load_npz(archive, "test", 1), medzoo.datasets.load_npz(archive, "test", "dog")
    )


def test_npz_errors_name_the_cause(archive, tmp_path):
    with pytest.raises(ImageError, match="no class 'fish'; found cat, dog"):
        medzoo.datasets.load_npz(archive, classes="fish")
    with pytest.raises(ImageError, match="no array 'valid_images'"):
        medzoo.datasets.load_npz(archive, "valid")
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    with pytest.raises(ImageError, match=r"damaged\.npz"):
        medzoo.datasets.load_npz(tmp_path / "damaged.npz")


def test_folder_of_mixed_files(tmp_path):
    (tmp_path / "sub").mkdir()
    Image.fromarray(np.full((30, 20), 255, "uint8")).save(tmp_path / "white.png")
    np.save(tmp_path / "sub" / "black.npy", np.zeros((20, 30), "uint8"))
    shutil.copy(dicom("CT_small.dcm"), tmp_path / "sub" / "ct.dcm")
    (tmp_path / "notes.txt").write_text("not an image")
    data = medzoo.datasets.from_folder(tmp_path, size=16, batch_size=2, shuffle=False)
    batches = [np.asarray(b) for b in data]
    assert [b.shape for b in batches] == [(2, 16, 16, 1), (1, 16, 16, 1)]
    assert batches[0][0].max() == 0
    assert batches[1][0].min() == 1
    with pytest.raises(ValueError, match="size=256"):  # presets that accept any size define no size
        medzoo.datasets.from_folder(tmp_path, size=None)
    (tmp_path / "damaged.png").write_bytes(b"no")
    with pytest.raises(Exception, match=r"damaged\.png"):
        list(medzoo.datasets.from_folder(tmp_path, size=16))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no images below"):
        medzoo.datasets.from_folder(tmp_path / "empty", size=16)


def test_phantoms_are_images_and_reproducible():
    from medzoo.data.phantom import chest_phantom, head_phantom

    assert np.array_equal(chest_phantom(32, 1), chest_phantom(32, 1))
    assert not np.array_equal(chest_phantom(32, 1), chest_phantom(32, 2))
    heads = [head_phantom(64, seed) for seed in (None, 1, 1, 2)]
    assert np.array_equal(heads[1], heads[2])
    assert not np.array_equal(heads[1], heads[3])
    for size in (16, 64):
        image = chest_phantom(size)
        assert image.shape == (size, size, 1)
        assert 0 <= image.min() < 0.1
        assert 0.9 < image.max() <= 1


def test_head_phantom_equals_shepp_logan():
    from skimage.data import shepp_logan_phantom

    from medzoo.data.phantom import head_phantom

    reference = shepp_logan_phantom()  # 400x400, the contrasts of Toft
    phantom = head_phantom(400)[..., 0]
    assert np.corrcoef(reference.ravel() ** 0.6, phantom.ravel())[0, 1] > 0.8
    assert phantom.min() >= 0
    assert phantom.max() <= 1
