"""Commands that read or write images: demo, reconstruct, denoise, compress, decompress, generate."""

from pathlib import Path
from typing import Any

import click

from medzoo.cli.options import (
    EXISTING,
    PATH,
    ImageFiles,
    check_not_existing,
    files_of,
    group_option,
    groups_of,
    out_option,
    overwrite_option,
    preset_argument,
    seed_option,
    volumes_of,
)


@click.command()
@click.option(
    "-o", "--out", type=PATH, metavar="OUTPUT", help="PNG file to write.  [default: medzoo-demo.png, overwritten]"
)
@click.option("--preset", default="vae-chestxray", show_default=True, metavar="PRESET", help="A VAE preset.")
@overwrite_option
def demo(out: Path | None, preset: str, overwrite: bool) -> None:
    """Reconstruct and generate example images; write a figure.

    The input is a synthetic chest X-ray phantom that is included in the package.

    \b
    Example:
        medzoo demo -o demo.png
    """
    from medzoo.tasks.reconstruct import run_demo

    if out is not None:
        check_not_existing([out], overwrite)
    out = out or Path("medzoo-demo.png")
    latent_size, psnr, ssim = run_demo(preset, out)
    click.echo(f"{preset}, synthetic phantom: {latent_size} latent elements, PSNR {psnr:.2f} dB, SSIM {ssim:.4f}")
    click.echo(f"wrote {out}")


@click.command()
@preset_argument
@click.argument("files", nargs=-1, required=True, type=ImageFiles())
@out_option("Folder for the figures and reconstructed volumes.")
@overwrite_option
def reconstruct(preset: str, files: tuple[Path, ...], out: Path, overwrite: bool) -> None:
    """Reconstruct images or volumes and report PSNR and SSIM.

    Writes input, reconstruction and difference side by side (red: reconstruction brighter, blue: darker; full color at
    0.25). Files with several frames are read frame by frame; scan.dcm#3 is frame 3. For a masked autoencoder, 60% of
    the input blocks are masked and then inpainted.

    Volumes are NIfTI files and, for presets for volumes, folders of DICOM series. They are written as NIfTI files in
    the units and the geometry of the input, with a figure of the three central planes. Presets for images process
    volumes slice by slice.

    \b
    Example:
        medzoo reconstruct vae-chestxray image.dcm other.png -o out/
        medzoo reconstruct vae-medical scan.nii.gz -o out/
    """
    from medzoo import load
    from medzoo.io.image import title_of
    from medzoo.tasks.reconstruct import reconstruct_file, reconstruct_volume_file
    from medzoo.utils.files import unique_names
    from medzoo.utils.progress import track

    model, n_failed = load(preset), 0
    volumes, images = volumes_of(files, every=model.spatial_dims == 3)
    files = [*volumes, *files_of(images)]
    targets = [out / f"{title}-{Path(preset).name}.png" for title in unique_names(list(map(title_of, files)))]
    check_not_existing([*targets, *(target.with_suffix(".nii.gz") for target in targets[: len(volumes)])], overwrite)
    width = max(len(str(file)) for file in files)
    for file, target in track(list(zip(files, targets, strict=True)), "reconstructing", fewest=4):
        try:
            psnr, ssim = (reconstruct_volume_file if file in volumes else reconstruct_file)(model, file, target)
        except (ValueError, OSError) as error:
            n_failed += 1
            click.echo(f"error: {error}", err=True)
            continue
        click.echo(f"{file!s:{width}}  PSNR {psnr:5.2f} dB  SSIM {ssim:.4f}  -> {target}")
    if n_failed:
        raise click.ClickException(f"{n_failed} of {len(files)} files could not be read.")


@click.command()
@click.argument("images", nargs=-1, required=True, type=ImageFiles())
@out_option("Folder for the PNG files.")
@click.option("--model", metavar="PRESET", help="Denoising preset.  [default: dae-chestxray]")
@click.option(
    "--strength",
    default=1.0,
    show_default=True,
    help="Weight of the denoised image in the output, 0 (input) to 1 (fully denoised).",
)
@overwrite_option
def denoise(images: tuple[Path, ...], out: Path, model: str | None, strength: float, overwrite: bool) -> None:
    """Denoise images and write them as 16-bit PNG files.

    IMAGES are files and folders. A second PNG per image compares input and output.

    \b
    Example:
        medzoo denoise images/ -o denoised/
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
@out_option("File to write (.mzc), or a folder with --one-file-per-image.")
@click.option("--one-file-per-image", is_flag=True, help="Write one .mzc file per image.")
@click.option("--model", metavar="PRESET", help="Codec preset.  [default: codec-chestxray]")
@click.option("--quality", type=int, help="Quality of lossy compression, 0 (lowest rate) to 100.  [default: 50]")
@click.option("--lossless", is_flag=True, help="Preserve all pixel values exactly.")
@click.option(
    "--max-error",
    type=int,
    help="Maximum absolute error in stored pixel values; 0 is lossless.  [default: lossy codec]",
)
@click.option(
    "--filenames/--no-filenames",
    default=True,
    show_default=True,
    help="Store file names. Disable if names identify patients.",
)
@click.option(
    "--keep-tags", is_flag=True, help="Store technical DICOM tags. Tags that identify a person are never stored."
)
@click.option("--skip-invalid", is_flag=True, help="Skip invalid files and list them in OUTPUT-skipped.txt.")
@overwrite_option
def compress(
    images: tuple[Path, ...],
    out: Path,
    one_file_per_image: bool,
    model: str | None,
    quality: int | None,
    lossless: bool,
    max_error: int | None,
    filenames: bool,
    keep_tags: bool,
    skip_invalid: bool,
    overwrite: bool,
) -> None:
    """Compress grayscale images of 8 or 16 bits to .mzc files.

    IMAGES are PNG, JPEG, npy and DICOM files and folders. By default a learned codec is used; --lossless and
    --max-error use JPEG XL or JPEG-LS, whichever is smaller. The stored pixel values of DICOM files are compressed.
    With --keep-tags, medzoo decompress restores DICOM files with modality, spacing, rescale and window.

    \b
    Example:
        medzoo compress images/ -o images.mzc
        medzoo compress images/ -o compressed/ --one-file-per-image --skip-invalid
        medzoo compress image.png -o image.mzc --lossless
    """
    from medzoo.io.image import title_of
    from medzoo.tasks.compress import DEFAULT, compress_each, compress_files
    from medzoo.utils.files import unique_names

    if lossless and max_error:
        raise click.ClickException("--lossless and --max-error are mutually exclusive.")
    files = files_of(images)
    if one_file_per_image:
        targets = [out / f"{title}.mzc" for title in unique_names(list(map(title_of, files)))]
    else:
        targets = [out]
    skipped = out.with_name(f"{out.name}-skipped.txt") if skip_invalid else None
    check_not_existing([*targets, *([skipped] if skipped else [])], overwrite)
    options: dict[str, Any] = {"on_error": "skip" if skip_invalid else "raise", "skipped": skipped}
    settings = (model or DEFAULT, quality, 0 if lossless else max_error, filenames, keep_tags)
    if one_file_per_image:
        count, before, after = compress_each(files, targets, *settings, **options)
    else:
        count, before, after = compress_files(files, out, *settings, **options)
    click.echo(f"{count} images, {before:,} bytes -> {after:,} bytes (compression ratio {before / after:.1f}:1)")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@out_option("Folder for the PNG and DICOM files.")
@click.option("--model", metavar="PRESET", help="Codec preset.  [default: preset named in FILE]")
@overwrite_option
def decompress(file: Path, out: Path, model: str | None, overwrite: bool) -> None:
    """Decompress an .mzc file to PNG or DICOM files.

    Images whose DICOM tags were stored are written as DICOM files without patient data, others as PNG files of 8 or 16
    bits.

    \b
    Example:
        medzoo decompress images.mzc -o images/
    """
    from medzoo.tasks.compress import decompress_file

    targets = decompress_file(file, out, model)
    check_not_existing(targets, overwrite)
    for write in targets.values():
        write()
    click.echo(f"wrote {len(targets)} images to {out}")


@click.command()
@preset_argument
@out_option("Folder for the PNG or NIfTI files.")
@click.option("-n", "count", default=16, show_default=True, help="Number of images.")
@seed_option
@click.option(
    "--temperature",
    default=1.0,
    show_default=True,
    help="Scale of the initial noise; values below 1 give more typical, less varied images.",
)
@click.option("--label", type=int, help="Class index of a class-conditional prior, see the model card.  [default: any]")
@click.option(
    "--reference",
    type=EXISTING,
    help="Folder of images: sample from the distribution of their latents.  [default: the prior of the preset]",
)
@group_option
@overwrite_option
def generate(
    preset: str,
    out: Path,
    count: int,
    seed: int,
    temperature: float,
    label: int | None,
    reference: Path | None,
    group: str | None,
    overwrite: bool,
) -> None:
    """Generate synthetic images with a VAE.

    Volumes are written as NIfTI files. With --reference, generated images that are near copies of the folder's images
    are removed, and the command fails if too many are. Generated images do not depict real patients.

    \b
    Example:
        medzoo generate vae-chestxray -o generated/ -n 32
        medzoo generate vae-chestxray -o pediatric/ -n 8 --label 3
    """
    from medzoo.tasks.generate import sample_images, sample_paths, save_samples
    from medzoo.zoo.presets import load

    if group and not reference:
        raise click.UsageError("--group requires --reference: it identifies the patients of the reference images.")
    model = load(preset)
    targets = sample_paths(model, out, count)
    check_not_existing([out / "all.png", *targets], overwrite)
    files = files_of([reference]) if reference else None
    groups = groups_of(files, reference, group) if reference and files is not None else None
    samples = sample_images(model, count, seed, temperature, files, label, groups)
    save_samples(samples, targets, f"{model.name}: generated, seed {seed}")
    click.echo(f"wrote {count} images to {out}")


COMMANDS = (demo, reconstruct, denoise, compress, decompress, generate)
