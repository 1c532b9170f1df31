"""Compute of encoding and decoding 256-pixel images, compared with the networks of MedVAE and torchxrayvision.

    python benchmarks/model_comparison.py --data chestxray_256.npz --out benchmarks/model_comparison

MedVAE (Varma et al. 2025, arXiv:2502.14753), f = 8, one latent channel: AutoencoderKL of diffusers with the widths of
its configuration (128 x 1, 2, 4, 4; two residual blocks per stage; attention in the middle block), random weights.
torchxrayvision: ResNetAE101 (Cohen et al. 2022), random weights, at its own 224 pixels. Each model runs in its own
process and encodes and decodes batches of 4 images; times are minima of five rounds. Multiply-accumulate operations
(MACs) are counted by PyTorch's FlopCounterMode, those of medzoo by running the same model on the PyTorch backend of
Keras. PSNR is that of test images. Reconstruction quality of MedVAE and torchxrayvision was not evaluated because their
weights were not available.
"""

import importlib
import importlib.util
import json
import sys
import types
from pathlib import Path

import click
import numpy as np

BATCH, ROUNDS = 4, 5
OURS = ("ae-chestxray", "vae-chestxray", "vqvae-chestxray", "codec-chestxray")


def medvae():
    from diffusers import AutoencoderKL

    model = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=1,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=256,
    ).eval()
    return model, (lambda x: model.decode(model.encode(x).latent_dist.mean).sample), 256


def xrv():
    # The __init__ of torchxrayvision imports torchvision for its data sets; the autoencoder does not need it.
    package = types.ModuleType("torchxrayvision")
    package.__path__ = list(importlib.util.find_spec("torchxrayvision").submodule_search_locations)
    sys.modules["torchxrayvision"] = package
    model = importlib.import_module("torchxrayvision.autoencoders").ResNetAE101().eval()
    return model, (lambda x: model.decode(model.encode(x), x.shape)), 224


def measure(name):
    """Print parameters, MACs per pixel and throughput of one model as JSON."""
    import torch
    from common import min_seconds
    from torch.utils.flop_counter import FlopCounterMode

    if name in OURS:
        import keras

        import medzoo

        model, side = medzoo.load(name), 256
        x = np.random.default_rng(0).random((BATCH, side, side, 1), dtype="float32")
        run, parameters = (lambda: model.reconstruct(x)), model.count_params()
        backend = keras.backend.backend()
    else:
        model, step, side = {"MedVAE": medvae, "torchxrayvision": xrv}[name]()
        x = torch.rand(BATCH, 1, side, side, generator=torch.Generator().manual_seed(0))
        parameters, backend = sum(p.numel() for p in model.parameters()), "torch"

        def run():
            with torch.inference_mode():
                return step(x)

    macs = None
    if backend == "torch":
        with FlopCounterMode(display=False) as counter:
            run()
        macs = counter.get_total_flops() / 2 / BATCH / side**2
    spent = min_seconds(run, ROUNDS)
    facts = {"name": name, "backend": backend, "side": side, "parameters": parameters, "macs_per_pixel": macs}
    print(json.dumps({**facts, "images_per_second": BATCH / spent}))


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(exists=True), help="Test images of 256 pixels, for the PSNR.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, out):
    from common import bar_chart, run_in_process, write_page

    import medzoo
    from medzoo.data.npz import load_npz, to_float
    from medzoo.metrics.image import psnr

    rows = [
        run_in_process(f"import model_comparison as m; m.measure({name!r})", "torch")
        for name in ("MedVAE", "torchxrayvision", *OURS)
    ]
    macs = {row["name"]: row["macs_per_pixel"] for row in rows}
    rows += [
        {
            **run_in_process(f"import model_comparison as m; m.measure({name!r})", "tensorflow"),
            "macs_per_pixel": macs[name],
        }
        for name in OURS
    ]
    images = to_float(load_npz(data, "test"))
    quality = {n: float(np.mean(psnr(images, medzoo.load(n).reconstruct(images)))) for n in OURS}
    medvae_speed = rows[0]["images_per_second"] * rows[0]["side"] ** 2
    for row in rows:
        row["megapixels_per_second"] = row["images_per_second"] * row["side"] ** 2 / 1e6
        row["to_medvae"] = row["megapixels_per_second"] * 1e6 / medvae_speed
        row["psnr"] = quality.get(row["name"])
    header = ["Model", "backend", "image size (pixels)", "parameters (M)", "MACs per pixel", "images per second"]
    header += ["megapixels per second", "relative to MedVAE", "PSNR (dB)", "dB per thousand MACs per pixel"]
    table = [
        [
            r["name"],
            r["backend"],
            r["side"],
            f"{r['parameters'] / 1e6:.2f}",
            f"{r['macs_per_pixel']:,.0f}",
            f"{r['images_per_second']:.2f}",
            f"{r['megapixels_per_second']:.3f}",
            f"{r['to_medvae']:.1f}",
            f"{r['psnr']:.2f}" if r["psnr"] else "–",
            f"{r['psnr'] / r['macs_per_pixel'] * 1e3:.1f}" if r["psnr"] else "–",
        ]
        for r in rows
    ]
    names = [f"{r['name']}, {r['backend']}" for r in rows]
    bar_chart(out, names, [round(r["to_medvae"], 1) for r in rows], "Throughput relative to MedVAE")
    write_page(out, "Comparison with other autoencoders", [("", header, table)], {"results": rows})
    for row in table:
        click.echo(" | ".join(map(str, row)))


if __name__ == "__main__":
    main()
