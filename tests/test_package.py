"""Generated files are up to date, documentation runs, and the installed package is complete."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from converter_cases import write
from PIL import Image

import medzoo
from medzoo.data.phantom import chest_phantom
from medzoo.evaluation import publish
from medzoo.evaluation.model_card import render_card
from medzoo.zoo.manifest import BUNDLED, manifest, manifest_path

ROOT = Path(__file__).parents[1]


def test_manifest_cards_and_table_are_up_to_date():
    assert publish.build_manifest()["presets"] == manifest()
    for name in manifest():
        assert (BUNDLED / name / "README.md").read_text(encoding="utf-8") == render_card(BUNDLED / name)
        assert (BUNDLED / name / "samples.png").is_file()
    page = (ROOT / "docs" / "pretrained-models.md").read_text(encoding="utf-8")
    assert publish.replace_between_marks(page, publish.MARK, publish.models_table(manifest())) == page
    assert all(f"[`{name}`]" in page for name in manifest())


def test_the_manifest_is_at_the_top_of_the_repository():
    assert manifest_path() == ROOT / "weights_manifest.json"


def blocks_of(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=[] if p == "README.md" else pytest.mark.slow) for p in PAGES if blocks_of(p)],
)
def test_python_code_in_the_documentation_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, count in (("images", 4), ("archive", 8), ("normal", 40)):
        (tmp_path / folder).mkdir()
        for seed in range(count):
            image = Image.fromarray((chest_phantom(80, seed)[..., 0] * 255).astype("uint8"))
            image.save(f"{folder}/{seed:02d}.png")
    Image.open("images/00.png").save("image.png")
    for name, own in (("medvae_4_1_2d", "MedVAE"), ("diffusers_flux", "FLUX/vae"), ("monai_axial_2d", "bundle")):
        write(name, tmp_path / own)  # random weights in the layouts of other libraries
    overview = "docs/tasks/index.md"  # defines names that the pages of tasks use
    blocks = (blocks_of(overview) if page.startswith("docs/tasks/") and page != overview else []) + blocks_of(page)
    scope = {}
    for block in blocks:
        exec(compile(block, page, "exec"), scope)


@pytest.mark.slow
def test_installed_wheel_loads_every_preset_outside_the_checkout(tmp_path):
    # Built from the source distribution, to check it too and to exclude files of an earlier build.
    subprocess.run([sys.executable, "-m", "build", "--outdir", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("medzoo-*.whl")
    # A new environment with the wheel only, and access to the dependencies of this one.
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", wheel], check=True, capture_output=True)
    (site,) = (tmp_path / "env").rglob("site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(ours))
    code = (
        "import medzoo, pathlib; m = medzoo.load('vae-chestxray-64'); print(pathlib.Path(medzoo.__file__).parents[0]);"
        "print(m.sample(2, seed=0).shape); print([medzoo.load(n).name for n in medzoo.list_models()])"
    )
    result = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    where, shape, names = result.stdout.split("\n")[:3]
    assert Path(where).is_relative_to(site)
    assert shape == "(2, 64, 64, 1)"
    assert names == str(medzoo.list_models())
    assert (site / "medzoo" / "zoo" / "weights_manifest.json").is_file()


ALL = ("vae-chestxray-64", "vqvae-chestxray-64", "ae-chestxray-64", "codec-chestxray", "mae-chestxray")


@pytest.mark.slow
@pytest.mark.backends
@pytest.mark.parametrize(  # JAX compiles slowly
    ("backend", "names"),
    [("jax", ALL[:1]), ("jax", ALL), ("torch", ALL[:2]), ("torch", ALL)],
    ids=["jax-some", "jax-whole", "torch-some", "torch-whole"],
)
def test_other_backends_train_and_reconstruct_equally(backend, names, tmp_path):
    pytest.importorskip(backend)
    x = np.load(save_phantoms(tmp_path))
    result = subprocess.run(
        [sys.executable, Path(__file__).parent / "other_backend.py", tmp_path, *names],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    other = np.load(tmp_path / "other.npz")
    for name in names:
        assert other[name] == pytest.approx(medzoo.load(name).reconstruct(x), abs=1e-4), name


@pytest.mark.slow
@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_contract_holds_on_other_backends(backend):
    pytest.importorskip(backend)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", Path(__file__).with_name("test_contract.py")]
    own = {"KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
    result = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:]


def save_phantoms(folder):
    np.save(folder / "phantoms.npy", np.stack([chest_phantom(64, seed) for seed in range(16)]))
    return folder / "phantoms.npy"
