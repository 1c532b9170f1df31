"""Compressed films of two hospitals: our codec beside the formats that everyone has.

    python benchmarks/rate_distortion.py --data DIR --cache DIR --out benchmarks/rate_distortion

DIR holds chestxray_256.npz (102 test films of a hospital that the codec learned from) and jsrt_256.npz (80 of another
one). Whole files, one film each, grey, 8 bits: `medzoo.compress`; JPEG, JPEG 2000 (its own rate control), WebP and AVIF
(speed 2, 4:0:0) by Pillow; JPEG XL and JPEG-LS by imagecodecs. Bjøntegaard's difference: bits of our codec for equal
PSNR, or equal MS-SSIM, as a share of the other's; logarithm of the rate along monotone cubics (PCHIP), over what both
reach of 30 to 44 dB; mean over films and 95% interval; negative: ours is smaller. Pace: megapixels a second on one
core, encoding and decoding, relative to each other in one run; of our codec also on all cores, 64 films in one call,
and a mosaic of films as large as a radiograph. Lossless also on the grey images of 16 bits in DIR/dicom (NEMA's
compression set and pydicom's: CT, MR, CR, XA, NM), JPEG XL with a great effort (9, beyond a megapixel 7) and with its
usual one (7), of which ours takes the smaller; to the other formats negative numbers are given less the smallest.
"""

import io
import os
import time
from functools import partial
from pathlib import Path

import click
import keras
import numpy as np
from PIL import Image
from common import explained, in_process, remembered, seconds, write

import medzoo
from medzoo import metrics
from medzoo.data.npz import load_npz, to_float
from medzoo.errors import ImageError
from medzoo.io.image import read_stored
from medzoo.metrics.bootstrap import bootstrap_mean_ci, format_ci
from medzoo.tasks.compress.lossless import GREAT, LARGE, USUAL

CODEC, RANGE = "codec-chestxray", (30.0, 44.0)
QUICK = "JPEG XL, usual effort"
HOSPITALS = {"NIH, test films": "chestxray_256.npz", "JSRT, never trained on": "jsrt_256.npz"}


def pillow(kind, settings, **options):
    """`[(encode, decode)]` of a format of Pillow's."""

    def of(own):
        def encode(image):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, kind, **options, **own)
            return buffer.getvalue()

        return encode, lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("L"))

    return [of(own) for own in settings]


def formats():
    """`{name: [(encode, decode) for each setting]}` of what loses something, and of what loses nothing."""
    import imagecodecs as ic

    codec = medzoo.load(CODEC)
    ours = [(lambda x, q=q: medzoo.compress([x], codec, q), _ours(codec)) for q in (0, 17, 33, 50, 67, 83, 100)]
    distances = (1, 1.5, 2.5, 4, 6, 9, 14, 25)
    lossy = {
        CODEC: ours,
        "JPEG": pillow("JPEG", [{"quality": q} for q in (3, 6, 10, 20, 35, 60)], optimize=True),
        "JPEG 2000": pillow(
            "JPEG2000",
            [{"quality_layers": [r]} for r in (320, 160, 80, 53, 40, 20)],
            quality_mode="rates",
            irreversible=True,
            no_jp2=True,
        ),
        "WebP": pillow("WEBP", [{"quality": q} for q in (0, 10, 30, 50, 70, 90)], method=6),
        "AVIF": pillow("AVIF", [{"quality": q} for q in (0, 10, 20, 30, 40, 50, 60, 70)], speed=2, subsampling="4:0:0"),
        "JPEG XL": [(lambda x, d=d: ic.jpegxl_encode(x, distance=d, effort=7), ic.jpegxl_decode) for d in distances],
    }
    exact = {
        "medzoo, lossless": (lambda x: medzoo.compress([x], max_error=0), _ours(None)),
        "JPEG XL": (
            lambda x: ic.jpegxl_encode(x, lossless=True, effort=GREAT if x.size <= LARGE else USUAL),
            ic.jpegxl_decode,
        ),
        QUICK: (lambda x: ic.jpegxl_encode(x, lossless=True, effort=USUAL), ic.jpegxl_decode),
        "JPEG-LS": (ic.jpegls_encode, ic.jpegls_decode),
        "JPEG 2000": pillow("JPEG2000", [{}], irreversible=False, no_jp2=True)[0],
        "PNG": pillow("PNG", [{}], optimize=True)[0],
        **{f"medzoo, error ≤ {n}": (lambda x, n=n: medzoo.compress([x], max_error=n), _ours(None)) for n in (1, 2, 4)},
    }
    return lossy, exact


def _ours(codec):
    return lambda data: medzoo.decompress(data, codec)[0]


def measured(images, encode, decode):
    """Of each film bits a pixel, PSNR and MS-SSIM, `(N, 3)`; and megapixels a second each way."""
    start = time.perf_counter()
    files = [encode(image) for image in images]
    middle = time.perf_counter()
    back = np.stack([decode(data) for data in files])
    end = time.perf_counter()
    bits = np.array([8 * len(data) for data in files]) / images[0].size
    truth, found = to_float(images)[..., None], to_float(back)[..., None]
    quality = [metrics.per_image(f, truth, found) for f in (metrics.psnr, metrics.ms_ssim)]
    pace = images.size / 1e6 / np.array([middle - start, end - middle])
    return {"films": np.stack([bits, *quality], axis=1), "pace": pace}


def bjontegaard(ours, other, column):
    """Relative difference of bits of each film, `(N,)`; NaN where the two reach no common quality.

    Args:
        ours, other: `(settings, N, 3)`.
        column: 1 for PSNR, 2 for MS-SSIM (in dB, -10 lg(1 - x)).
    """
    from scipy.interpolate import PchipInterpolator

    def curve(points):
        quality = points[:, column] if column == 1 else -10 * np.log10(np.maximum(1e-6, 1 - points[:, column]))
        order = np.argsort(quality)
        keep = np.concatenate([[True], np.diff(quality[order]) > 1e-6])
        return quality[order][keep], np.log(points[:, 0])[order][keep]

    result = []
    for film in range(ours.shape[1]):
        (a, rate_a), (b, rate_b) = (curve(points[:, film]) for points in (ours, other))
        low, high = max(a[0], b[0]), min(a[-1], b[-1])
        if column == 1:
            low, high = max(low, RANGE[0]), min(high, RANGE[1])
        if high - low < 0.2:
            result.append(np.nan)
            continue
        at = np.linspace(low, high, 200)
        result.append(np.exp(np.mean(PchipInterpolator(a, rate_a)(at) - PchipInterpolator(b, rate_b)(at))) - 1)
    return np.array(result)


def figure(path, curves):
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(11, 4.5), layout="constrained")
    for axis, (hospital, lossy) in zip(drawing.subplots(1, 2, sharey=True), curves.items(), strict=True):
        for name, points in lossy.items():
            bits, quality, _ = points.mean(axis=1).T
            order = np.argsort(bits)
            own = {"marker": "o", "linewidth": 2} if name == CODEC else {"linestyle": "--", "linewidth": 1}
            axis.plot(bits[order], quality[order], label=name, **own)
        axis.set(xscale="log", xlabel="bits per pixel", title=hospital)
        axis.set_xticks((0.05, 0.1, 0.2, 0.5), ("0.05", "0.1", "0.2", "0.5"))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    drawing.axes[0].set_ylabel("PSNR, dB")
    drawing.axes[1].legend(frameon=False)
    drawing.savefig(path, dpi=100)


def on_all_cores(data):
    """`{images: (megapixels a second to compress, to restore)}`, in a process that may use all cores."""
    films = load_npz(data / HOSPITALS["JSRT, never trained on"], "test")[:64, ..., 0]
    mosaic = np.tile(films.reshape(8, 8, 256, 256).transpose(0, 2, 1, 3).reshape(2048, 2048), (2, 2))[:3000, :2500]
    codec, found = medzoo.load(CODEC), {}
    for name, images in {"64 films of 256 pixels": list(films), "one film of 3000×2500 pixels": [mosaic]}.items():
        coded = medzoo.compress(images, codec)  # once before the clock runs
        pixels = sum(image.size for image in images) / 1e6
        times = seconds(partial(medzoo.compress, images, codec)), seconds(partial(medzoo.decompress, coded))
        found[name] = [pixels / t for t in times]
    return found


def of_dicom(folder, exact):
    """Bits a pixel of each grey DICOM image of 16 bits, `{format: (N,)}`; the first of those that are equal."""
    images = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            image = read_stored(path)
        except ImageError:  # colour, several frames
            continue
        if image.itemsize == 2:
            images.setdefault(image.tobytes(), image)
    found = {name: [] for name in ("medzoo, lossless", "JPEG XL", QUICK, "JPEG-LS", "JPEG 2000")}
    for image in images.values():
        plain = (image.astype("int32") - min(0, int(image.min()))).astype("uint16")
        for name, bits in found.items():
            encode = exact[name][0]
            bits.append(8 * len(encode(image if name.startswith("medzoo") else plain)) / image.size)
    return {name: np.array(bits) for name, bits in found.items()}


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder with the archives.")
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="Folder for what was reached.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, cache, out):
    code = f"import json, pathlib, rate_distortion as r; print(json.dumps(r.on_all_cores(pathlib.Path({str(data)!r}))))"
    together = in_process(code, keras.backend.backend())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    cache.mkdir(parents=True, exist_ok=True)
    lossy, exact = formats()
    curves, lossless, pace = {}, {}, {}
    for hospital, archive in HOSPITALS.items():
        images = load_npz(data / archive, "test")[..., 0]

        def of(name, setting, pair, images=images, archive=archive):
            return remembered(cache, [archive, name, setting], lambda: measured(images, *pair))

        found = {name: [of(name, i, pair) for i, pair in enumerate(pairs)] for name, pairs in lossy.items()}
        curves[hospital] = {name: np.stack([own["films"] for own in each]) for name, each in found.items()}
        pace |= {name: np.mean([own["pace"] for own in each], axis=0) for name, each in found.items()}
        found = {name: of(f"exact {name}", 0, pair) for name, pair in exact.items()}
        lossless[hospital] = {name: own["films"][:, 0] for name, own in found.items()}
        pace |= {f"{name} (lossless)" if name in lossy else name: own["pace"] for name, own in found.items()}
    lossless["DICOM, 16 bits"] = remembered(cache, ["dicom"], lambda: of_dicom(data / "dicom", exact))
    figure(out.with_suffix(".png"), curves)
    save(out, curves, lossless, pace, together)


def save(out, curves, lossless, pace, together):
    differences, rows = {}, []
    for hospital, lossy in curves.items():
        for name in list(lossy)[1:]:
            both = [bjontegaard(lossy[CODEC], lossy[name], column) for column in (1, 2)]
            both = [bootstrap_mean_ci(values[np.isfinite(values)]) for values in both]
            differences[f"{hospital}, {name}"] = dict(zip(("psnr", "ms_ssim"), both, strict=True))
            rows.append([hospital, name, *(_percent(value) for value in both)])
    names = list(next(iter(lossless.values())))
    exact = [
        [name, *(format_ci(bootstrap_mean_ci(own[name]), 3) if name in own else "" for own in lossless.values())]
        for name in names
    ]
    beside = []
    for images, own in lossless.items():
        for other in ("JPEG XL", QUICK):
            ratio = own[names[0]] / np.minimum(own[other], own["JPEG-LS"])
            shares = f"{np.mean(ratio <= 1):.0%}", f"{ratio.max() - 1:+.2%}"
            beside.append([f"{images} ({len(ratio)})", other, _percent(bootstrap_mean_ci(ratio - 1), 2), *shares])
    quickest = max(both[0] for both in pace.values())
    paces = [[name, f"{a:.2f}", f"{b:.2f}", f"1/{quickest / a:.0f}"] for name, (a, b) in pace.items()]
    points = [
        [hospital, name, *(f"{value:.{n}f}" for value, n in zip(own.mean(axis=0), (3, 2, 4), strict=True))]
        for hospital, lossy in curves.items()
        for name, settings in lossy.items()
        for own in settings
    ]
    tables = [
        (f"Bits of {CODEC} beside the others'", ["films", "", "equal PSNR", "equal MS-SSIM"], rows),
        ("Lossless, and with a largest error: bits a pixel", ["", *lossless], exact),
        (
            "medzoo, lossless, beside the smaller of JPEG XL and JPEG-LS: their bytes, our head and checksum",
            ["images", "JPEG XL", "bits", "not larger", "at most"],
            beside,
        ),
        ("Megapixels a second", ["", "to compress", "to restore", "compressing, to the quickest"], paces),
        (
            f"{CODEC} on all cores: megapixels a second",
            ["", "to compress", "to restore"],
            [[name, *(f"{value:.2f}" for value in both)] for name, both in together.items()],
        ),
        ("Points of the curves", ["films", "", "bits a pixel", "PSNR, dB", "MS-SSIM"], points),
    ]
    facts = {
        "bjontegaard": differences,
        "lossless": {name: {k: bootstrap_mean_ci(bits) for k, bits in own.items()} for name, own in lossless.items()},
        "pace": {k: list(map(float, v)) for k, v in pace.items()},
        "pace_on_all_cores": together,
    }
    write(out, "Rate and distortion", tables, facts, explained())


def _percent(value, digits=1):
    low, high = value["interval"]
    return f"{value['mean']:+.{digits}%} ({low:+.{digits}%} to {high:+.{digits}%})"


if __name__ == "__main__":
    main()
