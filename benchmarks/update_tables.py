"""Update the tables of presets and of compute in README.md and docs/pretrained-models.md from benchmark results.

    python benchmarks/update_tables.py

Nothing is computed here: every row is taken from the manifest or from the JSON file of a benchmark. If several presets
suit a task, the table lists the best one on test images (for features, the best one on validation images).
"""

from collections.abc import Iterator
from pathlib import Path

import click

from medzoo.evaluation.model_card import read_json
from medzoo.evaluation.publish import replace_between_marks
from medzoo.metrics.bootstrap import format_ci
from medzoo.utils.files import write_atomically
from medzoo.utils.tables import table
from medzoo.zoo.manifest import manifest

HERE = Path(__file__).parent
PAGE, README = HERE.parent / "docs" / "pretrained-models.md", HERE.parent / "README.md"
BY_TASK, MODELS, COMPUTE = (f"{what}: python benchmarks/update_tables.py" for what in ("by task", "models", "cost"))
LABELS = {"0.01": "1%", "0.1": "10%", "1.0": "100%"}


def read_results(page: str) -> dict:
    """Return the results of a benchmark."""
    return read_json(HERE, f"{page}.json")


def link(page: str, text: str) -> str:
    """Return a Markdown link to the page of a benchmark."""
    return f"[{text}](../benchmarks/{page}.md)"


def preset_link(name: str) -> str:
    """Return a Markdown link to a model card."""
    return f"[`{name}`](../medzoo/zoo/weights/{name}/README.md)"


def reconstruction() -> Iterator[tuple]:
    """Yield, per domain, the preset of highest PSNR and the one with the smallest latents."""
    results = read_results("reconstruction_by_modality")["results"]
    for domain in dict.fromkeys(r["domain"] for r in results):
        own = sorted((r for r in results if r["domain"] == domain), key=lambda r: -r["psnr"]["mean"])
        best, smallest = own[0], min(own, key=lambda r: r["latent_size"])
        names, quality = [preset_link(best["model"])], [_quality(best)]
        if smallest is not best:
            names.append(preset_link(smallest["model"]))
            quality.append(_quality(smallest))
        yield "Reconstruction", domain, " or ".join(names), link("reconstruction_by_modality", "; ".join(quality))


def _quality(row):
    ratio = row["pixels"] / row["latent_size"]
    return f"{row['psnr']['mean']:.1f} dB, SSIM {row['ssim']['mean']:.2f} ({ratio:g}:1)"


def features() -> Iterator[tuple]:
    """Yield, per data set and fraction of labels, the preset whose frozen features are best on validation images."""
    for data, found in read_results("label_efficiency")["results"].items():
        for fraction, labels in LABELS.items():
            validation = {k: v[fraction] for k, v in found["frozen_on_validation"].items() if "-" in k.split(",")[0]}
            best = max(validation, key=validation.get)
            name, feature_type = best.split(", ")
            auc = {k: v[fraction]["mean"] for k, v in found["auc"].items()}
            untrained = next(v for k, v in auc.items() if k.startswith("frozen: random initialization"))
            text = f"AUC {auc[f'frozen: {best}']:.3f} ({feature_type} features); random initialization {untrained:.3f}"
            text += f", PCA {auc['frozen: pixels, PCA with 256 components']:.3f}"
            row = f"{data}, frozen features, {labels} of labels"
            yield "Classification", row, preset_link(name), link("label_efficiency", text)


def fine_tuning() -> Iterator[tuple]:
    """Yield, per data set, the best preset fine-tuned with all labels."""
    for data, found in read_results("fine_tuning")["results"].items():
        auc = {row.removesuffix(", fine-tuned"): own["AUC"]["mean"] for row, own in found.items()}
        best = max((name for name in auc if name in manifest()), key=auc.get)
        scratch = next(row for row in auc if row.endswith("from scratch"))
        text = f"AUC {auc[best]:.3f}; {scratch.replace(',', '')} {auc[scratch]:.3f}"
        yield "Classification", f"{data}, fine-tuned", preset_link(best), link("fine_tuning", text)


def anomaly_detection() -> Iterator[tuple]:
    """Yield, per data set, the AUROC of the default detector and of the PCA baseline."""
    for data, found in read_results("anomaly_detection")["results"].items():
        pca = next(v for k, v in found.items() if "PCA" in k)["test"]["mean"]
        text = f"AUROC {found['synthetic']['test']['mean']:.3f}; PCA reconstruction error {pca:.3f}"
        yield "Anomaly detection", data, preset_link("mae-medical"), link("anomaly_detection", text)


def segmentation() -> Iterator[tuple]:
    """Yield, per task and number of training images, the Dice coefficients and differences to training from scratch."""
    encoders = {"chest X-ray": "ae-chestxray", "hippocampus": "vqvae-hippocampus"}
    for data, found in read_results("segmentation")["results"].items():
        for count, dice in found.items():
            text = ", ".join(f"{structure} {value['mean']:.3f}" for structure, value in dice["pretrained"].items())
            differences = ", ".join(f"{value['mean']:+.3f}" for value in dice["difference"].values())
            text = f"Dice {text}; difference to training from scratch {differences}"
            row = f"{data}, {count} labeled images"
            yield "Segmentation", row, preset_link(encoders[data]), link("segmentation", text)


def generation() -> Iterator[tuple]:
    """Yield, per preset with a learned prior, the Fréchet distances of the prior and of N(0, I)."""

    def distances(rows):
        frechet = {r["source"]: r["frechet"] for r in rows}
        return f"Fréchet distance {frechet['learned prior']:.1f}; N(0, I) {frechet['N(0, I)']:.1f}"

    adults = [r for r in read_results("chestxray_generation")["results"] if r["group"] == "adults"]
    text = link("chestxray_generation", distances(adults))
    yield "Generation", "chest X-ray, 256 pixels", preset_link("vae-chestxray"), text
    results = read_results("generation")["results"]
    for images in dict.fromkeys(r["images"] for r in results if r["source"] == "learned prior"):
        own = [r for r in results if r["images"] == images]
        yield "Generation", images, preset_link(own[0]["model"]), link("generation", distances(own))


def latent_training() -> Iterator[tuple]:
    """Yield the AUC of classifiers trained on latents and on images."""
    auc = {r["input"]: r["auc"]["mean"] for r in read_results("latent_training")["results"]}
    text = ", ".join(
        f"{value:.3f} ({name})" for name, value in auc.items() if name.startswith(("images", "latents, sampled"))
    )
    row = "chest X-ray, training on latents"
    yield "Encoding", row, preset_link("vae-chestxray"), link("latent_training", f"AUC {text}")


def compression() -> Iterator[tuple]:
    """Yield, per test set, the rate of the codec relative to other formats at equal PSNR."""
    bits = read_results("rate_distortion")["bjontegaard"]
    for images in dict.fromkeys(key.rpartition(", ")[0] for key in bits):
        text = ", ".join(
            f"{bits[f'{images}, {c}']['psnr']['mean']:+.0%} versus {c}" for c in ("AVIF", "JPEG 2000", "JPEG XL")
        )
        row = f"chest X-ray, {images}"
        yield "Compression", row, preset_link("codec-chestxray"), link("rate_distortion", f"bits {text}")


def denoising() -> Iterator[tuple]:
    """Yield, per noise, the method of highest PSNR, and the best filter."""
    results = read_results("denoising")["results"]
    for noise in dict.fromkeys(r["noise"] for r in results):
        psnr = {r["method"]: r["psnr"]["mean"] for r in results if r["noise"] == noise}
        own = psnr.pop("dae-chestxray")
        best = max(psnr, key=psnr.get)
        text = f"dae-chestxray {own:.1f} dB; {best} {psnr[best]:.1f} dB"
        method = preset_link("dae-chestxray") if own > psnr[best] else f"{best} (no preset)"
        yield "Denoising", f"chest X-ray, {noise}", method, link("denoising", text)


def rows() -> Iterator[tuple]:
    """Yield all rows of the table by task."""
    for part in (
        reconstruction,
        features,
        fine_tuning,
        anomaly_detection,
        segmentation,
        generation,
        latent_training,
        compression,
        denoising,
    ):
        yield from part()


def compute() -> Iterator[tuple]:
    """Yield parameters, MACs and throughput of one image, of medzoo and of other libraries, on one backend."""
    results = [r for r in read_results("model_comparison")["results"] if r["backend"] == "torch"]
    slowest = min(r["megapixels_per_second"] for r in results)
    for r in results:
        gmacs = r["macs_per_pixel"] * r["side"] ** 2 / 1e9
        speedup = r["megapixels_per_second"] / slowest
        yield r["name"], f"{r['parameters'] / 1e6:.1f} M", f"{gmacs:.{0 if gmacs >= 100 else 1}f}", f"{speedup:.0f}×"


def models() -> Iterator[tuple]:
    """Yield one row per preset: images, input, latent, compression, parameters, quality and license."""
    for name, e in sorted(manifest().items(), key=lambda item: (item[1]["domain"], item[0])):
        quality = e["metrics"]
        shape = list(e["latent_shape"])
        is_codec = e["family"] == "Codec"
        yield (
            f"[`{name}`](medzoo/zoo/weights/{name}/README.md)",
            e["domain"],
            "×".join(map(str, quality["image_size"])) + ("ᵃ" if e["input"][0] is None else ""),
            "×".join(map(str, shape)) + (" codes" if e["family"] == "VQVAE" else ""),
            "–" if is_codec else f"{e['compression_ratio']:g}:1",
            f"{e['parameters'] / 1e6:.1f} M",
            format_ci(quality["psnr"]),
            f"{quality['ssim']['mean']:.3f}",
            _license_name(e["license"]),
        )


def _license_name(identifier):
    name = identifier.upper().replace("APACHE", "Apache")
    return name.replace("CC-", "CC ").replace("-4.0", " 4.0")


def updated(path: Path) -> str:
    """Return the text of one of the two pages with its table updated."""
    text = path.read_text(encoding="utf-8")
    if path == README:
        header = ["Preset", "Modality", "Input", "Latent", "Compression", "Parameters", "PSNR (dB)", "SSIM", "License"]
        text = replace_between_marks(text, MODELS, table(header, models()))
        header = ["Model", "Parameters", "GMACs per image", "Relative throughput (pixels/s)"]
        return replace_between_marks(text, COMPUTE, table(header, compute()))
    return replace_between_marks(text, BY_TASK, table(["Task", "Data", "Preset", "Result"], rows()))


@click.command(help=__doc__)
def main():
    for path in (PAGE, README):
        write_atomically(path, updated(path))


if __name__ == "__main__":
    main()
