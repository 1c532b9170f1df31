"""The command line's ways from images to images; see `medzoo.cli`."""

import io
from pathlib import Path

import click
import numpy as np

from medzoo.cli_tasks import _files, _nothing_there


class _Reading:
    """The stored values of files, read one at a time with a progress bar."""

    def __init__(self, files):
        self.files = files

    def __len__(self):
        return len(self.files)

    def __iter__(self):
        from rich.progress import track

        from medzoo.images.read import read_stored

        return map(read_stored, track(self.files, "compressing", disable=len(self.files) < 4))


def _write(path, data):
    """All of it or nothing."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def _write_png(path, values):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(values)).save(buffer, format="PNG")
    _write(path, buffer.getvalue())


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File to write, .mzc."
)
@click.option("--model", help="Preset of the family Codec.  [default: codec-chestxray-256]")
@click.option("--quality", type=int, help="0 (smallest) to 3.  [default: 2, and 0 where a residual follows]")
@click.option("--lossless", is_flag=True, help="Every bit of the pixels comes back.")
@click.option("--max-error", type=int, help="No grey value is off by more.")
@click.option("--names/--no-names", default=True, show_default=True, help="Keep the files' names (patients' names?).")
@click.option("--overwrite", is_flag=True)
def compress(images, out, model, quality, lossless, max_error, names, overwrite):
    """Compress grey images (PNG, JPEG, npy, DICOM; 8 or 16 bits) of files and folders to one file.

    Of DICOM files the stored pixel values are kept, and no tags.

    \b
    Example:
        medzoo compress films/ -o films.mzc
        medzoo compress film.png -o film.mzc --lossless
    """
    from medzoo.tasks import compress as task

    _nothing_there([out], overwrite)
    if lossless and max_error:
        raise click.ClickException("--lossless and --max-error exclude each other.")
    files = _files(images)
    reading = _Reading(files)
    titles = [file.name for file in files] if names else None
    data = task.compress(reading, model or task.DEFAULT, quality, 0 if lossless else max_error, titles)
    _write(out, data)
    before = sum(file.stat().st_size for file in files)
    click.echo(f"{len(files)} images, {before:,} bytes -> {len(data):,} bytes ({before / len(data):.1f} times smaller)")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for PNG files.")
@click.option("--model", help="Preset folder, where the one named in the file is not in the zoo.")
@click.option("--overwrite", is_flag=True, help="Replace pictures that are there already.")
def decompress(file, out, model, overwrite):
    """Write the images of a compressed FILE as PNG, 8 or 16 bits.

    \b
    Example:
        medzoo decompress films.mzc -o films/
    """
    from medzoo.errors import CompressedFileError
    from medzoo.tasks.compress import decompress as images_of

    try:
        images, names = images_of(file.read_bytes(), model, with_names=True)
    except CompressedFileError as error:
        raise click.ClickException(f"{file}: {error}") from error
    # A name in a file from elsewhere must not lead out of the folder.
    stems = [Path(name.replace("\\", "/")).stem or f"{i:05d}" for i, name in enumerate(names)]
    targets = [out / f"{f'{i:05d}-' if stems.count(stem) > 1 else ''}{stem}.png" for i, stem in enumerate(stems)]
    _nothing_there(targets, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    for image, target in zip(images, targets, strict=True):
        _write_png(target, image)
    click.echo(f"wrote {len(images)} images to {out}")


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for PNG files.")
@click.option("--model", help="A denoising preset.  [default: dae-chestxray-256]")
@click.option("--strength", default=1.0, show_default=True, help="0 leaves the image as it is.")
@click.option("--overwrite", is_flag=True, help="Replace pictures that are there already.")
def denoise(images, out, model, strength, overwrite):
    """Take noise out of images of files and folders: writes each as 16-bit PNG, and before beside after.

    \b
    Example:
        medzoo denoise films/ -o clean/
    """
    from rich.progress import track

    from medzoo import load
    from medzoo.evaluate.plots import difference_strip
    from medzoo.images.read import read_image
    from medzoo.tasks import denoise as task

    files = _files(images)
    targets = [out / f"{i:05d}-{file.stem}.png" for i, file in enumerate(files)]
    _nothing_there(targets, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    model = load(model or task.DEFAULT)
    for file, target in zip(track(files, "denoising", disable=len(files) < 4), targets, strict=True):
        image = read_image(file) if model.image_shape[0] is None else model.preprocess(file)[0]
        clean = task.denoise(image, model, strength)
        pictures = {
            target: np.round(clean[..., 0] * 65535).astype("uint16"),
            target.with_name(f"{target.stem}-compared.png"): difference_strip(image, clean),
        }
        for path, values in pictures.items():
            _write_png(path, values)
    click.echo(f"wrote {len(files)} images to {out}")


@click.command()
@click.argument("name")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for PNG files.")
@click.option("-n", "count", default=16, show_default=True, help="How many.")
@click.option("--seed", default=0, show_default=True)
@click.option("--temperature", default=1.0, show_default=True, help="Of the prior; below 1: more typical, less varied.")
@click.option("--like", type=click.Path(path_type=Path, exists=True), help="Folder: draw from where its images lie.")
@click.option("--overwrite", is_flag=True, help="Replace pictures that are there already.")
def generate(name, out, count, seed, temperature, like, overwrite):
    """Draw images from a VAE: nobody's body.

    With --like, samples that are nearly one of the folder's images are left out, and a generator that repeats many of
    them is refused.

    \b
    Example:
        medzoo generate vae-chestxray -o drawn/ -n 32
    """
    from medzoo import VAE, load
    from medzoo.evaluate.plots import save_grid
    from medzoo.tasks.generate import AggregatePosterior, new_images

    targets = [out / f"{i:05d}.png" for i in range(count)]
    _nothing_there([out / "all.png", *targets], overwrite)
    model = load(name)
    if like:
        images = model.preprocess(_files([like]))
        # A quarter tells how near an unseen image usually comes to a seen one.
        order = np.random.default_rng(seed).permutation(len(images))
        held_out, known = images[order[: len(images) // 4]], images[order[len(images) // 4 :]]
        if len(held_out) < 5:
            raise click.ClickException(f"{like}: {len(images)} images; expected 20 or more.")
        mixture = AggregatePosterior(model).fit(known)
        drawn = new_images(lambda n, s: mixture.sample(n, seed=s), count, known, model.reconstruct(held_out), seed)
    elif isinstance(model, VAE):
        drawn = model.sample(
            count, seed=seed, size=None if model.image_shape[0] else (128, 128), temperature=temperature
        )
    else:
        raise click.ClickException(f"{name} is a {type(model).__name__}, which has no prior; use a VAE, or --like.")
    out.mkdir(parents=True, exist_ok=True)
    for target, image in zip(targets, drawn, strict=True):
        _write_png(target, np.round(255 * image[..., 0]).astype("uint8"))
    save_grid(out / "all.png", drawn[:64], title=f"{name}: drawn, seed {seed}")
    click.echo(f"wrote {count} images to {out}")
