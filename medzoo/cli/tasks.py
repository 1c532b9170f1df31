"""Commands that learn from people's own images: classify, anomaly, segment, adapt."""

import click

from medzoo.cli.options import (
    EXISTING,
    ImageFiles,
    Sides,
    check_not_existing,
    command_line,
    files_for,
    files_of,
    group_option,
    groups_of,
    labelled_options,
    numbers,
    out_option,
    overwrite_option,
    reading,
    reject_unused_options,
)


@click.command()
@click.argument("name")
@click.argument("new", nargs=-1, type=ImageFiles())
@click.option("--data", type=EXISTING, help="Labelled images to learn from: npz, folder, DICOM tree or CSV.")
@out_option("Folder for classifier and report.")
@labelled_options
@click.option("--epochs", default="15,15", show_default=True, help="Of the head alone, then of everything.")
@click.option("--seed", default=0, show_default=True)
@click.option("--random", is_flag=True, help="From random weights instead: what is the pretraining worth?")
@click.option("--retaken", is_flag=True, help="Vary training images as if other machines had taken them; see the docs.")
@overwrite_option
def classify(name, new, data, out, size, epochs, seed, random, retaken, overwrite, **how):
    """Train a classifier on a preset's encoder: writes classifier.keras, report.json and report.png; then classify NEW
    images: writes predictions.csv and for each image what in it speaks for the class found. A classifier.keras as NAME
    classifies without --data.

    The validation split chooses the epoch and the temperature; the report is on the test split, and on its subgroups
    where a CSV has columns such as sex, age, view or scanner. A CSV whose labels are joined by | gives a classifier of
    several findings.

    \b
    Example:
        medzoo classify ae-chestxray-64 --data pneumoniamnist_28.npz -o pneumonia/
        medzoo classify ae-chestxray new/ --data films/ --size 224 --group 'person\\d+|IM-\\d+' -o pneumonia/
        medzoo classify ae-chestxray --data labels.csv --size 224 -o findings/
        medzoo classify pneumonia/classifier.keras more/ -o more-pneumonia/
    """
    from medzoo.tasks.classify import Classifier, classify_files, train_classifier
    from medzoo.zoo.presets import load

    if name.endswith(".keras"):
        reject_unused_options(
            {"name", "new", "out", "overwrite"}, f"{name} is trained already; such options are for training."
        )
        check_not_existing([out / "predictions.csv"], overwrite)
        classifier = Classifier.load(name)
        files = files_for(classifier, new)
    elif data is None:
        raise click.UsageError("--data is missing: what a preset's classifier learns from.")
    else:
        check_not_existing([out / "classifier.keras"], overwrite)
        model = load(name)
        files = files_for(model, new)
        own = {"size": size, "epochs": numbers(epochs), "augment": "acquisition" if retaken else True, "seed": seed}
        own |= {"pretrained": not random, "command": command_line()}
        classifier, result = train_classifier(model, data, out, **own, **reading(**how))
        click.echo(f"{name} on {data.name}, split {result['split']}")
        for line in lines_of(result):
            click.echo(line)
    for row in classify_files(classifier, files, out) if files else ():
        click.echo(", ".join(f"{key} {value}" for key, value in row.items() if key != "file") + f"  {row['file']}")
    click.echo(f"wrote {out}")


def lines_of(result):
    """What a classifier's report says, in lines."""
    from medzoo.metrics.bootstrap import format_ci, over

    for finding, value in result.get("auc_of", {}).items():
        yield f"  {finding}: AUC {format_ci(value, 3)}"
    accuracy = f", accuracy {format_ci(result['accuracy'], 3)}" if "accuracy" in result else " on average"
    yield f"AUC {format_ci(result['auc'], 3)}{accuracy} ({over(result['auc'], result['images']['test'])})"
    for column, parts in result["subgroups"].items():
        for value, own in parts.items():
            auc = f"AUC {format_ci(own['auc'], 3)}" if own.get("auc") else "no AUC"
            yield f"  {column} {value}: {auc}, {own['images']} images"


@click.command()
@click.argument("name")
@click.argument("normal", type=EXISTING)
@click.argument("images", nargs=-1, required=True, type=ImageFiles())
@out_option("Folder for scores.csv and pictures.")
@click.option("--rate", default=0.05, show_default=True, help="Share of normal images that may be called anomalies.")
@click.option("--steps", default=300, show_default=True, help="Of the training on spoiled normal images.")
@group_option
@overwrite_option
def anomaly(name, normal, images, out, rate, steps, group, overwrite):
    """Find what is unlike the normal images in folder NORMAL: scores, heat maps and boxes for IMAGES.

    A quarter of the normal images is held out to set the threshold; where patients are known, a quarter of the
    patients.

    \b
    Example:
        medzoo anomaly mae-medical normal-films/ film.dcm more-films/ -o out/
    """
    from medzoo.tasks.anomaly import AnomalyDetector, find_anomalies

    files = files_of(images)
    check_not_existing([out / "scores.csv"], overwrite)
    click.echo(f"learning what is normal from {normal}")
    known = files_of([normal])
    detector = AnomalyDetector(name, train_steps=steps, false_positive_rate=rate)
    detector.fit(known, groups=groups_of(known, normal, group))
    rows = find_anomalies(detector, files, out)
    found = sum(row["anomaly"] for row in rows)
    limit = f"the threshold {detector.threshold_:.2f} (false-positive rate {detector.rate_:.1%})"
    click.echo(f"{found} of {len(rows)} images above {limit}; wrote {out}")


@click.command()
@click.argument("name")
@click.argument("images", type=EXISTING)
@click.argument("others", nargs=-1, type=ImageFiles(), metavar="[MASKS] [NEW]...")
@out_option("Folder for segmenter and report.")
@click.option(
    "--size", type=Sides(), help="Side in pixels, for presets that take any size (256); of volumes three, 32x48x32."
)
@click.option("--epochs", default=30, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the training, and of what is held out for the report.")
@click.option("--random", is_flag=True, help="From random weights instead: what is the pretraining worth?")
@group_option
@overwrite_option
def segment(name, images, others, out, size, epochs, seed, random, group, overwrite):
    """Train a segmenter on a preset's encoder from folders IMAGES and MASKS; then outline NEW images.

    Masks are PNG, TIFF or npy files named as their images, with integer labels (or black and white), or for labels that
    overlap TIFF files with a page for each; of volumes NIfTI files. 15% of the pairs choose the epoch, another 15% are
    reported on; where patients are known, 15% of the patients. In the place of both folders IMAGES may be an npz
    archive (train_images, train_masks, ...). Writes segmenter.keras, report.json and report.png, and for each new image
    a mask and a picture with the outlines. Behind a segmenter.keras as NAME all are new images.

    \b
    Example:
        medzoo segment ae-chestxray films/ masks/ new-films/ -o lungs/
        medzoo segment lungs/segmenter.keras more-films/ -o more-lungs/
        medzoo segment vqvae-hippocampus images/ labels/ new/ --size 32x48x32 -o hippocampus/
    """
    from medzoo.metrics.bootstrap import format_ci, over
    from medzoo.tasks.segment import Segmenter, segment_file, train_segmenter
    from medzoo.utils.progress import track
    from medzoo.zoo.presets import load

    if name.endswith(".keras"):
        used = {"name", "images", "others", "out", "size", "overwrite"}
        reject_unused_options(used, f"{name} is trained already; such options are for training.")
        segmenter = Segmenter.load(name)
        files = numbered(files_for(segmenter, [images, *others]))
        check_not_existing([out / f"{title}.png" for title in files], overwrite)
    else:
        check_not_existing([out / "segmenter.keras"], overwrite)
        masks, new = masks_and_new(images, others)
        model = load(name)
        files = numbered(files_for(model, new))
        own = {"size": size, "epochs": epochs, "seed": seed, "pretrained": not random, "group": group}
        segmenter, result = train_segmenter(model, images, masks, out, command=command_line(), **own)
        count = result["images"]["test"]
        for label, value in result["dice"].items():
            click.echo(f"label {label}: Dice {format_ci(value, 3)} on {count} held-out images ({over(value, count)})")
    for title in track(files, "outlining"):
        segment_file(segmenter, files[title], out, size, title)
    click.echo(f"wrote {out}")


def numbered(files):
    """Files by the title of what is written of each."""
    from medzoo.io.image import title_of

    return {f"{number:05d}-{title_of(file)}": file for number, file in enumerate(files)}


def masks_and_new(images, others):
    """The folder of masks and the new images, behind a folder of images or an archive that holds its masks."""
    if images.suffix.lower() == ".npz":
        return None, others
    if not others or not others[0].is_dir():
        raise click.ClickException(
            f"{images}: expected a folder with its masks as the next argument, or an npz archive."
        )
    return others[0], others[1:]


@click.command()
@click.argument("preset")
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
    from medzoo.metrics.bootstrap import format_ci, over
    from medzoo.tasks.adapt import adapt_folders

    check_not_existing([out], False)
    own = {"size": size, "distance": distance, "distance_weight": distance_weight, "epochs": epochs, "seed": seed}
    folders = source, target
    domains = [files_of([folder]) for folder in folders]
    if group is not None:
        own["groups"] = [groups_of(files, folder, group) for files, folder in zip(domains, folders, strict=True)]
    for domain, (before, after, count) in adapt_folders(preset, *domains, out, verbose=2, **own).items():
        images = f"{count} held-out images ({over(after, count)})"
        click.echo(f"{domain}: PSNR {format_ci(before)} -> {format_ci(after)} dB on {images}")
    click.echo(f"wrote {out}; medzoo.load({str(out)!r})")


COMMANDS = (classify, anomaly, segment, adapt)
