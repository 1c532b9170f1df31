"""Commands that make and measure presets: train, evaluate, tune."""

import click

from medzoo.cli.options import (
    EXISTING,
    PATH,
    check_not_existing,
    command_line,
    labelled_options,
    numbers,
    out_option,
    overwrite_option,
    reading,
    show_json,
)

CLASSES = click.option("--classes", help="Comma-separated; default: all.")


@click.command()
@click.argument("recipe")
@click.option(
    "--data",
    required=True,
    multiple=True,
    type=EXISTING,
    help="Images to train on: npz, folder, DICOM tree or CSV; several times for a mixture.",
)
@click.option("--out", required=True, type=PATH, help="Preset folder to write.")
@labelled_options
@click.option("--epochs", type=int, help="Default: the recipe's.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--strategy", default="auto", show_default=True, help="auto, default, mirrored, multiworker, tpu or dataparallel."
)
def train(recipe, data, out, size, epochs, seed, strategy, **how):
    """Train a preset; the same command again goes on after an interruption.

    Exits with status 75 after SIGTERM, once the state is saved.

    \b
    Example:
        medzoo train vae-chestxray-64 --data medical_mnist_64.npz --out runs/vae-chestxray-64
        medzoo train vae-chestxray-64 --data my-films/ --out runs/mine
    """
    from medzoo import recipes
    from medzoo.evaluation.report import report

    recipe = recipes.recipe(recipe)
    images = [collection for collection, _ in recipe.collections(data, size, **reading(**how))]
    folder = recipe.train(images, out, epochs=epochs, seed=seed, strategy=strategy)
    click.echo(report(folder, images[0], recipe.probe_beside(data[0])))


@click.command()
@click.argument("name")
@click.option("--data", required=True, type=EXISTING, help="Images to measure on: npz, folder, DICOM tree or CSV.")
@click.option("--split", default="test", show_default=True)
@CLASSES
@labelled_options
@click.option("--probe", type=EXISTING, help="Labelled images for the probe; default: the data.")
@click.option("-o", "--out", type=PATH, help="Folder for metrics.json, report.md and figures.")
@overwrite_option
def evaluate(name, data, split, classes, size, probe, out, overwrite, **how):
    """Measure a preset: reconstruction beside PCA, latents, samples, other exposures, probe, speed.

    \b
    Example:
        medzoo evaluate vae-chestxray-64 --data medical_mnist_64.npz --classes chest_xray -o report/
        medzoo evaluate vae-chestxray --data films/ --size 256 -o report/
    """
    from medzoo.evaluation.report import evaluate as measure

    if out:
        check_not_existing([out / "metrics.json"], overwrite)
    classes = classes.split(",") if classes else None
    show_json(measure(name, data, split, classes, probe, out, size=size, command=command_line(), **reading(**how)))


@click.command()
@click.argument("family", type=click.Choice(["vqvae", "vae", "ae"]))
@click.option(
    "--data", required=True, type=EXISTING, help="Images (npz, folder, DICOM tree or CSV); the training split."
)
@CLASSES
@labelled_options
@click.option("--sizes", default="64,256,1024", show_default=True, help="Codebook sizes (vqvae) or latent widths.")
@click.option("--folds", default=3, show_default=True)
@click.option("--epochs", default=10, show_default=True)
@click.option("--images", "most", default=2000, show_default=True, help="At most so many.")
@click.option("--seed", default=0, show_default=True)
@out_option("Folder for tune.json, .md and .png.")
@overwrite_option
def tune(family, data, classes, size, sizes, folds, epochs, most, seed, out, overwrite, **how):
    """How large a codebook, how many latents? Cross-validates on your images; writes a table and a plot.

    \b
    Example:
        medzoo tune vqvae --data films.npz --sizes 64,256,1024 -o tune/
    """
    from medzoo.tasks.tune import tune as chosen_size
    from medzoo.utils.progress import bar

    check_not_existing([out / "tune.json"], overwrite)
    settings = numbers(sizes)
    with bar() as progress:
        task = progress.add_task("training", total=len(settings) * folds)

        def ended(trial):
            progress.update(task, advance=1)
            click.echo(f"{trial.setting:6} fold {trial.fold}: PSNR {trial.psnr:.2f} dB")

        own = {"folds": folds, "epochs": epochs, "most": most, "size": size, "seed": seed, "command": command_line()}
        own |= {"classes": classes.split(",") if classes else None, **reading(**how)}
        result = chosen_size(family, data, out, settings, progress=ended, **own)
    end = " It is the largest tried: try larger ones." if result["chosen"] == max(settings) else ""
    click.echo(f"chosen: {result['chosen']} (the smallest within one standard error of the best); wrote {out}.{end}")


@click.command("fit-prior")
@click.argument("name")
@click.option("--data", required=True, multiple=True, type=EXISTING, help="Images, as for train; several times.")
@click.option("--out", required=True, type=PATH, help="Preset folder to write.")
@labelled_options
@click.option("--epochs", default=100, show_default=True)
@click.option("--seed", default=0, show_default=True)
def fit_prior(name, data, out, size, epochs, seed, **how):
    """Teach a VAE to draw images like yours: fits a prior to its latents; the same command again goes on.

    \b
    Example:
        medzoo fit-prior vae-brainmri --data brainmri_128.npz --out runs/vae-brainmri
    """
    from medzoo.evaluation.model_card import write_card
    from medzoo.training.prior import train_prior

    folder = train_prior(name, data, out, size=size, epochs=epochs, seed=seed, **reading(**how))
    if write_card(folder):
        click.echo(f"wrote the card and samples.png of {folder}")
    click.echo(f"medzoo.load({str(folder)!r}).sample(16) draws from the prior")


COMMANDS = (train, evaluate, tune, fit_prior)
