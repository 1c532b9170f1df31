"""Rate–distortion of the learned codec on chest X-rays of two sites, compared with standard formats.

    python benchmarks/rate_distortion.py --data DIR --cache DIR --out benchmarks/rate_distortion

DIR contains chestxray_256.npz (102 test images of a site that the codec was trained on) and jsrt_256.npz (80 images of
another site). Rates are those of complete files with one grayscale image of 8 bits: `medzoo.compress`; JPEG, JPEG 2000
(its own rate control), WebP and AVIF (speed 2, 4:0:0) by Pillow; JPEG XL and JPEG-LS by imagecodecs. The Bjøntegaard
difference is the number of bits of the codec at equal PSNR, or equal MS-SSIM, relative to the other format; the
logarithm of the rate is interpolated by monotone cubics (PCHIP) over the common range within 30 to 44 dB; mean over
images and 95% interval; negative values favor the codec. Throughput is in megapixels per second on one core, encoding
and decoding, in one run; for the codec also on all cores, with 64 images in one call and a mosaic of images with the
size of a radiograph. Lossless compression is also evaluated on the grayscale images of 16 bits in DIR/dicom
(compression sets of NEMA and pydicom: CT, MR, CR, XA, NM), with JPEG XL at high effort (9, above one megapixel 7) and
at default effort (7), of which medzoo keeps the smaller file. For the other formats, images with negative values are
shifted by their minimum.
"""

import io
import os
import time
from functools import partial
from pathlib import Path

import click
import keras
import numpy as np
from common import cached, description, run_in_process, seconds, write_page
from PIL import Image

import medzoo
from medzoo import metrics
from medzoo.data.npz import load_npz, to_float
from medzoo.errors import ImageError
from medzoo.io.image import read_stored
from medzoo.metrics.bootstrap import bootstrap_mean_ci, format_ci
from medzoo.tasks.compress.lossless import EFFORT, HIGH_EFFORT, LARGE_IMAGE

CODEC, RANGE = "codec-chestxray", (30.0, 44.0)
DEFAULT_EFFORT = "JPEG XL, default effort"
SITES = {"NIH test split": "chestxray_256.npz", "JSRT (external)": "jsrt_256.npz"}


COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe-Ito, colorblind-safe


def pillow(kind, settings, **options):
    """Return `[(encode, decode)]` of a format of Pillow."""

    def of(own):
        def encode(image):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, kind, **options, **own)
            return buffer.getvalue()

        return encode, lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("L"))

    return [of(own) for own in settings]


def formats():
    """Return `{name: [(encode, decode) per setting]}` of lossy formats, and of lossless ones."""
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
            lambda x: ic.jpegxl_encode(x, lossless=True, effort=HIGH_EFFORT if x.size <= LARGE_IMAGE else EFFORT),
            ic.jpegxl_decode,
        ),
        DEFAULT_EFFORT: (lambda x: ic.jpegxl_encode(x, lossless=True, effort=EFFORT), ic.jpegxl_decode),
        "JPEG-LS": (ic.jpegls_encode, ic.jpegls_decode),
        "JPEG 2000": pillow("JPEG2000", [{}], irreversible=False, no_jp2=True)[0],
        "PNG": pillow("PNG", [{}], optimize=True)[0],
        **{f"medzoo, error ≤ {n}": (lambda x, n=n: medzoo.compress([x], max_error=n), _ours(None)) for n in (1, 2, 4)},
    }
    return lossy, exact


def _ours(codec):
    return lambda data: medzoo.decompress(data, codec)[0]


def evaluate(images, encode, decode):
    """Return bits per pixel, PSNR and MS-SSIM per image, `(N, 3)`, and megapixels per second in both directions."""
    start = time.perf_counter()
    files = [encode(image) for image in images]
    middle = time.perf_counter()
    back = np.stack([decode(data) for data in files])
    end = time.perf_counter()
    bits = np.array([8 * len(data) for data in files]) / images[0].size
    truth, found = to_float(images)[..., None], to_float(back)[..., None]
    quality = [metrics.per_image(f, truth, found) for f in (metrics.psnr, metrics.ms_ssim)]
    throughput = images.size / 1e6 / np.array([middle - start, end - middle])
    return {"images": np.stack([bits, *quality], axis=1), "throughput": throughput}


def bjontegaard(ours, other, column):
    """Return the Bjøntegaard difference of the bits of each image, `(N,)`; NaN without a common range of quality.

    Args:
        ours: Results of the codec, shape `(settings, N, 3)`.
        other: Results of another format, shape `(settings, N, 3)`.
        column: 1 for PSNR, 2 for MS-SSIM (in dB, -10 lg(1 - x)).
    """
    from scipy.interpolate import PchipInterpolator

    def curve(points):
        quality = points[:, column] if column == 1 else -10 * np.log10(np.maximum(1e-6, 1 - points[:, column]))
        order = np.argsort(quality)
        keep = np.concatenate([[True], np.diff(quality[order]) > 1e-6])
        return quality[order][keep], np.log(points[:, 0])[order][keep]

    result = []
    for i in range(ours.shape[1]):
        (a, rate_a), (b, rate_b) = (curve(points[:, i]) for points in (ours, other))
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

    plot = Figure(figsize=(11, 4.5), layout="constrained")
    for axis, (site, lossy) in zip(plot.subplots(1, 2, sharey=True), curves.items(), strict=True):
        axis.set_prop_cycle(color=COLORS)
        for name, points in lossy.items():
            bits, quality, _ = points.mean(axis=1).T
            order = np.argsort(bits)
            own = {"marker": "o", "linewidth": 2} if name == CODEC else {"linestyle": "--", "linewidth": 1}
            axis.plot(bits[order], quality[order], label=name, **own)
        axis.set(xscale="log", xlabel="Rate (bpp)", title=site)
        axis.set_xticks((0.05, 0.1, 0.2, 0.5), ("0.05", "0.1", "0.2", "0.5"))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    plot.axes[0].set_ylabel("PSNR (dB)")
    plot.axes[1].legend(frameon=False)
    plot.savefig(path, dpi=100)


def on_all_cores(data):
    """Return `{images: (megapixels per second encoding, decoding)}` in a process that may use all cores."""
    images = load_npz(data / SITES["JSRT (external)"], "test")[:64, ..., 0]
    mosaic = np.tile(images.reshape(8, 8, 256, 256).transpose(0, 2, 1, 3).reshape(2048, 2048), (2, 2))[:3000, :2500]
    codec, found = medzoo.load(CODEC), {}
    for name, group in {"64 images of 256 pixels": list(images), "one image of 3000×2500 pixels": [mosaic]}.items():
        coded = medzoo.compress(group, codec)  # once before timing
        pixels = sum(image.size for image in group) / 1e6
        times = seconds(partial(medzoo.compress, group, codec)), seconds(partial(medzoo.decompress, coded))
        found[name] = [pixels / t for t in times]
    return found


def dicom_rates(folder, exact):
    """Return bits per pixel of each distinct 16-bit grayscale DICOM image, `{format: (N,)}`."""
    images = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            image = read_stored(path)
        except ImageError:  # color or multi-frame
            continue
        if image.itemsize == 2:
            images.setdefault(image.tobytes(), image)
    found = {name: [] for name in ("medzoo, lossless", "JPEG XL", DEFAULT_EFFORT, "JPEG-LS", "JPEG 2000")}
    for image in images.values():
        plain = (image.astype("int32") - min(0, int(image.min()))).astype("uint16")
        for name, bits in found.items():
            encode = exact[name][0]
            bits.append(8 * len(encode(image if name.startswith("medzoo") else plain)) / image.size)
    return {name: np.array(bits) for name, bits in found.items()}


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="Folder of intermediate results.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, cache, out):
    code = f"import json, pathlib, rate_distortion as r; print(json.dumps(r.on_all_cores(pathlib.Path({str(data)!r}))))"
    all_cores = run_in_process(code, keras.backend.backend())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    cache.mkdir(parents=True, exist_ok=True)
    lossy, exact = formats()
    curves, lossless, throughput = {}, {}, {}
    for site, archive in SITES.items():
        images = load_npz(data / archive, "test")[..., 0]

        def of(name, setting, pair, images=images, archive=archive):
            return cached(cache, [archive, name, setting], lambda: evaluate(images, *pair))

        found = {name: [of(name, i, pair) for i, pair in enumerate(pairs)] for name, pairs in lossy.items()}
        curves[site] = {name: np.stack([own["images"] for own in each]) for name, each in found.items()}
        throughput |= {name: np.mean([own["throughput"] for own in each], axis=0) for name, each in found.items()}
        found = {name: of(f"exact {name}", 0, pair) for name, pair in exact.items()}
        lossless[site] = {name: own["images"][:, 0] for name, own in found.items()}
        throughput |= {
            f"{name} (lossless)" if name in lossy else name: own["throughput"] for name, own in found.items()
        }
    lossless["DICOM, 16 bits"] = cached(cache, ["dicom"], lambda: dicom_rates(data / "dicom", exact))
    figure(out.with_suffix(".png"), curves)
    save(out, curves, lossless, throughput, all_cores)


def save(out, curves, lossless, throughput, all_cores):
    differences, rows = {}, []
    for site, lossy in curves.items():
        for name in list(lossy)[1:]:
            both = [bjontegaard(lossy[CODEC], lossy[name], column) for column in (1, 2)]
            both = [bootstrap_mean_ci(values[np.isfinite(values)]) for values in both]
            differences[f"{site}, {name}"] = dict(zip(("psnr", "ms_ssim"), both, strict=True))
            rows.append([site, name, *(_percent(value) for value in both)])
    names = list(next(iter(lossless.values())))
    exact = [
        [name, *(format_ci(bootstrap_mean_ci(own[name]), 3) if name in own else "" for own in lossless.values())]
        for name in names
    ]
    comparison = []
    for images, own in lossless.items():
        for other in ("JPEG XL", DEFAULT_EFFORT):
            ratio = own[names[0]] / np.minimum(own[other], own["JPEG-LS"])
            fractions = f"{np.mean(ratio <= 1):.0%}", f"{ratio.max() - 1:+.2%}"
            comparison.append(
                [f"{images} ({len(ratio)})", other, _percent(bootstrap_mean_ci(ratio - 1), 2), *fractions]
            )
    fastest = max(both[0] for both in throughput.values())
    speeds = [[name, f"{a:.2f}", f"{b:.2f}", f"1/{fastest / a:.0f}"] for name, (a, b) in throughput.items()]
    points = [
        [site, name, *(f"{value:.{n}f}" for value, n in zip(own.mean(axis=0), (3, 2, 4), strict=True))]
        for site, lossy in curves.items()
        for name, settings in lossy.items()
        for own in settings
    ]
    tables = [
        (f"Bits of {CODEC} relative to other formats", ["Images", "Format", "equal PSNR", "equal MS-SSIM"], rows),
        ("Lossless and near-lossless compression: bits per pixel", ["Method", *lossless], exact),
        (
            "medzoo, lossless, relative to the smaller of JPEG XL and JPEG-LS: the same bytes plus header and checksum",
            ["Images", "JPEG XL", "bits", "not larger", "maximum"],
            comparison,
        ),
        (
            "Throughput in megapixels per second",
            ["Method", "encoding", "decoding", "encoding, relative to the fastest"],
            speeds,
        ),
        (
            f"{CODEC} on all cores: megapixels per second",
            ["Images", "encoding", "decoding"],
            [[name, *(f"{value:.2f}" for value in both)] for name, both in all_cores.items()],
        ),
        ("Operating points", ["Images", "Format", "bits per pixel", "PSNR (dB)", "MS-SSIM"], points),
    ]
    facts = {
        "bjontegaard": differences,
        "lossless": {name: {k: bootstrap_mean_ci(bits) for k, bits in own.items()} for name, own in lossless.items()},
        "throughput": {k: list(map(float, v)) for k, v in throughput.items()},
        "throughput_on_all_cores": all_cores,
    }
    write_page(out, "Rate–distortion", tables, facts, description())


def _percent(value, digits=1):
    low, high = value["interval"]
    return f"{value['mean']:+.{digits}%} ({low:+.{digits}%} to {high:+.{digits}%})"


if __name__ == "__main__":
    main()
