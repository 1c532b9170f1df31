"""Turn a folder of images or volumes, however large, into latents: Parquet files, written piece by piece."""

import hashlib
import itertools
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from medzoo.errors import ImageError
from medzoo.io.listing import frames_of, list_files
from medzoo.io.volume_reader import list_volumes
from medzoo.models import VAE
from medzoo.tasks.shared.batching import batch_by_shape
from medzoo.utils.files import check_settings, written_whole
from medzoo.utils.parallel import cores
from medzoo.zoo.files import image_shape_of, weights_digest
from medzoo.zoo.presets import load

SETTINGS = "encode.json"


def encode_folder(model, source, out, shard=1000, processes=1, engine="processes", files=None):
    """Encodes all images below a folder (or volumes, as the model takes); yields `(images, errors)` by pieces.

        for images, errors in encode_folder("ae-chestxray-64", "archive/", "latents/", processes=8): ...
        paths, latents = medzoo.datasets.load_latents("latents/")

    `out` gets one Parquet file for each `shard` files, each written whole or not at all. Rows: `path` (below `source`),
    `frame` (of files with several), `sha256` (of the file; a series of DICOM files, a folder, has none), `height`,
    `width` (as encoded; of volumes `depth` too), `latents`, `latent_shape`, and `error`, which says why a file could
    not be read; then the others are empty. Of a VAE `latents` are the means of the posterior, and `log_variance`
    (float16) makes draws from it possible, see `medzoo.datasets.from_latents`. No tag of a file is stored. The same
    call again goes on with the pieces that are missing.

    Args:
        model: anything `medzoo.load` takes.
        source: folder, searched with its subfolders; DICOM files are known by content, every frame is an image.
        out: folder.
        shard: files to a piece.
        processes: that work at the same time, on one machine or, with Ray, anywhere in the cluster.
        engine: `"processes"`, or `"ray"`: Ray Data (`pip install "medzoo[ray]"`), on the cluster that RAY_ADDRESS names
            or a local one; all machines must see `source` and `out`.
        files: what `listed(model, source)` gave, where it was asked already; a large archive is not searched twice.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        ValueError: `out` holds latents of other images or of another model; an unknown engine.
    """
    source, out = Path(source).absolute(), Path(out).absolute()
    files = listed(model, source) if files is None else files
    pieces = [files[i : i + shard] for i in range(0, len(files), shard)]
    out.mkdir(parents=True, exist_ok=True)
    check_settings(out / SETTINGS, _settings(model, files, shard))
    missing = [(i, piece) for i, piece in enumerate(pieces) if not (out / _name(i)).exists()]
    work = partial(encode_piece, str(model), str(source), str(out))
    if engine == "ray" and missing:
        yield from _with_ray(work, missing, processes)
    elif engine not in ("processes", "ray"):
        raise ValueError(f"encode_folder: engine={engine!r}; expected 'processes' or 'ray'.")
    elif processes == 1:
        yield from map(work, missing)
    else:
        # Spawned, not forked: TensorFlow does not survive a fork.
        threads = max(1, cores() // processes)
        with ProcessPoolExecutor(processes, get_context("spawn"), _threads, (threads,)) as pool:
            yield from pool.map(work, missing)


def listed(model, source):
    """Paths below a folder of what `encode_folder` encodes: images, or for a model of volumes NIfTI files and folders
    of DICOM series."""
    if len(image_shape_of(model)) == 3:
        return list_files(source)
    return [path.relative_to(source).as_posix() for path in list_volumes(source)]


def _threads(count):
    """Processes that share a machine must not each take all of its cores; to be set before a framework is imported."""
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(name, str(count))


def encode_piece(model, source, out, piece):
    """Encodes one piece `(index, paths)` and writes its file; returns how many images and errors there were."""
    index, paths = piece
    encoder, rows = _loaded(model), []
    with ThreadPoolExecutor(4) as pool:  # files are read while others are encoded; of volumes memory holds one
        read = (pool.map if encoder.spatial_dims == 2 else map)(partial(_read, encoder, Path(source)), paths)
        images = itertools.chain.from_iterable(read)
        for batch in batch_by_shape(images, lambda row: np.shape(row["image"]), encoder):
            rows += _encoded(encoder, batch)
    _write(Path(out) / _name(index), rows)
    errors = sum(row["error"] is not None for row in rows)
    return len(rows) - errors, errors


@cache
def _loaded(model):
    return load(model)


def _read(encoder, source, name):
    """Rows of one file, with `image`, or with `error`."""
    path, rows = source / name, []
    facts = {"path": name, "frame": None, "sha256": None, "error": None, "image": None}
    try:
        if path.is_file():
            with open(path, "rb") as file:
                facts["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        for frame in frames_of(path) if encoder.spatial_dims == 2 else [None]:
            rows.append({**facts, "frame": frame, "image": encoder.preprocess(path, frame=frame)[0]})
    except (ImageError, OSError) as error:
        rows.append({**facts, "error": str(error)})
    return rows


def _encoded(encoder, batch):
    if batch[0]["image"] is not None:
        images = np.stack([row["image"] for row in batch])
        if isinstance(encoder, VAE):
            latents, variances = encoder.posteriors(images)
            for row, log_variance in zip(batch, variances, strict=True):
                row["log_variance"] = log_variance.astype("float16").ravel()
        else:
            latents = encoder.encode(images)
        for row, latent in zip(batch, latents, strict=True):
            row |= {"latents": latent.ravel(), "latent_shape": list(latent.shape)}
            *depth, row["height"], row["width"], _ = row["image"].shape
            row |= {"depth": depth[0]} if depth else {}
    for row in batch:
        del row["image"]
    return batch


def _write(path, rows):
    import pyarrow
    import pyarrow.parquet as parquet

    latents = [row["latents"] for row in rows if "latents" in row]
    kind = pyarrow.from_numpy_dtype(latents[0].dtype if latents else np.dtype("float32"))
    schema = pyarrow.schema(
        [
            ("path", pyarrow.string()),
            ("frame", pyarrow.int32()),
            ("sha256", pyarrow.string()),
            ("height", pyarrow.int32()),
            ("width", pyarrow.int32()),
            ("latents", pyarrow.list_(kind)),
            ("latent_shape", pyarrow.list_(pyarrow.int32())),
            ("error", pyarrow.string()),
        ]
    )
    if any("depth" in row for row in rows):
        schema = schema.append(pyarrow.field("depth", pyarrow.int32()))
    if any("log_variance" in row for row in rows):
        schema = schema.append(pyarrow.field("log_variance", pyarrow.list_(pyarrow.float16())))
    with written_whole(path) as part:
        table = pyarrow.Table.from_pylist(rows, schema=schema)
        parquet.write_table(table, part, compression="zstd", write_page_checksum=True)


def _name(index):
    return f"part-{index:05d}.parquet"


def _settings(model, files, shard):
    listed = hashlib.sha256("\n".join(files).encode()).hexdigest()
    return {
        "model": str(model),
        "weights": weights_digest(model),
        "files": len(files),
        "listed": listed,
        "shard": shard,
    }


def _with_ray(work, missing, processes):
    import ray

    if not ray.is_initialized():
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False)
    pieces = ray.data.from_items(
        [{"index": i, "paths": paths} for i, paths in missing], override_num_blocks=len(missing)
    )
    done = pieces.map(_RayEncoder, fn_constructor_args=(work,), concurrency=processes)
    for row in done.iter_rows():
        yield int(row["images"]), int(row["errors"])


class _RayEncoder:
    """One of Ray's workers, which keeps the model it loaded."""

    def __init__(self, work):
        self.work = work

    def __call__(self, row):
        images, errors = self.work((int(row["index"]), list(row["paths"])))
        return {"images": images, "errors": errors}
