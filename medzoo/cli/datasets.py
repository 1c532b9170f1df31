"""Commands about sets of images: map, similar, drift, encode."""

import click

from medzoo.cli.options import (
    EXISTING,
    FOLDER,
    PATH,
    ImageFiles,
    check_not_existing,
    files_for,
    group_option,
    groups_of,
    out_option,
    overwrite_option,
)

FEATURE_TYPE = click.option(
    "--feature_type", default="both", show_default=True, type=click.Choice(["latent", "encoder", "both"])
)


@click.command("map")
@click.argument("name")
@click.argument("folders", nargs=-1, required=True, type=EXISTING)
@out_option("Folder for map.png, map.html, map.csv.")
@click.option("--method", default="pca", show_default=True, type=click.Choice(["pca", "tsne", "umap"]))
@FEATURE_TYPE
@overwrite_option
def map_command(name, folders, out, method, feature_type, overwrite):
    """Draw a map of the images in FOLDERS, one colour a folder: alike images lie near each other.

    map.html is interactive (needs pip install "medzoo[explore]"): hover to see the file.

    \b
    Example:
        medzoo map ae-chestxray-64 normal/ pneumonia/ -o map/ --method tsne
    """
    from medzoo.tasks.projection import project_folders

    check_not_existing([out / "map.csv"], overwrite)
    written = project_folders(name, folders, out, method, feature_type)
    if len(written) < 3:
        click.echo('no map.html: pip install "medzoo[explore]"')
    click.echo(f"wrote {', '.join(path.name for path in written)} to {out}")


@click.command()
@click.argument("name")
@click.argument("archive", type=EXISTING)
@click.argument("images", nargs=-1, required=True, type=ImageFiles())
@click.option("-n", "count", default=5, show_default=True, help="How many for each image.")
@click.option("-o", "--out", type=PATH, help="PNG to write: each image beside its nearest.")
def similar(name, archive, images, count, out):
    """Find the images of folder ARCHIVE that are most like each of IMAGES.

    \b
    Example:
        medzoo similar ae-chestxray-64 archive/ film.png -o similar.png
    """
    from medzoo.tasks.retrieval import ImageRetriever

    if out and out.exists():
        raise click.ClickException(f"{out}: exists; choose another name.")
    search = ImageRetriever(name).load_model()
    known, asked = (files_for(search.model_, paths) for paths in ([archive], images))
    search.fit(known)
    similarity, indices = search.search(asked, min(count, len(known)))
    for file, row, values in zip(asked, indices, similarity, strict=True):
        click.echo(f"{file}")
        for i, value in zip(row, values, strict=True):
            click.echo(f"    {value:.3f}  {known[i]}")
    if out:
        search.save_figure(out, asked, known, indices)
        click.echo(f"wrote {out}")


@click.command()
@click.argument("name")
@click.argument("old", type=EXISTING)
@click.argument("new", type=EXISTING)
@FEATURE_TYPE
@group_option
def drift(name, old, new, feature_type, group):
    """Are the images of folder NEW like those of folder OLD, as the model sees them?

    Prints the p-value of a permutation test, which decides at a false-alarm rate of 5%, and the AUC of a classifier
    that separates the two folders (0.5: it cannot), an effect size. Where patients are known, all images of a patient
    are held out and permuted together.

    \b
    Example:
        medzoo drift ae-chestxray-64 last-year/ this-year/
    """
    from medzoo.data.patients import patients_of_files
    from medzoo.metrics.two_sample import ALPHA
    from medzoo.tasks.drift import detect_drift as measured
    from medzoo.tasks.features import extract_features_from_files
    from medzoo.utils.groups import has_known_groups
    from medzoo.zoo.presets import load

    model = load(name)
    (files, before), (others, after) = (
        extract_features_from_files(model, folder, feature_type) for folder in (old, new)
    )
    groups = [groups_of(own, folder, group) for own, folder in ((files, old), (others, new))]
    groups = groups if group else [patients_of_files(own) for own in (files, others)]
    found = measured(before, after, groups=groups)
    counts = f"{len(before)} and {len(after)} images, held out by {'patient' if any(map(has_known_groups, groups)) else 'image'}"
    click.echo(f"{counts}: AUC {found['auc']:.3f}, p = {found['p_value']:.3f}")
    alike = found["p_value"] > ALPHA
    click.echo("no drift seen" if alike else "the two differ: check the model on the new images before using it there")


@click.command()
@click.argument("name")
@click.argument("source", type=FOLDER)
@out_option("Folder for the Parquet files.")
@click.option("--processes", default=1, show_default=True, help="That work at the same time.")
@click.option("--engine", type=click.Choice(["processes", "ray"]), default="processes", show_default=True)
@click.option("--shard", default=1000, show_default=True, help="Files to a Parquet file.")
def encode(name, source, out, processes, engine, shard):
    """Encode all images below SOURCE to latents in Parquet files; the same command again goes on.

    A preset of volumes encodes NIfTI files and folders of DICOM series. Bad files are listed with the reason. Needs
    pip install "medzoo[encode]"; for --engine ray, which spreads over a cluster, "medzoo[ray]".

    \b
    Example:
        medzoo encode vae-chestxray archive/ -o latents/ --processes 8
    """
    from medzoo.tasks.encode import encode_folder, listed
    from medzoo.utils.progress import bar

    files, images, errors = listed(name, source), 0, 0
    with bar() as progress:
        task = progress.add_task("encoding", total=-(-len(files) // shard))
        for sample_without_copies, new_errors in encode_folder(name, source, out, shard, processes, engine, files):
            images, errors = images + sample_without_copies, errors + new_errors
            progress.update(task, advance=1)
    click.echo(f"{images} images encoded, {errors} files could not be read; wrote {out}")


COMMANDS = (map_command, similar, drift, encode)
