"""Masks come in as the labels they are."""

import numpy as np
import pytest
from PIL import Image

from medzoo.errors import ImageError
from medzoo.images.intensity import resize
from medzoo.images.lesions import add_lesion
from medzoo.images.masks import load_masks, read_mask


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def test_labels_of_png_and_npy_are_kept(tmp_path):
    labels = np.array([[0, 1, 2], [2, 0, 7]], "uint8")
    assert (read_mask(save(tmp_path / "a.png", labels)) == labels).all()
    np.save(tmp_path / "a.npy", labels.astype("int64"))
    assert (read_mask(tmp_path / "a.npy") == labels).all()
    palette = Image.fromarray(labels).convert("P")
    palette.putdata(labels.ravel())
    palette.save(tmp_path / "p.png")
    assert (read_mask(tmp_path / "p.png") == labels).all()


def test_black_and_white_is_zero_and_one(tmp_path):
    assert (read_mask(save(tmp_path / "a.png", np.array([[0, 255]], "uint8"))) == [[0, 1]]).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.arange(256, dtype="uint8").reshape(16, 16), "Is this the image"),
        (np.zeros((4, 4, 3), "uint8"), "expected integer labels"),
    ],
)
def test_pictures_are_no_masks(tmp_path, values, message):
    with pytest.raises(ImageError, match=message):
        read_mask(save(tmp_path / "a.png", values))


def test_lossy_masks_are_refused(tmp_path):
    with pytest.raises(ImageError, match="lossless"):
        read_mask(save(tmp_path / "a.jpg", np.zeros((8, 8), "uint8")))


def test_image_and_mask_are_cut_and_resized_alike(tmp_path):
    image, mask = add_lesion(np.zeros((120, 200, 1), "float32"), seed=3, radius=(0.2, 0.2), contrast=(0.9, 0.9))
    save(tmp_path / "images/a/1.png", np.round(image[..., 0] * 255).astype("uint8"))
    save(tmp_path / "masks/a/1.png", mask[..., 0] * 255)
    images, masks = load_masks(tmp_path / "images", tmp_path / "masks", size=(60, 60))
    assert images.shape == (1, 60, 60, 1)
    assert masks.shape == (1, 60, 60)
    # Resizing the mask as a picture and cutting it at one half draws the same outline.
    blurred = resize(mask.astype("float32"), 60)[..., 0] > 0.5
    assert (blurred == masks[0]).mean() > 0.99
    assert images[0, ..., 0][masks[0] == 1].mean() > 5 * images[0, ..., 0][masks[0] == 0].mean()


def test_missing_masks_and_other_sizes_are_named(tmp_path):
    save(tmp_path / "images/1.png", np.full((8, 8), 9, "uint8"))
    (tmp_path / "masks").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no mask for 1 of 1 images.*1\.png"):
        load_masks(tmp_path / "images", tmp_path / "masks")
    save(tmp_path / "masks/1.png", np.zeros((8, 9), "uint8"))
    with pytest.raises(ImageError, match=r"\(8, 9\) pixels; its image"):
        load_masks(tmp_path / "images", tmp_path / "masks")
