"""Latents on disk, as `medzoo encode` writes them, back as arrays and as `tf.data`."""

from pathlib import Path

import numpy as np

from medzoo.errors import ImageError

OPTIONAL = "log_variance"
COLUMNS = ("path", "latent_shape", "latents", OPTIONAL)  # that are read


def load_latents(folder):
    """What `encode_folder` wrote: `(paths, latents)`, a list and an array `(N, *latent_shape)`; bad files left out.

    Of a VAE these are the means of the posteriors.

    Raises:
        ImageError: a file that is damaged; pages are told by their checksums.
        ValueError: latents of several shapes (images of several sizes): read the Parquet files by themselves.
    """
    paths, latents, _ = _read(folder)
    return paths, latents


def from_latents(folder, labels=None, batch_size=32, shuffle=True, seed=None, sample=True, drop_remainder=False):
    """`tf.data.Dataset` of batches of latents `(batch, *latent_shape)`, or of pairs of these and labels.

    Of a VAE they are drawn from the posteriors, anew each epoch: a network that sees one frozen draw learns its
    noise by heart. Of the other families they are what `encode` gave.

    Args:
        folder: that `encode_folder` or `medzoo encode` wrote.
        labels: function that gives an image's label, a number, from its path below the folder that was encoded.
        sample: `False` for the means of the posteriors.
        batch_size, shuffle, seed, drop_remainder: as in `from_npz`.

    Raises:
        ImageError, ValueError: as `load_latents`.
    """
    import tensorflow as tf

    paths, means, log_variances = _read(folder)
    count, draw = len(means), sample and log_variances is not None
    means = tf.constant(means)
    deviations = tf.constant(np.exp(log_variances.astype("float32") / 2)) if draw else None
    targets = None if labels is None else tf.constant(np.array([labels(path) for path in paths]))
    order = tf.data.Dataset.range(count)
    if shuffle:
        order = order.shuffle(count, seed=seed)
    # Two numbers a batch, others each epoch, that its noise is drawn with.
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)

    def batch(chosen, noise_seed):
        z = tf.gather(means, chosen)
        if draw:
            z += tf.gather(deviations, chosen) * tf.random.stateless_normal(tf.shape(z), noise_seed)
        return z if targets is None else (z, tf.gather(targets, chosen))

    pairs = tf.data.Dataset.zip((order.batch(batch_size, drop_remainder=drop_remainder), seeds))
    return pairs.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _read(folder):
    """`(paths, latents, log_variances)`; the last is `None` where the model has none."""
    paths, latents, variances, shapes = [], [], [], set()
    for file in sorted(Path(folder).glob("part-*.parquet")):
        good = _good(file)
        paths += good["path"].to_pylist()
        shapes |= set(map(tuple, good["latent_shape"].to_pylist()))
        if len(shapes) > 1:
            raise ValueError(f"{folder}: latents of several shapes, {', '.join(map(str, sorted(shapes)))}.")
        latents.append(good["latents"].combine_chunks().flatten().to_numpy())
        if "log_variance" in good.column_names:
            variances.append(good["log_variance"].combine_chunks().flatten().to_numpy())
    if not shapes:
        raise ValueError(f"{folder}: no latents in it.")
    shape = (-1, *shapes.pop())
    return paths, *(np.concatenate(x).reshape(shape) if x else None for x in (latents, variances))


def _good(file):
    """The rows of a Parquet file that hold latents.

    Raises:
        ImageError: not whole, or not a file of `medzoo encode`.
    """
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
