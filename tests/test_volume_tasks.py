"""Tasks process folders of volumes with a model of volumes; tasks of images only raise a clear error."""

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import SMALL, VOLUMES
from keras import ops

import medzoo
from medzoo.cli import main
from medzoo.data.datasets import load_latents
from medzoo.data.phantom import head_volume
from medzoo.io.writers import write_png
from medzoo.layers.dct import LowFrequencies
from medzoo.layers.grids import to_depth, to_space
from medzoo.models import ConvAutoencoder
from medzoo.tasks.encode import encode_folder
from medzoo.tasks.features import FeatureExtractor
from medzoo.tasks.retrieval import ImageRetriever

NAME = "vqvae-hippocampus"


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Six synthetic head phantoms of different sizes, two per seed."""
    folder = tmp_path_factory.mktemp("heads")
    for i in range(6):
        values = head_volume((16 + 4 * (i % 3), 24, 20), i // 2)[..., 0]
        nibabel.save(nibabel.Nifti1Image((200 * values).T.astype("uint8"), np.eye(4)), folder / f"{i}.nii.gz")
    return folder


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_low_frequencies_are_an_orthonormal_part_of_the_cosine_transform():
    from scipy.fft import dctn

    volumes = np.random.default_rng(0).random((2, 10, 12, 9, 3)).astype("float32")
    low = LowFrequencies((10, 12, 9), 3)
    assert low.kept == (4, 5, 4)
    numbers = ops.convert_to_numpy(low.of(volumes))
    wanted = dctn(volumes, axes=(1, 2, 3), norm="ortho")[:, :4, :5, :4]
    assert numbers.reshape(2, 3, 4, 5, 4) == pytest.approx(np.moveaxis(wanted, -1, 1), abs=1e-4)
    back = ops.convert_to_numpy(low.back(numbers))
    assert back.shape == volumes.shape
    assert ops.convert_to_numpy(low.of(back)) == pytest.approx(numbers, abs=1e-4)


def test_vector_model_of_volumes_is_initialized_from_the_pca_of_low_frequencies():
    volumes = np.stack([head_volume((8, 16, 16), seed) for seed in range(12)])
    model = ConvAutoencoder((8, 16, 16, 1), latent_dim=11, patch_size=(2, 4, 4), **SMALL)
    low = LowFrequencies((8, 16, 16), 1)
    model.initialize_from_pca(volumes)
    wanted = np.clip(ops.convert_to_numpy(low.back(low.of(volumes))), 0, 1)  # 11 components are complete for 12 volumes
    assert model.reconstruct(volumes) == pytest.approx(wanted, abs=0.05)


@pytest.mark.parametrize("factor", [2, 4, (1, 2, 4)])
def test_space_to_depth_is_inverted_by_depth_to_space(factor):
    x = np.random.default_rng(0).random((2, 4, 8, 8, 3)).astype("float32")
    deep = ops.convert_to_numpy(to_depth(x, factor))
    f = np.broadcast_to(factor, 3)
    assert deep[1, 0, 1, 0].reshape(*f, 3) == pytest.approx(x[1, : f[0], f[1] : 2 * f[1], : f[2]])
    assert np.array_equal(ops.convert_to_numpy(to_space(deep, factor)), x)


def test_tiles_of_volumes_overlap_by_a_third_by_default():
    model = VOLUMES["vae-volume"]()
    volume = head_volume((20, 64, 56), 0)[None]
    assert np.array_equal(model.reconstruct(volume, tile=48), model.reconstruct(volume, tile=48, overlap=16))


def test_features_of_volumes_of_different_sizes_equal_those_of_single_volumes(heads):
    files = sorted(heads.iterdir())
    table = FeatureExtractor(NAME, feature_type="both").fit(None).transform(files)
    one = FeatureExtractor(NAME, feature_type="both").fit(None).transform(files[:1])
    assert table.shape == (6, 2 * 64 * 8 + 3 * 48)
    assert table[:1] == pytest.approx(one, abs=1e-5)


def test_a_volume_is_most_similar_to_itself(heads, tmp_path):
    files = sorted(heads.iterdir())
    retriever = ImageRetriever(NAME).fit(files)
    _, indices = retriever.search(files[2:4], k=2)
    assert indices[:, 0].tolist() == [2, 3]
    result = run("retrieve", NAME, heads, files[4], "-o", tmp_path / "s.png")
    assert result.exit_code == 0, result.output
    assert "4.nii.gz" in result.output.splitlines()[1]
    assert (tmp_path / "s.png").is_file()


def test_volumes_are_encoded_to_parquet(heads, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    (heads / "invalid.nii.gz").write_bytes(b"no volume")
    assert list(encode_folder(NAME, heads, tmp_path / "z", shard_size=4)) == [(4, 0), (2, 1)]
    rows = [row for file in sorted((tmp_path / "z").glob("part-*")) for row in parquet.read_table(file).to_pylist()]
    (heads / "invalid.nii.gz").unlink()
    assert [row["path"] for row in rows if row["error"]] == ["invalid.nii.gz"]
    model = medzoo.load(NAME)
    for row in rows[:-1]:
        x = model.preprocess(heads / row["path"])
        assert (row["depth"], row["height"], row["width"]) == x.shape[1:4]
        assert np.array_equal(np.array(row["latents"]).reshape(row["latent_shape"]), model.encode(x)[0])
    with pytest.raises(ValueError, match="latents of several shapes"):
        load_latents(tmp_path / "z")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("anomaly", NAME, "HEADS", "HEADS", "-o", "OUT"), "NIfTI files are volumes: use a 3D preset"),
        (("encode", "ae-chestxray", "HEADS", "-o", "OUT"), "NIfTI files are volumes: use a 3D preset"),
        (("adapt", NAME, "IMAGES", "IMAGES", "-o", "OUT"), "adapt expects a model of images"),
        (("denoise", "IMAGE", "--model", NAME, "-o", "OUT"), "denoise expects a model of images"),
    ],
)
def test_tasks_of_images_only_raise_for_volumes(heads, tmp_path, command, message):
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(3):
        write_png(images / f"{seed}.png", np.round(255 * head_volume((4, 32, 32), seed)[2, ..., 0]).astype("uint8"))
    paths = {"HEADS": heads, "OUT": tmp_path / "out", "IMAGES": images, "IMAGE": images / "0.png"}
    result = run(*(paths.get(word, word) for word in command))
    assert result.exit_code != 0
    assert message in result.output


@pytest.mark.slow
def test_segment_command_writes_labels_on_the_grid_of_the_volumes(heads, tmp_path):
    for i in range(12):
        volume = head_volume((16, 24, 20), i)[..., 0].T
        mask = volume > np.quantile(volume, 0.9)
        for folder, values in (("x", 200 * volume), ("y", mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values.astype("uint8"), np.eye(4)), tmp_path / folder / f"{i}.nii.gz")
    result = run("segment", NAME, tmp_path / "x", tmp_path / "y", heads, "-o", tmp_path / "out", "--epochs", 12)
    assert "Expected (depth, height, width)" in result.output
    arguments = ["-o", tmp_path / "out", "--epochs", 12, "--size", "16x24x20"]
    result = run("segment", NAME, tmp_path / "x", tmp_path / "y", heads, *arguments)
    assert result.exit_code == 0, result.output
    predicted, own = nibabel.load(tmp_path / "out" / "00005-5-mask.nii.gz"), nibabel.load(heads / "5.nii.gz")
    assert predicted.shape == own.shape
    assert np.allclose(predicted.affine, own.affine)
    truth = own.get_fdata() > np.quantile(own.get_fdata(), 0.9)
    mask = predicted.get_fdata() == 1
    assert 2 * (truth & mask).sum() / (truth.sum() + mask.sum()) > 0.6
    assert (tmp_path / "out" / "00005-5.png").is_file()
