"""The command line's looks into the latents, and the choice of their size; see `medzoo.cli`."""

import json
from pathlib import Path

import click
import numpy as np

from medzoo.cli_tasks import _files, _new_folder


def _table(model, folder, kind):
    """Files of a folder, and their features."""
    from rich.progress import track

    from medzoo.tasks.features import features

    files = _files([folder])
    rows = [features(model, model.preprocess(file), kind)[0] for file in track(files, "encoding")]
    return files, np.stack(rows)


@click.command("map")
@click.argument("name")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for map.png, map.html, map.csv."
)
@click.option("--method", default="pca", show_default=True, type=click.Choice(["pca", "tsne", "umap"]))
@click.option("--kind", default="both", show_default=True, type=click.Choice(["latents", "deep", "both"]))
@click.option("--overwrite", is_flag=True)
def map_command(name, folders, out, method, kind, overwrite):
    """Draw a map of the images in FOLDERS, one colour a folder: alike images lie near each other.

    map.html is interactive (needs pip install "medzoo[explore]"): hover to see the file.

    \b
    Example:
        medzoo map ae-chestxray normal/ pneumonia/ -o map/ --method tsne
    """
    import csv

    from medzoo.evaluate.plots import save_map
    from medzoo.tasks.explore import latent_map
    from medzoo.zoo.presets import load

    _new_folder(out, overwrite, "map.csv")
    model = load(name)
    parts = [_table(model, folder, kind) for folder in folders]
    files = [file for own, _ in parts for file in own]
    labels = [folder.name for folder, (own, _) in zip(folders, parts, strict=True) for _ in own]
    where = latent_map(np.concatenate([table for _, table in parts]), method)
    save_map(out / "map.png", where, labels, f"{name}, {method}")
    rows = [[str(f), label, *point] for f, label, point in zip(files, labels, where.tolist(), strict=True)]
    with open(out / "map.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file", "folder", "x", "y"], *rows])
    try:
        from plotly import graph_objects
    except ImportError:
        click.echo('no map.html: pip install "medzoo[explore]"')
    else:
        drawn, labels = graph_objects.Figure(), np.array(labels)
        for label in dict.fromkeys(labels.tolist()):
            own = np.flatnonzero(labels == label)
            x, y = where[own].T
            drawn.add_scatter(x=x, y=y, name=label, mode="markers", text=[files[i].name for i in own])
        drawn.write_html(out / "map.html", include_plotlyjs=True)
    click.echo(f"wrote the map of {len(files)} images to {out}")


@click.command()
@click.argument("name")
@click.argument("archive", type=click.Path(path_type=Path, exists=True))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("-n", "count", default=5, show_default=True, help="How many for each image.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="PNG to write: each image beside its nearest.")
def similar(name, archive, images, count, out):
    """Find the images of folder ARCHIVE that are most like each of IMAGES.

    \b
    Example:
        medzoo similar ae-chestxray archive/ film.png -o similar.png
    """
    from medzoo.evaluate.plots import save_grid
    from medzoo.tasks.explore import SimilarCases

    if out and out.exists():
        raise click.ClickException(f"{out}: exists; choose another name.")
    known, asked = _files([archive]), _files(images)
    search = SimilarCases(name).fit(known)
    indices, similarity = search.query(asked, min(count, len(known)))
    for file, row, values in zip(asked, indices, similarity, strict=True):
        click.echo(f"{file}")
        for i, value in zip(row, values, strict=True):
            click.echo(f"    {value:.3f}  {known[i]}")
    if out:
        read = search.model_.preprocess
        rows = [np.concatenate([read(f), *(read(known[i]) for i in r)]) for f, r in zip(asked, indices, strict=True)]
        save_grid(out, np.concatenate(rows), columns=indices.shape[1] + 1, title="left: asked; then the most similar")
        click.echo(f"wrote {out}")


@click.command()
@click.argument("name")
@click.argument("old", type=click.Path(path_type=Path, exists=True))
@click.argument("new", type=click.Path(path_type=Path, exists=True))
@click.option("--kind", default="both", show_default=True, type=click.Choice(["latents", "deep", "both"]))
def drift(name, old, new, kind):
    """Are the images of folder NEW like those of folder OLD, as the model sees them?

    Prints the AUC of a classifier that tells the two apart (0.5: it cannot) and the p-value of a permutation test.

    \b
    Example:
        medzoo drift ae-chestxray last-year/ this-year/
    """
    from medzoo.tasks.explore import drift as measured
    from medzoo.zoo.presets import load

    model = load(name)
    (_, before), (_, after) = (_table(model, folder, kind) for folder in (old, new))
    found = measured(before, after)
    click.echo(f"{len(before)} and {len(after)} images: AUC {found['auc']:.3f}, p = {found['p_value']:.3f}")
    alike = found["p_value"] > 0.05 and found["auc"] < 0.6
    click.echo("no drift seen" if alike else "the two differ: check the model on the new images before using it there")


@click.command()
@click.argument("family", type=click.Choice(["vqvae", "vae", "ae"]))
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="Archive (npz); its training split is used."
)
@click.option("--classes", help="Comma-separated; default: all.")
@click.option("--sizes", default="64,256,1024", show_default=True, help="Codebook sizes (vqvae) or latent widths.")
@click.option("--folds", default=3, show_default=True)
@click.option("--epochs", default=10, show_default=True)
@click.option("--images", "most", default=2000, show_default=True, help="At most so many.")
@click.option("--seed", default=0, show_default=True)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for tune.json, .md and .png.")
@click.option("--overwrite", is_flag=True)
def tune(family, data, classes, sizes, folds, epochs, most, seed, out, overwrite):
    """How large a codebook, how many latents? Cross-validates on your images; writes a table and a plot.

    \b
    Example:
        medzoo tune vqvae --data films.npz --sizes 64,256,1024 -o tune/
    """
    from rich.progress import Progress

    from medzoo.evaluate.markdown import table
    from medzoo.evaluate.plots import save_tuning
    from medzoo.images.datasets import load_npz
    from medzoo.models import VAE, VQVAE, ConvAutoencoder
    from medzoo.tasks.tune import choose, cross_validate, summarise

    _new_folder(out, overwrite, "tune.json")
    images = load_npz(data, "train", classes.split(",") if classes else None)
    images = images[np.sort(np.random.default_rng(seed).permutation(len(images))[:most])]
    shape, settings = images.shape[1:], sorted(int(n) for n in sizes.split(","))
    build = {
        "vqvae": lambda n: VQVAE(shape, latent_dim=8, codebook_size=n, filters=(32,), blocks=2),
        "vae": lambda n: VAE(shape, latent_dim=n, filters=(32, 64, 128), blocks=1),
        "ae": lambda n: ConvAutoencoder(shape, latent_dim=n, filters=(32, 64, 128), blocks=1),
    }[family]
    trials = []
    with Progress() as progress:
        task = progress.add_task("training", total=len(settings) * folds)
        for trial in cross_validate(build, settings, images, folds, epochs, seed=seed):
            trials.append(trial)
            progress.update(task, advance=1)
            click.echo(f"{trial.setting:6} fold {trial.fold}: PSNR {trial.psnr:.2f} dB")
    rows, chosen = summarise(trials), choose(trials)
    command = f"medzoo tune {family} --data {Path(data).name} --sizes {sizes} --folds {folds} --epochs {epochs}"
    command += f" --images {most} --seed {seed}" + (f" --classes {classes}" if classes else "")
    facts = {"command": command, "images": len(images), "chosen": chosen, "settings": rows}
    (out / "tune.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    what = "codebook size" if family == "vqvae" else "latents"
    header = [what, "PSNR, dB", "SSIM", *(["bits per pixel", "codebook used"] if family == "vqvae" else [])]
    cells = [
        [r["setting"], f"{r['psnr']:.2f} ± {r['psnr_error']:.2f}", f"{r['ssim']:.4f}"]
        + ([f"{r['bits']:.4f}", f"{r['usage']:.0%}"] if family == "vqvae" else [])
        for r in rows
    ]
    end = " It is the largest tried: try larger ones." if chosen == settings[-1] else ""
    text = (
        f"# {family}: {what}\n\n{len(images)} images of `{Path(data).name}`, {folds}-fold cross-validation, {epochs} "
        f"epochs each; mean and standard error over folds.\n\n{table(header, cells)}\n\nChosen: **{chosen}**, the "
        f"smallest within one standard error of the best.{end}\n\n![plot](tune.png)\n\nCommand: `{command}`\n"
    )
    (out / "tune.md").write_text(text, encoding="utf-8")
    save_tuning(out / "tune.png", rows, what, chosen, f"{family}, {Path(data).name}")
    click.echo(f"chosen: {chosen} (the smallest within one standard error of the best); wrote {out}.{end}")


@click.command()
@click.argument("name")
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for the Parquet files.")
@click.option("--processes", default=1, show_default=True, help="That work at the same time.")
@click.option("--engine", type=click.Choice(["processes", "ray"]), default="processes", show_default=True)
@click.option("--shard", default=1000, show_default=True, help="Files to a Parquet file.")
def encode(name, source, out, processes, engine, shard):
    """Encode all images below SOURCE to latents in Parquet files; the same command again goes on.

    Bad files are listed with the reason. Needs pip install "medzoo[encode]"; for --engine ray, which spreads over a
    cluster, "medzoo[ray]".

    \b
    Example:
        medzoo encode ae-chestxray archive/ -o latents/ --processes 8
    """
    from rich.progress import Progress

    from medzoo.tasks.encode import encode_folder, list_sources

    files, images, errors = list_sources(source), 0, 0
    with Progress() as progress:
        task = progress.add_task("encoding", total=-(-len(files) // shard))
        for new_images, new_errors in encode_folder(name, source, out, shard, processes, engine, files):
            images, errors = images + new_images, errors + new_errors
            progress.update(task, advance=1)
    click.echo(f"{images} images encoded, {errors} files could not be read; wrote {out}")
