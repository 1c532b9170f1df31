"""Projections, retrieval, attributions and drift tests agree with known results."""

import numpy as np
import pytest
from keras import ops
from sklearn.metrics import silhouette_score

import medzoo
from medzoo.data.phantom import chest_phantom
from medzoo.tasks.attribution import integrated_gradients, occlusion_map
from medzoo.tasks.drift import detect_drift
from medzoo.tasks.latent_traversal import latent_traversal, mutual_information_gap
from medzoo.tasks.projection import project_2d
from medzoo.tasks.retrieval import ImageRetriever


@pytest.fixture(scope="module")
def images():
    return np.stack([chest_phantom(64, seed) for seed in range(40)])


@pytest.fixture(scope="module")
def vae():
    return medzoo.load("vae-chestxray-64")


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_projection_separates_clusters(method):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    table = rng.normal(0, 1, (120, 20)) + rng.normal(0, 4, (3, 20))[labels]
    points = project_2d(table, method)
    assert points.shape == (120, 2)
    assert silhouette_score(points, labels) > 0.5
    assert np.array_equal(points, project_2d(table, method))


def test_unknown_projection_method_raises():
    with pytest.raises(ValueError, match=r"unknown method.*'lle'"):
        project_2d(np.zeros((5, 3)), "lle")


def test_middle_of_a_latent_traversal_is_the_reconstruction(vae, images):
    row = latent_traversal(vae, images[0], latent=3, steps=5)
    assert row.shape == (5, 64, 64, 1)
    assert row[2] == pytest.approx(vae.reconstruct(images[:1])[0], abs=1e-5)
    assert np.abs(row[0] - row[4]).max() > 0.01
    with pytest.raises(ValueError, match="latent=128"):
        latent_traversal(vae, images[0], latent=128)


def test_an_image_is_most_similar_to_itself_and_a_saved_index_gives_the_same_result(images, tmp_path):
    retriever = ImageRetriever("ae-chestxray-64").fit(images)
    scores, indices = retriever.search(images[7:9], k=3)
    assert indices[:, 0].tolist() == [7, 8]
    assert scores[:, 0] == pytest.approx(1, abs=1e-5)
    assert (np.diff(scores, axis=1) <= 1e-9).all()
    retriever.save(tmp_path / "index.npz")
    _, loaded = ImageRetriever.load(tmp_path / "index.npz").search(images[7:9], k=3)
    assert np.array_equal(loaded, indices)


def test_a_noisy_image_retrieves_its_original(images):
    retriever = ImageRetriever("ae-chestxray-64").fit(images)
    noise = np.random.default_rng(0).normal(0, 0.02, images[:10].shape)
    _, indices = retriever.search(np.clip(images[:10] + noise, 0, 1).astype("float32"), k=1)
    assert (indices[:, 0] == np.arange(10)).mean() >= 0.9


def test_occlusion_of_a_sum_is_the_sum_of_the_occluded_pixels():
    image = np.random.default_rng(0).random((16, 16, 1)).astype("float32")
    found = occlusion_map(lambda x: x.sum(axis=(1, 2, 3)), image, patch=4, fill=0.0)
    assert found[0, 0] == pytest.approx(image[:4, :4].sum(), rel=1e-4)
    assert found[15, 15] == pytest.approx(image[12:, 12:].sum(), rel=1e-4)


def test_integrated_gradients_sum_to_the_difference_from_the_baseline(vae, images):
    def latent(x):
        return vae.encoder(x)[:, 5]

    found = integrated_gradients(latent, images[3], steps=64)
    baseline = np.full_like(images[3], images[3].mean())
    ends = ops.convert_to_numpy(latent(ops.convert_to_tensor(np.stack([images[3], baseline]))))
    assert found.sum() == pytest.approx(float(ends[0] - ends[1]), abs=0.02 * abs(float(ends[0] - ends[1])) + 0.01)


def test_integrated_gradients_of_a_linear_function_are_its_terms():
    weights = np.random.default_rng(1).normal(size=(8, 8, 1)).astype("float32")
    image = np.random.default_rng(0).random((8, 8, 1)).astype("float32")
    found = integrated_gradients(lambda x: ops.sum(x * weights, axis=(1, 2, 3)), image, baseline=np.zeros_like(image))
    assert found == pytest.approx((weights * image)[..., 0], abs=1e-5)


def test_drift_is_detected_for_shifted_means_only():
    rng = np.random.default_rng(0)
    reference, same, shifted = (rng.normal(m, 1, (150, 10)) for m in (0, 0, 0.7))
    without, with_drift = detect_drift(reference, same), detect_drift(reference, shifted)
    assert abs(without["auc"] - 0.5) < 0.1
    assert without["p_value"] > 0.02
    assert with_drift["auc"] > 0.9
    assert with_drift["p_value"] < 0.01
    assert with_drift["shifts"] == pytest.approx(0.7, abs=0.4)


def test_mutual_information_gap_is_one_if_one_latent_equals_the_factor_and_zero_if_two_do():
    factor = np.random.default_rng(0).integers(0, 4, 2000)
    noise = np.random.default_rng(1).normal(size=(2000, 3))
    alone = np.column_stack([factor, noise])
    assert mutual_information_gap(alone, factor[:, None])[0] > 0.95
    twice = np.column_stack([factor, factor, noise])
    assert mutual_information_gap(twice, factor[:, None])[0] == pytest.approx(0, abs=1e-9)


@pytest.fixture
def folders(images, tmp_path):
    from PIL import Image

    for name, some in (("a", images[:12]), ("b", 0.5 * images[12:24])):
        (tmp_path / name).mkdir()
        for i, image in enumerate(some):
            Image.fromarray(np.round(image[..., 0] * 255).astype("uint8")).save(tmp_path / name / f"{name}{i:02d}.png")
    return tmp_path


def run(*arguments):
    from click.testing import CliRunner

    from medzoo.cli import main

    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_project_command_plots_and_lists_every_image(folders):
    result = run("project", "ae-chestxray-64", folders / "a", folders / "b", "-o", folders / "out")
    assert result.exit_code == 0, result.output
    assert len((folders / "out" / "map.csv").read_text().splitlines()) == 25
    assert (folders / "out" / "map.png").is_file()
    pytest.importorskip("plotly")
    page = (folders / "out" / "map.html").read_text(encoding="utf-8")
    assert "a03.png" in page
    assert "https://cdn" not in page.split("<body>")[0]  # works offline


def test_retrieve_command_lists_the_query_image_itself_first(folders):
    out = folders / "retrieved.png"
    result = run("retrieve", "ae-chestxray-64", folders / "a", folders / "a" / "a03.png", "-n", 2, "-o", out)
    assert result.exit_code == 0, result.output
    assert "a03.png" in result.output.splitlines()[1]
    assert out.is_file()


def test_drift_command_distinguishes_dark_from_bright_images(folders):
    assert "drift detected: " in run("drift", "ae-chestxray-64", folders / "a", folders / "b").output
    result = run("drift", "ae-chestxray-64", folders / "a", folders / "a")
    assert "p = 1.000" in result.output
