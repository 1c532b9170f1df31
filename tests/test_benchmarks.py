"""The benchmarks run, and their figures are what they say."""

import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import write_archive
from PIL import Image, features

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("rate_distortion", ROOT / "benchmarks" / "rate_distortion.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_code_length_is_the_cross_entropy(benchmark):
    train = np.repeat([5, 6, 7], [200_000, 100_000, 100_000])
    assert benchmark.code_length(train, train, 5, 3) / train.size == pytest.approx(1.5, abs=1e-3)
    assert benchmark.code_length(train, np.array([7]), 5, 3) == pytest.approx(2, abs=1e-3)


def test_rate_distortion_writes_a_table_and_a_figure(benchmark, tmp_path, monkeypatch):
    if not features.check("avif"):
        monkeypatch.delitem(benchmark.CODECS, "AVIF")
    data = write_archive(tmp_path / "films.npz", size=64, counts=(24, 4, 4))
    arguments = ["--data", str(data), "--models", "vqvae-chestxray", "--out", str(tmp_path / "rd")]
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
