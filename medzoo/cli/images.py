"""Commands from images to images: demo, reconstruct, denoise, compress, decompress, generate."""

from pathlib import Path

import click

from medzoo.cli.options import (
    PATH,
    ImageFiles,
    check_not_existing,
    files_of,
    group_option,
    groups_of,
    out_option,
    overwrite_option,
    volumes_of,
)


@click.command()
@click.option("-o", "--out", type=PATH, help="Picture to write; default: medzoo-demo.png, anew each time.")
@click.option("--name", default="vae-chestxray", show_default=True, help="A VAE of the zoo.")
@overwrite_option
def demo(out, name, overwrite):
    """Run a preset on the picture that ships with medzoo; write a figure.

    The picture is a drawn phantom of a chest film: no patient, free to share.

    \b
    Example:
        medzoo demo -o demo.png
    """
    from medzoo.tasks.reconstruct import run_demo

    if out is not None:
        check_not_existing([out], overwrite)
    out = out or Path("medzoo-demo.png")
    numbers, psnr, ssim = run_demo(name, out)
    click.echo(f"{name} on a drawn chest film: {numbers} latents, PSNR {psnr:.2f} dB, SSIM {ssim:.4f}")
    click.echo(f"wrote {out}")


@click.command()
@click.argument("name")
@click.argument("files", nargs=-1, required=True, type=ImageFiles())
@out_option("Folder for the pictures.")
@overwrite_option
def reconstruct(name, files, out, overwrite):
    """Reconstruct images: writes input | reconstruction | difference, prints PSNR and SSIM.

    Of a file with several frames each is an image; scan.dcm#3 is its frame 3. The difference is red where the
    reconstruction is brighter, blue where darker; full colour is 0.25. A masked autoencoder sees the input with six in
    ten of its blocks hidden, and fills them in.

    Volumes are NIfTI files, and for a preset of volumes also folders of a DICOM series: each is written as NIfTI in the
    file's own units and place, and as a picture of its middle in three planes. A preset of images takes them slice by
    slice.

    \b
    Example:
        medzoo reconstruct vae-chestxray film.dcm other.png -o out/
        medzoo reconstruct vae-medical scan.nii.gz -o out/
    """
    from medzoo import load
    from medzoo.io.image import title_of
    from medzoo.tasks.reconstruct import reconstruct_file, reconstruct_volume_file
    from medzoo.utils.files import unique_names
    from medzoo.utils.progress import track

    model, failed = load(name), 0
    volumes, images = volumes_of(files, every=model.spatial_dims == 3)
    files = [*volumes, *files_of(images)]
    targets = [out / f"{title}-{Path(name).name}.png" for title in unique_names(list(map(title_of, files)))]
    check_not_existing([*targets, *(target.with_suffix(".nii.gz") for target in targets[: len(volumes)])], overwrite)
    width = max(len(str(file)) for file in files)
    for file, target in track(list(zip(files, targets, strict=True)), "reconstructing", fewest=4):
        try:
            psnr, ssim = (reconstruct_volume_file if file in volumes else reconstruct_file)(model, file, target)
        except (ValueError, OSError) as error:
            failed += 1
            click.echo(f"error: {error}", err=True)
            continue
        click.echo(f"{file!s:{width}}  PSNR {psnr:5.2f} dB  SSIM {ssim:.4f}  -> {target}")
    if failed:
        raise click.ClickException(f"{failed} of {len(files)} files could not be read.")


@click.command()
@click.argument("images", nargs=-1, required=True, type=ImageFiles())
@out_option("Folder for PNG files.")
@click.option("--model", help="A denoising preset.  [default: dae-chestxray]")
@click.option("--strength", default=1.0, show_default=True, help="0 leaves the image as it is.")
@overwrite_option
def denoise(images, out, model, strength, overwrite):
    """Take noise out of images of files and folders: writes each as 16-bit PNG, and before beside after.

    \b
    Example:
        medzoo denoise films/ -o clean/
    """
    from medzoo.io.image import title_of
    from medzoo.tasks.denoise import DEFAULT, denoise_file
    from medzoo.utils.progress import track
    from medzoo.zoo.presets import load

    files = files_of(images)
    targets = [out / f"{i:05d}-{title_of(file)}.png" for i, file in enumerate(files)]
    check_not_existing(targets, overwrite)
    model = load(model or DEFAULT)
    for file, target in zip(track(files, "denoising", fewest=4), targets, strict=True):
        denoise_file(file, target, model, strength)
    click.echo(f"wrote {len(files)} images to {out}")


@click.command()
@click.argument("images", nargs=-1, required=True, type=ImageFiles())
@out_option("File to write, .mzc; with --each a folder.")
@click.option("--each", is_flag=True, help="A file for each image.")
@click.option("--model", help="Preset of the family Codec.  [default: codec-chestxray]")
@click.option("--quality", type=int, help="Of lossy files, 0 (smallest) to 100.  [default: 50]")
@click.option("--lossless", is_flag=True, help="Every bit of the pixels comes back.")
@click.option("--max-error", type=int, help="No grey value is off by more.")
@click.option("--names/--no-names", default=True, show_default=True, help="Keep the files' names (patients' names?).")
@click.option("--keep-tags", is_flag=True, help="Of DICOM files keep technical tags; none that names anybody.")
@click.option("--skip-broken", is_flag=True, help="Leave out files that cannot be used; list them beside OUT.")
@overwrite_option
def compress(images, out, each, model, quality, lossless, max_error, names, keep_tags, skip_broken, overwrite):
    """Compress grey images (PNG, JPEG, npy, DICOM; 8 or 16 bits) of files and folders to one file.

    Lossy by a codec trained on such images; with --lossless or --max-error as JPEG XL or JPEG-LS, whichever is smaller.
    Of DICOM files the stored pixel values are kept, and with --keep-tags what they mean (modality, spacing, rescale,
    window): then medzoo decompress gives DICOM files.

    \b
    Example:
        medzoo compress films/ -o films.mzc
        medzoo compress films/ -o compressed/ --each --skip-broken
        medzoo compress film.png -o film.mzc --lossless
    """
    from medzoo.io.image import title_of
    from medzoo.tasks.compress import DEFAULT, compress_each, compress_files
    from medzoo.utils.files import unique_names

    if lossless and max_error:
        raise click.ClickException("--lossless and --max-error exclude each other.")
    files = files_of(images)
    targets = [out / f"{title}.mzc" for title in unique_names(list(map(title_of, files)))] if each else out
    listed = out.with_name(f"{out.name}-skipped.txt") if skip_broken else None
    check_not_existing([*(targets if each else [out]), *([listed] if listed else [])], overwrite)
    how = {"on_error": "skip" if skip_broken else "raise", "skipped": listed}
    given = (model or DEFAULT, quality, 0 if lossless else max_error, names, keep_tags)
    count, before, after = (compress_each if each else compress_files)(files, targets, *given, **how)
    click.echo(f"{count} images, {before:,} bytes -> {after:,} bytes ({before / after:.1f} times smaller)")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@out_option("Folder for PNG and DICOM files.")
@click.option("--model", help="Preset folder, where the one named in the file is not in the zoo.")
@overwrite_option
def decompress(file, out, model, overwrite):
    """Write the images of a compressed FILE as PNG, 8 or 16 bits, or where tags were kept as DICOM without a patient.

    \b
    Example:
        medzoo decompress films.mzc -o films/
    """
    from medzoo.tasks.compress import decompress_file

    targets = decompress_file(file, out, model)
    check_not_existing(targets, overwrite)
    for write in targets.values():
        write()
    click.echo(f"wrote {len(targets)} images to {out}")


@click.command()
@click.argument("name")
@out_option("Folder for PNG files.")
@click.option("-n", "count", default=16, show_default=True, help="How many.")
@click.option("--seed", default=0, show_default=True)
@click.option("--temperature", default=1.0, show_default=True, help="Of the prior; below 1: more typical, less varied.")
@click.option("--label", type=int, help="Class of a learned prior; the preset's card lists them.  [default: any]")
@click.option("--like", type=click.Path(path_type=Path, exists=True), help="Folder: draw from where its images lie.")
@group_option
@overwrite_option
def generate(name, out, count, seed, temperature, label, like, group, overwrite):
    """Draw images from a VAE: nobody's body. Volumes are written as NIfTI.

    With --like, samples that are nearly one of the folder's images are left out, and a generator that repeats many of
    them is refused.

    \b
    Example:
        medzoo generate vae-chestxray -o drawn/ -n 32
        medzoo generate vae-chestxray -o children/ -n 8 --label 3
    """
    from medzoo.tasks.generate import draw, sample_paths, save_samples
    from medzoo.zoo.presets import load

    if group and not like:
        raise click.UsageError("--group tells whose the images of --like are; it does nothing without them.")
    model = load(name)
    targets = sample_paths(model, out, count)
    check_not_existing([out / "all.png", *targets], overwrite)
    files = files_of([like]) if like else None
    groups = groups_of(files, like, group) if like else None
    drawn = draw(model, count, seed, temperature, files, label, groups)
    save_samples(drawn, targets, f"{model.name}: drawn, seed {seed}")
    click.echo(f"wrote {count} images to {out}")


COMMANDS = (demo, reconstruct, denoise, compress, decompress, generate)
