"""Commands for stored presets: list, info, verify, convert, export, push."""

import json
from pathlib import Path

import click

from medzoo.cli.options import EXISTING, FOLDER, PATH, overwrite_option, preset_argument, show_json


@click.command("list")
@click.argument("pattern", default="*")
@click.option("--family", help="Model family: ae, vae, vqvae, mae, codec, or a class name.  [default: all]")
@click.option(
    "--modality",
    help="X-ray, CT, MR or ultrasound; presets for several modalities are included.  [default: all]",
)
@click.option("--size", type=int, help="Side in pixels of square images that the preset accepts.  [default: any]")
@click.option(
    "--task",
    help="Task: reconstruct, classify, anomaly, segment, generate, encode, explore, compress or denoise.  "
    "[default: all]",
)
@click.option("--converted", is_flag=True, help="List autoencoders of other libraries, converted on first use.")
def list_command(
    pattern: str, family: str | None, modality: str | None, size: int | None, task: str | None, converted: bool
) -> None:
    """List the pretrained presets.

    PATTERN selects names as in the shell, for example "vae-*".

    \b
    Example:
        medzoo list
        medzoo list --modality CT --size 256
        medzoo list --task generate
    """
    from rich.console import Console
    from rich.table import Table

    from medzoo.zoo.manifest import entry, input_size, list_models

    if converted:
        return _list_converted(pattern)
    names = list_models(pattern, family=family, modality=modality, size=size, task=task)
    table = Table(box=None, pad_edge=False)
    for title in ("preset", "domain", "input", "latent", "PSNR (dB)", "description"):
        table.add_column(title, no_wrap=title in ("preset", "input"))
    for name, e in ((name, entry(name)) for name in names):
        latent, psnr = "×".join(map(str, e["latent_shape"])), f"{e['metrics']['psnr']['mean']:.2f}"
        table.add_row(name, e["domain"], input_size(e), latent, psnr, e["description"])
    Console(width=160).print(table if names else "No preset matches. Run medzoo list to show all presets.")


def _list_converted(pattern):
    from medzoo.zoo.manifest import converted_models, list_converted

    for name in list_converted(pattern):
        e = converted_models()[name]
        click.echo(
            f"{name}: {e['family']} of {e['subject']}, hf://{e['repo']}, license {e['license']}; {e['citation']}"
        )


@click.command()
@click.argument("preset", metavar="PRESET")
@click.option("--json", "as_json", is_flag=True, help="Print the preset's manifest entry as JSON.")
def info(preset: str, as_json: bool) -> None:
    """Show the model card of a preset, or the metadata of a file.

    PRESET is a preset, or a file. Of image files only technical metadata is shown, none that identifies a patient; of
    .mzc files the header.

    \b
    Example:
        medzoo info vae-chestxray
        medzoo info vae-chestxray --json
        medzoo info image.dcm
    """
    from medzoo.zoo.files import card
    from medzoo.zoo.manifest import converted_models, entry

    if Path(preset).is_file() and Path(preset).suffix.lower() == ".mzc":
        from medzoo.tasks.compress import contents_of

        show_json(contents_of(preset))
    elif Path(preset).is_file():
        from medzoo.io.file_info import file_info

        show_json(file_info(preset))
    elif preset in converted_models():
        show_json(converted_models()[preset])
    elif as_json:
        show_json(entry(preset))
    else:
        from rich.console import Console
        from rich.markdown import Markdown

        Console(width=100).print(Markdown(card(preset)))


@click.command()
@click.argument("folders", nargs=-1, type=FOLDER)
def verify(folders: tuple[Path, ...]) -> None:
    """Verify the checksums of installed and cached weights.

    FOLDERS are further preset folders to verify.

    \b
    Example:
        medzoo verify
        medzoo verify my-vae/
    """
    from medzoo.zoo.files import verify as verify_files

    n_damaged = 0
    for location, problem in verify_files(folders):
        n_damaged += problem is not None
        click.echo(f"{'ok ' if problem is None else 'BAD'}  {location}" + (f": {problem}" if problem else ""))
    if n_damaged:
        raise click.ClickException(f"verify: {n_damaged} files or folders are damaged.")


@click.command()
@preset_argument
@click.argument("out", metavar="OUTPUT", type=PATH)
@click.option(
    "--endpoint",
    type=click.Choice(["reconstruct", "encode", "decode"]),
    default="reconstruct",
    show_default=True,
    help="Function to export; a SavedModel contains all three and calls this one by default.",
)
@click.option(
    "--size",
    type=int,
    help="Image side in pixels, for presets that accept any size; required for .tflite.  [default: any size]",
)
@click.option(
    "--quantize", type=click.Choice(["float16", "int8"]), help="Weight format of .tflite files.  [default: float32]"
)
@click.option(
    "--images",
    type=FOLDER,
    help="Folder of representative images: calibrates int8 arithmetic. Requires --quantize int8.  "
    "[default: int8 weights, float arithmetic]",
)
@overwrite_option
def export(
    preset: str, out: Path, endpoint: str, size: int | None, quantize: str | None, images: Path | None, overwrite: bool
) -> None:
    """Export a preset to TensorFlow SavedModel, ONNX or LiteRT.

    OUTPUT is a folder (SavedModel) or a file that ends in .onnx or .tflite. Inputs are images of shape
    (batch, height, width, 1), float32 with values in [0, 1].

    \b
    Example:
        medzoo export vae-chestxray encoder.onnx --endpoint encode
        medzoo export ae-chestxray model.tflite --size 256 --quantize int8
    """
    from medzoo.zoo.export import export as export_model
    from medzoo.zoo.export import representative_images
    from medzoo.zoo.presets import load

    model = load(preset)
    if images is not None:
        images = representative_images(model, images, size)
    export_model(model, out, endpoint, None if size is None else (size, size), quantize, images, overwrite)
    total = sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) if out.is_dir() else out.stat().st_size
    click.echo(f"{out}: {total / 2**20:.2f} MiB")


@click.command()
@click.argument("checkpoint", type=EXISTING)
@click.argument("out", metavar="OUTPUT", type=PATH)
@click.option(
    "--source",
    help="Library: diffusers, monai, medvae, ldm, torchxrayvision or taesd.  [default: recognized from the files]",
)
@click.option("--variant", help="Network of several, e.g. medvae_4_1_2d.  [default: the only one]")
@click.option(
    "--config", type=EXISTING, help="Configuration of the source, JSON or YAML.  [default: the file beside the weights]"
)
@click.option(
    "--option",
    "options",
    multiple=True,
    help="Setting that the weights do not contain, e.g. groups=32; repeat for several.  [default: none]",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Type of the stored weights.",
)
@overwrite_option
def convert(
    checkpoint: Path,
    out: Path,
    source: str | None,
    variant: str | None,
    config: Path | None,
    options: tuple[str, ...],
    dtype: str,
    overwrite: bool,
) -> None:
    """Convert another library's autoencoder to a preset folder.

    CHECKPOINT is a file of weights or a folder: of diffusers, a MONAI bundle, or MedVAE's. Needs no PyTorch.

    \b
    Example:
        medzoo convert MedVAE/ medvae-4-1-2d/ --variant medvae_4_1_2d
        medzoo convert model_autoencoder.pt my-kl/ --source monai --option groups=32 --option epsilon=1e-6
    """
    from medzoo.zoo.converters.convert import convert as of
    from medzoo.zoo.presets import save_preset

    pairs = [option.partition("=") for option in options]
    if any(not mark for _, mark, _ in pairs):
        raise click.ClickException(f"--option {options[0]}: expected name=value.")
    values = {name: _value(text) for name, _, text in pairs}
    model = of(checkpoint, source, variant, config, **values)
    save_preset(model, out, dtype=dtype, overwrite=overwrite)
    shape = "×".join("any" if n is None else str(n) for n in model.image_shape)
    click.echo(f"{out}: {type(model).__name__}, input {shape}, {model.count_params():,} parameters")


def _value(text):
    """An option's value: JSON where it is some, else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("target")
@click.option("--license", help="License identifier of the weights, e.g. apache-2.0.  [default: as in README.md]")
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    help="Identifier of a training dataset on the Hugging Face Hub; repeat the option for several.  "
    "[default: as in README.md]",
)
@click.option("--private", is_flag=True, help="Create a private repository.")
@click.option("--yes", is_flag=True, help="Upload. Without this option, only list what would be uploaded.")
def push(folder: Path, target: str, license: str | None, datasets: tuple[str, ...], private: bool, yes: bool) -> None:
    """Upload a preset folder to the Hugging Face Hub.

    TARGET is hf://user/repo. Without --yes this is a dry run that lists the files, the model card and the manifest
    entry. Only files of the preset are uploaded. Load it with medzoo.load("hf://user/repo").

    \b
    Example:
        medzoo push my-vae/ hf://me/my-vae --license apache-2.0
        medzoo push my-vae/ hf://me/my-vae --license apache-2.0 --yes
    """
    from medzoo.zoo.push import prepare
    from medzoo.zoo.push import push as upload_files

    upload = prepare(folder, target, license, datasets)
    for name, size in upload.sizes().items():
        click.echo(f"{size:12,} bytes  {name}")
    others = sorted(p.name for p in folder.iterdir() if p.name not in upload.files)
    if others:
        click.echo(f"not uploaded: {', '.join(others)}")
    click.echo(f"\n{upload.card}")
    commit = upload_files(upload, private) if yes else None
    click.echo(f"Manifest entry:\n{json.dumps({upload.repo.split('/')[1]: upload.entry(commit)}, indent=2)}")
    if yes:
        click.echo(f'Uploaded. Load with medzoo.load("hf://{upload.repo}@{commit}")')
    else:
        click.echo(f"Dry run: nothing was uploaded. Add --yes to upload to {target}.")


COMMANDS = (list_command, info, verify, convert, export, push)
