"""Run notebooks from top to bottom, each in an empty folder, and store their outputs.

python notebooks/run.py                     # all notebooks
python notebooks/run.py notebooks/05-image-compression.ipynb
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def execute(path: str | Path, timeout: int = 1800) -> nbformat.NotebookNode:
    """Return a notebook with its outputs, without what libraries print to stderr.

    Args:
        path: Path of the notebook.
        timeout: int. Maximum run time of a cell in seconds.

    Returns:
        The executed notebook.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # time stamps
        if cell.cell_type == "code":
            cell.outputs = _joined(o for o in cell.outputs if o.get("name") != "stderr")
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def _joined(outputs):
    """Join consecutive text outputs."""
    result = []
    for output in outputs:
        if result and output.output_type == result[-1].output_type == "stream":
            result[-1].text += output.text
        else:
            result.append(output)
    return result


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:] or sorted(FOLDER.glob("*.ipynb"))):
        nbformat.write(execute(path), path)
        print(path, f"{path.stat().st_size / 1024:.0f} KiB")
