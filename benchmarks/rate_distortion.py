"""Rate and distortion on one archive: PCA, JPEG, JPEG 2000, WebP, AVIF and the models of the zoo, side by side.

    python benchmarks/rate_distortion.py --data chestxray_256.npz --out benchmarks/rate-distortion

Writes OUT.json, OUT.md and OUT.png. All figures are means over the same test images: bits per pixel, PSNR, SSIM.

- JPEG, JPEG 2000, WebP, AVIF: whole files as Pillow writes them, 8-bit grey.
- Codec: whole files as `medzoo.compress` writes them, one image each.
- VQ-VAE: cross-entropy of the codes under the code frequencies of the training images, which is what an arithmetic
  coder with that table would need; not a file.
- PCA (of square patches), AE and VAE: latents rounded to multiples of a step, each channel coded as above under its own
  histogram over the training images. A channel's step is such that a change of all its latents by one step changes the
  pixels by `step` (root mean square); one point for each.
"""

import io
import json
from pathlib import Path

import click
import numpy as np
from PIL import Image

import medzoo
from medzoo import metrics
from medzoo.evaluate.reconstruction import cut, join
from medzoo.images.archive import load_npz, to_float
from medzoo.reports.tables import table

CODECS = {
    "JPEG": [{"format": "JPEG", "quality": q, "optimize": True} for q in (3, 6, 10, 20, 35, 60)],
    "JPEG 2000": [
        {"format": "JPEG2000", "quality_mode": "rates", "quality_layers": [r], "irreversible": True, "no_jp2": True}
        for r in (320, 160, 80, 53, 40, 20)
    ],
    "WebP": [{"format": "WEBP", "quality": q, "method": 6} for q in (0, 10, 30, 50, 70, 90)],
    "AVIF": [{"format": "AVIF", "quality": q, "speed": 4} for q in (15, 30, 40, 50, 60, 75)],
}
STEPS = (0.005, 0.01, 0.02, 0.04, 0.08)  # of grey values from 0 to 1


def codec(images, options):
    """Bits per pixel and reconstructions."""
    bits, restored = 0, []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image[..., 0]).save(buffer, **options)
        bits += 8 * buffer.tell()
        restored.append(np.asarray(Image.open(buffer).convert("L")))
    return bits / images[..., 0].size, to_float(np.stack(restored)[..., None])


def code_length(train, test, low, size):
    """Bits for integers `test` under the histogram of `train`, each at least `low`, `size` different ones."""
    counts = np.bincount(np.clip(train - low, 0, size - 1), minlength=size) + 1.0
    bits = -np.log2(counts / counts.sum())
    return bits[np.clip(test - low, 0, size - 1)].sum()


def quantised(encode, decode, train, images):
    """One (step, bits per pixel, reconstructions) for each of STEPS; latents have their channels on the last axis."""
    latents_train, latents = encode(train), encode(images)
    gains = pixel_change(decode, latents_train[:: len(train) // 16])
    for step in STEPS:
        symbols_train, symbols = (np.round(x * gains / step).astype(int) for x in (latents_train, latents))
        bits = 0
        for channel in range(latents.shape[-1]):
            a, b = symbols_train[..., channel].ravel(), symbols[..., channel].ravel()
            low, high = min(a.min(), b.min()), max(a.max(), b.max())
            bits += code_length(a, b, low, high - low + 1)
        yield step, bits / images[..., 0].size, decode((symbols * step / gains).astype("float32"))


def pixel_change(decode, latents):
    """Root-mean-square change of the pixels for a change of all latents of a channel by one, for each channel."""
    rng, before, gains = np.random.default_rng(0), decode(latents), []
    for channel in range(latents.shape[-1]):
        size = 0.05 * latents[..., channel].std()
        moved = latents.copy()
        moved[..., channel] += size * rng.choice((-1, 1), latents.shape[:-1])
        gains.append(np.sqrt(np.square(decode(moved) - before).mean()) / size)
    return np.array(gains)


def pca(train, patch, components):
    """Encoder and decoder of a PCA of patches."""
    from sklearn.decomposition import PCA

    fitted = PCA(components, random_state=0).fit(cut(train, patch)[::7])

    def encode(images):
        n, height, width, _ = images.shape
        return fitted.transform(cut(images, patch)).reshape(n, height // patch, width // patch, components)

    def decode(latents):
        n, rows, columns, _ = latents.shape
        restored = fitted.inverse_transform(latents.reshape(-1, components))
        return np.clip(join(restored, (n, rows * patch, columns * patch, 1), patch), 0, 1).astype("float32")

    return encode, decode


def coded(images, model, quality):
    """Bits per pixel and reconstructions through `medzoo.compress`, one file an image."""
    files = [medzoo.compress([image], model, quality) for image in images]
    restored = np.stack([medzoo.decompress(file, model)[0] for file in files])
    return 8 * sum(map(len, files)) / images[..., 0].size, to_float(restored)[..., None]


def points(data, names):
    """Yields (curve, setting, bits per pixel, reconstructions)."""
    train, images = load_npz(data, "train"), load_npz(data, "test")
    for name, settings in CODECS.items():
        for options in settings:
            bits, restored = codec(images, options)
            setting = options["quality"] if "quality" in options else f"1:{options['quality_layers'][0]}"
            yield name, str(setting), bits, restored
    stored = images
    train, images = to_float(train), to_float(images)
    for components in (4, 16):
        for step, bits, restored in quantised(*pca(train, 8, components), train, images):
            yield f"PCA, 8×8 patches, {components}", f"step {step}", bits, restored
    for name in names:
        model = medzoo.load(name)
        if isinstance(model, medzoo.Codec):
            for quality in range(len(model.tradeoffs)):
                yield name, f"quality {quality}", *coded(stored, model, quality)
            continue
        if isinstance(model, medzoo.VQVAE):
            codes_train, codes = model.encode(train), model.encode(images)
            bits = code_length(codes_train.ravel(), codes.ravel(), 0, model.quantizer.codebook_size)
            yield name, "", bits / images[..., 0].size, model.decode(codes)
            continue
        for step, bits, restored in quantised(model.encode, model.decode, train, images):
            yield name, f"step {step}", bits, restored


def draw(rows, path, title):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axis = figure.subplots()
    for curve in dict.fromkeys(row["curve"] for row in rows):
        own = sorted((r["bits_per_pixel"], r["psnr"]) for r in rows if r["curve"] == curve)
        ours = curve in medzoo.list_models()
        axis.plot(
            *zip(*own, strict=True), "o-" if ours else "--", label=curve, linewidth=2 if ours else 1, markersize=4
        )
    axis.set(xscale="log", xlabel="bits per pixel", ylabel="PSNR, dB", title=title)
    ticks = (0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--models", default="ae-chestxray,vae-chestxray,vqvae-chestxray,codec-chestxray-256", show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, models, out):
    images = to_float(load_npz(data, "test"))
    rows = []
    for curve, setting, bits, restored in points(data, models.split(",")):
        row = {"curve": curve, "setting": setting, "bits_per_pixel": round(float(bits), 4)}
        for name, function in (("psnr", metrics.psnr), ("ssim", metrics.ssim)):
            row[name] = round(float(metrics.per_image(function, images, restored).mean()), 4)
        rows.append(row)
        click.echo(f"{curve:24} {setting:12} {bits:7.4f} bpp {row['psnr']:6.2f} dB")
    command = f"python benchmarks/rate_distortion.py --data {data.name} --models {models} --out {out}"
    facts = {
        "command": command,
        "data": data.name,
        "images": len(images),
        "size": images.shape[1:3],
        "points": rows,
    }
    out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    cells = [
        [r["curve"], r["setting"], f"{r['bits_per_pixel']:.3f}", f"{r['psnr']:.2f}", f"{r['ssim']:.4f}"] for r in rows
    ]
    text = f"# Rate and distortion\n\n{len(images)} test images of `{data.name}`. `{command}`\n\n"
    text += f"![curves]({out.name}.png)\n\n"
    text += table(["", "setting", "bits per pixel", "PSNR, dB", "SSIM"], cells) + "\n"
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    draw(rows, out.with_suffix(".png"), f"{len(images)} test images of {data.name}")


if __name__ == "__main__":
    main()
