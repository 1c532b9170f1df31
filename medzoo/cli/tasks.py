"""Commands that train task models on image data: classify, anomaly, segment, adapt."""

from collections.abc import Iterator
from pathlib import Path

import click

from medzoo.cli.options import (
    EXISTING,
    ImageFiles,
    check_not_existing,
    command_line,
    dataset_arguments,
    dataset_options,
    files_for,
    files_of,
    from_scratch_option,
    group_option,
    groups_of,
    out_option,
    overwrite_option,
    parse_integers,
    preset_argument,
    reject_unused_options,
    seed_option,
    size_option,
)

AUGMENT = {"none": False, "standard": True, "acquisition": "acquisition"}  # values of `fine_tune`
TRAINED = "{}: the model is already trained. These options apply to training only."


@click.command()
@preset_argument
@click.argument("new", nargs=-1, type=ImageFiles())
@click.option(
    "--data",
    type=EXISTING,
    help="Labeled training images: NPZ file, folder, DICOM tree or CSV file.  [default: none; required to train]",
)
@out_option("Folder for classifier.keras, report.json, report.png and predictions.csv.")
@dataset_options()
@click.option(
    "--epochs",
    default="15,15",
    show_default=True,
    help="Number of epochs: classification head, then all layers.",
)
@seed_option
@from_scratch_option
@click.option(
    "--augment",
    type=click.Choice(list(AUGMENT)),
    default="standard",
    show_default=True,
    help="Augmentation of the training images; acquisition also varies aspect ratio, sharpness and intensities.",
)
@overwrite_option
def classify(
    preset: str,
    new: tuple[Path, ...],
    data: Path | None,
    out: Path,
    size,
    epochs: str,
    seed: int,
    from_scratch: bool,
    augment: str,
    overwrite: bool,
    **reading,
) -> None:
    """Train a classifier on a pretrained encoder and predict new images.

    PRESET is a preset, or a classifier.keras file, which predicts without training. For NEW images predictions.csv and
    an occlusion map of the predicted class per image are written.

    The validation split selects the epoch and the temperature. The report is on the test split and, where a CSV file
    has columns such as sex, age, view or scanner, on its subgroups. CSV labels joined by | train a multi-label
    classifier.

    \b
    Example:
        medzoo classify ae-chestxray-64 --data pneumoniamnist_28.npz -o pneumonia/
        medzoo classify ae-chestxray new/ --data images/ --size 224 --group 'person\\d+|IM-\\d+' -o pneumonia/
        medzoo classify ae-chestxray --data labels.csv --size 224 -o pathologies/
        medzoo classify pneumonia/classifier.keras more/ -o more-pneumonia/
    """
    from medzoo.tasks.classify import Classifier, classify_files, train_classifier
    from medzoo.zoo.presets import load

    if preset.endswith(".keras"):
        reject_unused_options({"preset", "new", "out", "overwrite"}, TRAINED.format(preset))
        check_not_existing([out / "predictions.csv"], overwrite)
        classifier = Classifier.load(preset)
        files = files_for(classifier, new)
    elif data is None:
        raise click.UsageError("--data is required to train a classifier on a preset.")
    else:
        check_not_existing([out / "classifier.keras"], overwrite)
        model = load(preset)
        files = files_for(model, new)
        options = {"size": size, "epochs": parse_integers(epochs), "augment": AUGMENT[augment], "seed": seed}
        options |= {"pretrained": not from_scratch, "command": command_line(), **dataset_arguments(**reading)}
        classifier, result = train_classifier(model, data, out, **options)
        click.echo(f"{preset} on {data.name}, split {result['split']}")
        for line in format_report(result):
            click.echo(line)
    for row in classify_files(classifier, files, out) if files else ():
        click.echo(", ".join(f"{key} {value}" for key, value in row.items() if key != "file") + f"  {row['file']}")
    click.echo(f"wrote {out}")


def format_report(result: dict) -> Iterator[str]:
    """Yield the lines that summarize the report of `train_classifier`."""
    from medzoo.metrics.bootstrap import describe_ci, format_ci

    for label, value in result.get("auc_of", {}).items():
        yield f"  {label}: AUC {format_ci(value, 3)}"
    accuracy = f", accuracy {format_ci(result['accuracy'], 3)}" if "accuracy" in result else " (macro average)"
    yield f"AUC {format_ci(result['auc'], 3)}{accuracy} ({describe_ci(result['auc'], result['images']['test'])})"
    for column, parts in result["subgroups"].items():
        for value, metrics in parts.items():
            auc = f"AUC {format_ci(metrics['auc'], 3)}" if metrics.get("auc") else "no AUC"
            yield f"  {column} {value}: {auc}, {metrics['images']} images"


@click.command()
@preset_argument
@click.argument("normal", type=EXISTING)
@click.argument("images", nargs=-1, required=True, type=ImageFiles())
@out_option("Folder for scores.csv and one figure per image.")
@click.option(
    "--false-positive-rate",
    default=0.05,
    show_default=True,
    help="Fraction of normal images that may be flagged, 0 to 1; determines the threshold.",
)
@click.option(
    "--train-steps",
    default=300,
    show_default=True,
    help="Number of training steps on normal images with synthetic anomalies.",
)
@group_option
@overwrite_option
def anomaly(
    preset: str,
    normal: Path,
    images: tuple[Path, ...],
    out: Path,
    false_positive_rate: float,
    train_steps: int,
    group: str | None,
    overwrite: bool,
) -> None:
    """Detect images that differ from normal training images.

    Trains a detector on the normal images of folder NORMAL, then writes scores, anomaly maps and bounding boxes of
    IMAGES. One quarter of the normal images is held out to set the threshold; where patients are known, one quarter of
    the patients.

    \b
    Example:
        medzoo anomaly mae-medical normal-images/ image.dcm more-images/ -o out/
    """
    from medzoo.tasks.anomaly import AnomalyDetector, find_anomalies

    files = files_of(images)
    check_not_existing([out / "scores.csv"], overwrite)
    click.echo(f"training on normal images of {normal}")
    training = files_of([normal])
    detector = AnomalyDetector(preset, train_steps=train_steps, false_positive_rate=false_positive_rate)
    detector.fit(training, groups=groups_of(training, normal, group))
    rows = find_anomalies(detector, files, out)
    n_anomalies = sum(row["anomaly"] for row in rows)
    limit = f"the threshold {detector.threshold_:.2f} (false-positive rate {detector.rate_:.1%})"
    click.echo(f"{n_anomalies} of {len(rows)} images above {limit}; wrote {out}")


@click.command()
@preset_argument
@click.argument("images", type=EXISTING)
@click.argument("others", nargs=-1, type=ImageFiles(), metavar="[MASKS] [NEW]...")
@out_option("Folder for segmenter.keras, report.json, report.png and masks.")
@size_option()
@click.option("--epochs", default=30, show_default=True, help="Number of training epochs.")
@click.option("--seed", default=0, show_default=True, help="Random seed of the splits and of the training.")
@from_scratch_option
@group_option
@overwrite_option
def segment(
    preset: str,
    images: Path,
    others: tuple[Path, ...],
    out: Path,
    size,
    epochs: int,
    seed: int,
    from_scratch: bool,
    group: str | None,
    overwrite: bool,
) -> None:
    """Train a segmentation model on a preset and segment new images.

    IMAGES and MASKS are folders with files of the same names, or IMAGES is an NPZ file (train_images, train_masks, ...)
    and MASKS is omitted. Masks are PNG, TIFF or npy files with integer labels (or black and white), TIFF files with one
    page per label if labels overlap, or NIfTI files for volumes.

    15% of the pairs select the epoch and another 15% are the test set; where patients are known, 15% of the patients.
    For NEW images a mask and a figure with outlines are written. If PRESET is a segmenter.keras file, all paths are new
    images.

    \b
    Example:
        medzoo segment ae-chestxray images/ masks/ new-images/ -o lungs/
        medzoo segment lungs/segmenter.keras more-images/ -o more-lungs/
        medzoo segment vqvae-hippocampus images/ labels/ new/ --size 32x48x32 -o hippocampus/
    """
    from medzoo.metrics.bootstrap import describe_ci, format_ci
    from medzoo.tasks.segment import Segmenter, segment_file, train_segmenter
    from medzoo.utils.progress import track
    from medzoo.zoo.presets import load

    if preset.endswith(".keras"):
        used = {"preset", "images", "others", "out", "size", "overwrite"}
        reject_unused_options(used, TRAINED.format(preset))
        segmenter = Segmenter.load(preset)
        files = output_titles(files_for(segmenter, [images, *others]))
        check_not_existing([out / f"{title}.png" for title in files], overwrite)
    else:
        check_not_existing([out / "segmenter.keras"], overwrite)
        masks, new = masks_and_new(images, others)
        model = load(preset)
        files = output_titles(files_for(model, new))
        options = {"size": size, "epochs": epochs, "seed": seed, "pretrained": not from_scratch, "group": group}
        segmenter, result = train_segmenter(model, images, masks, out, command=command_line(), **options)
        count = result["images"]["test"]
        for label, value in result["dice"].items():
            click.echo(
                f"label {label}: Dice {format_ci(value, 3)} on {count} held-out images ({describe_ci(value, count)})"
            )
    for title in track(files, "segmenting"):
        segment_file(segmenter, files[title], out, size, title)
    click.echo(f"wrote {out}")


def output_titles(files: list[Path]) -> dict[str, Path]:
    """Return the files by the stems of the output files that belong to them."""
    from medzoo.io.image import title_of

    return {f"{number:05d}-{title_of(file)}": file for number, file in enumerate(files)}


def masks_and_new(images: Path, others: tuple[Path, ...]) -> tuple[Path | None, tuple[Path, ...]]:
    """Return the folder of masks (`None` if the images are an NPZ file, which contains them) and the new images."""
    if images.suffix.lower() == ".npz":
        return None, others
    if not others or not others[0].is_dir():
        given = others[0] if others else "nothing"
        raise click.ClickException(
            f"segment: no masks for {images}. Expected a folder of masks as the next argument, or an NPZ file as "
            f"IMAGES, got {given}."
        )
    return others[0], others[1:]


@click.command()
@preset_argument
@click.argument("source", type=EXISTING)
@click.argument("target", type=EXISTING)
@out_option("Preset folder to write.")
@click.option(
    "--distance",
    default="coral",
    show_default=True,
    type=click.Choice(["coral", "mmd"]),
    help="Distance between the latents of both domains.",
)
@click.option(
    "--distance-weight",
    default=0.1,
    show_default=True,
    help="Weight of the distance, in units of the loss; 0 disables it.",
)
@click.option("--size", default=256, show_default=True, help="Side in pixels, for presets that accept any size.")
@click.option("--epochs", default=5, show_default=True, help="Passes over the target images.")
@click.option("--seed", default=0, show_default=True, help="Seed of the split and of the training.")
@group_option
def adapt(preset, source, target, out, distance, distance_weight, size, epochs, seed, group):
    """Adapt a preset to unlabeled images of a new scanner or site.

    TARGET holds images of the new domain, SOURCE images of the domain that the preset was trained on. One fifth of each
    folder is held out to evaluate PSNR before and after; where patients are known, one fifth of the patients.

    \b
    Example:
        medzoo adapt ae-chestxray-64 source-site/ target-site/ -o ae-target-site/
    """
    from medzoo.metrics.bootstrap import describe_ci, format_ci
    from medzoo.tasks.adapt import adapt_folders

    check_not_existing([out], False)
    own = {"size": size, "distance": distance, "distance_weight": distance_weight, "epochs": epochs, "seed": seed}
    folders = source, target
    domains = [files_of([folder]) for folder in folders]
    if group is not None:
        own["groups"] = [groups_of(files, folder, group) for files, folder in zip(domains, folders, strict=True)]
    for domain, (before, after, count) in adapt_folders(preset, *domains, out, verbose=2, **own).items():
        images = f"{count} held-out images ({describe_ci(after, count)})"
        click.echo(f"{domain}: PSNR {format_ci(before)} -> {format_ci(after)} dB on {images}")
    click.echo(f"wrote {out}; medzoo.load({str(out)!r})")


COMMANDS = (classify, anomaly, segment, adapt)
