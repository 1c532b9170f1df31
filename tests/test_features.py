import numpy as np
import pytest
from conftest import SMALL
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from medzoo.data.phantom import chest_phantom
from medzoo.models import ConvAutoencoder
from medzoo.tasks.features import FeatureExtractor, extract_features


@pytest.fixture(scope="module")
def labelled():
    films = np.stack([chest_phantom(64, seed) for seed in range(40)])
    labels = np.arange(40) % 2
    films[labels == 1, 20:28, 20:28] = 1.0  # a dense square
    return np.round(films * 255).astype("uint8"), labels


def test_features_are_one_row_an_image(make, images):
    model = make()
    latents = model.latent_dim if model.bottleneck == "vector" else 2 * 16 * model.latent_dim
    deep = 3 * sum(model.filters)
    for kind, width in (("latents", latents), ("deep", deep), ("both", latents + deep)):
        table = extract_features(model, images, kind)
        assert table.shape == (32, width)
        assert np.isfinite(table).all()
    with pytest.raises(ValueError, match="expected one of latents, deep, both"):
        extract_features(model, images, "all")


def test_features_do_not_depend_on_the_batch(images):
    model = ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL)
    assert extract_features(model, images, "encoder", batch_size=7) == pytest.approx(
        extract_features(model, images, "encoder"), abs=1e-5
    )


def test_latents_of_a_vector_model_are_those_of_encode(images):
    model = ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL)
    assert np.array_equal(extract_features(model, images), model.encode(images))


def test_pipeline_cross_validation_and_grid_search_work(labelled):
    films, labels = labelled
    pipeline = make_pipeline(FeatureExtractor("vae-chestxray-64", feature_type="encoder"), StandardScaler(), SVC())
    assert cross_val_score(pipeline, films, labels, cv=3).mean() > 0.9
    search = GridSearchCV(pipeline, {"featureextractor__kind": ["latents", "deep"]}, cv=2).fit(films, labels)
    assert search.best_params_["featureextractor__kind"] == "deep"


def test_files_and_arrays_give_the_same_features(labelled, tmp_path):
    films, _ = labelled
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, film in zip(paths, films, strict=False):
        Image.fromarray(film[..., 0]).save(path)
    extractor = FeatureExtractor().fit(None)
    expected = extractor.transform(films[:3])
    assert extractor.transform(paths) == pytest.approx(expected, abs=1e-5)
    assert extractor.transform(np.array([str(p) for p in paths])) == pytest.approx(expected, abs=1e-5)


def test_another_size_is_refused_unless_resizing_is_asked_for(labelled):
    small = labelled[0][:2, ::2, ::2]
    with pytest.raises(ValueError, match="takes 64x64 only"):
        FeatureExtractor().fit(None).transform(small)
    assert FeatureExtractor(resize=True).fit(None).transform(small).shape == (2, 128)


def test_extractor_is_cloned_as_scikit_learn_does():
    assert clone(FeatureExtractor(feature_type="encoder", resize=True)).get_params() == {
        "model": "vae-chestxray-64",
        "kind": "deep",
        "resize": True,
    }
