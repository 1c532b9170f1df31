"""Manifest, cards and the table of docs/pretrained-models.md from presets' own JSON files: `python -m medzoo.evaluation.publish`.

Run in a checkout, after copying a preset folder to medzoo/zoo/weights/. The tests check that nothing differs.
`--measure DIR` measures presets anew first, on the archives in that folder; `--speed` only their speed. `--usual DIR`
computes the reference statistics and scores behind `model.ood_pvalue` from the validation images in that folder.
"""

import json
import re
import tempfile
from pathlib import Path

import click

from medzoo.data.image_dataset import open_dataset
from medzoo.evaluation.model_card import card, read_json, strictest
from medzoo.layers.blocks import downsampling
from medzoo.layers.grids import per_axis, together
from medzoo.metrics.bootstrap import format_ci
from medzoo.recipes import recipe
from medzoo.recipes.datasets import source_of
from medzoo.training.trainer import usual_images
from medzoo.utils.files import write_json
from medzoo.utils.tables import table as markdown_table
from medzoo.zoo.download import sha256
from medzoo.zoo.manifest import BUNDLED, FORMAT, input_size, manifest_path
from medzoo.zoo.presets import load

SHIPPED = ("config.json", "model.weights.h5")  # what load needs; checked by sha256
MARK = "models: python -m medzoo.evaluation.publish"


def build_entry(folder):
    """A preset's entry in the manifest."""
    config, measured, trained = (read_json(folder, f"{n}.json") for n in ("config", "metrics", "training"))
    own, net = recipe(trained["recipe"]), config["model"]["config"]
    sources = [source_of(data) for data in trained["data"]]
    return {
        "family": config["model"]["class_name"],
        "version": 1,
        "modality": own.modality,
        "domain": own.domain,
        "description": own.description,
        "tasks": list(own.tasks),
        "input": net["image_shape"],
        "multiple_of": together(downsampling(per_axis(net["patch_size"], len(net["image_shape"]) - 1), net["filters"])),
        "latent_shape": measured["latent_shape"],
        "compression_ratio": measured["latents"]["compression_ratio"],
        "parameters": measured["parameters"],
        "data": [{"name": source["file"], "licence": source["licence"]} for source in sources],
        "classes": measured["classes"],
        "licence": strictest(sources),
        "metrics": {
            k: measured[k] for k in ("split", "images", "image_size", "psnr", "ssim", "ms_ssim", "pca") if k in measured
        },
        "files": {n: {"size": (folder / n).stat().st_size, "sha256": sha256(folder / n)} for n in SHIPPED},
        "hub": None,
    }


def build_manifest():
    """The manifest of the presets that ship in the package."""
    folders = sorted(folder for folder in BUNDLED.iterdir() if (folder / "metrics.json").is_file())
    return {"format": FORMAT, "presets": {folder.name: build_entry(folder) for folder in folders}}


def table(presets):
    """The table of models in docs/pretrained-models.md."""
    header = ["preset", "family", "for", "input", "latents", "MiB", "PSNR, dB", "SSIM", "PCA, dB"]
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
                f"{sum(f['size'] for f in e['files'].values()) / 2**20:.1f}",
                format_ci(measured["psnr"]),
                format_ci(measured["ssim"], 3),
                f"{measured['pca']['psnr']['mean']:.2f}" if "pca" in measured else "–",
            ]
        )
    return markdown_table(header, rows)


def between_marks(text, mark, content):
    """The text of a page, with what stands between `<!-- mark -->` and the next `<!-- / -->` replaced."""
    start, end = f"<!-- {mark} -->", "<!-- / -->"
    return re.sub(re.escape(start) + ".*?" + end, lambda _: f"{start}\n{content}\n{end}", text, flags=re.DOTALL)


@click.command(help=__doc__)
@click.argument("names", nargs=-1)
@click.option("--measure", type=click.Path(path_type=Path), help="Folder with the archives that recipes name.")
@click.option(
    "--usual",
    type=click.Path(path_type=Path),
    help="Folder with the archives: compute reference statistics and scores.",
)
@click.option("--speed", is_flag=True, help="Measure the speed anew; on an idle machine.")
def main(names=(), measure=None, usual=None, speed=False):
    folders = [BUNDLED / name for name in names or sorted(p.name for p in BUNDLED.iterdir())]
    if usual:
        for folder in folders:
            fit_reference(folder, usual)
    if measure:
        from medzoo.evaluation.report import report

        for folder in folders:
            first = recipe(folder.name).data[0]
            options = {"classes": first.classes, "group": first.source.get("group")}
            data = open_dataset(measure / first.source["file"], first.source.get("size"), **options)
            click.echo(report(folder, data, recipe(folder.name).probe_beside(measure / first.source["file"])))
    if speed:
        from medzoo.evaluation.report import write_metrics
        from medzoo.evaluation.throughput import speed as measure_speed

        for folder in folders:
            measured = read_json(folder, "metrics.json")
            write_metrics(folder, {**measured, "speed": measure_speed(folder, measured["image_size"])})
    publish()


def fit_reference(folder, data):
    """Writes the reference statistics and scores of a preset to its configuration; weights stay as they are.

    Args:
        folder: of the preset; what its configuration held of reference images before is not read.
        data: folder with the archives that the recipe names. Their validation images are the reference images.
    """
    own, config = recipe(folder.name), read_json(folder, "config.json")
    config.pop("reference_statistics", None)
    with tempfile.TemporaryDirectory() as temporary:
        bare = Path(temporary) / folder.name
        bare.mkdir()
        (bare / "model.weights.h5").symlink_to((folder / "model.weights.h5").resolve())
        write_json(bare / "config.json", config)
        model = load(bare)
    collections, _ = zip(*own.collections([data / part.source["file"] for part in own.data]), strict=True)
    model.fit_reference(*usual_images(own, collections))
    write_json(folder / "config.json", {**config, "reference_statistics": model.reference_statistics.get_config()})


def publish():
    """Writes the manifest, the presets' cards and the table of docs/pretrained-models.md."""
    manifest = build_manifest()
    manifest_path().write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for name in manifest["presets"]:
        (BUNDLED / name / "README.md").write_text(card(BUNDLED / name), encoding="utf-8")
    page = manifest_path().parent / "docs" / "pretrained-models.md"
    if page.is_file():
        text = page.read_text(encoding="utf-8")
        page.write_text(between_marks(text, MARK, table(manifest["presets"])), encoding="utf-8")


if __name__ == "__main__":
    main()
