"""Bulk encoding gives what the model gives, goes on after a cut, and loses no file."""

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
def archive(tmp_path_factory):
    """Ten films, a DICOM file without a suffix, one with two frames, a broken one, and a text."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "b").mkdir()
    for i in range(10):
        film = Image.fromarray((chest_phantom(64 + i, i)[..., 0] * 255).astype("uint8"))
        film.save(folder / ("b" if i % 2 else ".") / f"{i}.png")
    shutil.copy(get_testdata_file("CT_small.dcm"), folder / "IM0001")
    shutil.copy(get_testdata_file("SC_rgb_rle_2frame.dcm"), folder / "b" / "two.dcm")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no image")
    return folder


def rows(out):
    return [row for file in sorted(out.glob("part-*")) for row in parquet.read_table(file).to_pylist()]


def test_latents_are_those_of_the_model_and_no_file_is_lost(archive, tmp_path):
    done = list(encode_folder(NAME, archive, tmp_path / "out", shard=5))
    assert [sum(counts) for counts in zip(*done, strict=True)] == [13, 1]
    found = rows(tmp_path / "out")
    assert [row["path"] for row in found if row["error"]] == ["broken.png"]
    assert "broken.png: not readable" in next(row["error"] for row in found if row["error"])
    assert [row["frame"] for row in found if row["path"] == "b/two.dcm"] == [0, 1]
    files = {p.relative_to(archive).as_posix() for p in archive.rglob("*") if p.is_file()}
    assert {row["path"] for row in found} == files - {"notes.txt"}
    model = medzoo.load(NAME)
    paths, latents = load_latents(tmp_path / "out")
    assert latents.shape == (13, *model.latent_shape())
    for path, latent in zip(paths, latents, strict=True):
        if path != "b/two.dcm":
            assert latent == pytest.approx(model.encode(model.preprocess(archive / path))[0], abs=1e-4)
    for row in found:
        assert row["sha256"] == hashlib.sha256((archive / row["path"]).read_bytes()).hexdigest()
    name = str(pydicom.dcmread(archive / "IM0001").PatientName)
    assert not any(name.encode() in file.read_bytes() for file in (tmp_path / "out").iterdir())


def test_latents_of_a_vae_are_drawn_anew_each_epoch(archive, tmp_path):
    list(encode_folder(NAME, archive, tmp_path / "out", shard=8))
    paths, means = load_latents(tmp_path / "out")
    model, film = medzoo.load(NAME), paths.index("b/3.png")
    own = {"shuffle": False, "batch_size": 4, "seed": 1}
    data = from_latents(tmp_path / "out", labels=lambda path: int(path.startswith("b/")), **own)
    epochs = [np.concatenate([z.numpy() for z, _ in data]) for _ in range(200)]
    assert not np.array_equal(epochs[0], epochs[1])
    assert np.array_equal(epochs[0], np.concatenate([z.numpy() for z, _ in from_latents(tmp_path / "out", len, **own)]))
    _, log_variance = model.posteriors(model.preprocess(archive / paths[film])[None][0])
    spread = np.std([epoch[film] for epoch in epochs], axis=0)
    assert spread == pytest.approx(np.exp(log_variance[0] / 2), rel=0.25)
    assert np.concatenate([y.numpy() for _, y in data]).tolist() == [int(path.startswith("b/")) for path in paths]
    still = from_latents(tmp_path / "out", sample=False, **own)
    assert np.array_equal(np.concatenate([z.numpy() for z in still]), means)
    shuffled = from_latents(tmp_path / "out", sample=False, batch_size=13)
    assert not np.array_equal(next(iter(shuffled)).numpy(), means)


def test_codes_stay_integers(archive, tmp_path):
    list(encode_folder("vqvae-chestxray-64", archive, tmp_path / "out"))
    _, codes = load_latents(tmp_path / "out")
    assert codes.dtype == np.int32
    assert codes.shape == (13, 16, 16)


def test_the_same_call_goes_on_and_another_is_refused(archive, tmp_path, monkeypatch):
    out = tmp_path / "out"
    steps = encode_folder(NAME, archive, out, shard=5)
    next(steps)
    steps.close()
    first = (out / "part-00000.parquet").stat().st_mtime_ns
    (out / ".part-00001.part.parquet").write_bytes(b"torn")
    assert len(list(encode_folder(NAME, archive, out, shard=5))) == 2
    assert (out / "part-00000.parquet").stat().st_mtime_ns == first
    assert len(rows(out)) == 14
    assert list(encode_folder(NAME, archive, out, shard=5)) == []
    with pytest.raises(ValueError, match=r"other settings, \{'shard': 5\}; asked for \{'shard': 6\}"):
        list(encode_folder(NAME, archive, out, shard=6))
    with pytest.raises(ValueError, match=r"other settings, .'model'.*'weights'"):
        list(encode_folder("ae-chestxray-64", archive, out, shard=5))
    with pytest.raises(ValueError, match="expected 'processes' or 'ray'"):
        list(encode_folder(NAME, archive, tmp_path / "other", engine="spark"))
    with pytest.raises(FileNotFoundError, match="no images"):
        list(encode_folder(NAME, out, tmp_path / "none"))


@pytest.mark.slow
def test_several_processes_write_the_same(archive, tmp_path):
    from medzoo.cli import main

    for processes in (1, 2):
        options = ["-o", str(tmp_path / str(processes)), "--shard", "5", "--processes", str(processes)]
        result = CliRunner().invoke(main, ["encode", NAME, str(archive), *options])
        assert result.exit_code == 0, result.output
        assert "13 images encoded, 1 files could not be read" in result.output
    one, two = (load_latents(tmp_path / str(n)) for n in (1, 2))
    assert one[0] == two[0]
    assert one[1] == pytest.approx(two[1], abs=1e-5)


@pytest.mark.slow
def test_ray_writes_the_same(archive, tmp_path):
    ray = pytest.importorskip("ray")
    list(encode_folder(NAME, archive, tmp_path / "one", shard=5))
    try:
        done = list(encode_folder(NAME, archive, tmp_path / "ray", shard=5, engine="ray", processes=2))
    finally:
        ray.shutdown()
    assert [sum(counts) for counts in zip(*done, strict=True)] == [13, 1]
    one, two = (load_latents(tmp_path / n) for n in ("one", "ray"))
    assert one[0] == two[0]
    assert one[1] == pytest.approx(two[1], abs=1e-5)
    assert encode.SETTINGS in {p.name for p in (tmp_path / "ray").iterdir()}
