"""Commands for image collections: project, retrieve, drift, encode."""

from pathlib import Path

import click

from medzoo.cli.options import (
    EXISTING,
    FOLDER,
    PATH,
    ImageFiles,
    check_not_existing,
    feature_type_option,
    files_for,
    group_option,
    groups_of,
    out_option,
    overwrite_option,
    preset_argument,
)


@click.command()
@preset_argument
@click.argument("folders", nargs=-1, required=True, type=EXISTING)
@out_option("Folder for map.png, map.csv and map.html.")
@click.option(
    "--method",
    default="pca",
    show_default=True,
    type=click.Choice(["pca", "tsne", "umap"]),
    help='Projection method; umap requires pip install "medzoo[explore]".',
)
@feature_type_option
@overwrite_option
def project(preset: str, folders: tuple[Path, ...], out: Path, method: str, feature_type: str, overwrite: bool) -> None:
    """Project images to two dimensions with PCA, t-SNE or UMAP.

    Each of FOLDERS is plotted in its own color. map.html is interactive and shows file names; it requires
    pip install "medzoo[explore]".

    \b
    Example:
        medzoo project ae-chestxray-64 normal/ pneumonia/ -o map/ --method tsne
    """
    from medzoo.tasks.projection import project_folders

    check_not_existing([out / "map.csv"], overwrite)
    written = project_folders(preset, folders, out, method, feature_type)
    if len(written) < 3:
        click.echo('map.html was not written: run pip install "medzoo[explore]"')
    click.echo(f"wrote {', '.join(path.name for path in written)} to {out}")


@click.command()
@preset_argument
@click.argument("archive", type=EXISTING)
@click.argument("images", nargs=-1, required=True, type=ImageFiles())
@click.option("-n", "count", default=5, show_default=True, help="Number of retrieved images per query.")
@click.option(
    "-o",
    "--out",
    type=PATH,
    metavar="OUTPUT",
    help="PNG file with each query and its retrieved images.  [default: print only]",
)
def retrieve(preset: str, archive: Path, images: tuple[Path, ...], count: int, out: Path | None) -> None:
    """Retrieve the most similar images of a folder.

    For each of IMAGES, prints the most similar images of folder ARCHIVE and their cosine similarity.

    \b
    Example:
        medzoo retrieve ae-chestxray-64 archive/ image.png -o similar.png
    """
    from medzoo.tasks.retrieval import ImageRetriever

    if out and out.exists():
        raise click.ClickException(f"{out}: exists; choose another name.")
    retriever = ImageRetriever(preset).load_model()
    indexed, queries = (files_for(retriever.model_, paths) for paths in ([archive], images))
    retriever.fit(indexed)
    scores, indices = retriever.search(queries, min(count, len(indexed)))
    for file, row, values in zip(queries, indices, scores, strict=True):
        click.echo(f"{file}")
        for i, value in zip(row, values, strict=True):
            click.echo(f"    {value:.3f}  {indexed[i]}")
    if out:
        retriever.save_figure(out, queries, indexed, indices)
        click.echo(f"wrote {out}")


@click.command()
@preset_argument
@click.argument("reference", type=EXISTING)
@click.argument("new", type=EXISTING)
@feature_type_option
@group_option
def drift(preset: str, reference: Path, new: Path, feature_type: str, group: str | None) -> None:
    """Test two image folders for distribution drift.

    Prints the p-value of a permutation test between folders REFERENCE and NEW (false-positive rate 5%) and, as an
    effect size, the AUC of a classifier that separates them (0.5: no separation). Where patients are known, all images
    of a patient are held out and permuted together.

    \b
    Example:
        medzoo drift ae-chestxray-64 last-year/ this-year/
    """
    from medzoo.data.patients import patients_of_files
    from medzoo.metrics.two_sample import ALPHA
    from medzoo.tasks.drift import detect_drift
    from medzoo.tasks.features import extract_features_from_files
    from medzoo.utils.groups import has_known_groups
    from medzoo.zoo.presets import load

    model, folders = load(preset), (reference, new)
    files, features = zip(*(extract_features_from_files(model, path, feature_type) for path in folders), strict=True)
    if group:
        groups = [groups_of(own, folder, group) for own, folder in zip(files, folders, strict=True)]
    else:
        groups = [patients_of_files(own) for own in files]
    result = detect_drift(features[0], features[1], groups=groups)
    unit = "patient" if any(map(has_known_groups, groups)) else "image"
    counts = f"{len(features[0])} and {len(features[1])} images, held out by {unit}"
    click.echo(f"{counts}: AUC {result['auc']:.3f}, p = {result['p_value']:.3f}")
    if result["p_value"] > ALPHA:
        click.echo("no drift detected")
    else:
        click.echo("drift detected: validate models on the new images before use")


@click.command()
@preset_argument
@click.argument("source", type=FOLDER)
@out_option("Folder for the Parquet files.")
@click.option("--num-workers", default=1, show_default=True, help="Number of parallel processes.")
@click.option(
    "--engine",
    type=click.Choice(["processes", "ray"]),
    default="processes",
    show_default=True,
    help='Run on this machine, or on a Ray cluster (requires pip install "medzoo[ray]").',
)
@click.option("--shard-size", default=1000, show_default=True, help="Number of image files per Parquet file.")
def encode(preset: str, source: Path, out: Path, num_workers: int, engine: str, shard_size: int) -> None:
    """Encode all images of a folder to latents in Parquet files.

    The same command resumes an interrupted run. Presets for volumes encode NIfTI files and folders of DICOM series.
    Unreadable files are listed with the reason. Requires pip install "medzoo[encode]".

    \b
    Example:
        medzoo encode vae-chestxray archive/ -o latents/ --num-workers 8
    """
    from medzoo.tasks.encode import encode_folder, list_inputs
    from medzoo.utils.progress import progress_bar

    files, n_images, n_errors = list_inputs(preset, source), 0, 0
    with progress_bar() as progress:
        task = progress.add_task("encoding", total=-(-len(files) // shard_size))
        for encoded, errors in encode_folder(preset, source, out, shard_size, num_workers, engine, files):
            n_images, n_errors = n_images + encoded, n_errors + errors
            progress.update(task, advance=1)
    click.echo(f"{n_images} images encoded, {n_errors} files could not be read; wrote {out}")


COMMANDS = (project, retrieve, drift, encode)
