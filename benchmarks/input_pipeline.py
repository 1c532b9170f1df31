"""Time that `fit` waits for images from folders of 256-pixel PNG and DICOM files.

    python benchmarks/input_pipeline.py --out benchmarks/input_pipeline

128 synthetic phantoms as PNG (8 bits) and as uncompressed DICOM (12 bits, windowed), batches of 16, `vae-chestxray`.
Waiting is the fraction of an epoch that exceeds the time of the same epoch on images in memory; both are trained for
three epochs in alternation, and the minimum of each is used. Reading is the throughput of the data set alone in images
per second. With the cache (the default), files are read once, before the first epoch, on all cores.
"""

import tempfile
from pathlib import Path

import click
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

COUNT, SIDE, BATCH = 128, 256, 16


def write_files(folder, kind):
    from medzoo.data.phantom import chest_phantom

    phantoms = [chest_phantom(SIDE, seed)[..., 0] for seed in range(32)]
    for i in range(COUNT):
        image = np.roll(phantoms[i % len(phantoms)], i // len(phantoms), axis=1)
        if kind == "PNG":
            Image.fromarray((image * 255).astype("uint8")).save(folder / f"{i:04d}.png")
            continue
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = pydicom.Dataset()
        data.file_meta, data.SOPClassUID = meta, meta.MediaStorageSOPClassUID
        data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        data.Modality, data.Rows, data.Columns = "DX", SIDE, SIDE
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
        data.WindowCenter, data.WindowWidth = 2048, 4096
        data.PixelData = (image * 4095).astype("<u2").tobytes()
        data.save_as(folder / f"{i:04d}.dcm", enforce_file_format=True)


@click.command(help=__doc__)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(out):
    import tensorflow as tf
    from common import bar_chart, seconds, write_page

    import medzoo

    model = medzoo.load("vae-chestxray")
    model.compile("adam")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("PNG", "DICOM"):
            source = Path(folder) / kind
            source.mkdir()
            write_files(source, kind)
            first = seconds(lambda source=source: medzoo.datasets.from_folder(source, SIDE, cache=True))
            for cache in (True, False):
                data = medzoo.datasets.from_folder(source, SIDE, BATCH, cache=cache, drop_remainder=True)
                ready = tf.data.Dataset.from_tensor_slices(np.concatenate(list(data.as_numpy_iterator())))
                ready = ready.batch(BATCH, drop_remainder=True)
                reading = COUNT / min(seconds(lambda data=data: [None for _ in data]) for _ in range(3))
                model.fit(ready.take(2), verbose=0)
                times = {"memory": [], "files": []}
                for _ in range(3):
                    times["memory"].append(seconds(lambda ready=ready: model.fit(ready, verbose=0)))
                    times["files"].append(seconds(lambda data=data: model.fit(data, verbose=0)))
                fit = min(times["files"])
                waiting = max(0.0, 1 - min(times["memory"]) / fit)
                rows.append({"kind": kind, "cache": cache, "first_reading": first, "reading": reading})
                rows[-1] |= {"fit": COUNT / fit, "waiting": waiting}
                click.echo(str(rows[-1]))
    header = ["Files", "cache", "before the first epoch, seconds", "reading, images per second"]
    header += ["fit, images per second", "waiting"]
    table = [
        [
            r["kind"],
            "yes" if r["cache"] else "no",
            f"{r['first_reading']:.1f}",
            f"{r['reading']:,.0f}",
            f"{r['fit']:.1f}",
            f"{100 * r['waiting']:.1f}%",
        ]
        for r in rows
    ]
    bar_chart(
        out,
        [f"{r['kind']}, {'cached' if r['cache'] else 'read each epoch'}" for r in rows],
        [round(100 * r["waiting"], 1) for r in rows],
        "Fraction of an epoch spent waiting for images (%)",
    )
    write_page(out, "Input pipeline", [("", header, table)], {"results": rows})


if __name__ == "__main__":
    main()
