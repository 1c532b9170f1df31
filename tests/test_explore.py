"""Maps, neighbours, attributions and drift agree with what is known beforehand."""

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
def films():
    return np.stack([chest_phantom(64, seed) for seed in range(40)])


@pytest.fixture(scope="module")
def vae():
    return medzoo.load("vae-chestxray-64")


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map_keeps_groups_apart(method):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    table = rng.normal(0, 1, (120, 20)) + rng.normal(0, 4, (3, 20))[labels]
    where = project_2d(table, method)
    assert where.shape == (120, 2)
    assert silhouette_score(where, labels) > 0.5
    assert np.array_equal(where, project_2d(table, method))


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method='lle'"):
        project_2d(np.zeros((5, 3)), "lle")


def test_traversal_passes_through_the_reconstruction(vae, films):
    row = latent_traversal(vae, films[0], latent=3, steps=5)
    assert row.shape == (5, 64, 64, 1)
    assert row[2] == pytest.approx(vae.reconstruct(films[:1])[0], abs=1e-5)
    assert np.abs(row[0] - row[4]).max() > 0.01
    with pytest.raises(ValueError, match="latent=128"):
        latent_traversal(vae, films[0], latent=128)


def test_an_image_is_most_similar_to_itself_and_the_index_survives_a_file(films, tmp_path):
    search = ImageRetriever("ae-chestxray-64").fit(films)
    indices, similarity = search.search(films[7:9], n=3)
    assert indices[:, 0].tolist() == [7, 8]
    assert similarity[:, 0] == pytest.approx(1, abs=1e-5)
    assert (np.diff(similarity, axis=1) <= 1e-9).all()
    search.save(tmp_path / "index.npz")
    again = ImageRetriever.load(tmp_path / "index.npz").search(films[7:9], n=3)
    assert np.array_equal(again[0], indices)


def test_a_slightly_changed_film_finds_its_original(films):
    search = ImageRetriever("ae-chestxray-64").fit(films)
    changed = np.clip(films[:10] + np.random.default_rng(0).normal(0, 0.02, films[:10].shape), 0, 1).astype("float32")
    assert (search.search(changed, n=1)[0][:, 0] == np.arange(10)).mean() >= 0.9


def test_occlusion_of_a_sum_is_what_was_covered():
    image = np.random.default_rng(0).random((16, 16, 1)).astype("float32")
    found = occlusion_map(lambda x: x.sum(axis=(1, 2, 3)), image, patch_size=4, fill=0.0)
    assert found[0, 0] == pytest.approx(image[:4, :4].sum(), rel=1e-4)
    assert found[15, 15] == pytest.approx(image[12:, 12:].sum(), rel=1e-4)


def test_integrated_gradients_add_up_to_the_difference(vae, films):
    def latent(x):
        return vae.encoder(x)[:, 5]

    found = integrated_gradients(latent, films[3], steps=64)
    baseline = np.full_like(films[3], films[3].mean())
    ends = ops.convert_to_numpy(latent(ops.convert_to_tensor(np.stack([films[3], baseline]))))
    assert found.sum() == pytest.approx(float(ends[0] - ends[1]), abs=0.02 * abs(float(ends[0] - ends[1])) + 0.01)


def test_integrated_gradients_of_a_linear_function_are_its_terms():
    weights = np.random.default_rng(1).normal(size=(8, 8, 1)).astype("float32")
    image = np.random.default_rng(0).random((8, 8, 1)).astype("float32")
    found = integrated_gradients(lambda x: ops.sum(x * weights, axis=(1, 2, 3)), image, baseline=np.zeros_like(image))
    assert found == pytest.approx((weights * image)[..., 0], abs=1e-5)


def test_drift_is_seen_where_there_is_one_and_only_there():
    rng = np.random.default_rng(0)
    old, same, moved = (rng.normal(m, 1, (150, 10)) for m in (0, 0, 0.7))
    quiet, loud = detect_drift(old, same), detect_drift(old, moved)
    assert abs(quiet["auc"] - 0.5) < 0.1
    assert quiet["p_value"] > 0.02
    assert loud["auc"] > 0.9
    assert loud["p_value"] < 0.01
    assert loud["shifts"] == pytest.approx(0.7, abs=0.4)


def test_mutual_information_gap_is_one_for_a_latent_that_is_the_factor_and_zero_for_two_alike():
    factor = np.random.default_rng(0).integers(0, 4, 2000)
    noise = np.random.default_rng(1).normal(size=(2000, 3))
    alone = np.column_stack([factor, noise])
    assert mutual_information_gap(alone, factor[:, None])[0] > 0.95
    twice = np.column_stack([factor, factor, noise])
    assert mutual_information_gap(twice, factor[:, None])[0] == pytest.approx(0, abs=1e-9)


@pytest.fixture
def folders(films, tmp_path):
    from PIL import Image

    for name, some in (("a", films[:12]), ("b", 0.5 * films[12:24])):
        (tmp_path / name).mkdir()
        for i, film in enumerate(some):
            Image.fromarray(np.round(film[..., 0] * 255).astype("uint8")).save(tmp_path / name / f"{name}{i:02d}.png")
    return tmp_path


def run(*arguments):
    from click.testing import CliRunner

    from medzoo.cli import main

    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_map_command_draws_and_lists_every_image(folders):
    result = run("map", "ae-chestxray-64", folders / "a", folders / "b", "-o", folders / "out")
    assert result.exit_code == 0, result.output
    assert len((folders / "out" / "map.csv").read_text().splitlines()) == 25
    assert (folders / "out" / "map.png").is_file()
    pytest.importorskip("plotly")
    page = (folders / "out" / "map.html").read_text(encoding="utf-8")
    assert "a03.png" in page
    assert "https://cdn" not in page.split("<body>")[0]  # works offline


def test_similar_command_names_the_image_itself_first(folders):
    out = folders / "similar.png"
    result = run("similar", "ae-chestxray-64", folders / "a", folders / "a" / "a03.png", "-n", 2, "-o", out)
    assert result.exit_code == 0, result.output
    assert "a03.png" in result.output.splitlines()[1]
    assert out.is_file()


def test_drift_command_tells_dark_films_from_bright_ones(folders):
    assert "the two differ" in run("drift", "ae-chestxray-64", folders / "a", folders / "b").output
    result = run("drift", "ae-chestxray-64", folders / "a", folders / "a")
    assert "p = 1.000" in result.output
