"""Commands for presets at rest: list, info, verify, export, push."""

import json
from pathlib import Path

import click

from medzoo.cli.options import FOLDER, PATH, overwrite_option, show_json


@click.command("list")
@click.argument("pattern", default="*")
@click.option("--family", help="ae, vae, vqvae, mae, codec, or a class name.")
@click.option("--modality", help="X-ray, CT, MR, ultrasound; those for several are shown too.")
@click.option("--size", type=int, help="Takes square images of so many pixels a side.")
@click.option("--task", help="What the preset is for: reconstruct, classify, anomaly, segment, generate ...")
def list_command(pattern, family, modality, size, task):
    """List the presets, with what each is for.

    \b
    Example:
        medzoo list
        medzoo list --modality CT --size 256
        medzoo list --task generate
    """
    from rich.console import Console
    from rich.table import Table

    from medzoo.zoo.manifest import entry, input_size, list_models

    names = list_models(pattern, family=family, modality=modality, size=size, task=task)
    table = Table(box=None, pad_edge=False)
    for title in ("preset", "images", "input", "latents", "PSNR, dB", "for"):
        table.add_column(title, no_wrap=title in ("preset", "input"))
    for name, e in ((name, entry(name)) for name in names):
        latents, psnr = "×".join(map(str, e["latent_shape"])), f"{e['metrics']['psnr']['mean']:.2f}"
        table.add_row(name, e["domain"], input_size(e), latents, psnr, e["description"])
    Console(width=160).print(table if names else "none; medzoo list shows all")


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="The manifest's entry.")
def info(name, as_json):
    """Show a preset's card, or a file's technical facts: what an .mzc file holds; of an image nothing about a patient.

    \b
    Example:
        medzoo info vae-chestxray
        medzoo info vae-chestxray --json
        medzoo info film.dcm
    """
    from medzoo.zoo.files import card
    from medzoo.zoo.manifest import entry

    if Path(name).is_file() and Path(name).suffix.lower() == ".mzc":
        from medzoo.tasks.compress import contents_of

        show_json(contents_of(name))
    elif Path(name).is_file():
        from medzoo.io.file_info import file_info

        show_json(file_info(name))
    elif as_json:
        show_json(entry(name))
    else:
        from rich.console import Console
        from rich.markdown import Markdown

        Console(width=100).print(Markdown(card(name)))


@click.command()
@click.argument("folders", nargs=-1, type=FOLDER)
def verify(folders):
    """Hash the weights that ship with medzoo, those of the zoo in the cache, and preset FOLDERS, again.

    \b
    Example:
        medzoo verify
        medzoo verify my-vae/
    """
    from medzoo.zoo.files import verify as check

    bad = 0
    for where, problem in check(folders):
        bad += problem is not None
        click.echo(f"{'ok ' if problem is None else 'BAD'}  {where}" + (f": {problem}" if problem else ""))
    if bad:
        raise click.ClickException(f"{bad} damaged.")


@click.command()
@click.argument("name")
@click.argument("out", type=PATH)
@click.option(
    "--part", type=click.Choice(["reconstruct", "encode", "decode"]), default="reconstruct", show_default=True
)
@click.option("--size", type=int, help="Side of the images, for a model that takes any; LiteRT wants it.")
@click.option("--quantize", type=click.Choice(["float16", "int8"]), help="Smaller weights, for LiteRT.")
@click.option(
    "--images", type=FOLDER, help="With int8: folder of typical images; all arithmetic is then in whole numbers."
)
@overwrite_option
def export(name, out, part, size, quantize, images, overwrite):
    """Write a preset for use without Keras to OUT: a SavedModel folder, .onnx or .tflite.

    Inputs are images (batch, height, width, 1), float32 in [0, 1].

    \b
    Example:
        medzoo export vae-chestxray encoder.onnx --part encode
        medzoo export ae-chestxray model.tflite --size 256 --quantize int8
    """
    from medzoo.zoo.export import export as write
    from medzoo.zoo.export import typical_images
    from medzoo.zoo.presets import load

    model = load(name)
    if images is not None:
        images = typical_images(model, images, size)
    write(model, out, part, size and (size, size), quantize, images, overwrite)
    total = sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) if out.is_dir() else out.stat().st_size
    click.echo(f"{out}: {total / 2**20:.2f} MiB")


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("target")
@click.option("--license", "licence", help="Of the weights, as the hub knows it; default: what README.md says.")
@click.option("--dataset", "datasets", multiple=True, help="Training data on the hub; may be given several times.")
@click.option("--private", is_flag=True, help="Create the repository as a private one.")
@click.option("--yes", is_flag=True, help="Upload; without it, only show what would be.")
def push(folder, target, licence, datasets, private, yes):
    """Upload a preset FOLDER to TARGET, hf://user/repo; a dry run unless --yes is given.

    Shows the files, the card and the manifest entry. Only a preset's own files are uploaded, whatever else the folder
    holds. Anyone loads it by medzoo.load("hf://user/repo").

    \b
    Example:
        medzoo push my-vae/ hf://me/my-vae --license apache-2.0
        medzoo push my-vae/ hf://me/my-vae --license apache-2.0 --yes
    """
    from medzoo.zoo.push import prepare
    from medzoo.zoo.push import push as upload_all

    upload = prepare(folder, target, licence, datasets)
    for name, size in upload.sizes().items():
        click.echo(f"{size:12,} bytes  {name}")
    others = sorted(p.name for p in folder.iterdir() if p.name not in upload.files)
    if others:
        click.echo(f"not uploaded: {', '.join(others)}")
    click.echo(f"\n{upload.card}")
    commit = upload_all(upload, private) if yes else None
    click.echo(f"Manifest entry:\n{json.dumps({upload.repo.split('/')[1]: upload.entry(commit)}, indent=2)}")
    if yes:
        click.echo(f'Uploaded. medzoo.load("hf://{upload.repo}@{commit}")')
    else:
        click.echo(f"Dry run: nothing was uploaded. Add --yes to upload to {target}.")


COMMANDS = (list_command, info, verify, export, push)
