"""Exported models: file size, inference time and loss of reconstruction quality.

    python benchmarks/export.py --data chestxray_256.npz --small medical_mnist_64.npz --out benchmarks/export

Models of four families are exported as SavedModel, ONNX and LiteRT; LiteRT also with weights of float16 and int8, and
with all arithmetic in int8 (ranges calibrated on 100 training images). 100 test images are reconstructed one at a time
on one thread. The table lists the PSNR of the reconstructions and the largest absolute difference of a pixel from the
Keras model. Time is the minimum of three rounds over 20 images; Keras is `model.reconstruct` on the same thread.
"""

import tempfile
from pathlib import Path

import click
import numpy as np

PRESETS = ("ae-chestxray", "vae-chestxray", "vqvae-chestxray", "codec-chestxray", "vae-chestxray-64")
KINDS = {  # name: (file name, quantize, needs calibration images)
    "SavedModel": ("model", None, False),
    "ONNX": ("model.onnx", None, False),
    "LiteRT": ("model.tflite", None, False),
    "LiteRT, float16 weights": ("model16.tflite", "float16", False),
    "LiteRT, int8 weights": ("model8.tflite", "int8", False),
    "LiteRT, all int8": ("model8all.tflite", "int8", True),
}


def runner(path):
    """Return a function from a batch of images to their reconstruction, by the runtime of the file format."""
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options)
        return lambda x: session.run(None, {"images": x})[0]
    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        signature = Interpreter(str(path), num_threads=1).get_signature_runner()
        return lambda x: signature(images=x)["reconstruction"]
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda x: loaded.reconstruct(x).numpy()


def evaluate(run, inputs, reference):
    """Return time per image in milliseconds, PSNR in dB and largest difference from the reference."""
    from common import min_seconds

    outputs = np.concatenate([run(image[None]) for image in inputs])
    spent = min_seconds(lambda: [run(image[None]) for image in inputs[:20]], 3) / 20 * 1e3
    error = np.maximum(np.mean((outputs - inputs) ** 2, axis=(1, 2, 3)), 1e-10)
    difference = float(np.abs(outputs - reference).max())
    return {"ms": spent, "psnr": float(np.mean(-10 * np.log10(error))), "difference": difference}


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(exists=True), help="Chest X-rays of 256 pixels.")
@click.option("--small", required=True, type=click.Path(exists=True), help="Medical MNIST, 64 pixels.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, small, out):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from common import bar_chart, write_page

    import medzoo
    from medzoo.data.npz import load_npz, to_float

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for preset in PRESETS:
            model = medzoo.load(preset)
            source = (small, ["chest_xray"]) if preset.endswith("-64") else (data, None)
            inputs, calibration = (to_float(load_npz(source[0], s, source[1])[:100]) for s in ("test", "train"))
            reference = model.reconstruct(inputs)
            rows.append({"preset": preset, "kind": "Keras", **evaluate(model.reconstruct, inputs, reference)})
            rows[-1]["mib"] = model.count_params() * 4 / 2**20
            for kind, (name, quantize, needs_images) in KINDS.items():
                path = Path(folder) / preset / name
                images = calibration if needs_images else None
                size = inputs.shape[1:3] if path.suffix == ".tflite" else None
                medzoo.export(model, path, size=size, quantize=quantize, images=images)
                files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
                rows.append({"preset": preset, "kind": kind, **evaluate(runner(path), inputs, reference)})
                rows[-1]["mib"] = sum(p.stat().st_size for p in files) / 2**20
                click.echo(str(rows[-1]))
    keras_row = {r["preset"]: r for r in rows if r["kind"] == "Keras"}
    for row in rows:
        row["lost"] = keras_row[row["preset"]]["psnr"] - row["psnr"]
        row["time"] = row["ms"] / keras_row[row["preset"]]["ms"]
    header = [
        "Preset",
        "format",
        "MiB",
        "ms per image",
        "time relative to Keras",
        "PSNR (dB)",
        "PSNR loss (dB)",
        "largest difference",
    ]
    table = [
        [
            r["preset"],
            r["kind"],
            f"{r['mib']:.2f}",
            f"{r['ms']:.1f}",
            f"{r['time']:.2f}",
            f"{r['psnr']:.2f}",
            f"{r['lost']:.2f}",
            f"{r['difference']:.1e}",
        ]
        for r in rows
    ]
    shown = [r for r in rows if r["preset"] == PRESETS[1]]
    bar_chart(out, [r["kind"] for r in shown], [round(r["mib"], 2) for r in shown], f"File size of {PRESETS[1]} (MiB)")
    write_page(out, "Exported models", [("", header, table)], {"results": rows})


if __name__ == "__main__":
    main()
