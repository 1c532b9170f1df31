"""The command line: parses, calls, prints."""

import json
import logging
import math
import os
from pathlib import Path

import click

from medzoo.cli_app import app
from medzoo.cli_explore import drift, encode, map_command, similar, tune
from medzoo.cli_hub import export, push, verify
from medzoo.cli_images import compress, decompress, denoise, generate
from medzoo.cli_tasks import _nothing_there, adapt, anomaly, classify, segment
from medzoo.errors import TrainingError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reports missing GPUs as errors


class Friendly(click.Group):
    """Our own exceptions end in one line, not in a traceback."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except (ValueError, OSError, TrainingError) as error:
            if ctx.obj:
                raise
            raise click.ClickException(str(error)) from error


@click.group(cls=Friendly)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="medzoo")
@click.pass_context
def main(ctx, debug):
    """Pretrained autoencoders of medical images.

    \b
    Example:
        medzoo demo
        medzoo reconstruct vae-chestxray film.dcm -o out/
    """
    ctx.obj = debug
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for noisy in ("absl", "httpx", "tensorflow", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


@main.command("list")
def list_command():
    """List the presets.

    \b
    Example:
        medzoo list
    """
    from rich.console import Console
    from rich.table import Table

    from medzoo.zoo.manifest import input_size, manifest

    table = Table(box=None, pad_edge=False)
    for title in ("preset", "family", "for", "input", "latents", "PSNR, dB", "SSIM"):
        table.add_column(title)
    for name, e in manifest().items():
        table.add_row(
            name,
            e["family"],
            e["subject"],
            input_size(e),
            "×".join(map(str, e["latent_shape"])),
            f"{e['metrics']['psnr']['mean']:.2f}",
            f"{e['metrics']['ssim']['mean']:.3f}",
        )
    Console(width=140).print(table)


@main.command()
@click.argument("name")
def info(name):
    """Show a preset's entry in the manifest, or a file's technical facts, as JSON; nothing about a patient.

    \b
    Example:
        medzoo info vae-chestxray
        medzoo info film.dcm
    """
    from medzoo.images.facts import file_facts
    from medzoo.zoo.manifest import entry

    click.echo(json.dumps(file_facts(name) if Path(name).is_file() else entry(name), indent=2))


@main.command()
@click.argument("name")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for the pictures.")
@click.option("--overwrite", is_flag=True, help="Replace pictures that are there already.")
def reconstruct(name, files, out, overwrite):
    """Reconstruct images: writes input | reconstruction | difference, prints PSNR and SSIM.

    The difference is red where the reconstruction is brighter, blue where darker; full colour is 0.25.

    \b
    Example:
        medzoo reconstruct vae-chestxray film.dcm other.png -o out/
    """
    from PIL import Image
    from rich.progress import track

    from medzoo import load, metrics
    from medzoo.evaluate.plots import difference_strip

    targets = [out / f"{file.stem}-{Path(name).name}.png" for file in files]
    for target in targets:
        if targets.count(target) > 1:
            raise click.ClickException(f"two of the files would be written to {target}; run them one by one.")
    _nothing_there(targets, overwrite)
    model = load(name)
    out.mkdir(parents=True, exist_ok=True)
    width = max(len(str(file)) for file in files)
    failed = 0
    for file, target in track(list(zip(files, targets, strict=True)), "reconstructing", disable=len(files) < 4):
        try:
            image = model.preprocess(file)
        except (ValueError, OSError) as error:
            failed += 1
            click.echo(f"error: {error}", err=True)
            continue
        result = model.reconstruct(image)
        temporary = target.with_suffix(".part")
        Image.fromarray(difference_strip(image[0], result[0])).save(temporary, format="PNG")
        temporary.replace(target)
        psnr, ssim = (float(f(image, result)[0]) for f in (metrics.psnr, metrics.ssim))
        click.echo(f"{file!s:{width}}  PSNR {psnr:5.2f} dB  SSIM {ssim:.4f}  -> {target}")
    if failed:
        raise click.ClickException(f"{failed} of {len(files)} files could not be read.")


@main.command()
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Picture to write; default: medzoo-demo.png, anew each time.",
)
@click.option("--name", default="vae-chestxray", show_default=True, help="A VAE of the zoo.")
@click.option("--overwrite", is_flag=True, help="Replace the picture if it is there already.")
def demo(out, name, overwrite):
    """Run a preset on the picture that ships with medzoo; write a figure.

    The picture is a drawn phantom of a chest film: no patient, free to share.

    \b
    Example:
        medzoo demo -o demo.png
    """
    from medzoo import load, metrics
    from medzoo.evaluate.plots import save_demo

    if out is not None:
        _nothing_there([out], overwrite)
    out = out or Path("medzoo-demo.png")
    model = load(name)
    image = model.preprocess(Path(__file__).parent / "images" / "chest_phantom.png")
    result = model.reconstruct(image)
    psnr, ssim = (float(f(image, result)[0]) for f in (metrics.psnr, metrics.ssim))
    numbers = math.prod(model.latent_shape(image.shape[1:]))
    title = f"reconstruction from {numbers} numbers: {psnr:.1f} dB"
    save_demo(out, image[0], result[0], title, model.sample(16, seed=0))
    click.echo(f"{name} on a drawn chest film: {numbers} latents, PSNR {psnr:.2f} dB, SSIM {ssim:.4f}")
    click.echo(f"wrote {out}")


@main.command()
@click.argument("recipe")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Archive to train on (npz).")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Preset folder to write.")
@click.option("--epochs", type=int, help="Default: the recipe's.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--strategy", default="auto", show_default=True, help="auto, default, mirrored, multiworker, tpu or dataparallel."
)
def train(recipe, data, out, epochs, seed, strategy):
    """Train a preset; the same command again goes on after an interruption.

    Exits with status 75 after SIGTERM, once the state is saved.

    \b
    Example:
        medzoo train vae-chestxray --data medical_mnist_64.npz --out runs/vae-chestxray
    """
    from medzoo import recipes
    from medzoo.evaluate.report import report

    recipe = recipes.recipe(recipe)
    folder = recipe.train(data, out, epochs=epochs, seed=seed, strategy=strategy)
    probe = recipe.probe and Path(data).parent / recipe.probe["file"]
    click.echo(report(folder, data, recipe.classes, probe if probe and probe.is_file() else None))


@main.command()
@click.argument("name")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Archive to measure on (npz).")
@click.option("--split", default="test", show_default=True)
@click.option("--classes", help="Comma-separated; default: all.")
@click.option("--probe", type=click.Path(path_type=Path), help="Labelled archive for the probe; default: the data.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for metrics.json, report.md and figures.")
@click.option("--overwrite", is_flag=True, help="Replace a report that is there already.")
def evaluate(name, data, split, classes, probe, out, overwrite):
    """Measure a preset: reconstruction beside PCA, latents, samples, other exposures, probe, speed.

    \b
    Example:
        medzoo evaluate vae-chestxray --data medical_mnist_64.npz --classes chest_xray -o report/
    """
    from medzoo.evaluate.report import evaluate as measure

    if out:
        _nothing_there([out / "metrics.json"], overwrite)
    result = measure(name, data, split, classes.split(",") if classes else None, probe, out)
    click.echo(json.dumps(result, indent=2))


USES = (classify, anomaly, segment, adapt, compress, decompress, denoise, generate, map_command, similar, drift, tune)
for command in (*USES, encode, app, verify, export, push):
    main.add_command(command)


if __name__ == "__main__":
    main()
