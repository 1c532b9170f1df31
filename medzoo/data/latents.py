"""Loading of latents written by `medzoo encode`, as arrays and as `tf.data` pipelines."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medzoo.errors import ImageError

if TYPE_CHECKING:
    import tensorflow as tf

OPTIONAL = "log_variance"
COLUMNS = ("path", "latent_shape", "latents", OPTIONAL)  # columns that are read


def load_latents(folder: str | Path) -> tuple[list[str], np.ndarray]:
    """Load the latents written by `encode_folder`; unreadable images are omitted.

    Args:
        folder: output folder of `encode_folder` or `medzoo encode`.

    Returns:
        `(paths, latents)`: list of image paths and array `(N, *latent_shape)`; for a VAE the posterior means.

    Raises:
        ImageError: If a file is damaged (verified by page checksums).
        ValueError: If the folder contains no latents, or latents of several shapes; read the Parquet files directly in
            that case.
    """
    paths, latents, _ = _read(folder)
    return paths, latents


def from_latents(
    folder: str | Path,
    labels: Callable[[str], float] | None = None,
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int | None = None,
    sample: bool = True,
    drop_remainder: bool = False,
) -> "tf.data.Dataset":
    """Return a `tf.data.Dataset` of latents, or of pairs of latents and labels.

    For a VAE, latents are sampled from the posterior in each epoch, because training on a single fixed sample can
    overfit its noise. For the other families they are the output of `encode`.

    Args:
        folder: output folder of `encode_folder` or `medzoo encode`.
        labels: function that maps an image path, relative to the encoded folder, to its numeric label; or `None`.
        batch_size: int. Number of latents per batch, default 32.
        shuffle: bool. Whether to reshuffle the latents in each epoch, default `True`.
        seed: int or `None`. Seed of the order and of the posterior samples.
        sample: bool. Whether to sample from the posterior (default); `False` returns the posterior means.
        drop_remainder: bool. Whether to drop the last batch if it is smaller than `batch_size`.

    Returns:
        `tf.data.Dataset` of float batches `(batch, *latent_shape)`, or of pairs `(latents, labels)`.

    Raises:
        ImageError: If a file is damaged.
        ValueError: If the folder contains no latents, or latents of several shapes.
    """
    import tensorflow as tf

    paths, means, log_variances = _read(folder)
    count, sample = len(means), sample and log_variances is not None
    means = tf.constant(means)
    stds = tf.constant(np.exp(log_variances.astype("float32") / 2)) if sample else None
    targets = None if labels is None else tf.constant(np.array([labels(path) for path in paths]))
    order = tf.data.Dataset.range(count)
    if shuffle:
        order = order.shuffle(count, seed=seed)
    # Two random integers per batch, different in each epoch, seed its noise.
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)

    def batch(chosen, noise_seed):
        z = tf.gather(means, chosen)
        if sample:
            z += tf.gather(stds, chosen) * tf.random.stateless_normal(tf.shape(z), noise_seed)
        return z if targets is None else (z, tf.gather(targets, chosen))

    pairs = tf.data.Dataset.zip((order.batch(batch_size, drop_remainder=drop_remainder), seeds))
    return pairs.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _read(folder):
    """Return `(paths, latents, log_variances)`; the last is `None` for models without a posterior variance."""
    paths, latents, variances, shapes = [], [], [], set()
    for file in sorted(Path(folder).glob("part-*.parquet")):
        rows = _valid_rows(file)
        paths += rows["path"].to_pylist()
        shapes |= set(map(tuple, rows["latent_shape"].to_pylist()))
        if len(shapes) > 1:
            raise ValueError(
                f"{folder}: latents of several shapes, {', '.join(map(str, sorted(shapes)))}. Expected one shape."
            )
        latents.append(rows["latents"].combine_chunks().flatten().to_numpy())
        if "log_variance" in rows.column_names:
            variances.append(rows["log_variance"].combine_chunks().flatten().to_numpy())
    if not shapes:
        raise ValueError(f"{folder}: no latents found. Expected the output folder of medzoo encode.")
    shape = (-1, *shapes.pop())
    return paths, *(np.concatenate(x).reshape(shape) if x else None for x in (latents, variances))


def _valid_rows(file):
    """Rows of a Parquet file with latents; raise ImageError for damaged or foreign files."""
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(file, page_checksum_verification=True)
        table.validate(full=True)
        return table.filter(table["error"].is_null()).select(
            [n for n in COLUMNS if n in table.column_names or n != OPTIONAL]
        )
    except (OSError, KeyError, pyarrow.ArrowException) as error:
        raise ImageError(f"{file}: not readable as latents ({type(error).__name__}: {error}).") from error
