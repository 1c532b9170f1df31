"""Inference on arrays runs as a compiled graph and equals the eager layers."""

import gc
import weakref

import keras
import numpy as np
import pytest
from conftest import FAMILIES
from keras import ops

import medzoo


def test_results_of_arrays_equal_those_of_tensors(make, images):
    model = make()
    latents = model.encode(images)
    by_layers = ops.convert_to_numpy(model.encode(ops.convert_to_tensor(images)))
    if isinstance(model, medzoo.Codec):  # the last bit can decide how halves are rounded
        assert (latents != by_layers).mean() < 1e-3
    else:
        assert latents == pytest.approx(by_layers, abs=1e-5)
        for batch in (images[:1], images[:5]):  # batch sizes other than that of the compilation
            assert model.reconstruct(batch) == pytest.approx(model.reconstruct(images)[: len(batch)], abs=1e-5)
    decoded = ops.convert_to_numpy(model.decode(ops.convert_to_tensor(latents)))
    assert model.decode(latents) == pytest.approx(decoded, abs=1e-5)


def test_weights_set_later_are_used(make, images):
    model, other = make(), make()
    model.encode(images)
    model.set_weights([w + 0.01 for w in model.get_weights()])
    other.set_weights(model.get_weights())
    assert model.reconstruct(images) == pytest.approx(other.reconstruct(images), abs=1e-6)


def test_image_sizes_can_change_between_calls(images):
    model = FAMILIES["vae-spatial"]()
    for shape in ((8, 32, 32), (8, 16, 24), (3, 24, 32)):
        batch = images[: shape[0], : shape[1], : shape[2]]
        wanted = ops.convert_to_numpy(model(ops.convert_to_tensor(batch)))
        assert model.reconstruct(batch) == pytest.approx(wanted, abs=1e-5)


def test_the_quality_of_a_call_is_used(images):
    codec = FAMILIES["codec"]()
    each = [codec.encode(images, quality=q) for q in range(4)]
    for codec.quality in (3, 0):
        assert (codec.encode(images) == each[codec.quality]).all()
    assert (each[0] != each[3]).any()


def test_posterior_samples_differ(images):
    vae = FAMILIES["vae-vector"]()
    first, second = (vae.encode(images, sample=True) for _ in range(2))
    assert np.abs(first - second).max() > 0.1


def test_a_deleted_model_is_garbage_collected(images):
    model = FAMILIES["ae-vector"]()
    model.reconstruct(images)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_nearest_equals_brute_force_for_any_rank():
    rng = np.random.default_rng(0)
    latents, entries = rng.normal(size=(3, 5, 4, 6)).astype("float32"), rng.normal(size=(11, 6)).astype("float32")
    quantizer = medzoo.VectorQuantizer(11)
    quantizer.build(latents.shape)
    quantizer.entries.assign(entries)
    brute = ((latents[..., None, :] - entries) ** 2).sum(-1).argmin(-1)
    for given, wanted in ((latents, brute), (latents.reshape(-1, 6), brute.ravel()), (latents[0, 0], brute[0, 0])):
        codes = ops.convert_to_numpy(quantizer.nearest(ops.convert_to_tensor(given)))
        assert (codes == wanted).all()
        assert codes.dtype == np.int32


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="sizes are unknown in TensorFlow's graphs only")
def test_attention_in_blocks_of_queries_is_exact(monkeypatch):
    """Also in a graph for any size, where the blocks are a loop."""
    import tensorflow as tf

    from medzoo.layers import kl_blocks

    x = np.random.default_rng(0).standard_normal((2, 5, 7, 8)).astype("float32")
    layer = kl_blocks.SpatialAttention(groups=4)
    expected = keras.ops.convert_to_numpy(layer(x))
    monkeypatch.setattr(kl_blocks, "LARGEST_SCORES", 2 * 35 * 12)  # blocks of 12, 12 and 11 queries
    assert keras.ops.convert_to_numpy(layer(x)) == pytest.approx(expected, abs=1e-5)
    graph = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 8))])
    assert graph(x).numpy() == pytest.approx(expected, abs=1e-5)
