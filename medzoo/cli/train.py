"""Commands that train and evaluate presets: train, evaluate, tune, fit-prior."""

from pathlib import Path
from typing import Any

import click

from medzoo.cli.options import (
    EXISTING,
    PATH,
    check_not_existing,
    command_line,
    dataset_arguments,
    dataset_options,
    out_option,
    overwrite_option,
    parse_integers,
    preset_argument,
    seed_option,
    show_json,
)

CLASSES = click.option("--classes", help="Classes to use, comma-separated.  [default: all]")


@click.command()
@click.argument("recipe", metavar="RECIPE")
@click.option(
    "--data",
    required=True,
    multiple=True,
    type=EXISTING,
    help="Training images: NPZ file, folder, DICOM tree or CSV file; repeat the option to mix datasets.",
)
@out_option("Preset folder to write.")
@dataset_options("size of the recipe")
@click.option("--epochs", type=int, help="Number of training epochs.  [default: epochs of the recipe]")
@seed_option
@click.option(
    "--strategy",
    default="auto",
    show_default=True,
    help="Distribution strategy: auto, default (one device), mirrored, multiworker, tpu or dataparallel.",
)
def train(
    recipe: str, data: tuple[Path, ...], out: Path, size, epochs: int | None, seed: int, strategy: str, **reading
) -> None:
    """Train a preset from a recipe.

    The same command resumes an interrupted training. After SIGTERM the state is saved and the exit status is 75.

    \b
    Example:
        medzoo train vae-chestxray-64 --data medical_mnist_64.npz --out runs/vae-chestxray-64
        medzoo train vae-chestxray-64 --data images/ --out runs/custom
    """
    from medzoo import recipes
    from medzoo.evaluation.report import report

    recipe = recipes.recipe(recipe)
    datasets = [dataset for dataset, _ in recipe.open_datasets(data, size, **dataset_arguments(**reading))]
    folder = recipe.train(datasets, out, epochs=epochs, seed=seed, strategy=strategy)
    click.echo(report(folder, datasets[0], recipe.find_probe_data(data[0])))


@click.command()
@preset_argument
@click.option("--data", required=True, type=EXISTING, help="Test images: NPZ file, folder, DICOM tree or CSV file.")
@click.option(
    "--split", default="test", show_default=True, help="Split to evaluate on: train, val or test; baselines use train."
)
@CLASSES
@dataset_options()
@click.option("--probe", type=EXISTING, help="Labeled images for the linear probe.  [default: --data]")
@click.option(
    "-o",
    "--out",
    type=PATH,
    metavar="OUTPUT",
    help="Folder for metrics.json, report.md and figures.  [default: print only]",
)
@overwrite_option
def evaluate(
    preset: str,
    data: Path,
    split: str,
    classes: str | None,
    size,
    probe: Path | None,
    out: Path | None,
    overwrite: bool,
    **reading,
) -> None:
    """Evaluate a preset on a test set.

    Reports reconstruction quality compared with PCA, latent statistics, generated samples, robustness to intensity
    changes, a linear probe and throughput.

    \b
    Example:
        medzoo evaluate vae-chestxray-64 --data medical_mnist_64.npz --classes chest_xray -o report/
        medzoo evaluate vae-chestxray --data images/ --size 256 -o report/
    """
    from medzoo.evaluation.report import evaluate as evaluate_preset

    if out:
        check_not_existing([out / "metrics.json"], overwrite)
    classes = classes.split(",") if classes else None
    options: dict[str, Any] = {"size": size, "command": command_line(), **dataset_arguments(**reading)}
    show_json(evaluate_preset(preset, data, split, classes, probe, out, **options))


@click.command()
@click.argument("family", metavar="FAMILY", type=click.Choice(["vqvae", "vae", "ae"]))
@click.option(
    "--data",
    required=True,
    type=EXISTING,
    help="Images: NPZ file, folder, DICOM tree or CSV file; the training split is used.",
)
@CLASSES
@dataset_options("size of the NPZ file; required for image files")
@click.option(
    "--values",
    default="64,256,1024",
    show_default=True,
    help="Values to compare, comma-separated: codebook sizes (vqvae) or latent dimensions (vae, ae).",
)
@click.option("--folds", default=3, show_default=True, help="Number of cross-validation folds.")
@click.option("--epochs", default=10, show_default=True, help="Number of training epochs per value and fold.")
@click.option("--max-images", default=2000, show_default=True, help="Maximum number of images.")
@seed_option
@out_option("Folder for tune.json, tune.md and tune.png.")
@overwrite_option
def tune(
    family: str,
    data: Path,
    classes: str | None,
    size,
    values: str,
    folds: int,
    epochs: int,
    max_images: int,
    seed: int,
    out: Path,
    overwrite: bool,
    **reading,
) -> None:
    """Select a codebook size or latent dimension by cross-validation.

    FAMILY is vqvae, vae or ae. The smallest value within one standard error of the best PSNR is selected.

    \b
    Example:
        medzoo tune vqvae --data images.npz --values 64,256,1024 -o tune/
    """
    from medzoo.tasks.tune import tune as cross_validate
    from medzoo.utils.progress import progress_bar

    check_not_existing([out / "tune.json"], overwrite)
    values = parse_integers(values)
    with progress_bar() as progress:
        task = progress.add_task("training", total=len(values) * folds)

        def show_trial(trial):
            progress.update(task, advance=1)
            click.echo(f"{trial.setting:6} fold {trial.fold}: PSNR {trial.psnr:.2f} dB")

        options: dict[str, Any] = {
            "folds": folds,
            "epochs": epochs,
            "max_images": max_images,
            "size": size,
            "seed": seed,
        }
        options |= {"classes": classes.split(",") if classes else None, **dataset_arguments(**reading)}
        result = cross_validate(family, data, out, values, progress=show_trial, command=command_line(), **options)
    hint = " This is the largest value tested; test larger values." if result["chosen"] == max(values) else ""
    click.echo(f"chosen: {result['chosen']} (smallest within one standard error of the best); wrote {out}.{hint}")


@click.command("fit-prior")
@preset_argument
@click.option(
    "--data",
    required=True,
    multiple=True,
    type=EXISTING,
    help="Training images: NPZ file, folder, DICOM tree or CSV file; repeat the option for several datasets.",
)
@out_option("Preset folder to write.")
@dataset_options("size of the preset, or common size of the NPZ files, or 256")
@click.option("--epochs", default=100, show_default=True, help="Number of training epochs.")
@seed_option
def fit_prior(preset: str, data: tuple[Path, ...], out: Path, size, epochs: int, seed: int, **reading) -> None:
    """Fit a prior to the latents of a VAE, for image generation.

    Writes a copy of the preset that includes the prior. The same command resumes an interrupted training.

    \b
    Example:
        medzoo fit-prior vae-brainmri --data brainmri_128.npz --out runs/vae-brainmri
    """
    from medzoo.evaluation.model_card import write_card
    from medzoo.training.prior import train_prior

    folder = train_prior(preset, data, out, size=size, epochs=epochs, seed=seed, **dataset_arguments(**reading))
    if write_card(folder):
        click.echo(f"wrote the model card and samples.png of {folder}")
    click.echo(f"medzoo.load({str(folder)!r}).sample(16) generates images from the prior")


COMMANDS = (train, evaluate, tune, fit_prior)
