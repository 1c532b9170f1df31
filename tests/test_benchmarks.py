"""The benchmarks run, and their figures are what they say."""

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


NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "common")


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_says_how_it_is_run(name):
    result = CliRunner().invoke(module(name).main, ["--help"])
    assert result.exit_code == 0, result.output
    assert f"python benchmarks/{name}.py" in " ".join(result.output.split())


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.json")), ids=lambda p: p.stem)
def test_every_result_has_its_page_and_figure(path):
    assert json.loads(path.read_text())["command"] in path.with_suffix(".md").read_text(encoding="utf-8")
    assert Image.open(path.with_suffix(".png")).size[0] > 400


def test_remedies_against_imbalance_make_the_classes_count_alike():
    classify = module("class_imbalance")
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


def test_bjontegaards_difference_is_how_many_bits_are_saved(benchmark):
    quality = np.linspace(28, 46, 7)
    ours = np.stack([np.exp(0.2 * quality - 9), quality, 1 - 10 ** (-quality / 20)], axis=1)[:, None].repeat(3, axis=1)
    other = ours.copy()
    other[..., 0] *= 1.25
    for column in (1, 2):
        assert benchmark.bjontegaard(ours, other, column) == pytest.approx(np.full(3, -0.2), abs=1e-3)
    far = other.copy()
    far[..., 1] += 30
    assert np.isnan(benchmark.bjontegaard(ours, far, 1)).all()


def test_a_format_is_measured_by_whole_files(benchmark):
    films = np.stack([chest_phantom(176, seed)[..., 0] for seed in range(2)])
    films = np.round(255 * films).astype("uint8")
    encode, decode = benchmark.pillow("PNG", [{}])[0]
    found = benchmark.measured(films, encode, decode)
    buffer = io.BytesIO()
    Image.fromarray(films[0]).save(buffer, format="PNG")
    assert found["films"][0, 0] == pytest.approx(8 * len(buffer.getvalue()) / films[0].size)
    assert found["films"][:, 1] == pytest.approx(100)
    assert (found["pace"] > 0).all()


def test_tables_by_task_and_cost_say_what_the_pages_measured():
    choosing = module("update_tables")
    for page in (choosing.PAGE, choosing.README):
        assert choosing.written(page) == page.read_text(encoding="utf-8")
