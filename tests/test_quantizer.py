import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from medzoo.layers import VectorQuantizer
from medzoo.layers.quantizer import kmeans

rng = np.random.default_rng(0)


def latents(*shape):
    return rng.standard_normal(shape).astype("float32")


def built(dim=4, **kwargs):
    quantizer = VectorQuantizer(**{"codebook_size": 8, "seed": 0, **kwargs})
    quantizer.build((None, None, None, dim))
    return quantizer


def with_entries(entries, **kwargs):
    """Return an initialized quantizer with the given codebook and equal use of its entries."""
    quantizer = built(entries.shape[1], codebook_size=len(entries), **kwargs)
    quantizer.entries.assign(entries)
    quantizer.started.assign(1.0)
    quantizer.usage.assign(np.ones(len(entries)))
    if quantizer.codebook_update == "ema":
        quantizer.sums.assign(entries)
    return quantizer


def brute_force(z, entries):
    return np.square(z[..., None, :] - entries).sum(axis=-1).argmin(axis=-1)


def test_assignment_equals_brute_force():
    entries, z = latents(32, 5), latents(3, 4, 6, 5)
    quantized, codes, _ = with_entries(entries)(z)
    assert np.array_equal(codes, brute_force(z, entries))
    assert np.array_equal(quantized, entries[brute_force(z, entries)])
    assert codes.dtype == "int32"


def test_gradient_is_straight_through():
    quantizer, z = with_entries(latents(8, 4)), tf.constant(latents(2, 3, 3, 4))
    weights = latents(2, 3, 3, 4)
    with tf.GradientTape() as tape:
        tape.watch(z)
        quantized, _, _ = quantizer(z, training=True)
        loss = tf.reduce_sum(quantized * weights)
    assert tape.gradient(loss, z).numpy() == pytest.approx(weights, rel=1e-6)


def test_commitment_loss_is_summed_per_image_and_has_gradients_of_latents_only():
    entries, z = latents(8, 4), latents(2, 3, 3, 4)
    quantizer = with_entries(entries, commitment_cost=0.5)
    _, codes, loss = quantizer(z)
    expected = 0.5 * np.square(z - entries[codes]).sum(axis=(1, 2, 3))
    assert ops.convert_to_numpy(loss) == pytest.approx(expected, rel=1e-5)
    quantizer = with_entries(entries, codebook_update="gradient", commitment_cost=0.5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(quantizer(z)[2])
    # The codebook loss |sg(z) - e|^2 has gradient 2 (e - z) summed over the latents of each entry.
    expected = np.zeros_like(entries)
    np.add.at(expected, np.asarray(codes).ravel(), (2 * (entries[codes] - z)).reshape(-1, 4))
    assert tape.gradient(loss, quantizer.offset.value).numpy() == pytest.approx(expected, abs=1e-4)


def test_moving_average_equals_a_reference_implementation():
    entries = latents(6, 3)
    quantizer = with_entries(entries, decay=0.9, restart_threshold=0.0)
    usage, sums, codebook = np.ones(6), entries.astype("float64"), entries.astype("float64")
    for _ in range(5):
        z = latents(2, 4, 4, 3)
        quantizer(z, training=True)
        flat, codes = z.reshape(-1, 3), brute_force(z, codebook).ravel()
        usage = 0.9 * usage + 0.1 * np.bincount(codes, minlength=6)
        batch = np.zeros((6, 3))
        np.add.at(batch, codes, flat)
        sums = 0.9 * sums + 0.1 * batch
        codebook = sums / usage[:, None]
    assert ops.convert_to_numpy(quantizer.codebook) == pytest.approx(codebook, abs=1e-5)


@pytest.mark.parametrize("codebook_update", ["ema", "gradient"])
def test_unused_entries_are_reset_to_latents_of_the_batch(codebook_update):
    entries = np.concatenate([latents(4, 2), np.full((4, 2), 1000.0, "float32")])
    quantizer = with_entries(entries, codebook_update=codebook_update, decay=0.5, restart_threshold=0.1)
    for _ in range(8):
        z = latents(4, 4, 4, 2)
        quantizer(z, training=True)
    assert np.abs(ops.convert_to_numpy(quantizer.codebook)).max() < 10
    assert len(np.unique(quantizer(latents(8, 8, 8, 2))[1])) >= 7


def test_without_resets_unused_entries_do_not_change():
    entries = np.concatenate([latents(4, 2), np.full((4, 2), 1000.0, "float32")])
    quantizer = with_entries(entries, restart_threshold=0.0)
    quantizer(latents(4, 4, 4, 2), training=True)
    assert ops.convert_to_numpy(quantizer.codebook)[4:] == pytest.approx(1000.0, rel=1e-4)


@pytest.mark.parametrize("codebook_update", ["ema", "gradient"])
def test_first_batch_initializes_the_codebook_at_its_clusters(codebook_update):
    centers = 10 * np.stack(np.meshgrid(np.arange(4), np.arange(2)), axis=-1).reshape(8, 2).astype("float32")
    z = (centers[rng.integers(0, 8, (4, 6, 6))] + 0.01 * latents(4, 6, 6, 2)).astype("float32")
    quantizer = built(2, codebook_update=codebook_update)
    quantizer(z, training=True)
    entries = ops.convert_to_numpy(quantizer.codebook)
    distance = np.square(centers[:, None] - entries).sum(-1).min(axis=1)
    assert distance.max() < 0.1  # k-means++ finds all of eight well separated clusters


def test_inference_does_not_change_the_codebook():
    quantizer = with_entries(latents(8, 4))
    before = quantizer.get_weights()
    quantizer(latents(2, 3, 3, 4), training=False)
    assert all(np.array_equal(a, b) for a, b in zip(before, quantizer.get_weights(), strict=True))


def test_kmeans_inertia_is_comparable_to_scikit_learn():
    from sklearn.cluster import KMeans, kmeans_plusplus

    points = np.concatenate([latents(100, 3) + 4 * i for i in range(6)])
    ours, theirs = [], []
    for seed in range(40):
        uniform_samples = np.random.default_rng(seed).random(6).astype("float32")
        centers, usage, sums = (ops.convert_to_numpy(a) for a in kmeans(points, 6, uniform_samples))
        ours.append(np.square(points[:, None] - centers).sum(-1).min(axis=1).sum())
        start, _ = kmeans_plusplus(points, 6, random_state=seed, n_local_trials=1)
        theirs.append(KMeans(6, init=start, n_init=1, max_iter=5).fit(points).inertia_)
        assert usage.sum() == pytest.approx(600, abs=0.1)
        assert sums.sum(axis=0) == pytest.approx(points.sum(axis=0), rel=1e-3)
    assert np.mean(ours) < 1.25 * np.mean(theirs)


def test_invalid_arguments_are_named():
    with pytest.raises(ValueError, match="codebook_update='sgd'"):
        VectorQuantizer(8, codebook_update="sgd")
    with pytest.raises(ValueError, match="codebook_size=1"):
        VectorQuantizer(1)
