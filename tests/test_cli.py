import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import write_archive
from PIL import Image

from medzoo.cli import main
from medzoo.data.phantom import chest_phantom


def run(*args, ok=True):
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert (result.exit_code == 0) == ok, result.output
    return result.output


@pytest.fixture
def film(tmp_path):
    Image.fromarray((chest_phantom(100, 3)[..., 0] * 255).astype("uint8")).save(tmp_path / "film.png")
    return tmp_path / "film.png"


def test_every_command_has_help_with_an_example():
    assert "Example:" in run("--help")
    for name in main.commands:
        assert f"medzoo {name}" in run(name, "--help")


def test_list_and_info_show_the_manifest():
    assert "vae-chestxray-64" in run("list")
    assert json.loads(run("info", "vae-chestxray-64", "--json"))["family"] == "VAE"
    card = run("info", "vae-chestxray-64")
    assert "cc-by-sa-4.0" not in card  # the lines for the hub
    assert "Measured" in card
    assert "no preset 'nothing'" in run("info", "nothing", ok=False)


def test_list_filters_by_family_modality_and_size():
    import medzoo

    several = {"ae-efficientnet-lite0", *(f"{kind}-medical" for kind in ("ae", "vae", "vqvae", "mae"))}
    assert set(medzoo.list_models(modality="ct")) == several
    assert all(name.startswith("vqvae") for name in medzoo.list_models(family="vqvae"))
    assert medzoo.list_models("*chest*", family="vae", size=512) == ["vae-chestxray"]
    assert "vqvae-hippocampus" not in medzoo.list_models(family="vqvae", size=64)
    said = run("list", "--family", "codec")
    assert "codec-chestxray" in said
    assert "vae-medical" not in said
    assert "none" in run("list", "--modality", "PET", "--family", "codec")


def test_every_frame_of_a_file_is_taken_or_the_one_that_is_named(tmp_path):
    from pydicom.data import get_testdata_file

    source = Path(get_testdata_file("SC_rgb_rle_2frame.dcm"))
    scan = tmp_path / "scan.dcm"
    scan.write_bytes(source.read_bytes())
    said = run("reconstruct", "vae-chestxray-64", scan, "-o", tmp_path / "all")
    assert "2 frames, each an image" in said
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


def test_commands_are_silent_about_what_the_user_cannot_change(film, tmp_path):
    command = [sys.executable, "-m", "medzoo", "reconstruct", "vae-chestxray-64", film, "-o", tmp_path / "out"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    broken = subprocess.run([*command[:-3], "nothing.png", "-o", "x"], capture_output=True, text=True, check=False)
    assert broken.returncode
    assert "nothing.png: no such file" in broken.stderr


def test_demo_writes_a_figure_and_prints_psnr_and_ssim(tmp_path):
    output = run("demo", "-o", tmp_path / "demo.png")
    assert "PSNR" in output
    assert "SSIM" in output
    assert Image.open(tmp_path / "demo.png").size[0] > 600
    assert "pass --overwrite" in run("demo", "-o", tmp_path / "demo.png", ok=False)


def test_reconstruct_writes_three_pictures_side_by_side(film, tmp_path):
    output = run("reconstruct", "vae-chestxray-64", film, "-o", tmp_path / "out")
    assert "PSNR" in output
    picture = np.asarray(Image.open(tmp_path / "out" / "film-vae-chestxray-64.png"))
    assert picture.shape == (64, 192, 3)
    import medzoo

    shown = medzoo.load("vae-chestxray-64").preprocess(film)[0, ..., 0]
    assert picture[:, :64, 0] / 255 == pytest.approx(shown, abs=0.003)


def test_reconstruct_of_a_masked_autoencoder_hides_and_fills(film, tmp_path):
    import medzoo

    model = medzoo.load("mae-chestxray")
    image = model.preprocess(film)
    run("reconstruct", "mae-chestxray", film, "-o", tmp_path / "out")
    strip = np.asarray(Image.open(tmp_path / "out" / "film-mae-chestxray.png"))[..., 0] / 255
    hidden, filled, _ = np.split(strip, 3, axis=1)
    visible = np.kron(model.random_mask(image, seed=0)[0], np.ones((model.downsampling,) * 2)) > 0
    assert hidden[~visible] == pytest.approx(0.5, abs=0.003)
    assert filled[visible] == pytest.approx(image[0, ..., 0][visible], abs=0.003)


def test_reconstruct_never_overwrites_unasked_and_goes_on_after_a_broken_file(film, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "film-vae-chestxray-64.png").write_text("mine")
    assert "pass --overwrite" in run("reconstruct", "vae-chestxray-64", film, "-o", out, ok=False)
    assert (out / "film-vae-chestxray-64.png").read_text() == "mine"
    broken = tmp_path / "broken.png"
    broken.write_text("no")
    output = run("reconstruct", "vae-chestxray-64", broken, film, "-o", out, "--overwrite", ok=False)
    assert "broken.png: not readable" in output
    assert "1 of 2 files could not be read" in output
    assert Image.open(out / "film-vae-chestxray-64.png").size == (192, 64)


def test_nothing_about_the_patient_is_written_anywhere(tmp_path, caplog):
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
    said = run("info", folder / "0.dcm")
    said += run("reconstruct", name, folder / "0.dcm", "-o", out / "pictures")
    said += run("similar", name, folder, folder / "0.dcm", "-o", out / "similar.png")
    said += run("map", name, folder, "-o", out / "map")
    said += run("denoise", folder / "0.dcm", "-o", out / "denoised")
    medzoo.save_preset(medzoo.load(name), out / "preset")
    (folder / "3.dcm").write_bytes((folder / "0.dcm").read_bytes()[:-5000])
    medzoo.datasets.from_dicom(folder, 64, on_error="skip", skipped=out / "skipped.txt")
    written = [said.encode(), caplog.text.encode(), *(p.read_bytes() for p in out.rglob("*") if p.is_file())]
    assert len(written) > 7
    for value in (*secrets.values(), "Secretname"):
        assert not any(value.encode() in content for content in written), value


@pytest.fixture
def archive(tmp_path):
    return write_archive(tmp_path / "films.npz", counts=(320, 16, 16))


@pytest.mark.slow
def test_evaluate_measures_beside_pca(archive, tmp_path):
    args = ("evaluate", "ae-chestxray-64", "--data", archive, "--classes", "chest_xray", "-o", tmp_path / "report")
    result = json.loads(run(*args))
    assert result["images"] == 8
    low, high = result["psnr"]["interval"]
    assert low < result["psnr"]["mean"] < high
    assert result["pca"]["components"] == result["latent_shape"][0]
    assert json.loads((tmp_path / "report" / "metrics.json").read_text()) == result
    assert Image.open(tmp_path / "report" / "reconstructions.png").size[0] > 300


@pytest.mark.slow
def test_train_writes_a_preset_with_card_and_goes_on_after_an_interruption(archive, tmp_path, monkeypatch):
    import medzoo
    from medzoo.training import trainer as training

    monkeypatch.setattr(training, "_xla", lambda model: False)  # compiling would take longer than the training

    out = tmp_path / "run"
    args = ("train", "vae-chestxray-64", "--data", archive, "--out", out, "--epochs", 2)

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
            medzoo.recipes.recipe("vae-chestxray-64").train(archive, out, epochs=2)
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
