"""The benchmarks run, and their figures are what they say."""

import importlib.util
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import write_archive
from PIL import Image, features

ROOT = Path(__file__).parents[1]


def module(name):
    """A benchmark, imported as it would be run."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
    finally:
        sys.path.pop(0)
    return loaded


@pytest.fixture(scope="module")
def benchmark():
    return module("rate_distortion")


NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "results")


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_says_how_it_is_run(name):
    result = CliRunner().invoke(module(name).main, ["--help"])
    assert result.exit_code == 0, result.output
    assert f"python benchmarks/{name}.py --" in " ".join(result.output.split())


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.json")), ids=lambda p: p.stem)
def test_every_result_has_its_page_and_figure(path):
    assert json.loads(path.read_text())["command"] in path.with_suffix(".md").read_text(encoding="utf-8")
    assert Image.open(path.with_suffix(".png")).size[0] > 400


def test_remedies_against_imbalance_make_the_classes_count_alike():
    classify = module("classify")
    from medzoo.images.phantom import chest_phantom

    films = np.stack([chest_phantom(64, seed) for seed in range(40)])
    labels = (np.arange(40) >= 8).astype(int)
    for remedy in ("balanced sampling", "generated images"):
        images, more, _ = classify.balanced_by(remedy, films, labels)
        assert np.bincount(more).tolist() == [32, 32]
        assert images.shape == (64, 64, 64, 1)
        assert images.min() >= 0
        assert images.max() <= 1
    generated = classify.balanced_by("generated images", films, labels)[0][40:]
    assert not any((image == film).all() for image in generated for film in films[:8])


def test_code_length_is_the_cross_entropy(benchmark):
    train = np.repeat([5, 6, 7], [200_000, 100_000, 100_000])
    assert benchmark.code_length(train, train, 5, 3) / train.size == pytest.approx(1.5, abs=1e-3)
    assert benchmark.code_length(train, np.array([7]), 5, 3) == pytest.approx(2, abs=1e-3)


def test_rate_distortion_writes_a_table_and_a_figure(benchmark, tmp_path, monkeypatch):
    if not features.check("avif"):
        monkeypatch.delitem(benchmark.CODECS, "AVIF")
    data = write_archive(tmp_path / "films.npz", size=64, counts=(24, 4, 4))
    arguments = ["--data", str(data), "--models", "vqvae-chestxray-64", "--out", str(tmp_path / "rd")]
    result = CliRunner().invoke(benchmark.main, arguments)
    assert result.exit_code == 0, result.output
    points = json.loads((tmp_path / "rd.json").read_text())["points"]
    for curve in ("JPEG", "JPEG 2000", "WebP", "PCA, 8×8 patches, 4"):
        own = sorted((p["bits_per_pixel"], p["psnr"]) for p in points if p["curve"] == curve)
        assert [psnr for _, psnr in own] == sorted(psnr for _, psnr in own), curve  # more bits, better pictures
    films = np.load(data)["test_images"]
    total = 0
    for film in films:
        buffer = io.BytesIO()
        Image.fromarray(film).save(buffer, format="JPEG", quality=60, optimize=True)
        total += 8 * len(buffer.getvalue())
    jpeg = next(p for p in points if p["curve"] == "JPEG" and p["setting"] == "60")
    assert jpeg["bits_per_pixel"] == pytest.approx(total / films.size, abs=1e-3)
    assert Image.open(tmp_path / "rd.png").size[0] > 500
    assert "| JPEG |" in (tmp_path / "rd.md").read_text()
