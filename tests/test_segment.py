import keras
import numpy as np
import pytest

from medzoo.data.lesions import add_lesion
from medzoo.data.phantom import chest_phantom
from medzoo.tasks.segment import AugmentedSegmentationDataset, DiceCrossEntropy, Segmenter, dice, hausdorff_distance
from medzoo.tasks.segment.segmenter import halvings


@pytest.fixture(scope="module")
def lesions():
    pairs = [add_lesion(0.6 * chest_phantom(64, seed), seed, contrast=(0.35, 0.4)) for seed in range(60)]
    return tuple(np.stack(half) for half in zip(*pairs, strict=True))


def test_synthetic_lesions_are_brighter_inside_their_mask_only():
    image = chest_phantom(64, 1)
    abnormal, mask = add_lesion(image, 1)
    inside = mask[..., 0] == 1
    change = (abnormal - image)[..., 0]
    assert 20 < inside.sum() < 600
    assert change[inside].mean() > 5 * change[~inside].mean()
    assert np.array_equal(add_lesion(image, 1)[0], abnormal)


@pytest.mark.slow
def test_segmenter_learns_to_segment_lesions(lesions):
    images, masks = lesions
    segmenter = Segmenter.from_pretrained("vqvae-chestxray-64", 2)
    segmenter.compile(keras.optimizers.Adam(3e-3))
    segmenter.fit(images[:48], masks[:48], epochs=25, batch_size=8, verbose=0)
    predicted = segmenter.segment(images[48:])
    assert predicted.shape == (12, 64, 64)
    assert dice(masks[48:, ..., 0], predicted).mean() > 0.6


def test_keras_file_round_trip_of_a_segmenter_of_three_classes(lesions, tmp_path):
    images, masks = lesions
    segmenter = Segmenter.from_pretrained("ae-chestxray-64", 3, pretrained=False)
    segmenter.compile()
    segmenter.fit(images[:4], masks[:4], verbose=0)
    probabilities = segmenter.predict(images[:2], verbose=0)
    assert probabilities.sum(axis=-1) == pytest.approx(1, abs=1e-5)
    segmenter.save(tmp_path / "segmenter.keras")
    copy = keras.saving.load_model(tmp_path / "segmenter.keras")
    assert np.array_equal(copy.predict(images[:2], verbose=0), probabilities)


def test_segmenter_of_overlapping_labels(lesions):
    images, masks = lesions
    both = np.concatenate([masks, masks[:, ::-1]], axis=-1)
    segmenter = Segmenter.from_pretrained("ae-chestxray-64", 2, multi_label=True)
    segmenter.compile()
    segmenter.fit(images[:4], both[:4], verbose=0)
    assert segmenter.segment(images[:2]).shape == (2, 64, 64, 2)
    copy = Segmenter.from_config(segmenter.get_config())
    assert copy.multi_label
    loss, truth = DiceCrossEntropy(multi_label=True), both[:1].astype("float32")
    assert float(loss(truth, truth)) == pytest.approx(0, abs=1e-5)
    assert float(loss(truth, 1 - truth)) > 1


def test_images_and_masks_are_augmented_together():
    image = chest_phantom(64, 0)
    images = np.stack([image, image[::-1]])
    masks = (images[..., 0] > 0.5).astype("uint8")
    pairs = AugmentedSegmentationDataset(images, masks, batch_size=4, steps=3, contrast=0.0, translation=0.1)
    x, y = pairs[0]
    assert x.shape == (4, 64, 64, 1)
    assert ((x[..., 0] > 0.5) == y).mean() > 0.97
    assert (y[0] != masks[0]).any()
    again, _ = AugmentedSegmentationDataset(images, masks, batch_size=4, steps=3, contrast=0.0, translation=0.1)[0]
    assert np.array_equal(x, again)
    pairs.on_epoch_end()
    assert not np.array_equal(pairs[0][0], x)
    fixed = {"translation": 0.0, "affine": 0.0, "contrast": 0.0}
    _, unchanged = AugmentedSegmentationDataset(images, masks[..., None], batch_size=2, **fixed)[0]
    assert sorted(m.sum() for m in unchanged) == sorted(m.sum() for m in masks)
    volumes = np.stack([np.repeat(image[None, ::4, ::4], 8, axis=0)] * 2)
    x, y = AugmentedSegmentationDataset(volumes, volumes[..., 0] > 0.5, batch_size=2)[0]
    assert (x.shape, y.shape) == ((2, 8, 16, 16, 1), (2, 8, 16, 16))


def test_fine_stages_connect_the_image_resolution_to_that_of_the_encoder():
    assert halvings((4, 4)) == [(2, 2), (2, 2)]
    assert halvings((2, 4, 4)) == [(2, 2, 2), (1, 2, 2)]
    assert halvings((3, 6)) == [(3, 2), (1, 3)]
    assert halvings((1, 1)) == []


def test_loss_of_a_perfect_mask_is_zero_and_of_an_uncertain_one_the_closed_form():
    truth = np.zeros((1, 4, 4), "int32")
    truth[0, :2] = 1
    loss = DiceCrossEntropy()
    assert float(loss(truth, np.eye(2, dtype="float32")[truth])) == pytest.approx(0, abs=1e-5)
    uncertain = np.full((1, 4, 4, 2), 0.5, "float32")
    expected = np.log(2) + 1 - (2 * 4 + 1) / (8 + 8 + 1)  # overlap 8 * 0.5, sizes 8 and 16 * 0.5
    assert float(loss(truth, uncertain)) == pytest.approx(expected, abs=1e-5)


def test_dice_and_hausdorff_distance_of_known_masks():
    a, b, empty = (np.zeros((1, 20, 20), int) for _ in range(3))
    a[0, 5:10, 5:10] = 1
    b[0, 5:10, 8:13] = 1  # shifted by three columns
    assert dice(a, b)[0] == pytest.approx(2 * 10 / 50)
    assert dice(empty, empty)[0] == 1
    assert hausdorff_distance(a, b, percentile=100)[0] == pytest.approx(3)
    assert hausdorff_distance(a, a)[0] == 0
    assert hausdorff_distance(a, empty)[0] == np.inf
    assert hausdorff_distance(empty, empty)[0] == 0


def test_invalid_image_sizes_and_class_counts_raise(lesions):
    segmenter = Segmenter.from_pretrained("ae-chestxray-64", 2)
    with pytest.raises(ValueError, match="64x64"):
        segmenter.predict(lesions[0][:, :32])
    with pytest.raises(ValueError, match="num_classes >= 2"):
        Segmenter.from_pretrained("ae-chestxray-64", 1)


@pytest.mark.slow
def test_segment_command_trains_reports_and_segments_new_images(tmp_path):
    import json

    from click.testing import CliRunner
    from PIL import Image

    from medzoo.cli import main
    from medzoo.data.masks import read_mask
    from medzoo.data.phantom import chest_phantom

    for folder in ("images", "masks", "new"):
        (tmp_path / folder).mkdir()
    for i in range(34):
        image, mask = add_lesion(0.6 * chest_phantom(64, i), seed=i, radius=(0.15, 0.2), contrast=(0.4, 0.4))
        folder = "new" if i > 31 else "images"
        Image.fromarray(np.round(image[..., 0] * 255).astype("uint8")).save(tmp_path / folder / f"{i}.png")
        if folder == "images":
            Image.fromarray(mask[..., 0] * 255).save(tmp_path / "masks" / f"{i}.png")
    arguments = ["segment", "vqvae-medical", *(tmp_path / n for n in ("images", "masks", "new"))]
    arguments += ["-o", tmp_path / "out", "--size", 64, "--epochs", 40]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["images"] == {"train": 22, "validation": 5, "test": 5}
    assert report["dice"]["1"]["mean"] > 0.5
    mask = read_mask(tmp_path / "out" / "00001-33-mask.png")
    assert mask.shape == (64, 64)
    assert set(np.unique(mask)) <= {0, 1}
    assert (tmp_path / "out" / "00001-33.png").is_file()
    assert (tmp_path / "out" / "report.png").is_file()
    again = CliRunner().invoke(main, [str(a) for a in arguments])
    assert again.exit_code == 1
    assert "--overwrite" in again.output
    arguments = ["segment", tmp_path / "out" / "segmenter.keras", tmp_path / "new", "-o", tmp_path / "more"]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    assert np.array_equal(read_mask(tmp_path / "more" / "00001-33-mask.png"), mask)
    result = CliRunner().invoke(main, [str(a) for a in [*arguments, "--epochs", 3]])
    assert result.exit_code == 2
    assert "--epochs: " in result.output
    (tmp_path / "more" / "00000-32.png").unlink()  # only the second figure exists
    again = CliRunner().invoke(main, [str(a) for a in arguments])
    assert again.exit_code == 1
    assert "00001-33.png: exists" in again.output


@pytest.mark.slow
def test_segment_command_reads_an_npz_file_of_overlapping_labels(lesions, tmp_path):
    import json

    from click.testing import CliRunner
    from PIL import Image

    from medzoo.cli import main
    from medzoo.data.masks import read_mask

    images, masks = np.round(255 * lesions[0][..., 0]).astype("uint8"), lesions[1][..., 0]
    bits = (masks | 2 * (images > 128)).astype("uint8")
    parts = {"train": slice(24), "val": slice(24, 28), "test": slice(28, 34)}
    arrays = {f"{split}_images": images[own] for split, own in parts.items()}
    arrays |= {f"{split}_masks": bits[own] for split, own in parts.items()}
    np.savez(tmp_path / "a.npz", **arrays, mask_bits=np.array(["lesion", "bright"]))
    Image.fromarray(images[-1]).save(tmp_path / "new.png")
    arguments = ["segment", "vqvae-medical", tmp_path / "a.npz", tmp_path / "new.png", "-o", tmp_path / "out"]
    result = CliRunner().invoke(main, [str(a) for a in [*arguments, "--size", 64, "--epochs", 10]])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["images"] == {"train": 24, "validation": 4, "test": 6}
    assert report["dice"]["bright"]["mean"] > 0.8
    assert read_mask(tmp_path / "out" / "00000-new-mask.tif").shape == (64, 64, 2)
