import json
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import write_npz
from PIL import Image

from medzoo.cli import main
from medzoo.data.phantom import chest_phantom

# Packages that list, info, verify and --help do without: each takes from 0.3 to several seconds to import.
HEAVY = ("keras", "tensorflow", "jax", "torch", "sklearn", "matplotlib", "scipy", "pydicom", "nibabel", "numpy", "PIL")


def run(*args, ok=True):
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert (result.exit_code == 0) == ok, result.output
    return result.output


def documented_commands():
    root = Path(__file__).parents[1]
    for path in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        fenced = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        lines = [line for block in fenced for line in re.findall(r"^medzoo .+$", block, flags=re.MULTILINE)]
        lines += re.findall(r"^ {4,}(medzoo [a-z].+)$", text, flags=re.MULTILINE)
        for line in lines + re.findall(r"`(medzoo [a-z][^`\n]*)`", text):
            yield path.name, line.partition("  #")[0].split()


def first_sentence(command):
    return " ".join(command.help.split("\n\n")[0].split())


@pytest.fixture
def image_file(tmp_path):
    Image.fromarray((chest_phantom(100, 3)[..., 0] * 255).astype("uint8")).save(tmp_path / "image.png")
    return tmp_path / "image.png"


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_a_short_summary_an_example_and_help_for_every_option(name):
    command = main.commands[name]
    assert len(first_sentence(command)) <= 72
    assert first_sentence(command).endswith(".")
    assert f"medzoo {name}" in run(name, "--help")
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            assert option.required or option.is_flag or option.show_default or "[default: " in option.help, option.name
        else:
            assert option.name != "name"


def test_commands_in_the_documentation_exist_with_their_options():
    wrong = []
    for page, (_, name, *words) in documented_commands():
        command = main.commands.get(name)
        known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)} if command else None
        given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        if known is None or given - known - {"--help"}:
            wrong.append(f"{page}: medzoo {name} {' '.join(words)}")
    assert not wrong


@pytest.mark.parametrize(
    "code",
    [
        "import medzoo; assert medzoo.list_models()",
        "main(['--help'], standalone_mode=False)",
        "main(['list'], standalone_mode=False)",
        "main(['info', 'vae-chestxray'], standalone_mode=False)",
        "main(['verify'], standalone_mode=False)",
    ],
)
def test_listing_describing_and_verifying_presets_import_no_framework(code):
    code = f"import sys; from medzoo.cli import main; {code}; print('IMPORTED', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.splitlines()[-1].split()[1:])
    assert "medzoo" in imported
    assert not imported & set(HEAVY)


def test_list_and_info_show_the_manifest():
    assert "vae-chestxray-64" in run("list")
    assert json.loads(run("info", "vae-chestxray-64", "--json"))["family"] == "VAE"
    card = run("info", "vae-chestxray-64")
    assert "cc-by-sa-4.0" not in card  # the lines for the hub
    assert "Evaluation" in card
    assert "nothing: no such preset" in run("info", "nothing", ok=False)


def test_list_filters_by_family_modality_and_size():
    import medzoo

    several = {"ae-efficientnet-lite0", *(f"{kind}-medical" for kind in ("ae", "vae", "vqvae", "mae"))}
    assert set(medzoo.list_models(modality="ct")) == several
    assert all(name.startswith("vqvae") for name in medzoo.list_models(family="vqvae"))
    assert medzoo.list_models("*chest*", family="vae", size=512) == ["vae-chestxray"]
    assert "vqvae-hippocampus" not in medzoo.list_models(family="vqvae", size=64)
    output = run("list", "--family", "codec")
    assert "codec-chestxray" in output
    assert "vae-medical" not in output
    assert "No preset matches" in run("list", "--modality", "PET", "--family", "codec")


def test_all_frames_of_a_file_are_read_or_the_selected_one(tmp_path):
    from pydicom.data import get_testdata_file

    source = Path(get_testdata_file("SC_rgb_rle_2frame.dcm"))
    scan = tmp_path / "scan.dcm"
    scan.write_bytes(source.read_bytes())
    output = run("reconstruct", "vae-chestxray-64", scan, "-o", tmp_path / "all")
    assert "2 frames, each read as one image" in output
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == [
        "scan-0-vae-chestxray-64.png",
        "scan-1-vae-chestxray-64.png",
    ]
    run("reconstruct", "vae-chestxray-64", f"{scan}#1", "-o", tmp_path / "one")
    (one,) = (tmp_path / "one").iterdir()
    assert one.read_bytes() == (tmp_path / "all" / one.name).read_bytes()
    assert "no such file" in run(
        "reconstruct", "vae-chestxray-64", tmp_path / "no.dcm#1", "-o", tmp_path / "x", ok=False
    )


def test_startup_messages_of_libraries_are_not_shown(image_file, tmp_path):
    command = [sys.executable, "-m", "medzoo", "reconstruct", "vae-chestxray-64", image_file, "-o", tmp_path / "out"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    missing = subprocess.run([*command[:-3], "nothing.png", "-o", "x"], capture_output=True, text=True, check=False)
    assert missing.returncode
    assert "nothing.png: no such file" in missing.stderr


def test_demo_writes_a_figure_and_prints_psnr_and_ssim(tmp_path):
    output = run("demo", "-o", tmp_path / "demo.png")
    assert "PSNR" in output
    assert "SSIM" in output
    assert Image.open(tmp_path / "demo.png").size[0] > 600
    assert "pass --overwrite" in run("demo", "-o", tmp_path / "demo.png", ok=False)


def test_reconstruct_writes_input_reconstruction_and_difference_side_by_side(image_file, tmp_path):
    output = run("reconstruct", "vae-chestxray-64", image_file, "-o", tmp_path / "out")
    assert "PSNR" in output
    figure = np.asarray(Image.open(tmp_path / "out" / "image-vae-chestxray-64.png"))
    assert figure.shape == (64, 192, 3)
    import medzoo

    expected = medzoo.load("vae-chestxray-64").preprocess(image_file)[0, ..., 0]
    assert figure[:, :64, 0] / 255 == pytest.approx(expected, abs=0.003)


def test_reconstruct_with_a_masked_autoencoder_masks_and_inpaints(image_file, tmp_path):
    import medzoo

    model = medzoo.load("mae-chestxray")
    image = model.preprocess(image_file)
    run("reconstruct", "mae-chestxray", image_file, "-o", tmp_path / "out")
    strip = np.asarray(Image.open(tmp_path / "out" / "image-mae-chestxray.png"))[..., 0] / 255
    masked, inpainted, _ = np.split(strip, 3, axis=1)
    visible = np.kron(model.random_mask(image, seed=0)[0], np.ones((model.downsampling,) * 2)) > 0
    assert masked[~visible] == pytest.approx(0.5, abs=0.003)
    assert inpainted[visible] == pytest.approx(image[0, ..., 0][visible], abs=0.003)


def test_reconstruct_overwrites_on_request_only_and_continues_after_an_invalid_file(image_file, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "image-vae-chestxray-64.png").write_text("mine")
    assert "pass --overwrite" in run("reconstruct", "vae-chestxray-64", image_file, "-o", out, ok=False)
    assert (out / "image-vae-chestxray-64.png").read_text() == "mine"
    invalid = tmp_path / "invalid.png"
    invalid.write_text("no")
    output = run("reconstruct", "vae-chestxray-64", invalid, image_file, "-o", out, "--overwrite", ok=False)
    assert "invalid.png: not readable" in output
    assert "1 of 2 files could not be read" in output
    assert Image.open(out / "image-vae-chestxray-64.png").size == (192, 64)


def test_no_output_contains_patient_data(tmp_path, caplog):
    import pydicom
    from pydicom.data import get_testdata_file

    import medzoo

    secrets = {"PatientName": "Secretname^Jo", "PatientID": "SECRETID", "StudyDate": "19870605"}
    secrets |= {"AccessionNumber": "SECRETACC", "InstitutionName": "Secret Hospital"}
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    for tag, value in secrets.items():
        setattr(dataset, tag, value)
    rng, values = np.random.default_rng(0), dataset.pixel_array
    for i in range(3):
        dataset.PixelData = (values + rng.integers(0, 50, values.shape)).astype("int16").tobytes()
        (tmp_path / "in").mkdir(exist_ok=True)
        dataset.save_as(tmp_path / "in" / f"{i}.dcm")
    name, folder, out = "vae-chestxray-64", tmp_path / "in", tmp_path / "out"
    output = run("info", folder / "0.dcm")
    output += run("reconstruct", name, folder / "0.dcm", "-o", out / "reconstructed")
    output += run("retrieve", name, folder, folder / "0.dcm", "-o", out / "similar.png")
    output += run("project", name, folder, "-o", out / "map")
    output += run("denoise", folder / "0.dcm", "-o", out / "denoised")
    medzoo.save_preset(medzoo.load(name), out / "preset")
    (folder / "3.dcm").write_bytes((folder / "0.dcm").read_bytes()[:-5000])
    medzoo.datasets.from_dicom(folder, 64, on_error="skip", skipped=out / "skipped.txt")
    written = [output.encode(), caplog.text.encode(), *(p.read_bytes() for p in out.rglob("*") if p.is_file())]
    assert len(written) > 7
    for value in (*secrets.values(), "Secretname"):
        assert not any(value.encode() in content for content in written), value


@pytest.fixture
def npz_file(tmp_path):
    return write_npz(tmp_path / "images.npz", counts=(320, 16, 16))


@pytest.mark.slow
def test_evaluate_compares_with_pca(npz_file, tmp_path):
    args = ("evaluate", "ae-chestxray-64", "--data", npz_file, "--classes", "chest_xray", "-o", tmp_path / "report")
    result = json.loads(run(*args))
    assert result["images"] == 8
    low, high = result["psnr"]["interval"]
    assert low < result["psnr"]["mean"] < high
    assert result["pca"]["components"] == result["latent_shape"][0]
    assert json.loads((tmp_path / "report" / "metrics.json").read_text()) == result
    assert Image.open(tmp_path / "report" / "reconstructions.png").size[0] > 300


@pytest.mark.slow
def test_train_writes_a_preset_with_card_and_resumes_after_an_interruption(npz_file, tmp_path, monkeypatch):
    import medzoo
    from medzoo.training import trainer as training

    monkeypatch.setattr(training, "_jit_compile", lambda model: False)  # compiling would take longer than the training

    out = tmp_path / "run"
    args = ("train", "vae-chestxray-64", "--data", npz_file, "--out", out, "--epochs", 2)

    class Stop(Exception):
        pass

    from medzoo.training.checkpoint import Checkpoints

    begin, epochs = Checkpoints.on_epoch_begin, []

    def stop_in_the_second_epoch(self, epoch, logs=None):
        epochs.append(epoch)
        if epoch == 1 and len(epochs) == 2:
            raise Stop
        return begin(self, epoch, logs)

    Checkpoints.on_epoch_begin = stop_in_the_second_epoch
    try:
        with pytest.raises(Stop):
            medzoo.recipes.recipe("vae-chestxray-64").train(npz_file, out, epochs=2)
        assert "PSNR" in run(*args)
    finally:
        Checkpoints.on_epoch_begin = begin
    assert epochs == [0, 1, 1]
    model = medzoo.load(out)
    assert model.preprocess(np.zeros((64, 64), "uint8")).shape == (1, 64, 64, 1)
    assert "# vae-chestxray-64" in (out / "README.md").read_text()
    assert (out / "samples.png").is_file()
    assert not (out / "training").exists()
    assert json.loads((out / "training.json").read_text())["epochs"] == 2
    assert "choose another folder" in run(*args, ok=False)
