"""Manifest and README table from the presets' own JSON files: `python -m medzoo.evaluate.publish`.

Run in a checkout, after copying a preset folder to medzoo/zoo/weights/. The tests check that nothing differs.
"""

import json
import re
from pathlib import Path

from medzoo.evaluate.card import card, interval, read_json
from medzoo.recipes import recipe
from medzoo.zoo.download import sha256
from medzoo.zoo.manifest import BUNDLED, manifest_path

SHIPPED = ("config.json", "model.weights.h5")  # what load needs; checked by sha256
START, END = "<!-- models: python -m medzoo.evaluate.publish -->", "<!-- /models -->"


def build_entry(folder):
    """A preset's entry in the manifest."""
    config, measured, trained = (read_json(folder, f"{n}.json") for n in ("config", "metrics", "training"))
    source = recipe(trained["recipe"]).source
    return {
        "family": config["model"]["class_name"],
        "version": 1,
        "subject": recipe(trained["recipe"]).subject,
        "input": config["model"]["config"]["image_shape"],
        "latent_shape": measured["latent_shape"],
        "parameters": measured["parameters"],
        "data": {"file": measured["data"], "classes": measured["classes"], "licence": source["licence"]},
        "licence": source["weights_licence"],
        "metrics": {k: measured[k] for k in ("split", "images", "psnr", "ssim", "pca") if k in measured},
        "files": {n: {"size": (folder / n).stat().st_size, "sha256": sha256(folder / n)} for n in SHIPPED},
        "hub": None,
    }


def build_manifest():
    """The manifest of the presets that ship in the package."""
    folders = sorted(folder for folder in BUNDLED.iterdir() if (folder / "config.json").is_file())
    return {"format": 1, "presets": {folder.name: build_entry(folder) for folder in folders}}


def table(presets):
    """The README's table of models."""
    lines = [
        "| preset | family | input | latents | parameters | MiB | PSNR, dB | SSIM | PCA, dB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, e in presets.items():
        shape = "×".join(str(side or "any") for side in e["input"][:2])
        latents = "×".join(str(n) for n in e["latent_shape"])
        mib = sum(f["size"] for f in e["files"].values()) / 2**20
        pca = f"{e['metrics']['pca']['psnr']['mean']:.2f}" if "pca" in e["metrics"] else "–"
        lines.append(
            f"| [`{name}`](medzoo/zoo/weights/{name}/README.md) | {e['family']} | {shape} | {latents} | "
            f"{e['parameters']:,} | {mib:.1f} | {interval(e['metrics']['psnr'])} | "
            f"{interval(e['metrics']['ssim'], 3)} | {pca} |"
        )
    return "\n".join(lines)


def with_table(readme, presets):
    """The README's text with its table replaced."""
    pattern = re.compile(re.escape(START) + ".*?" + re.escape(END), re.DOTALL)
    return pattern.sub(lambda _: f"{START}\n{table(presets)}\n{END}", readme)


def main():
    manifest = build_manifest()
    manifest_path().write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for name in manifest["presets"]:
        (BUNDLED / name / "README.md").write_text(card(BUNDLED / name), encoding="utf-8")
    readme = Path(manifest_path().parent / "README.md")
    if readme.is_file():
        readme.write_text(with_table(readme.read_text(encoding="utf-8"), manifest["presets"]), encoding="utf-8")


if __name__ == "__main__":
    main()
