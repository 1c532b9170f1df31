"""Benchmarks have a command, a page and a figure, and compute what their pages state."""

import importlib.util
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from medzoo.data.phantom import chest_phantom

ROOT = Path(__file__).parents[1]


def module(name):
    """Import a benchmark as it would be run."""
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


NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "common")


@pytest.mark.parametrize("name", NAMES)
def test_help_of_every_benchmark_contains_its_command(name):
    result = CliRunner().invoke(module(name).main, ["--help"])
    assert result.exit_code == 0, result.output
    assert f"python benchmarks/{name}.py" in " ".join(result.output.split())


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.json")), ids=lambda p: p.stem)
def test_every_result_has_a_page_and_a_figure(path):
    assert json.loads(path.read_text())["command"] in path.with_suffix(".md").read_text(encoding="utf-8")
    assert Image.open(path.with_suffix(".png")).size[0] > 400


def test_class_imbalance_strategies_balance_the_classes():
    class_imbalance = module("class_imbalance")
    images = np.stack([chest_phantom(64, seed) for seed in range(40)])
    labels = (np.arange(40) >= 8).astype(int)
    for strategy in ("balanced sampling", "generated images"):
        balanced, balanced_labels, _ = class_imbalance.rebalance(strategy, images, labels)
        assert np.bincount(balanced_labels).tolist() == [32, 32]
        assert balanced.shape == (64, 64, 64, 1)
        assert balanced.min() >= 0
        assert balanced.max() <= 1
    generated = class_imbalance.rebalance("generated images", images, labels)[0][40:]
    assert not any((new == image).all() for new in generated for image in images[:8])


def test_bjontegaard_difference_is_the_relative_difference_of_bits(benchmark):
    quality = np.linspace(28, 46, 7)
    ours = np.stack([np.exp(0.2 * quality - 9), quality, 1 - 10 ** (-quality / 20)], axis=1)[:, None].repeat(3, axis=1)
    other = ours.copy()
    other[..., 0] *= 1.25
    for column in (1, 2):
        assert benchmark.bjontegaard(ours, other, column) == pytest.approx(np.full(3, -0.2), abs=1e-3)
    far = other.copy()
    far[..., 1] += 30
    assert np.isnan(benchmark.bjontegaard(ours, far, 1)).all()


def test_rates_of_a_format_are_those_of_complete_files(benchmark):
    images = np.stack([chest_phantom(176, seed)[..., 0] for seed in range(2)])
    images = np.round(255 * images).astype("uint8")
    encode, decode = benchmark.pillow("PNG", [{}])[0]
    found = benchmark.evaluate(images, encode, decode)
    buffer = io.BytesIO()
    Image.fromarray(images[0]).save(buffer, format="PNG")
    assert found["images"][0, 0] == pytest.approx(8 * len(buffer.getvalue()) / images[0].size)
    assert found["images"][:, 1] == pytest.approx(100)
    assert (found["throughput"] > 0).all()


def test_tables_of_presets_equal_the_results_of_the_benchmarks():
    update_tables = module("update_tables")
    for page in (update_tables.PAGE, update_tables.README):
        assert update_tables.updated(page) == page.read_text(encoding="utf-8")
