"""Models behave as Keras models, and error messages name invalid arguments."""

import keras
import numpy as np
import pytest
from conftest import FAMILIES, VOLUMES
from keras import ops

import medzoo

EVERY = {**FAMILIES, **VOLUMES}
SMALL = {"filters": (8, 16), "blocks_per_stage": 1, "seed": 0}
QUICK = ("ae-vector", "vae-vector", "vae-spatial", "vqvae-ema", "mae", "codec", "vqvae-volume")


def built(name):
    """Return a small model and random images of a valid size."""
    model = EVERY[name]()
    sides = [
        own or n * f for own, n, f in zip(model.image_shape[:-1], (2, 3, 2), model.downsampling_factors, strict=False)
    ]
    return model, np.random.default_rng(0).random((4, *sides, 1), dtype="float32")


def ae(**options):
    return medzoo.ConvAutoencoder((32, 32, 1), **{"latent_dim": 6, **SMALL, **options})


def vae(**options):
    return medzoo.VAE((32, 32, 1), **{"latent_dim": 6, **SMALL, **options})


def vqvae(**options):
    return medzoo.VQVAE(**{"latent_dim": 4, "codebook_size": 16, **SMALL, **options})


def mae(**options):
    return medzoo.MaskedAutoencoder(**{"latent_dim": 3, **SMALL, **options})


def codec(**options):
    return medzoo.Codec(**{"latent_dim": 4, "groups": (4,), "hidden": 8, **SMALL, **options})


def values(model):
    """Return copies of all weights."""
    return [ops.convert_to_numpy(w).copy() for w in model.weights]


def same(before, after):
    return all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


# --- frozen models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vqvae-ema", "vqvae-loss", "vae-vector", "codec"])
def test_loss_terms_of_a_frozen_model_change_none_of_its_weights(name):
    model, x = built(name)
    model.trainable = False
    before = values(model)
    model.loss_terms(ops.convert_to_tensor(x), ops.convert_to_tensor(x), training=True)
    model(x, training=True)
    assert same(before, values(model))


@pytest.mark.parametrize("codebook_update", ["ema", "gradient"])
def test_a_frozen_codebook_inside_another_model_does_not_change(codebook_update, images):
    model = vqvae(image_shape=(32, 32, 1), codebook_update=codebook_update)
    outer = keras.Sequential([model, keras.layers.Flatten(), keras.layers.Dense(1)])
    model.trainable = False
    before = values(model)
    outer.compile("sgd", "mse")
    outer.fit(images[:8], np.ones((8, 1)), verbose=0)
    assert same(before, values(model))


def test_the_encoder_is_trained_with_a_frozen_quantizer(images):
    model = vqvae()
    model.quantizer.trainable = False
    codebook, head = values(model.quantizer), values(model.encoder)
    model.compile("adam")
    model.fit(images[:8], verbose=0)
    assert same(codebook, values(model.quantizer))
    assert not same(head, values(model.encoder))


def test_the_decoder_variance_is_frozen_with_the_decoder(images):
    model = vae()
    model.decoder.trainable = False
    before = float(model.variance)
    model.compile("adam")
    model.fit(images[:8], verbose=0)
    assert float(model.variance) == before
    model.decoder.trainable = True
    model.compile("adam")
    model.fit(images[:8], verbose=0)
    assert float(model.variance) != before


def test_unfreezing_a_model_leaves_its_prior_frozen():
    model = vae()
    model.set_prior(medzoo.models.flow_prior.FlowPrior((6,), filters=(8,)))
    model.trainable = False
    model.trainable = True
    assert not model.prior.trainable_weights
    assert model.trainable_weights


def test_fit_rejects_a_model_without_trainable_weights(images):
    model = ae()
    model.trainable = False
    model.compile("adam")
    with pytest.raises(ValueError, match=r"nothing to train.* frozen .trainable=False"):
        model.fit(images[:4], verbose=0)


def test_layers_frozen_after_compile_are_frozen_in_the_next_fit(images):
    model = ae()
    model.compile("adam")
    model.fit(images[:4], verbose=0)
    model.encoder.trainable = False
    before = values(model.encoder)
    model.fit(images[:4], verbose=0)
    assert same(before, values(model.encoder))


# --- quantize, export, precision --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in QUICK if n != "codec"])
def test_a_quantized_model_is_close_and_all_methods_agree(name, tmp_path):
    model, x = built(name)
    exact = model.reconstruct(x)
    model.quantize("int8")
    quantized = ops.convert_to_numpy(model(x))
    assert model.reconstruct(x) == pytest.approx(quantized, abs=1e-5)
    assert model.predict(x, verbose=0) == pytest.approx(quantized, abs=1e-5)
    assert quantized == pytest.approx(exact, abs=0.1)
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").reconstruct(x) == pytest.approx(quantized, abs=1e-5)
    with pytest.raises(ValueError, match="quantized"):
        medzoo.save_preset(model, tmp_path / "preset")


def test_quantize_of_a_codec_raises_and_refers_to_export():
    with pytest.raises(ValueError, match=r"medzoo.export\(model, .* quantize='int8'"):
        codec().quantize("int8")


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")
@pytest.mark.parametrize("name", ["ae-vector", *(pytest.param(n, marks=pytest.mark.slow) for n in QUICK[1:])])
def test_keras_export_equals_the_model(name, tmp_path):
    import tensorflow as tf

    model, x = built(name)
    model.export(str(tmp_path / "saved"), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    assert loaded.serve(x).numpy() == pytest.approx(model.reconstruct(x), abs=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("make", [ae, vae, vqvae, mae, codec])
def test_dtype_applies_to_layers_while_weights_and_images_are_float32(make, policy):
    model = make(dtype=policy)
    wanted = policy.removeprefix("mixed_")
    assert {stage.compute_dtype for stage in (*model.encoder.stages, *model.decoder.stages)} == {wanted}
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model.reconstruct(np.zeros((1, 32, 32, 1), "float32")).dtype == "float32"
    assert type(model).from_config(model.get_config()).encoder.compute_dtype == wanted


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_unsupported_dtypes_are_rejected(dtype):
    with pytest.raises(ValueError, match=f"dtype='{dtype}'; expected one of float32, mixed_bfloat16, mixed_float16"):
        vae(dtype=dtype)


def test_a_floatx_of_double_precision_is_replaced_by_float32_with_a_warning(images, caplog):
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        model = vqvae()
        model.compile("adam")
        assert np.isfinite(model.fit(images[:8].astype("float64"), verbose=0).history["loss"]).all()
        assert "floatx" in caplog.text
        assert model.encode(images[:2]).dtype == "int32"
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("name", ["ae-vector", "ae-efficientnet", "vae-spatial", "codec", "vqvae-volume"])
def test_channels_are_last_for_any_image_data_format(name):
    model, x = built(name)
    keras.config.set_image_data_format("channels_first")
    try:
        other, _ = built(name)
        other.set_weights(model.get_weights())
        channels_first = other.reconstruct(x)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert channels_first == pytest.approx(model.reconstruct(x), abs=1e-6)


# --- arguments --------------------------------------------------------------------------------------------------------

WRONG = [(ae, {"latent_dim": n}, "latent_dim") for n in (0, -1, 2.5, "6", None, True)] + [
    (ae, {"filters": ()}, "filters"),
    (ae, {"filters": (0,)}, "filters"),
    (ae, {"filters": 8}, "filters"),
    (ae, {"blocks_per_stage": -1}, "blocks_per_stage"),
    (ae, {"patch_size": 0}, "patch_size"),
    (ae, {"patch_size": "4"}, "patch_size"),
    (ae, {"patch_size": (4, 4, 4)}, "patch_size"),
    (ae, {"seed": "a"}, "seed"),
    (ae, {"seed": -1}, "seed"),
    (ae, {"bottleneck": "grid"}, "bottleneck"),
    (ae, {"bottleneck": ["vector"]}, "bottleneck"),
    (ae, {"backbone": None}, "backbone"),
    (ae, {"top_k": 7}, "top_k"),
    (ae, {"noise_std": (0.2, 0.1)}, "noise_std"),
    (ae, {"noise_std": -0.1}, "noise_std"),
    (ae, {"poisson_noise": (0.1, 0.2, 0.3)}, "poisson_noise"),
    (ae, {"sparsity_weight": np.nan}, "sparsity_weight"),
    (ae, {"reconstruction_loss": "mes"}, "reconstruction_loss"),
    (vae, {"beta": -1}, "beta"),
    (vae, {"beta": np.nan}, "beta"),
    (vae, {"beta_warmup_steps": 0.5}, "beta_warmup_steps"),
    (vae, {"free_bits": -0.1}, "free_bits"),
    (vae, {"decoder_variance": "lerned"}, "decoder_variance"),
    (vae, {"decoder_variance": 0}, "decoder_variance"),
    (vae, {"prior": "flow"}, "prior"),
    (vae, {"prior": {"latent_shape": (5,), "filters": (8,)}}, "prior"),
    (vqvae, {"codebook_size": 1}, "codebook_size"),
    (vqvae, {"commitment_cost": -0.25}, "commitment_cost"),
    (vqvae, {"decay": 1.0}, "decay"),
    (vqvae, {"codebook_update": "sgd"}, "codebook_update"),
    (vqvae, {"restart_threshold": -1}, "restart_threshold"),
    (mae, {"mask_ratio": 1.0}, "mask_ratio"),
    (mae, {"mask_ratio": (0.9, 0.1)}, "mask_ratio"),
    (mae, {"mask_ratio": "half"}, "mask_ratio"),
    (codec, {"lambdas": ()}, "lambdas"),
    (codec, {"lambdas": (100, 10)}, "lambdas"),
    (codec, {"groups": (2, 3)}, "groups"),
    (codec, {"hidden": 0}, "hidden"),
    (codec, {"quality": 101}, "quality"),
]


@pytest.mark.parametrize(("make", "options", "name"), WRONG)
def test_an_invalid_argument_is_named_with_the_expected_values(make, options, name):
    with pytest.raises(ValueError, match=rf"^\w+: .*{name}.*(expected|needs)"):
        make(**options)


@pytest.mark.parametrize("shape", [(0, 32, 1), (32, 32), (32, 32, None), (32, 32, 0), "abc", 32, (32, 30, 1)])
def test_an_invalid_image_shape_is_named(shape):
    with pytest.raises(ValueError, match=r"ConvAutoencoder: (image_shape|channels)="):
        medzoo.ConvAutoencoder(shape, **SMALL)


def test_numpy_scalars_are_converted():
    model = vae(latent_dim=np.int64(6), beta=np.float32(0.5), filters=[np.int32(8), 16])
    assert type(model.latent_dim) is int
    assert type(model.get_config()["beta"]) is float


# --- latents, images, options -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, ops.convert_to_tensor, lambda x: np.asarray(x).tolist()])
@pytest.mark.parametrize(
    ("name", "latents"),
    [
        ("ae-vector", np.zeros((1, 7), "float32")),
        ("ae-vector", np.zeros((6,), "float32")),
        ("ae-vector", np.zeros((0, 6), "float32")),
        ("vae-vector", np.full((1, 6), np.nan, "float32")),
        ("vae-spatial", np.full((1, 2, 2, 3), np.inf, "float32")),
        ("vae-spatial", np.zeros((1, 2, 2, 4), "float32")),
        ("vae-spatial", np.zeros((1, 6), "float32")),
        ("codec", np.zeros((1, 4, 4, 5), "int32")),
        ("vqvae-ema", np.full((1, 4, 4), 16, "int32")),
        ("vqvae-ema", np.full((1, 4, 4), -1, "int32")),
        ("vqvae-ema", np.zeros((1, 4, 4), "float32")),
        ("vqvae-ema", np.zeros((1, 4, 4, 4), "int32")),
        ("vqvae-volume", np.zeros((1, 4, 4), "int32")),
    ],
)
def test_latents_of_another_model_are_rejected(name, latents, kind):
    with pytest.raises(ValueError, match=r": latents of .*; expected (numbers|integer codes) \(batch, "):
        shared(name).decode(kind(latents))


SHARED = {}


def shared(name):
    return SHARED.setdefault(name, EVERY[name]())


def test_lists_and_integers_decode_like_arrays():
    model = shared("ae-vector")
    wanted = model.decode(np.ones((2, 6), "float32"))
    assert np.array_equal(model.decode(np.ones((2, 6), "int64").tolist()), wanted)
    codes = np.arange(16).reshape(1, 4, 4)
    decoded = [shared("vqvae-ema").decode(codes.astype(kind)) for kind in ("uint8", "int64", "uint16")]
    assert np.array_equal(decoded[0], decoded[1])
    assert np.array_equal(decoded[0], decoded[2])


def test_lists_of_images_are_accepted_and_errors_for_paths_refer_to_preprocess(images):
    model = shared("ae-vector")
    assert np.array_equal(model.encode(list(images[:2])), model.encode(images[:2]))
    for given in ("scan.dcm", ["scan.dcm"], None):
        with pytest.raises(ValueError, match=r"expected an array. model.preprocess\(path\) reads files"):
            model.encode(given)
    with pytest.raises(ValueError, match=r"uint8.* Divide 8-bit images by 255"):
        model.encode(ops.convert_to_tensor(np.zeros((1, 32, 32, 1), "uint8")))


@pytest.mark.parametrize("batch_size", [0, -1, 2.5])
def test_an_invalid_batch_size_is_named(batch_size, images):
    model = ae()
    model.compile("adam")
    for function in (model.reconstruct, model.predict, model.evaluate, model.fit):
        with pytest.raises(ValueError, match=f"batch_size={batch_size}; expected an integer of at least 1"):
            function(images[:2], batch_size=batch_size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"validation_split": 1.5}, r"validation_split=1\.5"),
        ({"steps_per_epoch": 0}, "steps_per_epoch=0"),
        ({"class_weight": {0: 1.0}}, "class_weight"),
        ({"sample_weight": np.ones(3)}, r"sample_weight of shape \(3,\) for 4 images"),
        ({"sample_weight": np.ones((4, 1))}, r"sample_weight of shape \(4, 1\)"),
        ({"sample_weight": -np.ones(4)}, "sample_weight of negative"),
        ({"y": np.arange(4)}, "for labels, leave y out"),
        ({"y": np.zeros((3, 32, 32, 1), "float32")}, "y has shape"),
        ({"y": np.full((4, 32, 32, 1), 9.0, "float32")}, "values from 9 to 9"),
        ({"validation_data": (np.zeros((2, 32, 32, 1), "float32"), np.arange(2))}, "y has shape"),
    ],
)
def test_an_invalid_option_of_fit_is_named(options, message, images):
    model = ae()
    model.compile("adam")
    with pytest.raises(ValueError, match=message):
        model.fit(images[:4], verbose=0, **options)


@pytest.mark.parametrize("tile", [(0, None), (-64, None), ("64", None), (64.0, 16), (64, 10.5), (64, -8), (None, 8)])
def test_an_invalid_tile_is_named(tile, images):
    with pytest.raises(ValueError, match=r"(tile|overlap)="):
        shared("ae-spatial").reconstruct(images[:1], tile=tile[0], overlap=tile[1])


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("n", 0),
        ("n", -1),
        ("n", 1.5),
        ("temperature", -1),
        ("temperature", np.nan),
        ("num_steps", 0),
        ("label", 1.5),
        ("label", 3),
        ("guidance_scale", np.nan),
        ("seed", "a"),
        ("size", 32),
    ],
)
@pytest.mark.parametrize("name", ["vae-vector", "vae-spatial"])
def test_an_invalid_option_of_sample_is_named(name, argument, value):
    with pytest.raises(ValueError, match=f"{argument}="):
        shared(name).sample(**{"n": 1, argument: value})


def test_samples_have_the_requested_size():
    assert shared("vae-spatial").sample(2, seed=0, size=(16, 32)).shape == (2, 16, 32, 1)
    assert shared("vae-vector").sample(2, seed=0, size=(32, 32)).shape == (2, 32, 32, 1)
    with pytest.raises(ValueError, match="64x64 pixels; this model takes 32x32"):
        shared("vae-vector").sample(2, size=(64, 64))
    with pytest.raises(ValueError, match="multiple of 8"):
        shared("vae-spatial").sample(2, size=(20, 32))


# --- quality of a codec -----------------------------------------------------------------------------------------------


def test_the_quality_of_a_codec_applies_to_every_method_and_is_saved(images, tmp_path):
    model, x = codec(), images[:2]
    reconstructions = {}
    for model.quality in (0, 40):
        reconstructions[model.quality] = wanted = model.reconstruct(x, quality=model.quality)
        assert model.predict(x, verbose=0) == pytest.approx(wanted, abs=1e-5)
        assert ops.convert_to_numpy(model(x)) == pytest.approx(wanted, abs=1e-5)
        model.quality, asked = 5, model.quality
        assert ops.convert_to_numpy(model(x, quality=asked)) == pytest.approx(wanted, abs=1e-5)
        model.quality = asked
    assert not np.allclose(reconstructions[0], reconstructions[40])
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").quality == 40
    assert medzoo.load(medzoo.save_preset(model, tmp_path / "preset")).quality == 40
    with pytest.raises(ValueError, match="quality=nan"):
        model.quality = np.nan


# --- priors, presets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count", "options", "message"),
    [
        ("vae-vector", 1, {}, "at least 2 images"),
        ("vae-vector", 4, {"labels": np.zeros(3, int)}, "for 4 images"),
        ("vae-vector", 4, {"labels": np.linspace(0, 1, 4)}, "expected integers from 0"),
        ("vae-vector", 4, {"epochs": 0}, "epochs=0"),
        ("vae-vector", 4, {"filters": (12,)}, "multiple of 8"),
        ("vae-vector", 4, {"learning_rate": -1}, "learning_rate=-1"),
        ("vae-volume", 4, {}, "no prior of volumes"),
        ("vae-spatial", 4, {"filters": (8, 8, 8)}, "multiples of 4"),
    ],
)
def test_errors_of_fit_prior_name_the_reason(name, count, options, message):
    model, x = built(name)
    with pytest.raises(ValueError, match=message):
        model.fit_prior(x[:count], verbose=0, **options)


@pytest.mark.parametrize(
    "given",
    [{"size": 32}, {"size": (32,)}, {"size": (30, 32)}, {"sizes": (32, 32)}, {"window": (40, 0)}, [32, 32], "32"],
)
def test_preprocessing_that_does_not_fit_the_model_is_rejected(given, tmp_path):
    with pytest.raises(ValueError, match=r"[Ee]xpected|multiple"):
        medzoo.save_preset(shared("ae-spatial"), tmp_path / "preset", preprocessing=given)
    assert not any(tmp_path.iterdir())


def test_pca_initialization_rejects_invalid_images(images):
    for wrong in (images[0], images[:, :16], images[:3], images * 255):
        with pytest.raises(ValueError, match=r"[Ee]xpected|takes"):
            ae().initialize_from_pca(wrong)
