"""Update the table by task of docs/pretrained-models.md and the tables of models and of compute in the README.

    python benchmarks/update_tables.py

Nothing is measured here: every row is of a page's JSON file, and links that page. Where several presets could do, the
table names the best of them on test images (for features, the best on validation images).
"""

from pathlib import Path

import click

from medzoo.evaluation.model_card import read_json
from medzoo.evaluation.publish import between_marks
from medzoo.metrics.bootstrap import format_ci
from medzoo.utils.files import write_atomically
from medzoo.utils.tables import table
from medzoo.zoo.manifest import manifest

HERE = Path(__file__).parent
PAGE, README = HERE.parent / "docs" / "pretrained-models.md", HERE.parent / "README.md"
MARK, COST, MODELS = (f"{what}: python benchmarks/update_tables.py" for what in ("by task", "cost", "models"))
COST_HEADER = ["Model", "Parameters", "GMACs per image", "Relative throughput (pixels/s)"]
MODELS_HEADER = ["Preset", "Modality", "Input", "Latent", "Compression", "Parameters", "PSNR (dB)", "SSIM", "License"]
LICENSES = {"cc-by-4.0": "CC BY 4.0", "cc-by-sa-4.0": "CC BY-SA 4.0", "apache-2.0": "Apache-2.0"}
LABELS = {"0.01": "1%", "0.1": "10%", "1.0": "all"}


def measured(page):
    return read_json(HERE, f"{page}.json")


def link(page, words):
    return f"[{words}](../benchmarks/{page}.md)"


def preset(name):
    return f"[`{name}`](../medzoo/zoo/weights/{name}/README.md)"


def faithful():
    """Reconstruction: of each kind of image, the preset of highest PSNR, and the one of fewest numbers."""
    rows = measured("modalities")["results"]
    for subject in dict.fromkeys(r["domain"] for r in rows):
        those = sorted((r for r in rows if r["domain"] == subject), key=lambda r: -r["psnr"]["mean"])
        best, fewest = those[0], min(those, key=lambda r: r["numbers"])
        names, said = [preset(best["model"])], [_restored(best)]
        if fewest is not best:
            names.append(preset(fewest["model"]))
            said.append(_restored(fewest))
        yield "reconstruct", subject, " or ".join(names), link("modalities", "; ".join(said))


def _restored(row):
    numbers = row["pixels"] / row["numbers"]
    return f"{row['psnr']['mean']:.1f} dB, SSIM {row['ssim']['mean']:.2f} from one number for {numbers:g} pixels"


def features():
    """Features for classifiers: the best preset on validation images, by share of labels."""
    for data, found in measured("labels")["results"].items():
        for share, words in LABELS.items():
            known = {k: v[share] for k, v in found["frozen_on_validation"].items() if "-" in k.split(",")[0]}
            best = max(known, key=known.get)
            name, kind = best.split(", ")
            auc = {k: v[share]["mean"] for k, v in found["auc"].items()}
            random = next(v for k, v in auc.items() if k.startswith("frozen: random weights"))
            said = f"AUC {auc[f'frozen: {best}']:.3f} on {kind}; random weights {random:.3f}"
            said += f", PCA {auc['frozen: pixels, PCA of 256']:.3f}"
            yield "classify", f"{data}, {words} of the labels", preset(name), link("labels", said)


def diagnoses():
    """The best preset fine-tuned with all labels."""
    for data, found in measured("diagnosis")["results"].items():
        auc = {way.removesuffix(", fine-tuned"): own["AUC"]["mean"] for way, own in found.items()}
        best = max((way for way in auc if way in manifest()), key=auc.get)
        random = next(value for way, value in auc.items() if way.endswith("from random weights"))
        said = f"AUC {auc[best]:.3f}; a net from random weights {random:.3f}"
        yield "classify", f"{data}, fine-tuned", preset(best), link("diagnosis", said)


def anomalies():
    for data, found in measured("anomaly")["results"].items():
        pca = next(v for k, v in found.items() if "PCA" in k)["test"]["mean"]
        said = f"AUROC {found['synthetic']['test']['mean']:.3f}; error of a PCA {pca:.3f}"
        yield "anomaly", data, preset("mae-medical"), link("anomaly", said)


def masks():
    encoders = {"chest films": "ae-chestxray", "hippocampus": "vqvae-hippocampus"}
    for data, found in measured("segment")["results"].items():
        for count, dice in found.items():
            said = ", ".join(f"{organ} {value['mean']:.3f}" for organ, value in dice["pretrained"].items())
            gained = ", ".join(f"{value['mean']:+.3f}" for value in dice["pretrained less random"].values())
            said = f"Dice {said}; over random weights {gained}"
            yield "segment", f"{data}, {count} with masks", preset(encoders[data]), link("segment", said)


def drawing():
    def said(rows):
        frechet = {r["how"]: r["frechet"] for r in rows}
        return f"Fréchet distance {frechet['learned prior']:.1f}; N(0, I) {frechet['N(0, I)']:.1f}"

    films = [r for r in measured("films")["results"] if r["kind"] == "adults"]
    yield "generate", "chest films, 256 pixels", preset("vae-chestxray"), link("films", said(films))
    rows = measured("generate")["results"]
    for images in dict.fromkeys(r["images"] for r in rows if r["how"] == "learned prior"):
        own = [r for r in rows if r["images"] == images]
        yield "generate", images, preset(own[0]["model"]), link("generate", said(own))


def latents():
    auc = {r["input"]: r["auc"]["mean"] for r in measured("latents")["results"]}
    said = ", ".join(
        f"{name} {value:.3f}" for name, value in auc.items() if name.startswith(("films", "latents, drawn"))
    )
    yield "encode", "chest films, to train on latents", preset("vae-chestxray"), link("latents", f"AUC {said}")


def small_files():
    bits = measured("rate-distortion")["bjontegaard"]
    for films in dict.fromkeys(key.rpartition(", ")[0] for key in bits):
        said = ", ".join(
            f"{bits[f'{films}, {c}']['psnr']['mean']:+.0%} to {c}" for c in ("AVIF", "JPEG 2000", "JPEG XL")
        )
        yield (
            "compress",
            f"chest films, {films}",
            preset("codec-chestxray"),
            link("rate-distortion", f"bits {said}"),
        )


def noise():
    rows = measured("denoise")["results"]
    for kind in dict.fromkeys(r["noise"] for r in rows):
        psnr = {r["method"]: r["psnr"]["mean"] for r in rows if r["noise"] == kind}
        own = psnr.pop("dae-chestxray")
        best = max(psnr, key=psnr.get)
        said = f"{own:.1f} dB; {best} {psnr[best]:.1f}"
        which = preset("dae-chestxray") if own > psnr[best] else f"{best}, not a net"
        yield "denoise", f"chest films, {kind}", which, link("denoise", said)


def rows():
    for part in (faithful, features, diagnoses, anomalies, masks, drawing, latents, small_files, noise):
        yield from part()


def models():
    """The presets of the manifest, those of one domain together, with PSNR and SSIM on the test split."""
    for name, e in sorted(manifest().items(), key=lambda item: (item[1]["domain"], item[0])):
        measured = e["metrics"]
        size = "×".join(map(str, measured["image_size"])) + ("ᵃ" if None in e["input"] else "")
        latent = "×".join(map(str, e["latent_shape"])) + (" codes" if e["family"] == "VQVAE" else "")
        ratio = "–" if e["family"] == "Codec" else f"{e['compression_ratio']:g}:1"
        psnr, ssim = format_ci(measured["psnr"]), f"{measured['ssim']['mean']:.3f}"
        license = e["license"]
        yield (
            f"[`{name}`](medzoo/zoo/weights/{name}/README.md)",
            e["domain"],
            size,
            latent,
            ratio,
            f"{e['parameters'] / 1e6:.1f} M",
            psnr,
            ssim,
            LICENSES.get(license, license),
        )


def costs():
    """Compute of one image through encoder and decoder with the PyTorch backend."""
    measured_rows = [r for r in measured("model_comparison")["results"] if r["backend"] == "torch"]
    slowest = min(r["megapixels_per_second"] for r in measured_rows)
    for r in measured_rows:
        gmacs = r["macs_per_pixel"] * r["side"] ** 2 / 1e9
        throughput = r["megapixels_per_second"] / slowest
        yield r["name"], f"{r['parameters'] / 1e6:.1f} M", f"{gmacs:.{1 if gmacs < 100 else 0}f}", f"{throughput:.0f}×"


def written(path):
    """Return the text of one of the two pages with its tables up to date."""
    text = path.read_text(encoding="utf-8")
    if path == README:
        text = between_marks(text, MODELS, table(MODELS_HEADER, models()))
        return between_marks(text, COST, table(COST_HEADER, costs()))
    return between_marks(text, MARK, table(["task", "images", "preset", "measured"], rows()))


@click.command(help=__doc__)
def main():
    for path in (PAGE, README):
        write_atomically(path, written(path))


if __name__ == "__main__":
    main()
