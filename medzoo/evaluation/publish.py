"""Manifest, model cards and the table of docs/pretrained-models.md: `python -m medzoo.evaluation.publish`.

Generates them from the JSON files of the presets. Run it in a checkout, after copying a preset folder to
medzoo/zoo/weights/; the tests check that the files are up to date. `--measure DIR` first evaluates presets on the
training datasets in DIR; `--speed` measures their throughput only; `--reference DIR` computes the reference statistics
of `model.ood_pvalue` from the validation images in DIR.
"""

import json
import re
import tempfile
from pathlib import Path

import click

from medzoo.data.image_dataset import open_dataset
from medzoo.evaluation.model_card import read_json, render_card, strictest_license
from medzoo.layers.blocks import downsampling
from medzoo.layers.grids import per_axis, together
from medzoo.metrics.bootstrap import format_ci
from medzoo.recipes import recipe
from medzoo.recipes.datasets import source_of
from medzoo.training.trainer import reference_images
from medzoo.utils.files import write_json
from medzoo.utils.tables import table as markdown_table
from medzoo.zoo.download import sha256
from medzoo.zoo.manifest import BUNDLED, FORMAT, converted_models, input_size, manifest_path
from medzoo.zoo.presets import load

SHIPPED = ("config.json", "model.weights.h5")  # the files that `load` reads; checked by SHA-256
MARK = "models: python -m medzoo.evaluation.publish"


def build_entry(folder: Path) -> dict:
    """Return the manifest entry of a preset.

    Args:
        folder: A preset folder.

    Returns:
        Dict, serializable as JSON.
    """
    config, measured, trained = (read_json(folder, f"{n}.json") for n in ("config", "metrics", "training"))
    own, network = recipe(trained["recipe"]), config["model"]["config"]
    sources = [source_of(data) for data in trained["data"]]
    patch_size = per_axis(network["patch_size"], len(network["image_shape"]) - 1)
    return {
        "family": config["model"]["class_name"],
        "version": 1,
        "modality": own.modality,
        "domain": own.domain,
        "description": own.description,
        "tasks": list(own.tasks),
        "input": network["image_shape"],
        "multiple_of": together(downsampling(patch_size, network["filters"])),
        "latent_shape": measured["latent_shape"],
        "compression_ratio": measured["latents"]["compression_ratio"],
        "parameters": measured["parameters"],
        "data": [{"name": source["file"], "license": source["license"]} for source in sources],
        "classes": measured["classes"],
        "license": strictest_license(sources),
        "metrics": {
            k: measured[k] for k in ("split", "images", "image_size", "psnr", "ssim", "ms_ssim", "pca") if k in measured
        },
        "files": {n: {"size": (folder / n).stat().st_size, "sha256": sha256(folder / n)} for n in SHIPPED},
        "hub": None,
    }


def build_manifest() -> dict:
    """Return the manifest of the presets in the package, and of the converted ones as it is."""
    folders = sorted(folder for folder in BUNDLED.iterdir() if (folder / "metrics.json").is_file())
    presets = {folder.name: build_entry(folder) for folder in folders}
    return {"format": FORMAT, "presets": presets, "converted": converted_models()}


def models_table(presets: dict[str, dict]) -> str:
    """Return the table of all models in docs/pretrained-models.md as Markdown.

    Args:
        presets: Manifest entries by name.
    """
    header = ["Preset", "Family", "Images", "Input", "Latent", "Compression", "Parameters", "Size (MiB)"]
    header += ["PSNR (dB)", "SSIM", "PCA PSNR (dB)", "License"]
    rows = []
    for name, e in presets.items():
        measured = e["metrics"]
        rows.append(
            [
                f"[`{name}`](../medzoo/zoo/weights/{name}/README.md)",
                e["family"],
                e["domain"],
                input_size(e),
                "×".join(map(str, e["latent_shape"])),
                "variable" if e["family"] == "Codec" else f"{e['compression_ratio']:g}:1",
                f"{e['parameters'] / 1e6:.1f} M",
                f"{sum(f['size'] for f in e['files'].values()) / 2**20:.1f}",
                format_ci(measured["psnr"]),
                format_ci(measured["ssim"], 3),
                f"{measured['pca']['psnr']['mean']:.2f}" if "pca" in measured else "–",
                e["license"],
            ]
        )
    return markdown_table(header, rows)


def replace_between_marks(text: str, mark: str, content: str) -> str:
    """Return a page with the text between `<!-- mark -->` and the next `<!-- / -->` replaced.

    Args:
        text: The page.
        mark: Name of the mark.
        content: The new text.
    """
    start, end = f"<!-- {mark} -->", "<!-- / -->"
    return re.sub(re.escape(start) + ".*?" + end, lambda _: f"{start}\n{content}\n{end}", text, flags=re.DOTALL)


@click.command(help=__doc__)
@click.argument("names", nargs=-1, metavar="[PRESET]...")
@click.option(
    "--measure", type=click.Path(path_type=Path), help="Folder with the training datasets: evaluate the presets."
)
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    help="Folder with the training datasets: compute the reference statistics.",
)
@click.option("--speed", is_flag=True, help="Measure the throughput, on an idle machine.")
def main(names=(), measure=None, reference=None, speed=False):
    folders = [BUNDLED / name for name in names or sorted(p.name for p in BUNDLED.iterdir())]
    if reference:
        for folder in folders:
            fit_reference(folder, reference)
    if measure:
        from medzoo.evaluation.report import report

        for folder in folders:
            own = recipe(folder.name)
            first = own.data[0]
            path = measure / first.source["file"]
            options = {"classes": first.classes, "group": first.source.get("group")}
            data = open_dataset(path, first.source.get("size"), **options)
            click.echo(report(folder, data, own.find_probe_data(path)))
    if speed:
        from medzoo.evaluation.report import write_metrics
        from medzoo.evaluation.throughput import benchmark_preset

        for folder in folders:
            measured = read_json(folder, "metrics.json")
            write_metrics(folder, {**measured, "speed": benchmark_preset(folder, measured["image_size"])})
    publish()


def fit_reference(folder: Path, data: Path) -> None:
    """Write the reference statistics of a preset to its configuration; the weights do not change.

    Args:
        folder: A preset folder. Reference statistics in its configuration are replaced.
        data: Folder with the recipe's training datasets, whose validation images are the reference images.
    """
    own, config = recipe(folder.name), read_json(folder, "config.json")
    config.pop("reference_statistics", None)
    with tempfile.TemporaryDirectory() as temporary:
        bare = Path(temporary) / folder.name
        bare.mkdir()
        (bare / "model.weights.h5").symlink_to((folder / "model.weights.h5").resolve())
        write_json(bare / "config.json", config)
        model = load(bare)
    datasets, _ = zip(*own.open_datasets([data / part.source["file"] for part in own.data]), strict=True)
    model.fit_reference(*reference_images(own, datasets))
    assert model.reference_statistics is not None
    write_json(folder / "config.json", {**config, "reference_statistics": model.reference_statistics.get_config()})


def publish() -> None:
    """Write the manifest, the model cards and the table of docs/pretrained-models.md."""
    manifest = build_manifest()
    manifest_path().write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for name in manifest["presets"]:
        (BUNDLED / name / "README.md").write_text(render_card(BUNDLED / name), encoding="utf-8")
    page = manifest_path().parent / "docs" / "pretrained-models.md"
    if page.is_file():
        text = page.read_text(encoding="utf-8")
        page.write_text(replace_between_marks(text, MARK, models_table(manifest["presets"])), encoding="utf-8")


if __name__ == "__main__":
    main()
