"""Selection of codebook size or latent dimension by cross-validation."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from medzoo import metrics
from medzoo.data.augmentation import AugmentedDataset
from medzoo.data.image_dataset import open_dataset
from medzoo.data.npz import to_float
from medzoo.models import VAE, VQVAE, ConvAutoencoder
from medzoo.training.trainer import CLIP, training_schedule
from medzoo.utils.files import write_atomically, write_json
from medzoo.utils.groups import encode_groups, has_known_groups
from medzoo.utils.tables import table
from medzoo.visualization import save_tuning

BUILD = {  # untrained models by image shape and value: codebook size, or latent dimension
    "vqvae": lambda shape, n: VQVAE(shape, latent_dim=8, codebook_size=n, filters=(32,), blocks_per_stage=2),
    "vae": lambda shape, n: VAE(shape, latent_dim=n, filters=(32, 64, 128), blocks_per_stage=1),
    "ae": lambda shape, n: ConvAutoencoder(shape, latent_dim=n, filters=(32, 64, 128), blocks_per_stage=1),
}


@dataclass(frozen=True)
class Trial:
    """Result of one value on the held-out images of one fold.

    Attributes:
        setting: int. The value tested: codebook size or latent dimension.
        fold: int. Index of the fold.
        psnr: float. Mean PSNR in dB.
        ssim: float. Mean SSIM.
        latent_size: int. Number of latent elements per image.
        bits: float or `None`. For a VQ-VAE, bits per pixel of an ideal entropy coder that uses the code frequencies of
            the training images.
        usage: float or `None`. For a VQ-VAE, fraction of the codebook that the held-out images use.
    """

    setting: int
    fold: int
    psnr: float
    ssim: float
    latent_size: int
    bits: float | None = None
    usage: float | None = None


def cross_validate(
    build: Callable[[int], keras.Model],
    values: Iterable[int],
    images: np.ndarray,
    folds: int = 3,
    epochs: int = 10,
    batch_size: int = 32,
    learning_rate: float = 1.5e-3,
    seed: int = 0,
    groups: Sequence | np.ndarray | None = None,
) -> Iterator[Trial]:
    """Train and evaluate a model for every value and fold.

    Args:
        build: Function that returns an untrained model for a value.
        values: Values to compare, e.g. codebook sizes or latent dimensions.
        images: uint8 array of shape `(N, height, width, 1)`.
        folds: int. Number of folds; every image is held out once per value.
        epochs: int. Number of epochs per training. Each training is initialized from the PCA of its images.
        batch_size: int. Number of images per batch.
        learning_rate: float. Maximum learning rate.
        seed: int. Seed of the folds and of each training.
        groups: Sequence of N patient identifiers for a patient-level split, or `None`. Images with a missing identifier
            count as separate patients.

    Yields:
        One `Trial` per value and fold, as soon as it is finished.

    Raises:
        ValueError: If there are fewer patients than folds, or not one group per image.

    Examples:
        ```python
        build = lambda k: medzoo.VQVAE((64, 64, 1), codebook_size=k)
        trials = list(cross_validate(build, (64, 256, 1024), images))
        best = choose(trials)
        ```
    """
    from sklearn.model_selection import GroupKFold, KFold

    known = has_known_groups(groups)
    patients = encode_groups(groups if known else None, len(images))
    if len(np.unique(patients)) < folds:
        what = "patients" if known else "images"
        raise ValueError(
            f"cross_validate: too few {what}. Expected {folds} or more, one per fold, got {len(np.unique(patients))}."
        )
    splitter = GroupKFold(folds) if known else KFold(folds, shuffle=True, random_state=seed)
    splits = list(splitter.split(images, groups=patients if known else None))
    for value in values:
        for fold, (train, held_out) in enumerate(splits):
            keras.utils.set_random_seed(seed)
            model = build(value)
            model.initialize_from_pca(to_float(images[train]))
            batches = AugmentedDataset(images[train], batch_size, seed)
            rate = training_schedule(learning_rate, epochs * len(batches))
            model.compile(keras.optimizers.Adam(rate, beta_2=0.99, global_clipnorm=CLIP))
            model.fit(batches, epochs=epochs, callbacks=[batches.counted()], shuffle=False, verbose=0)
            yield _trial(model, value, fold, to_float(images[train]), to_float(images[held_out]))


def _trial(model, value, fold, train, held_out):
    """Evaluate a trained model on the held-out images of a fold."""
    latents = model.encode(held_out)
    restored = model.decode(latents)
    psnr, ssim = (
        float(np.mean(keras.ops.convert_to_numpy(f(held_out, restored)))) for f in (metrics.psnr, metrics.ssim)
    )
    result = {"setting": value, "fold": fold, "psnr": psnr, "ssim": ssim, "latent_size": int(latents[0].size)}
    if isinstance(model, VQVAE):
        size = model.quantizer.codebook_size
        counts = np.bincount(model.encode(train).ravel(), minlength=size) + 1.0
        bits = -np.log2(counts / counts.sum())[latents].sum() / held_out.size
        result |= {"bits": float(bits), "usage": float(len(np.unique(latents)) / size)}
    return Trial(**result)


def summarize(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Summarize trials by the mean and standard error over folds.

    Args:
        trials: Results of `cross_validate`.

    Returns:
        One JSON-serializable dict per value.
    """
    rows = []
    for setting in dict.fromkeys(t.setting for t in trials):
        own = [asdict(t) for t in trials if t.setting == setting]
        row: dict[str, Any] = {"setting": setting, "folds": len(own)}
        for key in ("psnr", "ssim", "latent_size", "bits", "usage"):
            values = [t[key] for t in own]
            if None not in values:
                row[key] = float(np.mean(values))
                row[f"{key}_error"] = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
        rows.append(row)
    return rows


def choose(trials: Sequence[Trial]) -> int:
    """Return the smallest value whose PSNR is within one standard error of the best.

    The one-standard-error rule (Breiman et al. 1984).

    Args:
        trials: Results of `cross_validate`.

    Returns:
        The value.
    """
    rows = summarize(trials)
    best = max(rows, key=lambda row: row["psnr"])
    return min(row["setting"] for row in rows if row["psnr"] >= best["psnr"] - best["psnr_error"])


def tune(
    family: str,
    data: str | Path,
    out: str | Path,
    values: Sequence[int],
    *,
    folds: int = 3,
    epochs: int = 10,
    max_images: int = 2000,
    size: int | None = None,
    seed: int = 0,
    command: str | None = None,
    progress: Callable[[Trial], Any] = lambda trial: None,
    **reading: Any,
) -> dict[str, Any]:
    """Select the codebook size or latent dimension of a model family by cross-validation.

    Writes `tune.json`, `tune.md` and `tune.png`. The split into folds is patient-level where patients are known.

    Args:
        family: `"vqvae"` (values are codebook sizes), `"vae"` or `"ae"` (values are latent dimensions).
        data: See `medzoo.datasets.open_dataset`; the training split is used.
        out: Folder to write to; it is created if it does not exist.
        values: Values to compare.
        folds: See `cross_validate`.
        epochs: See `cross_validate`.
        max_images: int. Maximum number of images; a random subset of larger datasets is used.
        size: int. Side length in pixels of images from files.
        seed: See `cross_validate`.
        command: Command line to include in the report, or `None`.
        progress: Function that is called with each finished `Trial`.
        reading: Further options of `open_dataset`.

    Returns:
        The report, JSON-serializable; `"chosen"` is the selected value.
    """
    dataset, out = open_dataset(data, size, seed=seed, **reading), Path(out)
    images = dataset.images("train")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[:max_images])
    groups = dataset.patients("train")
    trials, values = [], sorted(values)
    build = partial(BUILD[family], images.shape[1:])
    own = None if groups is None else groups[chosen]
    for trial in cross_validate(build, values, images[chosen], folds, epochs, seed=seed, groups=own):
        trials.append(trial)
        progress(trial)
    rows, best = summarize(trials), choose(trials)
    unit = "patient" if has_known_groups(own) else "image"
    result = {"command": command, "images": len(chosen), "folds_by": unit, "chosen": best, "settings": rows}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "tune.json", result)
    what = "codebook size" if family == "vqvae" else "latent dimension"
    write_atomically(out / "tune.md", _page(family, what, dataset.name, folds, epochs, result))
    save_tuning(out / "tune.png", rows, what, best, f"{family}, {dataset.name}")
    return result


def _page(family, what, data, folds, epochs, result):
    """Return the report as Markdown."""
    rows, codes = result["settings"], family == "vqvae"
    header = [what, "PSNR (dB)", "SSIM", *(["bits per pixel", "codebook usage"] if codes else [])]
    cells = [
        [r["setting"], f"{r['psnr']:.2f} ± {r['psnr_error']:.2f}", f"{r['ssim']:.4f}"]
        + ([f"{r['bits']:.4f}", f"{r['usage']:.0%}"] if codes else [])
        for r in rows
    ]
    end = " This is the largest value tested; test larger values." if result["chosen"] == rows[-1]["setting"] else ""
    return (
        f"# {family}: {what}\n\n{result['images']} images of `{data}`, {folds}-fold cross-validation by "
        f"{result['folds_by']}, {epochs} epochs each. Mean and standard error over folds.\n\n{table(header, cells)}\n\n"
        f"Chosen: **{result['chosen']}**, the smallest value within one standard error of the best PSNR.{end}\n\n"
        f"![plot](tune.png)\n\nCommand: `{result['command']}`\n"
    )
