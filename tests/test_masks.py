"""Reading of segmentation masks and of image-mask pairs."""

import numpy as np
import pytest
from PIL import Image

from medzoo.data.lesions import add_lesion
from medzoo.data.masks import load_mask_npz, load_masks, read_mask
from medzoo.errors import ImageError
from medzoo.io.intensity import center_crop_resize
from medzoo.io.writers import write_labels


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def test_labels_of_png_and_npy_are_exact(tmp_path):
    labels = np.array([[0, 1, 2], [2, 0, 7]], "uint8")
    assert (read_mask(save(tmp_path / "a.png", labels)) == labels).all()
    np.save(tmp_path / "a.npy", labels.astype("int64"))
    assert (read_mask(tmp_path / "a.npy") == labels).all()
    palette = Image.fromarray(labels).convert("P")
    palette.putdata(labels.ravel())
    palette.save(tmp_path / "p.png")
    assert (read_mask(tmp_path / "p.png") == labels).all()


def test_binary_mask_is_zero_and_one(tmp_path):
    assert (read_mask(save(tmp_path / "a.png", np.array([[0, 255]], "uint8"))) == [[0, 1]]).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.arange(256, dtype="uint8").reshape(16, 16), "Is this file an image"),
        (np.zeros((4, 4, 3), "uint8"), "expected integer labels"),
    ],
)
def test_images_as_masks_raise_an_error(tmp_path, values, message):
    with pytest.raises(ImageError, match=message):
        read_mask(save(tmp_path / "a.png", values))


def test_lossy_masks_raise_an_error(tmp_path):
    with pytest.raises(ImageError, match="lossless"):
        read_mask(save(tmp_path / "a.jpg", np.zeros((8, 8), "uint8")))


def test_image_and_mask_are_cropped_and_resized_consistently(tmp_path):
    image, mask = add_lesion(np.zeros((120, 200, 1), "float32"), seed=3, radius=(0.2, 0.2), contrast=(0.9, 0.9))
    save(tmp_path / "images/a/1.png", np.round(image[..., 0] * 255).astype("uint8"))
    save(tmp_path / "masks/a/1.png", mask[..., 0] * 255)
    images, masks = load_masks(tmp_path / "images", tmp_path / "masks", size=(60, 60))
    assert images.shape == (1, 60, 60, 1)
    assert masks.shape == (1, 60, 60)
    # Resizing the mask as an image and thresholding at 0.5 gives the same region.
    blurred = center_crop_resize(mask.astype("float32"), 60)[..., 0] > 0.5
    assert (blurred == masks[0]).mean() > 0.99
    assert images[0, ..., 0][masks[0] == 1].mean() > 5 * images[0, ..., 0][masks[0] == 0].mean()


def test_missing_masks_and_different_sizes_raise_an_error(tmp_path):
    save(tmp_path / "images/1.png", np.full((8, 8), 9, "uint8"))
    (tmp_path / "masks").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no mask for 1 of 1 images.*1\.png"):
        load_masks(tmp_path / "images", tmp_path / "masks")
    save(tmp_path / "masks/1.png", np.zeros((8, 9), "uint8"))
    with pytest.raises(ImageError, match=r"\(8, 9\) pixels; its image"):
        load_masks(tmp_path / "images", tmp_path / "masks")


def test_overlapping_labels_are_tiff_pages_or_an_array_axis(tmp_path):
    labels = np.zeros((6, 5, 3), "uint8")
    labels[1:4, 1:4, 0] = labels[2:, 2:, 1] = 1
    assert write_labels(tmp_path / "a", labels) == tmp_path / "a.tif"
    assert (read_mask(tmp_path / "a.tif") == labels).all()
    np.save(tmp_path / "b.npy", labels)
    assert (read_mask(tmp_path / "b.npy") == labels).all()
    np.save(tmp_path / "c.npy", 2 * labels)
    with pytest.raises(ImageError, match="expected 0 and 1 for each label"):
        read_mask(tmp_path / "c.npy")
    Image.fromarray(labels[..., 0]).save(tmp_path / "d.tif", compression="jpeg")
    with pytest.raises(ImageError, match="compressed as JPEG"):
        read_mask(tmp_path / "d.tif")
    for name in "ab":
        save(tmp_path / f"images/{name}.png", np.full((6, 5), 9, "uint8"))
    (tmp_path / "masks").mkdir()
    for name in "ab":
        write_labels(tmp_path / "masks" / name, labels)
    assert load_masks(tmp_path / "images", tmp_path / "masks", size=12)[1].shape == (2, 12, 12, 3)
    write_labels(tmp_path / "masks" / "b", labels[..., 0])
    (tmp_path / "masks" / "b.tif").unlink()
    with pytest.raises(ImageError, match="one label per pixel; others have 3 overlapping labels"):
        load_masks(tmp_path / "images", tmp_path / "masks")


def test_npz_masks_are_labels_channels_or_bits(tmp_path):
    images = np.zeros((4, 8, 8), "uint8")
    bits = np.zeros((4, 8, 8), "uint8")
    bits[:, 2:5], bits[:, 4:6, 3] = 1, 3
    arrays = {"train_images": images, "test_images": images[:2], "val_images": images[:1]}
    masks = {"train_masks": bits, "test_masks": bits[:2], "val_masks": bits[:1]}
    np.savez(tmp_path / "bits.npz", **arrays, **masks, mask_bits=np.array(["lung", "clavicle"]))
    parts, names = load_mask_npz(tmp_path / "bits.npz", size=16)
    assert names == ["lung", "clavicle"]
    assert {split: y.shape for split, (_, y) in parts.items()}["val"] == (1, 16, 16, 2)
    assert parts["train"][1].sum() == 4 * 4 * ((bits[0] & 1).sum() + (bits[0] >> 1).sum())
    np.savez(tmp_path / "labels.npz", train_images=images, train_masks=bits)
    parts, names = load_mask_npz(tmp_path / "labels.npz")
    assert names is None
    assert (parts["train"][1] == bits).all()
    np.savez(tmp_path / "damaged.npz", train_images=images, train_masks=bits[:3])
    with pytest.raises(ImageError, match=r"train_masks is uint8 \(3, 8, 8\); expected integers \(4, 8, 8\)"):
        load_mask_npz(tmp_path / "damaged.npz")
