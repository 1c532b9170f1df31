"""Compressed files come back as they were, and damaged ones do not come back as something else."""

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
from medzoo.tasks.compress import compress, decompress, exact, streams
from medzoo.tasks.compress.files import contents
from medzoo.utils.parallel import cores, map_in_order

pytest.importorskip("constriction")
pytest.importorskip("imagecodecs")


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    """A small codec as a preset; its PCA start is enough for what is tested here."""
    keras.utils.set_random_seed(0)
    films = np.stack([chest_phantom(64, seed) for seed in range(64)])
    model = Codec(latent_dim=6, groups=(1, 2, 3), hidden=12, name="small", **SMALL)
    model.initialize_from_pca(films)
    folder = tmp_path_factory.mktemp("presets") / "small"
    medzoo.save_preset(model, folder)
    return str(folder)


def film(height=96, width=72, noise=2.0, seed=100, dtype="uint8"):
    rng = np.random.default_rng(seed)
    largest = 255 if dtype == "uint8" else 4095
    values = chest_phantom(max(128, height), seed)[:height, :width, 0] * largest + rng.normal(0, noise, (height, width))
    return np.clip(np.round(values), 0, largest).astype(dtype)


def test_many_films_at_once_give_what_one_by_one_gives(codec):
    films = [film(40 + 8 * (i % 3), 48, seed=i) for i in range(7)]
    together, names = decompress(compress(films, codec, names=[str(i) for i in range(7)]), codec, with_names=True)
    assert names == [str(i) for i in range(7)]
    for one, own in zip(films, together, strict=True):
        assert np.array_equal(decompress(compress([one], codec), codec)[0], own)


def test_work_on_several_cores_keeps_its_order_and_reads_few_items_ahead():
    drawn = []

    def items():
        for i in range(100):
            drawn.append(i)
            yield i

    squares = map_in_order(lambda i: i * i, items())
    assert [next(squares) for _ in range(3)] == [0, 1, 4]
    assert len(drawn) <= 3 + 1 + cores()
    assert list(squares) == [i * i for i in range(3, 100)]
    with pytest.raises(ZeroDivisionError):
        list(map_in_order(lambda i: 1 // i, [1, 0, 1]))


IMAGES = {
    "8 bits": film(),
    "12 bits in 16": film(dtype="uint16", noise=20),
    "odd sizes": film(61, 43),
    "smaller than one latent": film(5, 3),
    "one pixel": film(1, 1),
    "one row": film(1, 50),
    "one column": film(19, 1),
    "noise": np.random.default_rng(0).integers(0, 256, (64, 64), "uint8"),
    "16-bit noise": np.random.default_rng(0).integers(0, 65536, (40, 64), "uint16"),
    "constant": np.full((32, 40), 200, "uint8"),
    "black, 16 bits": np.zeros((32, 32), "uint16"),
    "with a sign": film(dtype="uint16", noise=20).astype("int16") - 1024,
    "all numbers with a sign": np.random.default_rng(0).integers(-(2**15), 2**15, (40, 64), "int16"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_lossless_gives_every_bit_back(codec, name):
    (back,) = decompress(compress([IMAGES[name]], codec, max_error=0), codec)
    assert back.dtype == IMAGES[name].dtype
    assert np.array_equal(back, IMAGES[name])


def test_lossless_needs_no_preset_and_is_as_small_as_the_better_of_two_formats():
    import imagecodecs

    for image in (film(256, 200), film(256, 128, dtype="uint16", noise=20), IMAGES["noise"]):
        data = compress([image], max_error=0)
        assert np.array_equal(decompress(data)[0], image)
        xl = imagecodecs.jpegxl_encode(image, lossless=True, effort=9)
        assert len(data) <= min(len(xl), len(imagecodecs.jpegls_encode(image))) + 32
    found = contents(data)
    assert (found["preset"], found["images"][0]["quality"], found["images"][0]["max_error"]) == ("", None, 0)
    assert found["images"][0]["coded"] in ("JPEG XL", "JPEG-LS")


def test_streams_that_are_no_pictures_are_refused():
    with pytest.raises(CompressedFileError, match="not readable as JPEG XL"):
        streams.decode(1, b"no picture", 0, "uint8")
    kind, data, _ = streams.encode(film(32, 32, dtype="uint16"))
    with pytest.raises(CompressedFileError, match="uint16 as JPEG XL; expected uint8"):
        streams.decode(kind, data, 0, "uint8")


@pytest.mark.parametrize("max_error", [1, 3, 10])
def test_near_lossless_keeps_its_promise_and_saves_bytes(codec, max_error):
    images = [IMAGES[n] for n in ("8 bits", "12 bits in 16", "odd sizes", "noise", "with a sign")]
    data = compress(images, codec, max_error=max_error)
    for image, back in zip(images, decompress(data, codec), strict=True):
        assert np.abs(image.astype(int) - back).max() <= max_error
    assert len(data) < len(compress(images, codec, max_error=max_error - 1))


def test_lossy_is_the_models_reconstruction_and_quality_buys_psnr(codec):
    model = medzoo.load(codec)
    image = film(64, 64, noise=0)
    sizes, errors = [], []
    for quality in (0, 33, 50, 71, 100):
        data = compress([image], model, quality)
        (back,) = decompress(data, model)
        wanted = model.reconstruct(image[None, ..., None].astype("float32") / 255, quality)[0, ..., 0]
        assert np.abs(back - wanted * 255).max() < 1.6  # whole numbers against float32, and the rounding
        sizes.append(len(data))
        errors.append(np.square(image.astype(float) - back).mean())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert compress([image], model, 50.0) == compress([image], model, 50)


def test_the_file_is_as_long_as_the_prior_says():
    model = medzoo.load("codec-chestxray")
    image = film(256, 256, noise=0)
    latents = model.encode(image[None, ..., None].astype("float32") / 255, 70)
    nats = float(model.prior.nats(latents.astype("float32"), np.array([model.quality_index(70)], "float32"))[0])
    head = 33
    assert len(compress([image], model, 70)) - head == pytest.approx(nats / np.log(2) / 8, rel=0.03)


def test_the_best_qualities_correct_their_latents_for_what_the_decoder_makes_of_them():
    model = medzoo.load("codec-chestxray")
    x = film(64, 64)[None, ..., None].astype("float32") / 255
    for quality, gain in ((50, 0.0), (100, 0.1)):
        plain = np.asarray(keras.ops.round(model.encoder(x) * model._gain(quality))).astype("int32")
        before, after = (np.square(model.decode(z, quality) - x).mean() for z in (plain, model.encode(x, quality)))
        assert 10 * np.log10(before / after) >= gain


def test_a_settled_codec_trains_its_prior_alone_on_rounded_latents(codec):
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
def test_another_process_and_backend_thread_count_decode_the_same(codec, tmp_path):
    image = film()
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


def test_damaged_files_are_refused(codec):
    data = compress([film(32, 32)], codec)
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(data)
        broken[rng.integers(len(data))] ^= 1 << rng.integers(8)
        with pytest.raises(CompressedFileError):
            decompress(bytes(broken), codec)
    for end in range(0, len(data), 7):
        with pytest.raises(CompressedFileError):
            decompress(data[:end], codec)


def test_other_weights_are_refused(codec):
    data = compress([film(32, 32)], codec)
    other = medzoo.load(codec)
    other.log_gain.assign(np.asarray(other.log_gain) + 0.01)
    with pytest.raises(CompressedFileError, match="made with weights"):
        decompress(data, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([np.zeros((4, 4))],), "float64"),
        (([np.zeros((4, 4, 3), "uint8")],), "expected uint8, uint16 or int16"),
        (([np.zeros((8, 8), "uint8")], None, 101), "quality=101"),
        (([np.zeros((8, 8), "uint8")], None, 12.5), "quality=12.5"),
        (([np.zeros((8, 8), "uint8")], None, None, -1), "max_error=-1"),
        (([np.zeros((8, 8), "uint8")], None, 2, 0), "exclude each other"),
        (([np.zeros((8, 8), "uint8")], "ae-chestxray-64"), "expected a preset of the family Codec"),
    ],
)
def test_what_cannot_be_compressed_is_refused(codec, arguments, message):
    images, model, *rest = (*arguments, codec) if len(arguments) == 1 else arguments
    with pytest.raises(ValueError, match=message):
        compress(images, model or codec, *rest)


# --- prior and whole numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(8, 8), (5, 7), (1, 1), (9, 2)])
def test_the_order_visits_every_place_once_and_knows_only_what_came_before(shape):
    known = np.zeros(shape, int)
    for _, stride, was_known, coded in order(4):
        grid = known[::stride, ::stride]
        rows, columns = np.arange(grid.shape[0])[:, None], np.arange(grid.shape[1])[None]
        assert np.array_equal(grid, was_known(rows, columns) + 0 * grid)
        grid += coded(rows, columns)
    assert (known == 1).all()


def test_the_prior_is_a_distribution():
    x = np.arange(-400, 401).astype("float32")
    for mean, scale in ((0.0, 0.1), (3.3, 1.0), (-7.2, 20.0)):
        mass = np.exp(-np.asarray(logistic_nats(x, np.float32(mean), np.float32(np.log(scale)))))
        assert mass.sum() == pytest.approx(1, abs=1e-3)
        z = np.clip((np.append(x - 0.5, 400.5) - mean) / scale, -700, 700)
        expected = np.diff(1 / (1 + np.exp(-z)))
        assert mass == pytest.approx(expected, abs=1e-4)


def test_the_prior_looks_at_nothing_that_is_coded_later():
    keras.utils.set_random_seed(0)
    prior = InterlacedEntropyModel((1, 2), qualities=1, hidden=8)
    prior.build()
    for w in prior.weights:
        w.assign(np.random.default_rng(0).normal(0, 0.3, w.shape))
    rng = np.random.default_rng(1)
    y = np.round(rng.normal(0, 3, (1, 8, 8, 3))).astype("float32")

    # Changing what is coded last (the second group between known places) changes only its own cost: the masses of all
    # values there add up to one.
    values = np.arange(-600, 601)
    changed = np.repeat(y, len(values), axis=0)
    changed[:, 3, 4, 2] = values
    nats = np.asarray(prior.nats(np.concatenate([y, changed]), np.zeros(len(values) + 1, "float32")), "float64")
    mass_of_y = 1 / np.exp(nats[0] - nats[1:]).sum()
    # And it is the one that a decoder computes from what it knows.
    rows, columns = np.arange(8)[:, None], np.arange(8)[None]
    known = ((rows + columns) % 2 == 0).astype("float32")[None, ..., None]
    context = np.concatenate([y[..., :1], y[..., 1:] * known, known], axis=-1)
    mean, log_scale = prior.parameters(1, context, 3, np.array([0], "float32"))
    own = np.asarray(logistic_nats(y[..., 1:], mean, log_scale))[0, 3, 4, 1]
    assert np.exp(-own) == pytest.approx(mass_of_y, rel=1e-3)


def test_tables_are_the_logistic_distribution():
    tables = exact.distributions() / 2.0**exact.TOTAL_BITS
    scales = np.exp(np.linspace(*np.log(SCALES), exact.STEPS))
    x = np.arange(-exact.REACH, exact.REACH + 1)
    for step in (0, 20, 63):
        for fraction in (0, 3):
            z = (np.append(x - 0.5, exact.REACH + 0.5) - fraction / exact.FRACTIONS) / scales[step]
            expected = np.diff(1 / (1 + np.exp(-np.clip(z, -700, 700))))
            assert tables[step, fraction, :-1] == pytest.approx(expected, abs=2e-6)
    assert tables.sum(axis=-1) == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("quality", [0, 47, 60, 100])
def test_whole_numbers_follow_the_float_model(codec, quality):
    model = medzoo.load(codec)
    for weights in (model.prior.at_quality, [model.log_gain]):
        for w in weights:  # a small codec's qualities differ by little else
            w.assign(np.asarray(w) + np.random.default_rng(0).normal(0, 0.1, w.shape))
    whole = exact.IntegerCodec(model)
    x = film(64, 48, noise=0)[None, ..., None].astype("float32") / 255
    latents = model.encode(x, quality)
    wanted = 255 * model.decode(latents, quality)[0, ..., 0]
    assert np.abs(whole.picture(latents[0].astype(float), quality) - wanted).max() < 1.2
    context = np.concatenate([latents[0][..., :3], np.ones_like(latents[0][..., :1])], axis=-1).astype("float32")
    place = np.array([model.quality_index(quality)], "float32")
    mean, log_scale = (np.asarray(p)[0] for p in model.prior.parameters(1, context[None], 3, place))
    places = np.nonzero(np.ones(context.shape[:2]))
    found_mean, step = (v.reshape(mean.shape) for v in whole.parameters(1, context.astype(float), places, 3, quality))
    assert found_mean / exact.FRACTIONS == pytest.approx(mean, abs=0.08)
    scales = np.linspace(*np.log(SCALES), exact.STEPS)
    assert scales[step] == pytest.approx(np.clip(log_scale, *np.log(SCALES)), abs=0.06)


# --- command line ---------------------------------------------------------------------------------------------------


def test_commands_write_and_read_files(codec, tmp_path):
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


def test_names_in_a_file_do_not_lead_out_of_the_folder(codec, tmp_path):
    data = compress([film(16, 16)], codec, names=["../../evil.png"])
    (tmp_path / "x.mzc").write_bytes(data)
    arguments = ["decompress", tmp_path / "x.mzc", "-o", tmp_path / "a" / "b", "--model", codec]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    assert [p.name for p in tmp_path.rglob("*.png")] == ["evil.png"]
    assert (tmp_path / "a" / "b" / "evil.png").is_file()


def test_grey_in_three_channels_is_taken_and_all_that_cannot_be_is_named_at_once(codec, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    grey = IMAGES["odd sizes"]
    Image.fromarray(np.repeat(grey[..., None], 3, axis=-1)).save(folder / "grey.png")
    Image.fromarray(np.dstack([grey, grey, 255 - grey])).save(folder / "colour.png")
    (folder / "broken.png").write_text("no picture")
    arguments = ["compress", folder, "-o", tmp_path / "x.mzc", "--model", codec, "--lossless"]
    refused = CliRunner().invoke(main, [str(a) for a in arguments])
    assert refused.exit_code == 1
    assert "2 of 3 images cannot be used" in refused.output
    assert "colour.png: mode RGB, in colour" in refused.output
    assert not (tmp_path / "x.mzc").exists()
    result = CliRunner().invoke(main, [*map(str, arguments), "--skip-invalid"])
    assert result.exit_code == 0, result.output
    assert "broken.png" in (tmp_path / "x.mzc-skipped.txt").read_text()
    (back,) = decompress((tmp_path / "x.mzc").read_bytes(), codec)
    assert np.array_equal(back, grey)


def test_a_file_for_each_image_and_what_is_in_them(codec, tmp_path):
    import json

    for where in ("a", "b"):
        (tmp_path / where).mkdir()
        Image.fromarray(IMAGES["odd sizes"]).save(tmp_path / where / "film.png")
    arguments = ["compress", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "out", "--model", codec, "--one-file-per-image"]
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    files = sorted((tmp_path / "out").iterdir())
    assert [f.name for f in files] == ["00000-film.mzc", "00001-film.mzc"]
    found = json.loads(CliRunner().invoke(main, ["info", str(files[0])]).stdout)
    assert (found["preset"], found["bytes"]) == ("small", files[0].stat().st_size)
    (image,) = found["images"]
    assert (image["name"], image["height"], image["width"], image["type"]) == ("film.png", 61, 43, "uint8")
    assert (image["quality"], image["max_error"]) == (medzoo.load(codec).quality, None)
    files[1].write_bytes(files[1].read_bytes()[:-3])
    damaged = CliRunner().invoke(main, ["info", str(files[1])])
    assert damaged.exit_code == 1
    assert "00001-film.mzc: the checksum" in damaged.output


# --- DICOM ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [["--lossless"], ["--max-error", "3"], []])
def test_technical_tags_come_back_in_a_dicom_file_without_a_patient(codec, tmp_path, how):
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
    (made,) = (tmp_path / "out").iterdir()
    back = pydicom.dcmread(made)
    assert back.SOPClassUID.name == "Secondary Capture Image Storage"
    assert (back.Modality, back.RescaleIntercept) == ("MR", -5)
    assert back.PixelSpacing == source.PixelSpacing
    assert back.SOPInstanceUID != source.SOPInstanceUID
    assert b"Jane" not in made.read_bytes() + (tmp_path / "x.mzc").read_bytes()
    off = np.abs(back.pixel_array.astype(int) - values).max()
    assert off <= (0 if "--lossless" in how else 3 if how else 4096)
    assert (back.get("LossyImageCompression") == "01") == ("--lossless" not in how)
    assert medzoo.read_image(made, window=(600, 1600)).shape == (64, 64, 1)


@pytest.mark.parametrize("tags", [["--keep-tags"], []])
def test_ct_with_negative_values_comes_back_as_dicom(tmp_path, tags):
    import pydicom
    from pydicom.data import get_testdata_file

    source = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    assert source.pixel_array.dtype == "int16"
    source.save_as(tmp_path / "ct.dcm")
    for command in (["compress", "ct.dcm", "-o", "x.mzc", "--lossless", *tags], ["decompress", "x.mzc", "-o", "out"]):
        words = [str(tmp_path / w) if w in ("ct.dcm", "x.mzc", "out") else w for w in command]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
    (made,) = (tmp_path / "out").iterdir()
    back = pydicom.dcmread(made)
    assert np.array_equal(back.pixel_array, source.pixel_array)
    if tags:
        assert np.array_equal(read_values(made), read_values(tmp_path / "ct.dcm"))  # Hounsfield units


def test_an_image_of_an_unknown_type_is_refused():
    data = bytearray(compress([film(16, 16)], max_error=0))
    at = data.index(bytes([16, 16, 8])) + 2
    data[at] = 9
    data[-4:] = zlib.crc32(data[:-4]).to_bytes(4, "little")
    with pytest.raises(CompressedFileError, match="an image of 9 bits"):
        decompress(bytes(data))


def test_tags_that_are_no_tags_are_refused(tmp_path):
    from medzoo.io.dicom_secondary_capture import write_secondary

    with pytest.raises(ValueError, match="RGB, 16 bits for uint16"):
        write_secondary(tmp_path / "a.dcm", film(dtype="uint16"), {"PhotometricInterpretation": "RGB"})
    with pytest.raises(ValueError, match="tags that DICOM does not allow"):
        write_secondary(tmp_path / "a.dcm", film(), {"BitsStored": "eight"})
    assert not (tmp_path / "a.dcm").exists()
    data = compress([film(16, 16)], max_error=0, tags=[{"Modality": "DX"}])
    assert contents(data)["images"][0]["tags"] == {"Modality": "DX"}
