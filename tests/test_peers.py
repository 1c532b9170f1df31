"""Estimators and layers pass the checks that scikit-learn and Keras apply to their own."""

import copy
import pickle

import keras
import numpy as np
import pytest
from keras.src import testing
from sklearn.utils.estimator_checks import parametrize_with_checks

import medzoo
from medzoo.layers import Decoder, Encoder, ResidualBlock, Sampling, VectorQuantizer
from medzoo.layers.entropy_model import InterlacedEntropyModel
from medzoo.models import ConvAutoencoder
from medzoo.tasks.generate import GaussianMixtureSampler
from medzoo.tasks.retrieval import ImageRetriever

# --- scikit-learn ---------------------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("medzoo-tests")
class TableToImages:
    """Replacement of `Preprocessor` that turns table rows into images: estimators are checked with tables."""

    model = None

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls()

    def __call__(self, X):
        from sklearn.utils.validation import check_array

        X = check_array(X, dtype="float64")
        side = 16
        flat = np.zeros((len(X), side * side))
        flat[:, : min(X.shape[1], side * side)] = 1 / (1 + np.exp(-X[:, : side * side]))
        return flat.reshape(-1, side, side, 1).astype("float32")


def model_of_tables():
    model = ConvAutoencoder((16, 16, 1), latent_dim=3, filters=(4, 4), blocks_per_stage=1, seed=0)
    model.preprocess = TableToImages()
    return model


class Shared:
    """One model for all estimators, so that `clone` and `set_params` receive a name as in real use."""

    model = None

    @classmethod
    def get(cls):
        cls.model = cls.model or model_of_tables()
        return cls.model


@pytest.fixture(autouse=True)
def _tables(monkeypatch):
    from medzoo.tasks import features, retrieval
    from medzoo.tasks.anomaly import detector

    for module in (features, detector, retrieval):
        monkeypatch.setattr(module, "loaded", lambda name: Shared.get())


IMAGES = "images have a shape, not a number of columns; fit of the transformer only loads the preset"
FEW = "20 normal images or more are required, so that some can be held out for the threshold"
EXCEPTIONS = {
    "FeatureExtractor": dict.fromkeys(
        (
            "check_n_features_in",
            "check_n_features_in_after_fitting",
            "check_fit1d",
            "check_dtype_object",
            "check_estimators_empty_data_messages",
            "check_estimators_nan_inf",
            "check_complex_data",
            "check_estimator_sparse_tag",
            "check_transformer_preserve_dtypes",
            "check_transformer_general",
        ),
        IMAGES,
    ),
    "ImageRetriever": dict.fromkeys(("check_n_features_in", "check_n_features_in_after_fitting"), IMAGES),
    "DetectorOfTables": {
        **dict.fromkeys(("check_n_features_in_after_fitting", "check_outliers_train"), IMAGES),
        **dict.fromkeys(
            (
                "check_estimators_nan_inf",
                "check_classifier_data_not_an_array",
                "check_fit2d_1sample",
                "check_fit2d_1feature",
                "check_n_features_in",
            ),
            FEW,
        ),
    },
}


class DetectorOfTables(medzoo.AnomalyDetector):
    """Detector whose inputs are table rows instead of images of the model's size."""

    def _prepare(self, X):
        return self.model_.preprocess(X)


@parametrize_with_checks(
    [
        medzoo.FeatureExtractor("tables", feature_type="both"),
        ImageRetriever("tables"),
    ],
    expected_failed_checks=lambda estimator: EXCEPTIONS.get(type(estimator).__name__, {}),
)
def test_estimators_pass_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [DetectorOfTables("tables", n_augmented=0, validation_fraction=0.5)],
    expected_failed_checks=lambda estimator: EXCEPTIONS["DetectorOfTables"],
)
def test_anomaly_detector_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "make",
    [
        lambda: medzoo.FeatureExtractor("vae-chestxray-64"),
        lambda: medzoo.AnomalyDetector("vae-chestxray-64", train_steps=2, n_augmented=0),
        lambda: ImageRetriever("vae-chestxray-64"),
        lambda: GaussianMixtureSampler("vae-chestxray-64", n_components=2),
    ],
)
def test_fitted_estimators_can_be_pickled_and_copied(make, monkeypatch):
    from medzoo.data.phantom import chest_phantom

    monkeypatch.undo()
    images = np.stack([chest_phantom(64, seed) for seed in range(40)])
    fitted = make().fit(images)
    for twin in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        for method in ("transform", "score_samples", "search", "sample"):
            if hasattr(fitted, method):
                argument = 3 if method == "sample" else images[:5]
                ours, theirs = (getattr(e, method)(argument) for e in (fitted, twin))
                ours, theirs = (x[0] if isinstance(x, tuple) else x for x in (ours, theirs))
                if method != "sample":
                    assert theirs == pytest.approx(ours, abs=1e-5)
                assert theirs.shape == ours.shape


def test_preprocessor_is_saved_and_copied_with_the_model(tmp_path):
    model = medzoo.load("vae-chestxray-64")
    model.save(tmp_path / "model.keras")
    copies = [
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        keras.models.load_model(tmp_path / "model.keras"),
    ]
    for twin in [*copies, type(model).from_config(model.get_config())]:
        assert twin.preprocess.get_config() == model.preprocess.get_config()
        assert twin.preprocess.model is twin
    assert model.preprocess.model is model


def test_features_have_names_and_can_be_returned_as_a_data_frame(monkeypatch):
    pandas = pytest.importorskip("pandas")
    extractor = medzoo.FeatureExtractor("tables", feature_type="both").set_output(transform="pandas")
    X = np.random.default_rng(0).normal(size=(4, 256))
    table = extractor.fit_transform(X)
    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns) == list(extractor.get_feature_names_out())
    assert list(table.columns[:4]) == ["latent0", "latent1", "latent2", "encoder0"]


# --- Keras ----------------------------------------------------------------------------------------------------------

SMALL = {"filters": (8, 8), "blocks_per_stage": 1, "patch_size": 2}


@pytest.mark.parametrize(
    ("layer", "arguments", "shape", "output"),
    [
        (ResidualBlock, {"filters": 6}, (2, 8, 8, 6), (2, 8, 8, 6)),
        (Encoder, {"latent_dim": 3, **SMALL}, (2, 8, 8, 1), (2, 3)),
        (Encoder, {"latent_dim": 3, "bottleneck": "spatial", "extra": 2, **SMALL}, (2, 8, 12, 1), (2, 2, 3, 5)),
        (Decoder, {"image_shape": (8, 8, 1), **SMALL}, (2, 3), (2, 8, 8, 1)),
        (Decoder, {"image_shape": (None, None, 1), "bottleneck": "spatial", **SMALL}, (2, 2, 3, 3), (2, 8, 12, 1)),
    ],
)
def test_layers_pass_the_layer_test_of_keras(layer, arguments, shape, output):
    # Includes every dtype policy, see `run_mixed_precision_check` of Keras.
    case = testing.TestCase()
    case.run_layer_test(layer, arguments, input_shape=shape, expected_output_shape=output)


def test_layers_with_several_inputs_or_outputs_pass_the_serialization_test_of_keras():
    case = testing.TestCase()
    for layer in (VectorQuantizer(8, seed=0), Sampling(seed=0), InterlacedEntropyModel((2,), hidden=4)):
        case.run_class_serialization_test(layer)
