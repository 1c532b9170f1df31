"""Encoding of a folder gives the latents of the model, resumes after an interruption, and loses no file."""

import hashlib
import shutil

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from PIL import Image
from pydicom.data import get_testdata_file

import medzoo
from medzoo.data.datasets import from_latents, load_latents
from medzoo.data.phantom import chest_phantom
from medzoo.tasks import encode
from medzoo.tasks.encode import encode_folder

parquet = pytest.importorskip("pyarrow.parquet")
NAME = "vae-chestxray-64"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Ten PNG images, a DICOM file without a suffix, one with two frames, a damaged PNG and a text file."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "b").mkdir()
    for i in range(10):
        image = Image.fromarray((chest_phantom(64 + i, i)[..., 0] * 255).astype("uint8"))
        image.save(folder / ("b" if i % 2 else ".") / f"{i}.png")
    shutil.copy(get_testdata_file("CT_small.dcm"), folder / "IM0001")
    shutil.copy(get_testdata_file("SC_rgb_rle_2frame.dcm"), folder / "b" / "two.dcm")
    (folder / "invalid.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image")
    return folder


def rows(out):
    return [row for file in sorted(out.glob("part-*")) for row in parquet.read_table(file).to_pylist()]


def test_latents_equal_those_of_the_model_and_no_file_is_lost(source, tmp_path):
    done = list(encode_folder(NAME, source, tmp_path / "out", shard_size=5))
    assert [sum(counts) for counts in zip(*done, strict=True)] == [13, 1]
    found = rows(tmp_path / "out")
    assert [row["path"] for row in found if row["error"]] == ["invalid.png"]
    assert "invalid.png: not readable" in next(row["error"] for row in found if row["error"])
    assert [row["frame"] for row in found if row["path"] == "b/two.dcm"] == [0, 1]
    files = {p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()}
    assert {row["path"] for row in found} == files - {"notes.txt"}
    model = medzoo.load(NAME)
    paths, latents = load_latents(tmp_path / "out")
    assert latents.shape == (13, *model.latent_shape())
    for path, latent in zip(paths, latents, strict=True):
        if path != "b/two.dcm":
            assert latent == pytest.approx(model.encode(model.preprocess(source / path))[0], abs=1e-4)
    for row in found:
        assert row["sha256"] == hashlib.sha256((source / row["path"]).read_bytes()).hexdigest()
    name = str(pydicom.dcmread(source / "IM0001").PatientName)
    assert not any(name.encode() in file.read_bytes() for file in (tmp_path / "out").iterdir())


def test_latents_of_a_vae_are_resampled_from_the_posterior_each_epoch(source, tmp_path):
    list(encode_folder(NAME, source, tmp_path / "out", shard_size=8))
    paths, means = load_latents(tmp_path / "out")
    model, index = medzoo.load(NAME), paths.index("b/3.png")
    own = {"shuffle": False, "batch_size": 4, "seed": 1}
    data = from_latents(tmp_path / "out", labels=lambda path: int(path.startswith("b/")), **own)
    epochs = [np.concatenate([z.numpy() for z, _ in data]) for _ in range(200)]
    assert not np.array_equal(epochs[0], epochs[1])
    assert np.array_equal(epochs[0], np.concatenate([z.numpy() for z, _ in from_latents(tmp_path / "out", len, **own)]))
    _, log_variance = model.posteriors(model.preprocess(source / paths[index])[None][0])
    std = np.std([epoch[index] for epoch in epochs], axis=0)
    assert std == pytest.approx(np.exp(log_variance[0] / 2), rel=0.25)
    assert np.concatenate([y.numpy() for _, y in data]).tolist() == [int(path.startswith("b/")) for path in paths]
    fixed = from_latents(tmp_path / "out", sample=False, **own)
    assert np.array_equal(np.concatenate([z.numpy() for z in fixed]), means)
    shuffled = from_latents(tmp_path / "out", sample=False, batch_size=13)
    assert not np.array_equal(next(iter(shuffled)).numpy(), means)


def test_codes_are_stored_as_integers(source, tmp_path):
    list(encode_folder("vqvae-chestxray-64", source, tmp_path / "out"))
    _, codes = load_latents(tmp_path / "out")
    assert codes.dtype == np.int32
    assert codes.shape == (13, 16, 16)


def test_the_same_call_resumes_and_other_settings_raise(source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    steps = encode_folder(NAME, source, out, shard_size=5)
    next(steps)
    steps.close()
    first = (out / "part-00000.parquet").stat().st_mtime_ns
    (out / ".part-00001.part.parquet").write_bytes(b"incomplete")
    assert len(list(encode_folder(NAME, source, out, shard_size=5))) == 2
    assert (out / "part-00000.parquet").stat().st_mtime_ns == first
    assert len(rows(out)) == 14
    assert list(encode_folder(NAME, source, out, shard_size=5)) == []
    with pytest.raises(ValueError, match=r"\{'shard': 5\}.*\{'shard': 6\}"):
        list(encode_folder(NAME, source, out, shard_size=6))
    with pytest.raises(ValueError, match=r"'model'.*'weights'"):
        list(encode_folder("ae-chestxray-64", source, out, shard_size=5))
    with pytest.raises(ValueError, match="Expected 'processes' or 'ray'"):
        list(encode_folder(NAME, source, tmp_path / "other", engine="spark"))
    with pytest.raises(FileNotFoundError, match="no images"):
        list(encode_folder(NAME, out, tmp_path / "none"))


@pytest.mark.slow
def test_several_workers_write_equal_latents(source, tmp_path):
    from medzoo.cli import main

    for workers in (1, 2):
        options = ["-o", str(tmp_path / str(workers)), "--shard-size", "5", "--num-workers", str(workers)]
        result = CliRunner().invoke(main, ["encode", NAME, str(source), *options])
        assert result.exit_code == 0, result.output
        assert "13 images" in result.output
    one, two = (load_latents(tmp_path / str(n)) for n in (1, 2))
    assert one[0] == two[0]
    assert one[1] == pytest.approx(two[1], abs=1e-5)


@pytest.mark.slow
def test_ray_writes_equal_latents(source, tmp_path):
    ray = pytest.importorskip("ray")
    list(encode_folder(NAME, source, tmp_path / "one", shard_size=5))
    try:
        done = list(encode_folder(NAME, source, tmp_path / "ray", shard_size=5, engine="ray", num_workers=2))
    finally:
        ray.shutdown()
    assert [sum(counts) for counts in zip(*done, strict=True)] == [13, 1]
    one, two = (load_latents(tmp_path / n) for n in ("one", "ray"))
    assert one[0] == two[0]
    assert one[1] == pytest.approx(two[1], abs=1e-5)
    assert encode.SETTINGS in {p.name for p in (tmp_path / "ray").iterdir()}
