"""Commands for presets at rest: verify, export, push."""

import json
from pathlib import Path

import click


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path, exists=True, file_okay=False))
def verify(folders):
    """Hash the weights that ship with medzoo, those of the zoo in the cache, and preset FOLDERS, again.

    \b
    Example:
        medzoo verify
        medzoo verify my-vae/
    """
    from medzoo.zoo.presets import verify as check

    bad = 0
    for where, problem in check(folders):
        bad += problem is not None
        click.echo(f"{'ok ' if problem is None else 'BAD'}  {where}" + (f": {problem}" if problem else ""))
    if bad:
        raise click.ClickException(f"{bad} damaged.")


@click.command()
@click.argument("name")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--part", type=click.Choice(["reconstruct", "encode", "decode"]), default="reconstruct", show_default=True
)
@click.option("--size", type=int, help="Side of the images, for a model that takes any; LiteRT wants it.")
@click.option("--quantize", type=click.Choice(["float16", "int8"]), help="Smaller weights, for LiteRT.")
@click.option(
    "--images",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="With int8: folder of typical images; all arithmetic is then in whole numbers.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
def export(name, out, part, size, quantize, images, overwrite):
    """Write a preset for use without Keras to OUT: a SavedModel folder, .onnx or .tflite.

    Inputs are images (batch, height, width, 1), float32 in [0, 1].

    \b
    Example:
        medzoo export vae-chestxray encoder.onnx --part encode
        medzoo export ae-chestxray-256 model.tflite --size 256 --quantize int8
    """
    import numpy as np

    from medzoo.images.datasets import list_images
    from medzoo.images.read import read_image
    from medzoo.zoo.export import export as write
    from medzoo.zoo.presets import load

    model = load(name)
    if images is not None:
        own = (size, size) if size else model.image_shape[:2]
        if None in own:
            raise click.UsageError(f"{name} takes images of any size; say which with --size.")
        images = np.stack([read_image(path, own, model.preprocess.window) for path in list_images(images)])
    write(model, out, part, size and (size, size), quantize, images, overwrite)
    total = sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) if out.is_dir() else out.stat().st_size
    click.echo(f"{out}: {total / 2**20:.2f} MiB")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
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
    for name, source in sorted(upload.files.items()):
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        click.echo(f"{size:12,} bytes  {name}")
    others = sorted(p.name for p in folder.iterdir() if p.name not in upload.files)
    if others:
        click.echo(f"not uploaded: {', '.join(others)}")
    click.echo(f"\n{upload.card}")
    commit = upload_all(upload, private) if yes else None
    name = upload.repo.split("/")[1]
    click.echo(f"Manifest entry:\n{json.dumps({name: upload.entry(commit)}, indent=2)}")
    if yes:
        click.echo(f'Uploaded. medzoo.load("hf://{upload.repo}@{commit}")')
    else:
        click.echo(f"Dry run: nothing was uploaded. Add --yes to upload to {target}.")
