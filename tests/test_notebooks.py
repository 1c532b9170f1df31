"""The notebooks open in Colab, run from top to bottom and contain their outputs."""

import configparser
import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_links_to_this_repository_and_was_executed(path):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    address = setup["metadata"]["url"]
    notebook = json.loads(path.read_text(encoding="utf-8"))
    first, install = ("".join(cell["source"]) for cell in notebook["cells"][:2])
    repository = address.removeprefix("https://github.com/")
    assert f"https://colab.research.google.com/github/{repository}/blob/main/notebooks/{path.name}" in first
    assert f"git+{address}" in install
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and cell["source"]]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "python notebooks/run.py"
    assert not any(output["output_type"] == "error" for cell in code for output in cell["outputs"])
    assert path.stat().st_size < 200_000


def test_every_notebook_is_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in NOTEBOOKS if f"notebooks/{path.name}" not in readme] == []
    assert len(NOTEBOOKS) >= 7


@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs_from_top_to_bottom(path):
    pytest.importorskip("nbclient")
    spec = importlib.util.spec_from_file_location("run", ROOT / "notebooks" / "run.py")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    executed = run.execute(path)
    with_output = [cell for cell in executed.cells if cell.cell_type == "code" and cell.outputs]
    assert len(with_output) >= 2
