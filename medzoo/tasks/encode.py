"""Encoding of image datasets of any size to Parquet files of latents, written shard by shard."""

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
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
from medzoo.utils.files import atomic_write, check_settings
from medzoo.utils.parallel import cores
from medzoo.zoo.files import image_shape_of, weights_digest
from medzoo.zoo.presets import load

SETTINGS = "encode.json"


def encode_folder(
    model: str | Path,
    source: str | Path,
    out: str | Path,
    shard_size: int = 1000,
    num_workers: int = 1,
    engine: str = "processes",
    files: Sequence[str] | None = None,
) -> Iterator[tuple[int, int]]:
    """Encode all images or volumes below a folder to Parquet files.

    One Parquet file is written per shard, either completely or not at all. Columns: `path` (relative to `source`),
    `frame` (for multi-frame files), `sha256` (of the file; missing for a DICOM series, which is a folder), `height`
    and `width` (as encoded; for volumes also `depth`), `latents`, `latent_shape`, and `error`, the reason why a file
    could not be read. In that case the other columns are empty. For a VAE, `latents` are the posterior means, and
    `log_variance` (float16) allows sampling from the posterior, see `medzoo.datasets.from_latents`. No DICOM tags are
    stored. The same call resumes an interrupted encoding with the missing shards.

    Args:
        model: Anything `medzoo.load` takes.
        source: Folder, searched recursively. DICOM files are recognized by content; every frame is an image.
        out: Folder to write to.
        shard_size: int. Number of files per shard.
        num_workers: int. Number of parallel workers, on one machine or, with Ray, in the cluster.
        engine: `"processes"`, or `"ray"` for Ray Data (requires `pip install "medzoo[ray]"`) on the cluster in the
            environment variable RAY_ADDRESS, or on a local one. All machines must have access to `source` and `out`.
        files: Output of `list_inputs(model, source)`, if it is known already; this avoids searching a large folder
            twice.

    Yields:
        `(images, errors)`: the number of encoded images and of unreadable files in each shard written.

    Raises:
        FileNotFoundError: If `source` does not exist or contains no images.
        ValueError: If `out` contains latents of other images or of another model, or the engine is unknown.

    Examples:
        ```python
        for images, errors in encode_folder("ae-chestxray-64", "images/", "latents/", num_workers=8): ...
        paths, latents = medzoo.datasets.load_latents("latents/")
        ```
    """
    source, out = Path(source).absolute(), Path(out).absolute()
    files = list_inputs(model, source) if files is None else files
    shards = [files[i : i + shard_size] for i in range(0, len(files), shard_size)]
    out.mkdir(parents=True, exist_ok=True)
    check_settings(out / SETTINGS, _settings(model, files, shard_size))
    missing = [(i, shard) for i, shard in enumerate(shards) if not (out / _name(i)).exists()]
    work = partial(encode_shard, str(model), str(source), str(out))
    if engine == "ray" and missing:
        yield from _with_ray(work, missing, num_workers)
    elif engine not in ("processes", "ray"):
        raise ValueError(f"encode_folder: unknown engine. Expected 'processes' or 'ray', got {engine!r}.")
    elif num_workers == 1:
        yield from map(work, missing)
    else:
        # Spawned, not forked: TensorFlow does not support forked processes.
        threads = max(1, cores() // num_workers)
        with ProcessPoolExecutor(num_workers, get_context("spawn"), _limit_threads, (threads,)) as pool:
            yield from pool.map(work, missing)


def list_inputs(model: str | Path, source: str | Path) -> list[str]:
    """List the files below a folder that `encode_folder` encodes.

    Args:
        model: Anything `medzoo.load` takes.
        source: Folder, searched recursively.

    Returns:
        Paths relative to `source`: images; for a model of volumes, NIfTI files and folders of DICOM series.
    """
    if len(image_shape_of(model)) == 3:
        return list_files(source)
    return [path.relative_to(source).as_posix() for path in list_volumes(source)]


def _limit_threads(count):
    """Limit the threads of a worker process; must be called before a framework is imported."""
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(name, str(count))


def encode_shard(
    model: str | Path, source: str | Path, out: str | Path, shard: tuple[int, Sequence[str]]
) -> tuple[int, int]:
    """Encode one shard and write its Parquet file.

    Args:
        model: Anything `medzoo.load` takes.
        source: Folder that contains the files.
        out: Folder to write to.
        shard: `(index, paths)`, the paths relative to `source`.

    Returns:
        `(images, errors)`: the number of encoded images and of unreadable files.
    """
    index, paths = shard
    encoder, rows = _loaded(model), []
    with ThreadPoolExecutor(4) as pool:  # reads images while others are encoded; of volumes one is in memory at a time
        read = (pool.map if encoder.spatial_dims == 2 else map)(partial(_read, encoder, Path(source)), paths)
        images = itertools.chain.from_iterable(read)
        for batch in batch_by_shape(images, lambda row: np.shape(row["image"]), encoder):
            rows += _encoded(encoder, batch)
    _write(Path(out) / _name(index), rows)
    errors = sum(row["error"] is not None for row in rows)
    return len(rows) - errors, errors


@cache
def _loaded(model):
    """Return a preset, loaded once per process."""
    return load(model)


def _read(encoder, source, name):
    """Return the rows of one file, with `image` or with `error`."""
    path, rows = source / name, []
    columns = {"path": name, "frame": None, "sha256": None, "error": None, "image": None}
    try:
        if path.is_file():
            with open(path, "rb") as file:
                columns["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        for frame in frames_of(path) if encoder.spatial_dims == 2 else [None]:
            rows.append({**columns, "frame": frame, "image": encoder.preprocess(path, frame=frame)[0]})
    except (ImageError, OSError) as error:
        rows.append({**columns, "error": str(error)})
    return rows


def _encoded(encoder, batch):
    """Return the rows of a batch with latents instead of images."""
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
    """Write the rows of a shard as a Parquet file."""
    import pyarrow
    import pyarrow.parquet as parquet

    latents = [row["latents"] for row in rows if "latents" in row]
    dtype = pyarrow.from_numpy_dtype(latents[0].dtype if latents else np.dtype("float32"))
    schema = pyarrow.schema(
        [
            ("path", pyarrow.string()),
            ("frame", pyarrow.int32()),
            ("sha256", pyarrow.string()),
            ("height", pyarrow.int32()),
            ("width", pyarrow.int32()),
            ("latents", pyarrow.list_(dtype)),
            ("latent_shape", pyarrow.list_(pyarrow.int32())),
            ("error", pyarrow.string()),
        ]
    )
    if any("depth" in row for row in rows):
        schema = schema.append(pyarrow.field("depth", pyarrow.int32()))
    if any("log_variance" in row for row in rows):
        schema = schema.append(pyarrow.field("log_variance", pyarrow.list_(pyarrow.float16())))
    with atomic_write(path) as part:
        table = pyarrow.Table.from_pylist(rows, schema=schema)
        parquet.write_table(table, part, compression="zstd", write_page_checksum=True)


def _name(index):
    """Return the file name of a shard."""
    return f"part-{index:05d}.parquet"


def _settings(model, files, shard_size):
    """Return the settings that must be equal for an encoding to be resumed."""
    listed = hashlib.sha256("\n".join(files).encode()).hexdigest()
    return {
        "model": str(model),
        "weights": weights_digest(model),
        "files": len(files),
        "listed": listed,
        "shard": shard_size,
    }


def _with_ray(work, missing, num_workers):
    """Encode the missing shards with Ray Data."""
    import ray

    if not ray.is_initialized():
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False)
    shards = ray.data.from_items(
        [{"index": i, "paths": paths} for i, paths in missing], override_num_blocks=len(missing)
    )
    encoded = shards.map(_RayEncoder, fn_constructor_args=(work,), concurrency=num_workers)
    for row in encoded.iter_rows():
        yield int(row["images"]), int(row["errors"])


class _RayEncoder:
    """Ray worker that keeps its loaded model."""

    def __init__(self, work):
        self.work = work

    def __call__(self, row):
        images, errors = self.work((int(row["index"]), list(row["paths"])))
        return {"images": images, "errors": errors}
