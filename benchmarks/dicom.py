"""DICOM files read with and without the decoders of `medzoo[dicom]`, and equality of lossless encodings.

    python benchmarks/dicom.py --data DIR --out benchmarks/dicom

DIR contains DICOM files. Duplicates are files whose names are equal up to the first underscore and that contain
losslessly encoded pixels of equal shape and type. Their pixel values must be bit-identical.
"""

import collections
import warnings
from pathlib import Path

import click
import numpy as np
from common import write_page

from medzoo.errors import ImageError
from medzoo.io import jpeg12
from medzoo.io.dicom import open_dicom
from medzoo.io.image import read_image

LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91")
LOSSY += ("1.2.840.10008.1.2.4.203",)


def attempt(path):
    """Return `None` if the file, or its first frame, can be read, else the error message."""
    try:
        try:
            read_image(path)
        except ImageError as error:
            if "frame" not in str(error):
                raise
            read_image(path, frame=0)
    except ImageError as error:
        return str(error).replace(str(path), path.name).replace("\n", " ")


def syntax(path):
    import pydicom

    meta = pydicom.dcmread(path, force=True, stop_before_pixels=True).file_meta
    return getattr(meta, "TransferSyntaxUID", None)


def without_extra():
    """Remove the decoders of the extra from pydicom."""
    from pydicom.pixels import decoders

    for decoder in {getattr(decoders, name) for name in dir(decoders) if name.endswith("Decoder")}:
        for label in set(getattr(decoder, "available_plugins", ())) & {"gdcm", "pylibjpeg", "pyjpegls", "medzoo"}:
            decoder.remove_plugin(label)
    jpeg12.register = lambda: None


def duplicates(files):
    """Yield `(stem, number of lossless files, whether their pixels are equal)`."""
    groups = collections.defaultdict(list)
    for path in files:
        try:
            dataset, pixels = open_dicom(path)
        except ImageError:
            continue
        if str(dataset.file_meta.TransferSyntaxUID) not in LOSSY and dataset.get("LossyImageCompression") != "01":
            key = (path.stem.split("_")[0], pixels.shape, pixels.dtype.newbyteorder("="))
            groups[key].append(pixels)
    for (stem, *_), images in sorted(groups.items(), key=lambda item: item[0][0]):
        if len(images) > 1:
            yield stem, len(images), all(np.array_equal(images[0], other) for other in images[1:])


def figure(path, counts):
    from matplotlib.figure import Figure

    plot = Figure(figsize=(9, 0.34 * len(counts) + 0.8), layout="constrained")
    axis = plot.subplots()
    names = sorted(counts, reverse=True)
    for i, name in enumerate(names):
        files, plain, extra = counts[name]
        axis.barh(i, files, color="0.88", label="files")
        axis.barh(i + 0.2, plain, height=0.36, color="tab:orange", label="read without the extra")
        axis.barh(i - 0.2, extra, height=0.36, color="tab:blue", label="with it")
    axis.set_yticks(range(len(names)), [name.split(",")[0] for name in names], fontsize=8)
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(handles[:3], labels[:3], frameon=False, fontsize=8, loc="lower right")
    axis.set(xlabel="files")
    plot.savefig(path, dpi=120)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the DICOM files.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, out):
    warnings.simplefilter("ignore")
    files = sorted(p for p in data.rglob("*") if p.is_file())
    names = {p: s.name if (s := syntax(p)) else "not specified" for p in files}
    lossless = list(duplicates(files))
    extra = {p: attempt(p) for p in files}
    without_extra()
    plain = {p: attempt(p) for p in files}
    counts = {}
    for name in sorted(set(names.values())):
        own = [p for p in files if names[p] == name]
        counts[name] = (len(own), sum(plain[p] is None for p in own), sum(extra[p] is None for p in own))
    total = tuple(map(sum, zip(*counts.values(), strict=True)))
    figure(out.with_suffix(".png"), counts)
    rows = [[name, *numbers] for name, numbers in counts.items()] + [["all", *total]]
    unreadable = [[p.name, why] for p, why in extra.items() if why]
    header = ["Transfer syntax", "files", "read without the extra", 'with `pip install "medzoo[dicom]"`']
    tables = [
        ("Files read", header, rows),
        ("Unreadable with the extra", ["File", "error"], unreadable),
        (
            "Lossless duplicates",
            ["Image", "files", "pixels"],
            [[s, n, "equal" if e else "DIFFER"] for s, n, e in lossless],
        ),
    ]
    text = (
        f"{len(files)} real files of all common encodings. Files that cannot be read raise `ImageError` with the file "
        "name, the transfer syntax and the package to install. Of multi-frame files, the first frame is read."
    )
    facts = {
        "files": len(files),
        "read_without_extra": total[1],
        "read_with_extra": total[2],
        "by_syntax": counts,
        "unreadable": dict(unreadable),
        "duplicates": [list(t) for t in lossless],
    }
    write_page(out, "DICOM files", tables, facts, text)
    click.echo(out.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
