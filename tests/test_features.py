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
def labeled():
    images = np.stack([chest_phantom(64, seed) for seed in range(40)])
    labels = np.arange(40) % 2
    images[labels == 1, 20:28, 20:28] = 1.0  # a dense square
    return np.round(images * 255).astype("uint8"), labels


def test_features_have_one_row_per_image(make, images):
    model = make()
    latent = model.latent_dim if model.bottleneck == "vector" else 2 * 16 * model.latent_dim
    encoder = 3 * sum(model.filters)
    for feature_type, width in (("latent", latent), ("encoder", encoder), ("both", latent + encoder)):
        table = extract_features(model, images, feature_type)
        assert table.shape == (32, width)
        assert np.isfinite(table).all()
    with pytest.raises(ValueError, match="Expected one of latent, encoder, both, got 'all'"):
        extract_features(model, images, "all")


def test_features_do_not_depend_on_the_batch_size(images):
    model = ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL)
    assert extract_features(model, images, "encoder", batch_size=7) == pytest.approx(
        extract_features(model, images, "encoder"), abs=1e-5
    )


def test_latent_features_of_a_vector_bottleneck_equal_encode(images):
    model = ConvAutoencoder((32, 32, 1), latent_dim=6, **SMALL)
    assert np.array_equal(extract_features(model, images), model.encode(images))


def test_pipeline_cross_validation_and_grid_search_work(labeled):
    images, labels = labeled
    pipeline = make_pipeline(FeatureExtractor("vae-chestxray-64", feature_type="encoder"), StandardScaler(), SVC())
    assert cross_val_score(pipeline, images, labels, cv=3).mean() > 0.9
    grid = {"featureextractor__feature_type": ["latent", "encoder"]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(images, labels)
    assert search.best_params_ == {"featureextractor__feature_type": "encoder"}


def test_files_and_arrays_give_the_same_features(labeled, tmp_path):
    images, _ = labeled
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, images, strict=False):
        Image.fromarray(image[..., 0]).save(path)
    extractor = FeatureExtractor().fit(None)
    expected = extractor.transform(images[:3])
    assert extractor.transform(paths) == pytest.approx(expected, abs=1e-5)
    assert extractor.transform(np.array([str(p) for p in paths])) == pytest.approx(expected, abs=1e-5)


def test_another_image_size_raises_unless_resize_is_true(labeled):
    small = labeled[0][:2, ::2, ::2]
    with pytest.raises(ValueError, match="64x64"):
        FeatureExtractor().fit(None).transform(small)
    assert FeatureExtractor(resize=True).fit(None).transform(small).shape == (2, 128)


def test_extractor_can_be_cloned_by_scikit_learn():
    assert clone(FeatureExtractor(feature_type="encoder", resize=True)).get_params() == {
        "model": "vae-chestxray-64",
        "feature_type": "encoder",
        "resize": True,
    }
