"""Commands that train on labeled images, with folders and CSV files as input."""

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
    """Synthetic phantoms named like the files of `pediatric_cxr/`: JPEG with three equal channels."""
    root = tmp_path_factory.mktemp("data") / "images"
    for split, count in (("train", 40), ("val", 12), ("test", 16)):
        for i in range(count):
            image = np.round(255 * chest_phantom(72, i)[..., 0]).astype("uint8")
            ill = i % 2
            if ill:
                image = image // 2
            name = f"person{i // 4}_bacteria_{i}.jpeg" if ill else f"IM-{i // 4:04d}-{i:04d}.jpeg"
            path = root / split / ("pneumonia" if ill else "normal") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.repeat(image[..., None], 3, axis=-1)).save(path, quality=95)
    return root


@pytest.fixture(scope="module")
def table(folder):
    """The same images as a CSV file in which some images have two labels."""
    path = folder.parent / "images.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Image Index", "Finding Labels", "split"])
        for i, image_file in enumerate(sorted(folder.rglob("*.jpeg"))):
            ill = "pneumonia" in image_file.parts
            label = ("Pneumonia|Effusion" if i % 3 else "Pneumonia") if ill else "No Finding"
            writer.writerow([image_file.relative_to(folder.parent), label, image_file.relative_to(folder).parts[0]])
    return path


def test_classify_reports_class_names_and_split_of_a_folder(folder, preset, tmp_path):
    data = ("--data", folder, "--group", GROUP)
    output = run("classify", preset, *data, "-o", tmp_path / "out", "--epochs", "6,0", "--size", 32)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["classes"] == {"normal": 34, "pneumonia": 34}
    assert report["images"] == {"train": 40, "val": 12, "test": 16}
    assert report["split"] in output
    assert report["auc"]["mean"] > 0.9
    assert report["command"] == (f"medzoo classify small --data images --size 32 --group {GROUP} --epochs 6,0 --seed 0")


def test_classify_reports_an_auc_per_label_of_a_multi_label_csv_file(table, preset, tmp_path):
    arguments = ("--data", table, "--size", 32, "--epochs", "6,0")
    output = run("classify", preset, *arguments, "-o", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert set(report["auc_of"]) == {"Effusion", "Pneumonia"}
    assert "Pneumonia: AUC" in output
    assert report["auc_of"]["Pneumonia"]["mean"] > 0.9
    import keras

    classifier = keras.saving.load_model(tmp_path / "out" / "classifier.keras")
    preprocessor = classifier.preprocess if classifier.image_shape[0] else None
    assert classifier.multi_label
    assert preprocessor is None or preprocessor.size == (32, 32)
    probabilities = classifier.predict(np.zeros((1, 32, 32, 1), "float32"), verbose=0)
    assert probabilities.shape == (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "table"])
def test_tune_accepts_folders_and_csv_files(kind, request, tmp_path):
    data = request.getfixturevalue(kind)
    output = run(
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
    assert "chosen: " in output
    assert json.loads((tmp_path / "out" / "tune.json").read_text())["images"] == 40


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "table"])
def test_train_and_evaluate_accept_folders_and_csv_files(kind, request, tmp_path):
    data = request.getfixturevalue(kind)
    output = run("train", "vqvae-brainmri", "--data", data, "--size", 64, "--out", tmp_path / "mine", "--epochs", 1)
    assert "test PSNR" in output
    card = (tmp_path / "mine" / "README.md").read_text()
    assert f"`{data.name}`, provided by the user." in card
    assert "License of the data: not stated." in card
    result = json.loads(run("evaluate", tmp_path / "mine", "--data", data, "--size", 64, "-o", tmp_path / "report"))
    assert result["images"] == 16
    assert ("probe" in result) == (kind == "folder")


@pytest.mark.slow
@pytest.mark.skipif("MEDZOO_DATA" not in os.environ, reason="MEDZOO_DATA names no folder with pediatric_cxr/")
def test_classify_and_tune_on_pediatric_chest_x_rays(tmp_path):
    data = Path(os.environ["MEDZOO_DATA"]) / "pediatric_cxr"
    options = ("--data", data, "--group", GROUP, "--size", 64)
    run("classify", "vqvae-chestxray-64", *options, "-o", tmp_path / "out", "--epochs", "1,0")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["images"] == {"train": 4371, "val": 504, "test": 624}
    assert report["auc"]["mean"] > 0.75  # one epoch of the head only
    run(
        "tune",
        "ae",
        *options,
        "--values",
        "8,16",
        "--folds",
        2,
        "--epochs",
        1,
        "--max-images",
        300,
        "-o",
        tmp_path / "tune",
    )
    result = CliRunner().invoke(main, ["evaluate", "vqvae-chestxray-64", *map(str, options)])
    assert json.loads(result.stdout)["images"] == 624  # stdout contains the results only
