"""Decompression restores the compressed images, and damaged files raise an error."""

import subprocess
import sys
import zlib

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import SMALL
from PIL import Image

import medzoo
from medzoo.cli import main
from medzoo.data.phantom import chest_phantom
from medzoo.errors import CompressedFileError
from medzoo.io.dicom import read_values
from medzoo.layers.entropy_model import SCALES, InterlacedEntropyModel, logistic_nats, order
from medzoo.models import Codec
from medzoo.tasks.compress import compress, decompress, integer_codec, lossless
from medzoo.tasks.compress.files import contents
from medzoo.utils.parallel import cores, map_in_order

pytest.importorskip("constriction")
pytest.importorskip("imagecodecs")


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    """A small codec preset, initialized from a PCA only."""
    keras.utils.set_random_seed(0)
    images = np.stack([chest_phantom(64, seed) for seed in range(64)])
    model = Codec(latent_dim=6, groups=(1, 2, 3), hidden=12, name="small", **SMALL)
    model.initialize_from_pca(images)
    folder = tmp_path_factory.mktemp("presets") / "small"
    medzoo.save_preset(model, folder)
    return str(folder)


def phantom(height=96, width=72, noise=2.0, seed=100, dtype="uint8"):
    rng = np.random.default_rng(seed)
    largest = 255 if dtype == "uint8" else 4095
    values = chest_phantom(max(128, height), seed)[:height, :width, 0] * largest + rng.normal(0, noise, (height, width))
    return np.clip(np.round(values), 0, largest).astype(dtype)


def test_images_compressed_together_decode_like_images_compressed_singly(codec):
    images, names = [phantom(40 + 8 * (i % 3), 48, seed=i) for i in range(7)], [str(i) for i in range(7)]
    data = compress(images, codec, filenames=names)
    together, stored = decompress(data, codec, return_filenames=True)
    assert stored == names
    for one, own in zip(images, together, strict=True):
        assert np.array_equal(decompress(compress([one], codec), codec)[0], own)


def test_parallel_map_keeps_the_order_and_reads_few_items_ahead():
    consumed = []

    def items():
        for i in range(100):
            consumed.append(i)
            yield i

    squares = map_in_order(lambda i: i * i, items())
    assert [next(squares) for _ in range(3)] == [0, 1, 4]
    assert len(consumed) <= 3 + 1 + cores()
    assert list(squares) == [i * i for i in range(3, 100)]
    with pytest.raises(ZeroDivisionError):
        list(map_in_order(lambda i: 1 // i, [1, 0, 1]))


IMAGES = {
    "8 bits": phantom(),
    "12 bits in 16": phantom(dtype="uint16", noise=20),
    "odd sizes": phantom(61, 43),
    "smaller than one latent": phantom(5, 3),
    "one pixel": phantom(1, 1),
    "one row": phantom(1, 50),
    "one column": phantom(19, 1),
    "noise": np.random.default_rng(0).integers(0, 256, (64, 64), "uint8"),
    "16-bit noise": np.random.default_rng(0).integers(0, 65536, (40, 64), "uint16"),
    "constant": np.full((32, 40), 200, "uint8"),
    "black, 16 bits": np.zeros((32, 32), "uint16"),
    "signed": phantom(dtype="uint16", noise=20).astype("int16") - 1024,
    "signed noise": np.random.default_rng(0).integers(-(2**15), 2**15, (40, 64), "int16"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_lossless_compression_restores_every_bit(codec, name):
    (back,) = decompress(compress([IMAGES[name]], codec, max_error=0), codec)
    assert back.dtype == IMAGES[name].dtype
    assert np.array_equal(back, IMAGES[name])


def test_lossless_compression_requires_no_preset_and_uses_the_smaller_of_two_formats():
    import imagecodecs

    for image in (phantom(256, 200), phantom(256, 128, dtype="uint16", noise=20), IMAGES["noise"]):
        data = compress([image], max_error=0)
        assert np.array_equal(decompress(data)[0], image)
        xl = imagecodecs.jpegxl_encode(image, lossless=True, effort=9)
        assert len(data) <= min(len(xl), len(imagecodecs.jpegls_encode(image))) + 32
    found = contents(data)
    assert (found["preset"], found["images"][0]["quality"], found["images"][0]["max_error"]) == ("", None, 0)
    assert found["images"][0]["coded"] in ("JPEG XL", "JPEG-LS")


def test_undecodable_lossless_data_raises():
    with pytest.raises(CompressedFileError, match="not readable as JPEG XL"):
        lossless.decode(1, b"no image", 0, "uint8")
    kind, data, _ = lossless.encode(phantom(32, 32, dtype="uint16"))
    with pytest.raises(CompressedFileError, match=r"JPEG XL data\. Expected uint8, got uint16"):
        lossless.decode(kind, data, 0, "uint8")


@pytest.mark.parametrize("max_error", [1, 3, 10])
def test_near_lossless_compression_keeps_the_maximum_error_and_saves_bytes(codec, max_error):
    images = [IMAGES[n] for n in ("8 bits", "12 bits in 16", "odd sizes", "noise", "signed")]
    data = compress(images, codec, max_error=max_error)
    for image, back in zip(images, decompress(data, codec), strict=True):
        assert np.abs(image.astype(int) - back).max() <= max_error
    assert len(data) < len(compress(images, codec, max_error=max_error - 1))


def test_lossy_compression_equals_the_reconstruction_and_psnr_increases_with_quality(codec):
    model = medzoo.load(codec)
    image = phantom(64, 64, noise=0)
    sizes, errors = [], []
    for quality in (0, 33, 50, 71, 100):
        data = compress([image], model, quality)
        (back,) = decompress(data, model)
        wanted = model.reconstruct(image[None, ..., None].astype("float32") / 255, quality)[0, ..., 0]
        assert np.abs(back - wanted * 255).max() < 1.6  # integer arithmetic versus float32, and rounding
        sizes.append(len(data))
        errors.append(np.square(image.astype(float) - back).mean())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert compress([image], model, 50.0) == compress([image], model, 50)


def test_file_size_equals_the_rate_of_the_entropy_model():
    model = medzoo.load("codec-chestxray")
    image = phantom(256, 256, noise=0)
    latents = model.encode(image[None, ..., None].astype("float32") / 255, 70)
    nats = float(model.prior.nats(latents.astype("float32"), np.array([model.quality_index(70)], "float32"))[0])
    head = 33
    assert len(compress([image], model, 70)) - head == pytest.approx(nats / np.log(2) / 8, rel=0.03)


def test_latents_of_the_highest_qualities_are_refined_for_the_decoder():
    model = medzoo.load("codec-chestxray")
    x = phantom(64, 64)[None, ..., None].astype("float32") / 255
    for quality, gain in ((50, 0.0), (100, 0.1)):
        plain = np.asarray(keras.ops.round(model.encoder(x) * model._gain(quality))).astype("int32")
        before, after = (np.square(model.decode(z, quality) - x).mean() for z in (plain, model.encode(x, quality)))
        assert 10 * np.log10(before / after) >= gain


def test_train_entropy_model_only_trains_the_entropy_model_only(codec):
    model, x = medzoo.load(codec), np.stack([chest_phantom(32, seed) for seed in range(4)])
    model.train_entropy_model_only()
    model.compile("adam", run_eagerly=True)
    before = [[np.array(w) for w in part.weights] for part in (model.encoder, model.decoder, model.prior)]
    gain = np.array(model.log_gain)
    history = model.fit(x, epochs=3, batch_size=4, verbose=0).history
    after = [[np.array(w) for w in part.weights] for part in (model.encoder, model.decoder, model.prior)]
    same = [all(map(np.array_equal, a, b)) for a, b in zip(before, after, strict=True)]
    assert same == [True, True, False]
    assert np.array_equal(gain, model.log_gain)
    assert history["bits_per_pixel"][2] < history["bits_per_pixel"][0]


@pytest.mark.slow
def test_another_process_with_another_thread_count_decodes_the_same_pixels(codec, tmp_path):
    image = phantom()
    (tmp_path / "a.mzc").write_bytes(compress([image], codec, 25))
    script = (
        "import sys, zlib, pathlib; from medzoo.tasks.compress import decompress;"
        "print(zlib.crc32(decompress(pathlib.Path(sys.argv[1]).read_bytes(), sys.argv[2])[0].tobytes()))"
    )
    import os

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.mzc"), codec],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    here = decompress((tmp_path / "a.mzc").read_bytes(), codec)[0]
    assert int(done.stdout) == zlib.crc32(here.tobytes())


def test_damaged_files_raise(codec):
    data = compress([phantom(32, 32)], codec)
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        with pytest.raises(CompressedFileError):
            decompress(bytes(damaged), codec)
    for end in range(0, len(data), 7):
        with pytest.raises(CompressedFileError):
            decompress(data[:end], codec)


def test_decompression_with_other_weights_raises(codec):
    data = compress([phantom(32, 32)], codec)
    other = medzoo.load(codec)
    other.log_gain.assign(np.asarray(other.log_gain) + 0.01)
    with pytest.raises(CompressedFileError, match="compressed with other weights"):
        decompress(data, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([np.zeros((4, 4))],), "float64"),
        (([np.zeros((4, 4, 3), "uint8")],), "Expected uint8, uint16 or int16"),
        (([np.zeros((8, 8), "uint8")], None, 101), "from 0 to 100, got 101"),
        (([np.zeros((8, 8), "uint8")], None, 12.5), "from 0 to 100, got 12.5"),
        (([np.zeros((8, 8), "uint8")], None, None, -1), "or None, got -1"),
        (([np.zeros((8, 8), "uint8")], None, 2, 0), "exclude each other"),
        (([np.zeros((8, 8), "uint8")], "ae-chestxray-64"), "Expected a Codec"),
    ],
)
def test_unsuitable_images_and_arguments_raise(codec, arguments, message):
    images, model, *rest = (*arguments, codec) if len(arguments) == 1 else arguments
    with pytest.raises(ValueError, match=message):
        compress(images, model or codec, *rest)


# --- entropy model and integer arithmetic ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(8, 8), (5, 7), (1, 1), (9, 2)])
def test_coding_order_visits_every_position_once_and_uses_earlier_positions_only(shape):
    known = np.zeros(shape, int)
    for _, stride, was_known, coded in order(4):
        grid = known[::stride, ::stride]
        rows, columns = np.arange(grid.shape[0])[:, None], np.arange(grid.shape[1])[None]
        assert np.array_equal(grid, was_known(rows, columns) + 0 * grid)
        grid += coded(rows, columns)
    assert (known == 1).all()


def test_probabilities_of_the_entropy_model_sum_to_one():
    x = np.arange(-400, 401).astype("float32")
    for mean, scale in ((0.0, 0.1), (3.3, 1.0), (-7.2, 20.0)):
        mass = np.exp(-np.asarray(logistic_nats(x, np.float32(mean), np.float32(np.log(scale)))))
        assert mass.sum() == pytest.approx(1, abs=1e-3)
        z = np.clip((np.append(x - 0.5, 400.5) - mean) / scale, -700, 700)
        expected = np.diff(1 / (1 + np.exp(-z)))
        assert mass == pytest.approx(expected, abs=1e-4)


def test_entropy_model_does_not_depend_on_positions_coded_later():
    keras.utils.set_random_seed(0)
    prior = InterlacedEntropyModel((1, 2), qualities=1, hidden=8)
    prior.build()
    for w in prior.weights:
        w.assign(np.random.default_rng(0).normal(0, 0.3, w.shape))
    rng = np.random.default_rng(1)
    y = np.round(rng.normal(0, 3, (1, 8, 8, 3))).astype("float32")

    # Changing the position coded last (the second group between known positions) changes only its own cost: the
    # probabilities of all its values sum to one.
    values = np.arange(-600, 601)
    changed = np.repeat(y, len(values), axis=0)
    changed[:, 3, 4, 2] = values
    nats = np.asarray(prior.nats(np.concatenate([y, changed]), np.zeros(len(values) + 1, "float32")), "float64")
    mass_of_y = 1 / np.exp(nats[0] - nats[1:]).sum()
    # A decoder computes the same probability from the known positions.
    rows, columns = np.arange(8)[:, None], np.arange(8)[None]
    known = ((rows + columns) % 2 == 0).astype("float32")[None, ..., None]
    context = np.concatenate([y[..., :1], y[..., 1:] * known, known], axis=-1)
    mean, log_scale = prior.parameters(1, context, 3, np.array([0], "float32"))
    own = np.asarray(logistic_nats(y[..., 1:], mean, log_scale))[0, 3, 4, 1]
    assert np.exp(-own) == pytest.approx(mass_of_y, rel=1e-3)


def test_tables_are_the_logistic_distribution():
    tables = integer_codec.distributions() / 2.0**integer_codec.TOTAL_BITS
    scales = np.exp(np.linspace(*np.log(SCALES), integer_codec.STEPS))
    x = np.arange(-integer_codec.REACH, integer_codec.REACH + 1)
    for step in (0, 20, 63):
        for fraction in (0, 3):
            z = (np.append(x - 0.5, integer_codec.REACH + 0.5) - fraction / integer_codec.FRACTIONS) / scales[step]
            expected = np.diff(1 / (1 + np.exp(-np.clip(z, -700, 700))))
            assert tables[step, fraction, :-1] == pytest.approx(expected, abs=2e-6)
    assert tables.sum(axis=-1) == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("quality", [0, 47, 60, 100])
def test_integer_codec_approximates_the_float_model(codec, quality):
    model = medzoo.load(codec)
    for weights in (model.prior.at_quality, [model.log_gain]):
        for w in weights:  # otherwise the qualities of a small codec hardly differ
            w.assign(np.asarray(w) + np.random.default_rng(0).normal(0, 0.1, w.shape))
    integer = integer_codec.IntegerCodec(model)
    x = phantom(64, 48, noise=0)[None, ..., None].astype("float32") / 255
    latents = model.encode(x, quality)
    wanted = 255 * model.decode(latents, quality)[0, ..., 0]
    assert np.abs(integer.decode(latents[0].astype(float), quality) - wanted).max() < 1.2
    context = np.concatenate([latents[0][..., :3], np.ones_like(latents[0][..., :1])], axis=-1).astype("float32")
    index = np.array([model.quality_index(quality)], "float32")
    mean, log_scale = (np.asarray(p)[0] for p in model.prior.parameters(1, context[None], 3, index))
    positions = np.nonzero(np.ones(context.shape[:2]))
    found_mean, step = (
        v.reshape(mean.shape) for v in integer.parameters(1, context.astype(float), positions, 3, quality)
    )
    assert found_mean / integer_codec.FRACTIONS == pytest.approx(mean, abs=0.08)
    scales = np.linspace(*np.log(SCALES), integer_codec.STEPS)
    assert scales[step] == pytest.approx(np.clip(log_scale, *np.log(SCALES)), abs=0.06)


# --- command line ---------------------------------------------------------------------------------------------------


def test_compress_and_decompress_commands_write_and_read_files(codec, tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(IMAGES["8 bits"]).save(tmp_path / "in" / "a.png")
    Image.fromarray(IMAGES["12 bits in 16"]).save(tmp_path / "in" / "b.png")
    arguments = ["compress", tmp_path / "in", "-o", tmp_path / "x.mzc", "--model", codec, "--lossless"]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    again = CliRunner().invoke(main, [str(a) for a in arguments])
    assert again.exit_code == 1
    assert "--overwrite" in again.output
    back = ["decompress", tmp_path / "x.mzc", "-o", tmp_path / "out", "--model", codec]
    result = CliRunner().invoke(main, [str(a) for a in back])
    assert result.exit_code == 0, result.output
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png")), IMAGES["8 bits"])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "b.png")), IMAGES["12 bits in 16"])
    assert CliRunner().invoke(main, [str(a) for a in back]).exit_code == 1


def test_stored_file_names_cannot_lead_out_of_the_folder(codec, tmp_path):
    data = compress([phantom(16, 16)], codec, filenames=["../../evil.png"])
    (tmp_path / "x.mzc").write_bytes(data)
    arguments = ["decompress", tmp_path / "x.mzc", "-o", tmp_path / "a" / "b", "--model", codec]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    assert [p.name for p in tmp_path.rglob("*.png")] == ["evil.png"]
    assert (tmp_path / "a" / "b" / "evil.png").is_file()


def test_gray_in_three_channels_is_accepted_and_all_invalid_files_are_listed(codec, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    gray = IMAGES["odd sizes"]
    Image.fromarray(np.repeat(gray[..., None], 3, axis=-1)).save(folder / "gray.png")
    Image.fromarray(np.dstack([gray, gray, 255 - gray])).save(folder / "color.png")
    (folder / "invalid.png").write_text("no image")
    arguments = ["compress", folder, "-o", tmp_path / "x.mzc", "--model", codec, "--lossless"]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 1
    assert "2 of 3 images" in result.output
    assert "color.png: " in result.output
    assert not (tmp_path / "x.mzc").exists()
    result = CliRunner().invoke(main, [*map(str, arguments), "--skip-invalid"])
    assert result.exit_code == 0, result.output
    assert "invalid.png" in (tmp_path / "x.mzc-skipped.txt").read_text()
    (back,) = decompress((tmp_path / "x.mzc").read_bytes(), codec)
    assert np.array_equal(back, gray)


def test_one_file_per_image_and_its_contents(codec, tmp_path):
    import json

    for where in ("a", "b"):
        (tmp_path / where).mkdir()
        Image.fromarray(IMAGES["odd sizes"]).save(tmp_path / where / "image.png")
    arguments = [
        "compress",
        tmp_path / "a",
        tmp_path / "b",
        "-o",
        tmp_path / "out",
        "--model",
        codec,
        "--one-file-per-image",
    ]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    files = sorted((tmp_path / "out").iterdir())
    assert [f.name for f in files] == ["00000-image.mzc", "00001-image.mzc"]
    found = json.loads(CliRunner().invoke(main, ["info", str(files[0])]).stdout)
    assert (found["preset"], found["bytes"]) == ("small", files[0].stat().st_size)
    (image,) = found["images"]
    assert (image["name"], image["height"], image["width"], image["type"]) == ("image.png", 61, 43, "uint8")
    assert (image["quality"], image["max_error"]) == (medzoo.load(codec).quality, None)
    files[1].write_bytes(files[1].read_bytes()[:-3])
    damaged = CliRunner().invoke(main, ["info", str(files[1])])
    assert damaged.exit_code == 1
    assert "00001-image.mzc: the checksum" in damaged.output


# --- DICOM ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [["--lossless"], ["--max-error", "3"], []])
def test_technical_tags_are_restored_in_a_dicom_file_without_patient_information(codec, tmp_path, how):
    import pydicom
    from pydicom.data import get_testdata_file

    source = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
    values = np.abs(source.pixel_array).astype("uint16")
    source.PixelRepresentation, source.PixelData = 0, values.tobytes()
    source.PatientName, source.PatientComments, source.RescaleIntercept = "Doe^Jane", "Jane's knee", "-5"
    source.SmallestImagePixelValue = source.LargestImagePixelValue = 0
    source.save_as(tmp_path / "jane.dcm")
    arguments = ["compress", tmp_path / "jane.dcm", "-o", tmp_path / "x.mzc", "--keep-tags", "--no-filenames", *how]
    result = CliRunner().invoke(main, [str(a) for a in [*arguments, "--model", codec]])
    assert result.exit_code == 0, result.output
    arguments = ["decompress", tmp_path / "x.mzc", "-o", tmp_path / "out", "--model", codec]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    (output,) = (tmp_path / "out").iterdir()
    back = pydicom.dcmread(output)
    assert back.SOPClassUID.name == "Secondary Capture Image Storage"
    assert (back.Modality, back.RescaleIntercept) == ("MR", -5)
    assert back.PixelSpacing == source.PixelSpacing
    assert back.SOPInstanceUID != source.SOPInstanceUID
    assert b"Jane" not in output.read_bytes() + (tmp_path / "x.mzc").read_bytes()
    error = np.abs(back.pixel_array.astype(int) - values).max()
    assert error <= (0 if "--lossless" in how else 3 if how else 4096)
    assert (back.get("LossyImageCompression") == "01") == ("--lossless" not in how)
    assert medzoo.read_image(output, window=(600, 1600)).shape == (64, 64, 1)


@pytest.mark.parametrize("tags", [["--keep-tags"], []])
def test_ct_with_negative_values_is_restored_as_dicom(tmp_path, tags):
    import pydicom
    from pydicom.data import get_testdata_file

    source = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    assert source.pixel_array.dtype == "int16"
    source.save_as(tmp_path / "ct.dcm")
    for command in (["compress", "ct.dcm", "-o", "x.mzc", "--lossless", *tags], ["decompress", "x.mzc", "-o", "out"]):
        words = [str(tmp_path / w) if w in ("ct.dcm", "x.mzc", "out") else w for w in command]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
    (output,) = (tmp_path / "out").iterdir()
    back = pydicom.dcmread(output)
    assert np.array_equal(back.pixel_array, source.pixel_array)
    if tags:
        assert np.array_equal(read_values(output), read_values(tmp_path / "ct.dcm"))  # Hounsfield units


def test_an_image_of_an_unknown_type_raises():
    data = bytearray(compress([phantom(16, 16)], max_error=0))
    at = data.index(bytes([16, 16, 8])) + 2
    data[at] = 9
    data[-4:] = zlib.crc32(data[:-4]).to_bytes(4, "little")
    with pytest.raises(CompressedFileError, match=r"unknown type of image.*got 9 bits"):
        decompress(bytes(data))


def test_invalid_dicom_tags_raise(tmp_path):
    from medzoo.io.dicom_secondary_capture import write_secondary

    with pytest.raises(ValueError, match="RGB, 16 bits for uint16"):
        write_secondary(tmp_path / "a.dcm", phantom(dtype="uint16"), {"PhotometricInterpretation": "RGB"})
    with pytest.raises(ValueError, match="invalid DICOM tags"):
        write_secondary(tmp_path / "a.dcm", phantom(), {"BitsStored": "eight"})
    assert not (tmp_path / "a.dcm").exists()
    data = compress([phantom(16, 16)], max_error=0, dicom_tags=[{"Modality": "DX"}])
    assert contents(data)["images"][0]["tags"] == {"Modality": "DX"}
