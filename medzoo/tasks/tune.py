"""Choose the size of a codebook or of the latents by cross-validation on one's own images."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np

from medzoo import metrics
from medzoo.data.augmentation import AugmentedDataset
from medzoo.data.image_dataset import open_dataset
from medzoo.data.npz import to_float
from medzoo.models import VAE, VQVAE, ConvAutoencoder
from medzoo.training.trainer import CLIP, training_schedule
from medzoo.utils.files import write_json, write_atomically
from medzoo.utils.groups import encode_groups, has_known_groups
from medzoo.utils.tables import table
from medzoo.visualization import save_tuning

BUILD = {  # untrained models of a shape and a setting: codebook size, or latents
    "vqvae": lambda shape, n: VQVAE(shape, latent_dim=8, codebook_size=n, filters=(32,), blocks_per_stage=2),
    "vae": lambda shape, n: VAE(shape, latent_dim=n, filters=(32, 64, 128), blocks_per_stage=1),
    "ae": lambda shape, n: ConvAutoencoder(shape, latent_dim=n, filters=(32, 64, 128), blocks_per_stage=1),
}


@dataclass(frozen=True)
class Trial:
    """What one setting reached on one fold's held-out images.

    `bits` are per pixel: for a VQ-VAE those of an ideal coder that knows the code frequencies of the training fold; for
    others `numbers` is what to go by. `usage` is the share of the codebook that the held-out images use.
    """

    setting: int
    fold: int
    psnr: float
    ssim: float
    numbers: int
    bits: float | None = None
    usage: float | None = None


def cross_validate(
    build, settings, images, folds=3, epochs=10, batch_size=32, learning_rate=1.5e-3, seed=0, groups=None
):
    """Trains a model for every setting and fold; yields a `Trial` each, as they finish.

        trials = list(cross_validate(lambda k: medzoo.VQVAE((64, 64, 1), codebook_size=k), (64, 256, 1024), films))
        best = choose(trials)

    Args:
        build: function of a setting that gives an untrained model.
        settings: e.g. codebook sizes or latent widths.
        images: uint8 `(N, height, width, 1)`.
        folds: of the images; every image is held out once for each setting.
        epochs, batch_size, learning_rate, seed: of each training, which starts from the PCA of its images.
        groups: `(N,)`, patients: images of one never stand on both sides. Missing values are patients of their own.

    Raises:
        ValueError: If there are fewer patients than folds, or not one group per image.
    """
    from sklearn.model_selection import GroupKFold, KFold

    known = has_known_groups(groups)
    patients = encode_groups(groups if known else None, len(images))
    if len(np.unique(patients)) < folds:
        what = "patients" if known else "images"
        raise ValueError(f"cross_validate: {len(np.unique(patients))} {what}; expected {folds} or more, one per fold.")
    splitter = GroupKFold(folds) if known else KFold(folds, shuffle=True, random_state=seed)
    splits = list(splitter.split(images, groups=patients if known else None))
    for setting in settings:
        for fold, (train, held_out) in enumerate(splits):
            keras.utils.set_random_seed(seed)
            model = build(setting)
            model.initialize_from_pca(to_float(images[train]))
            batches = AugmentedDataset(images[train], batch_size, seed)
            rate = training_schedule(learning_rate, epochs * len(batches))
            model.compile(keras.optimizers.Adam(rate, beta_2=0.99, global_clipnorm=CLIP))
            model.fit(batches, epochs=epochs, callbacks=[batches.counted()], shuffle=False, verbose=0)
            yield _trial(model, setting, fold, to_float(images[train]), to_float(images[held_out]))


def _trial(model, setting, fold, train, held_out):
    latents = model.encode(held_out)
    restored = model.decode(latents)
    psnr, ssim = (
        float(np.mean(keras.ops.convert_to_numpy(f(held_out, restored)))) for f in (metrics.psnr, metrics.ssim)
    )
    facts = {"setting": setting, "fold": fold, "psnr": psnr, "ssim": ssim, "numbers": int(latents[0].size)}
    if isinstance(model, VQVAE):
        size = model.quantizer.codebook_size
        seen = np.bincount(model.encode(train).ravel(), minlength=size) + 1.0
        bits = -np.log2(seen / seen.sum())[latents].sum() / held_out.size
        facts |= {"bits": float(bits), "usage": float(len(np.unique(latents)) / size)}
    return Trial(**facts)


def summarise(trials):
    """One row a setting: means and standard errors over folds, JSON-ready."""
    rows = []
    for setting in dict.fromkeys(t.setting for t in trials):
        own = [asdict(t) for t in trials if t.setting == setting]
        row = {"setting": setting, "folds": len(own)}
        for key in ("psnr", "ssim", "numbers", "bits", "usage"):
            values = [t[key] for t in own]
            if None not in values:
                row[key] = float(np.mean(values))
                row[f"{key}_error"] = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
        rows.append(row)
    return rows


def choose(trials):
    """The smallest setting whose PSNR is within one standard error of the best (Breiman et al. 1984).

    More is nearly always a little better; this is where it stops to be distinguishable.
    """
    rows = summarise(trials)
    best = max(rows, key=lambda row: row["psnr"])
    return min(row["setting"] for row in rows if row["psnr"] >= best["psnr"] - best["psnr_error"])


def tune(
    family,
    data,
    out,
    settings,
    *,
    folds=3,
    epochs=10,
    most=2000,
    size=None,
    seed=0,
    command=None,
    progress=lambda trial: None,
    **reading,
):
    """Cross-validates a family's sizes on one's own images; writes `tune.json`, `tune.md` and `tune.png`.

    Images of one patient never stand on both sides, where patients are known.

    Args:
        family: `"vqvae"` (settings are codebook sizes), `"vae"` or `"ae"` (latents).
        data: see `medzoo.datasets.open_dataset`; the training split is used.
        out: folder to write to; made if it is not there.
        settings: list of int.
        folds, epochs, seed: see `cross_validate`.
        most: at most so many images.
        size: side in pixels of images from files.
        command: for the report.
        progress: called with each `Trial` as it ends.
        reading: options of `open_dataset`.

    Returns: the report, JSON-ready; `"chosen"` is the setting.
    """
    collection, out = open_dataset(data, size, seed=seed, **reading), Path(out)
    images = collection.images("train")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[:most])
    groups = collection.patients("train")
    trials, settings = [], sorted(settings)
    build = partial(BUILD[family], images.shape[1:])
    own = None if groups is None else groups[chosen]
    for trial in cross_validate(build, settings, images[chosen], folds, epochs, seed=seed, groups=own):
        trials.append(trial)
        progress(trial)
    rows, best = summarise(trials), choose(trials)
    unit = "patient" if has_known_groups(own) else "image"
    facts = {"command": command, "images": len(chosen), "folds_by": unit, "chosen": best, "settings": rows}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "tune.json", facts)
    what = "codebook size" if family == "vqvae" else "latents"
    write_atomically(out / "tune.md", _page(family, what, collection.name, folds, epochs, facts))
    save_tuning(out / "tune.png", rows, what, best, f"{family}, {collection.name}")
    return facts


def _page(family, what, data, folds, epochs, facts):
    """The report as Markdown."""
    rows, codes = facts["settings"], family == "vqvae"
    header = [what, "PSNR, dB", "SSIM", *(["bits per pixel", "codebook used"] if codes else [])]
    cells = [
        [r["setting"], f"{r['psnr']:.2f} ± {r['psnr_error']:.2f}", f"{r['ssim']:.4f}"]
        + ([f"{r['bits']:.4f}", f"{r['usage']:.0%}"] if codes else [])
        for r in rows
    ]
    end = " It is the largest tried: try larger ones." if facts["chosen"] == rows[-1]["setting"] else ""
    return (
        f"# {family}: {what}\n\n{facts['images']} images of `{data}`, {folds}-fold cross-validation by "
        f"{facts['folds_by']}, {epochs} epochs each; mean and standard error over folds.\n\n{table(header, cells)}\n\n"
        f"Chosen: **{facts['chosen']}**, the smallest within one standard error of the best.{end}\n\n![plot](tune.png)"
        f"\n\nCommand: `{facts['command']}`\n"
    )
