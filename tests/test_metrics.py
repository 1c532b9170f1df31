import keras
import numpy as np
import pytest
from keras import ops
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from medzoo import metrics
from medzoo.data.phantom import chest_phantom


@pytest.fixture(scope="module")
def pair():
    x = np.stack([chest_phantom(48, seed) for seed in range(3)])
    return x, np.clip(x + np.random.default_rng(0).normal(0, 0.05, x.shape), 0, 1).astype("float32")


def test_psnr_equals_scikit_image(pair):
    expected = [peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in zip(*pair, strict=True)]
    assert ops.convert_to_numpy(metrics.psnr(*pair)) == pytest.approx(expected, abs=1e-3)


def test_ssim_equals_scikit_image(pair):
    def reference(a, b):
        return structural_similarity(
            a[..., 0], b[..., 0], data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )

    expected = [reference(a, b) for a, b in zip(*pair, strict=True)]
    assert ops.convert_to_numpy(metrics.ssim(*pair)) == pytest.approx(expected, abs=1e-4)


def test_ms_ssim_equals_tensorflow():
    tf = pytest.importorskip("tensorflow")
    x = np.stack([chest_phantom(192, seed) for seed in range(3)])
    y = np.clip(x + np.random.default_rng(0).normal(0, (0.02, 0.1, 0.4), x.T.shape).T, 0, 1).astype("float32")
    expected = tf.image.ssim_multiscale(x, y, max_val=1.0).numpy()
    assert ops.convert_to_numpy(metrics.ms_ssim(x, y)) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match="48x48; expected 176"):
        metrics.ms_ssim(x[:, :48, :48], y[:, :48, :48])


def test_equal_images_have_ssim_one_and_finite_psnr(pair):
    assert ops.convert_to_numpy(metrics.ssim(pair[0], pair[0])) == pytest.approx(1)
    assert np.isfinite(ops.convert_to_numpy(metrics.psnr(pair[0], pair[0]))).all()


def test_ssim_rejects_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="8x8 pixels; expected 11"):
        metrics.ssim(np.zeros((1, 8, 8, 1)), np.zeros((1, 8, 8, 1)))


def test_keras_metrics_average_over_images_not_batches(pair):
    for metric, function in ((metrics.PSNR(), metrics.psnr), (metrics.SSIM(), metrics.ssim)):
        metric.update_state(pair[0][:2], pair[1][:2])
        metric.update_state(pair[0][2:], pair[1][2:])
        assert float(metric.result()) == pytest.approx(ops.convert_to_numpy(function(*pair)).mean(), rel=1e-5)


def test_perplexity_is_the_number_of_equally_used_codes_and_usage_their_fraction():
    perplexity, usage = metrics.Perplexity(8), metrics.CodebookUsage(8)
    for batch in ([[0, 1], [2, 3]], [[0, 1], [2, 3]]):  # counted over batches, as over an epoch
        perplexity.update_state(np.array(batch, "int32"))
        usage.update_state(np.array(batch, "int32"))
    assert float(perplexity.result()) == pytest.approx(4, rel=1e-5)
    assert float(usage.result()) == pytest.approx(0.5)


def test_metrics_can_be_serialized():
    for metric in (metrics.PSNR(), metrics.SSIM(), metrics.Perplexity(8), metrics.CodebookUsage(8)):
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
        assert copy.get_config() == metric.get_config()


@pytest.mark.parametrize("name", ["psnr", "ssim"])
def test_metrics_of_uint8_images_equal_those_of_float_images(pair, name):
    function = getattr(metrics, name)
    eight = [np.round(255 * x).astype("uint8") for x in pair]
    floats = [x / np.float32(255) for x in eight]
    assert ops.convert_to_numpy(function(*eight)) == pytest.approx(ops.convert_to_numpy(function(*floats)), abs=1e-4)
    twelve = [x * np.float32(4095) for x in pair]
    expected = ops.convert_to_numpy(function(*pair))
    assert ops.convert_to_numpy(function(*twelve, max_val=4095)) == pytest.approx(expected, abs=1e-3)
    assert ops.convert_to_numpy(function(*(x.astype("uint16") for x in twelve), max_val=4095)).min() > 0


@pytest.mark.parametrize("name", ["psnr", "ssim"])
@pytest.mark.parametrize(
    "change",
    [
        lambda x, y: (np.round(255 * x).astype("uint8"), y),
        lambda x, y: (x, np.round(255 * y).astype("uint8")),
        lambda x, y: (np.round(4095 * x).astype("uint16"), np.round(4095 * y).astype("uint16")),
        lambda x, y: (np.round(100 * x).astype("int16"), np.round(100 * y).astype("int16")),
        lambda x, y: (255 * x, 255 * y),
        lambda x, y: (x, 255 * y),
        lambda x, y: (x, y[..., 0]),
        lambda x, y: (x, y[:1]),
    ],
)
def test_pairs_with_different_or_unknown_ranges_are_rejected(pair, name, change):
    with pytest.raises(ValueError, match=f"{name}: .*Expected"):
        getattr(metrics, name)(*change(*pair))


def test_losses_reject_integers_whose_differences_wrap_around():
    from medzoo import losses

    bits = np.array([[3], [5]], "uint8")
    for function in (losses.squared_error, losses.absolute_error):
        with pytest.raises(ValueError, match=r"uint8 and uint8\. Expected floats"):
            function(bits, bits[::-1])
