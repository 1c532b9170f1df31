"""Fuzz test of the file readers: `python tests/fuzz.py COUNT SEED`, see test_fuzz.py.

Files and presets are damaged at random and read. The script prints JSON with the number of files that were read, the
number rejected with exceptions of medzoo, and all other exceptions, which are faults.
"""

import collections
import contextlib
import gzip
import hashlib
import io
import json
import resource
import shutil
import struct
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from dicom_files import item, write_dicom
from PIL import Image
from pydicom.data import get_testdata_file

from medzoo.data.datasets import load_latents, load_npz, open_dataset
from medzoo.data.masks import read_mask
from medzoo.errors import CompressedFileError, ImageError, PresetError
from medzoo.io.dicom import read_values
from medzoo.io.file_info import file_info
from medzoo.io.image import read_image, read_stored
from medzoo.io.volume_reader import read_volume
from medzoo.tasks.compress import compress, decompress
from medzoo.tasks.encode import encode_folder

MAX_MEMORY = 6 * 2**30  # bytes available to the readers
SPECIAL = ("rotated", "phone", "animated", "palette", "inverted", "floats", "deep")  # see `write_special_images`
DICOM = ("CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "rtdose.dcm", "SC_rgb_rle.dcm", "liver_1frame.dcm")


def originals(folder):
    """Yield `(name, bytes, readers)` of valid files."""
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 256, (40, 50), "uint8")
    for name, values in (("a.png", gray), ("b.png", gray.astype("uint16") * 257), ("c.tif", gray), ("d.jpg", gray)):
        Image.fromarray(values).save(folder / name)
    write_special_images(folder, gray)
    Image.fromarray(gray % 3).save(folder / "mask.png")
    np.save(folder / "e.npy", gray)
    np.savez_compressed(folder / "f.npz", train_images=gray[None].repeat(4, axis=0), train_labels=np.zeros((4, 1)))
    nibabel.save(nibabel.Nifti1Image(rng.normal(size=(9, 8, 7)).astype("float32"), np.eye(4)), folder / "g.nii.gz")
    nibabel.save(nibabel.Nifti1Image(rng.integers(0, 99, (9, 8, 7), "int16"), np.eye(4)), folder / "h.nii")
    readers = {"mask.png": [read_mask], "f.npz": [load_npz], "pages.tif": [read_mask]}
    for path in sorted(folder.iterdir()):
        readers_of_images = [lambda p: read_image(p, frame=0 if ".nii" in p.name else None), file_info]
        readers_of_special = [
            lambda p: read_image(p, frame=0, window=(100, 300), nan=0),
            read_stored,
            read_mask,
            file_info,
        ]
        yield (
            path.name,
            path.read_bytes(),
            readers.get(path.name, readers_of_special if path.stem in SPECIAL else readers_of_images),
        )
    yield "k.nii", (folder / "h.nii").read_bytes(), [lambda p: read_volume(p, nan=0)]
    values = np.array([np.nan, np.inf, 2.0**30, 1e300] * 18).reshape(9, 4, 2)
    kinds = {"l.nii": values[..., :1] * 0 + 2**30, "m.nii": values, "n.nii": values.astype("complex64")}
    kinds["o.nii"] = np.full((9, 4, 2), 2**40, "int64")
    for name, array in kinds.items():
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4), dtype=array.dtype), folder / name)
        yield name, (folder / name).read_bytes(), [lambda p: read_volume(p, nan=0).to_images(), file_info]
    yield from preset(folder)
    yield from series(folder)
    yield from table(folder)
    yield from latents(folder)
    yield (
        "images.mzc",
        compress([gray, gray[::-1]], max_error=1, filenames=["a", "b"]),
        [lambda p: decompress(p.read_bytes())],
    )
    for name in DICOM:
        if path := get_testdata_file(name, download=False):
            yield name, Path(path).read_bytes(), [lambda p: read_image(p, frame=0), file_info]
    for path in tables(folder / "tables"):
        yield path.name, path.read_bytes(), [lambda p: read_image(p, frame=0), read_values, read_stored, file_info]


def tables(folder):
    """Write small DICOM files that consist mostly of lookup tables and display tags."""
    ramp = np.linspace(0, 255, 64).astype("uint16").reshape(8, 8)
    shown = {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 3, "PixelSpacing": [1, 2], "PixelAspectRatio": [1, 2]}
    shown |= {"RescaleSlope": 1, "RescaleIntercept": -20, "PresentationLUTShape": "IDENTITY"}
    window = {"WindowCenter": [100, 50], "WindowWidth": [200, 20], "VOILUTFunction": "SIGMOID"}
    entries = np.arange(256)
    for i, implicit in enumerate((False, True)):
        voi = {"VOILUTSequence": [item(entries, -20, 8), item(entries, 0, 16)], **window}
        yield write_dicom(folder / f"voi{i}.dcm", ramp << 4, implicit, **shown, **voi, BitsStored=12, HighBit=15)
        modality = {"ModalityLUTSequence": [item(entries, 0, 12, ModalityLUTType="US")], **window}
        yield write_dicom(folder / f"modality{i}.dcm", ramp.astype("int16"), implicit, **modality)
        palette, segments = (
            {"PhotometricInterpretation": "PALETTE COLOR"},
            {"PhotometricInterpretation": "PALETTE COLOR"},
        )
        for color in ("Red", "Green", "Blue"):
            for tags, name in ((palette, ""), (segments, "Segmented")):
                tags[f"{color}PaletteColorLookupTableDescriptor"] = ("US", [256, 0, 8])
                data = bytes([0, 2, 0, 9, 1, 250, 99, 2, 1, 0, 0, 0, 0, 0, 2, 7, 8, 0]) if name else bytes(range(256))
                tags[f"{name}{color}PaletteColorLookupTableData"] = ("OW", data)
        yield write_dicom(folder / f"palette{i}.dcm", ramp.astype("uint8"), implicit, **palette)
        yield write_dicom(folder / f"segments{i}.dcm", ramp.astype("uint8"), implicit, **segments)
    floats = np.where(ramp == 0, np.nan, ramp).astype("float32")
    yield write_dicom(folder / "floats.dcm", floats, FloatPixelPaddingValue=float("nan"), **window)


def write_special_images(folder, gray):
    """Write rotated, 16-bit color, palette, transparent, inverted, float and multi-frame images."""
    exif, deep = Image.Exif(), gray.astype("uint16") * 257
    exif[274] = 6
    image, other = Image.fromarray(gray), Image.fromarray(255 - gray)
    image.save(folder / "rotated.png", exif=exif)
    image.save(folder / "rotated.tif", exif=exif)
    image.save(folder / "phone.jpg", format="MPO", save_all=True, append_images=[other], exif=exif)
    image.save(folder / "animated.png", save_all=True, append_images=[other])
    image.copy().save(folder / "pages.tif", save_all=True, append_images=[other.copy()], compression="tiff_deflate")
    image.convert("P").save(folder / "palette.png", transparency=3)
    Image.fromarray(deep).save(folder / "inverted.tif", tiffinfo={262: 0})
    Image.fromarray(deep.astype("float32")).save(folder / "floats.tif", compression="tiff_lzw")
    write_png16(folder / "deep.png", np.stack([deep, deep, deep // 2], axis=-1))


def write_png16(path, values):
    """Write uint16 `(H, W, 3)` as 16-bit color PNG."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def series(folder):
    """Yield one slice of a DICOM series; the reader reads the whole series."""
    scan = folder / "series"
    scan.mkdir()
    for z in range(4):
        slice_ = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
        slice_.ImagePositionPatient = [0.0, 0.0, 5.0 * z]
        slice_.SOPInstanceUID = slice_.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        slice_.save_as(scan / f"{z}.dcm")

    def read(path):
        shutil.copy(path, scan / "2.dcm")
        read_volume(scan)

    yield "slice.dcm", (scan / "2.dcm").read_bytes(), [read]


def table(folder):
    """Yield a CSV file of paths, labels and patients."""
    data = folder / "table"
    data.mkdir()
    lines = ["path,label,patient,age"]
    for i in range(24):
        Image.fromarray(np.full((16, 16), 9 * i, "uint8")).save(data / f"{i}.png")
        lines.append(f"{i}.png,{'normal' if i % 2 else 'Mass'},p{i // 2},{40 + i}")

    def read(path):
        shutil.copy(path, data / "labels.csv")
        dataset = open_dataset(data / "labels.csv", 16)
        dataset.images("train"), dataset.labels("train")

    yield "labels.csv", "\n".join(lines).encode(), [read]


def latents(folder):
    """Yield a Parquet file of latents; the reader reads its folder."""
    import medzoo

    source, encoded = folder / "images", folder / "latents"
    source.mkdir()
    for i in range(3):
        Image.fromarray(np.full((16, 16), 50 * i, "uint8")).save(source / f"{i}.png")
    small = medzoo.save_preset(medzoo.VAE((16, 16, 1), latent_dim=2, filters=(4,)), folder / "small")
    list(encode_folder(small, source, encoded))
    (file,) = encoded.glob("*.parquet")

    def read(path):
        shutil.copy(path, file)
        load_latents(encoded)

    yield "latents.parquet", file.read_bytes(), [read]


def preset(folder):
    """Yield the files of a preset with a learned prior; the reader loads it with a valid checksum."""
    import medzoo

    vae = medzoo.VAE((16, 16, 1), latent_dim=2, filters=(4,))
    vae.fit_prior(np.zeros((4, 16, 16, 1), "float32"), [0, 1, 0, 1], epochs=1, verbose=0)
    saved = medzoo.save_preset(vae, folder / "p")
    valid = {p.name: p.read_bytes() for p in saved.iterdir()}
    shutil.rmtree(saved)

    def read(path):
        saved.mkdir(exist_ok=True)
        data = path.read_bytes()
        files = {**valid, path.name: data}
        if path.name == "model.weights.h5":
            config = json.loads(valid["config.json"])
            config["weights"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            files["config.json"] = json.dumps(config).encode()
        for name, content in files.items():
            (saved / name).write_bytes(content)
        medzoo.load(saved)

    for name, data in valid.items():
        yield name, data, [read]


def damaged(data, rng):
    """Return the bytes with one kind of damage."""
    data, kind = bytearray(data), rng.integers(6)
    if kind == 0:  # truncation
        return bytes(data[: rng.integers(len(data))])
    if kind == 1:  # bit flips
        for at in rng.integers(0, len(data), rng.integers(1, 20)):
            data[at] ^= 1 << rng.integers(8)
    if kind == 2:  # random bytes in the header
        for at in rng.integers(0, min(len(data), 2000), rng.integers(1, 8)):
            data[at] = rng.integers(256)
    if kind == 3:  # four bytes, possibly a length, set to a huge value or zero
        at = rng.integers(max(1, min(len(data), 3000) - 4))
        data[at : at + 4] = rng.choice([b"\xff\xff\xff\x7f", b"\x00\x00\x00\x00", b"\xff\xff\xff\xff"])
    if kind == 4:  # a duplicated part
        a, b = sorted(rng.integers(0, len(data), 2))
        data[b:b] = data[a:b]
    if kind == 5:  # two parts swapped
        a, b = sorted(rng.integers(0, len(data), 2))
        size = min(64, b - a, len(data) - b)
        data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    return bytes(data)


def bombs():
    """Yield small files whose headers declare huge arrays."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 3))
    header.set_data_dtype("float32")
    header["magic"], header["vox_offset"] = b"n+1", 352
    yield "bomb.nii.gz", gzip.compress(header.binaryblock + bytes(4000))
    yield "bomb.nii", header.binaryblock + bytes(4000)
    buffer = io.BytesIO()
    Image.new("L", (20000, 20000)).save(buffer, format="PNG")
    yield "bomb.png", buffer.getvalue()
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (10**7, 10**6)})
    yield "bomb.npy", head.getvalue() + bytes(100)


def mapped():
    """Return the address space in use, most of it by TensorFlow."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 2**36


def main(count, seed):
    rng = np.random.default_rng(seed)
    counts, faults = collections.Counter(), {}
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        valid = list(originals(Path(tempfile.mkdtemp(dir=folder))))
        resource.setrlimit(resource.RLIMIT_AS, (mapped() + MAX_MEMORY,) * 2)
        cases = [(name, data, readers) for name, data, readers in valid]
        cases += [(name, data, [lambda p: read_image(p, frame=None), file_info]) for name, data in bombs()]
        for i in range(count):
            name, data, readers = valid[i % len(valid)]
            cases.append((name, damaged(data, rng), readers))
        for i, (name, data, readers) in enumerate(cases):
            path = Path(folder) / name
            path.write_bytes(data)
            for read in readers:
                try:
                    with contextlib.redirect_stderr(io.StringIO()):
                        read(path)
                    counts["read"] += 1
                except (ImageError, PresetError, CompressedFileError, FileNotFoundError):
                    counts["rejected"] += 1
                except BaseException as error:
                    counts["fault"] += 1
                    faults.setdefault(f"{name}: {type(error).__name__}: {str(error)[:150]}", i)
    print(json.dumps({**counts, "faults": faults}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
