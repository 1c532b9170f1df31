"""The commands that learn from labelled images, on folders and tables as well as archives."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from medzoo.cli import main
from medzoo.data.phantom import chest_phantom

GROUP = r"person\d+|IM-\d+"


def run(*args):
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Drawn films laid out and named as those of `pediatric_cxr/`: JPEG with three equal channels."""
    root = tmp_path_factory.mktemp("data") / "films"
    for split, count in (("train", 40), ("val", 12), ("test", 16)):
        for i in range(count):
            film = np.round(255 * chest_phantom(72, i)[..., 0]).astype("uint8")
            ill = i % 2
            if ill:
                film = film // 2
            name = f"person{i // 4}_bacteria_{i}.jpeg" if ill else f"IM-{i // 4:04d}-{i:04d}.jpeg"
            path = root / split / ("pneumonia" if ill else "normal") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.repeat(film[..., None], 3, axis=-1)).save(path, quality=95)
    return root


@pytest.fixture(scope="module")
def table(folder):
    """The same as a table in which some films have two findings."""
    path = folder.parent / "films.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Image Index", "Finding Labels", "split"])
        for i, film in enumerate(sorted(folder.rglob("*.jpeg"))):
            ill = "pneumonia" in film.parts
            label = ("Pneumonia|Effusion" if i % 3 else "Pneumonia") if ill else "No Finding"
            writer.writerow([film.relative_to(folder.parent), label, film.relative_to(folder).parts[0]])
    return path


def test_classify_a_folder_reports_class_names_and_how_it_was_split(folder, preset, tmp_path):
    data = ("--data", folder, "--group", GROUP)
    said = run("classify", preset, *data, "-o", tmp_path / "out", "--epochs", "6,0", "--size", 32)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["classes"] == {"normal": 34, "pneumonia": 34}
    assert report["images"] == {"train": 40, "val": 12, "test": 16}
    assert report["split"] in said
    assert report["auc"]["mean"] > 0.9
    assert report["command"] == (f"medzoo classify small --data films --size 32 --group {GROUP} --epochs 6,0 --seed 0")


def test_classify_a_table_of_several_findings_gives_an_auc_for_each(table, preset, tmp_path):
    arguments = ("--data", table, "--size", 32, "--epochs", "6,0")
    said = run("classify", preset, *arguments, "-o", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert set(report["auc_of"]) == {"Effusion", "Pneumonia"}
    assert "Pneumonia: AUC" in said
    assert report["auc_of"]["Pneumonia"]["mean"] > 0.9
    import keras

    classifier = keras.saving.load_model(tmp_path / "out" / "classifier.keras")
    film = classifier.preprocess if classifier.image_shape[0] else None
    assert classifier.multi_label
    assert film is None or film.size == (32, 32)
    found = classifier.predict(np.zeros((1, 32, 32, 1), "float32"), verbose=0)
    assert found.shape == (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "table"])
def test_tune_takes_folders_and_tables(kind, request, tmp_path):
    data = request.getfixturevalue(kind)
    said = run(
        "tune",
        "ae",
        "--data",
        data,
        "--size",
        32,
        "--values",
        "2,8",
        "--folds",
        2,
        "--epochs",
        1,
        "-o",
        tmp_path / "out",
    )
    assert "chosen: " in said
    assert json.loads((tmp_path / "out" / "tune.json").read_text())["images"] == 40


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "table"])
def test_train_and_evaluate_take_folders_and_tables(kind, request, tmp_path):
    data = request.getfixturevalue(kind)
    said = run("train", "vqvae-brainmri", "--data", data, "--size", 64, "--out", tmp_path / "mine", "--epochs", 1)
    assert "test PSNR" in said
    card = (tmp_path / "mine" / "README.md").read_text()
    assert f"`{data.name}`, the trainer's own images." in card
    assert "Licence of the data: not stated." in card
    result = json.loads(run("evaluate", tmp_path / "mine", "--data", data, "--size", 64, "-o", tmp_path / "report"))
    assert result["images"] == 16
    assert ("probe" in result) == (kind == "folder")


@pytest.mark.slow
@pytest.mark.skipif("MEDZOO_DATA" not in os.environ, reason="MEDZOO_DATA names no folder with pediatric_cxr/")
def test_the_real_folder_of_childrens_films(tmp_path):
    data = Path(os.environ["MEDZOO_DATA"]) / "pediatric_cxr"
    options = ("--data", data, "--group", GROUP, "--size", 64)
    run("classify", "vqvae-chestxray-64", *options, "-o", tmp_path / "out", "--epochs", "1,0")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["images"] == {"train": 4371, "val": 504, "test": 624}
    assert report["auc"]["mean"] > 0.75  # one epoch of the head alone
    run(
        "tune", "ae", *options, "--values", "8,16", "--folds", 2, "--epochs", 1, "--max-images", 300, "-o", tmp_path / "tune"
    )
    said = CliRunner().invoke(main, ["evaluate", "vqvae-chestxray-64", *map(str, options)])
    assert json.loads(said.stdout)["images"] == 624  # stdout is for results
