"""A transformer over the codes of vqvae-chestxray-64: bits a code, and how real the images are that are drawn from it.

    python benchmarks/vqvae_prior.py --data medical_mnist_64.npz --out benchmarks/vqvae_prior

Beside it: the frequency of each code, and of each code at each place (bits); a VAE's prior and codes drawn place by
place (images). Trained on the training films, stopped by the validation films, measured on the test films.
"""

from pathlib import Path

import click
import keras
import numpy as np
from common import write

import medzoo
from medzoo.data.npz import load_npz, to_float
from medzoo.evaluation.generation import _covered, frechet
from medzoo.tasks.features import extract_features
from medzoo.tasks.generate import detect_copies
from medzoo.tasks.generate.code_prior import AutoregressivePrior
from medzoo.visualization import save_grid

COUNT = 300


def frequencies(train, size):
    """Share of each code at each place, `(rows, columns, size)`, a little of its overall share mixed in."""
    overall = np.bincount(train.ravel(), minlength=size) + 1.0
    counts = np.zeros((*train.shape[1:], size))
    for grid in train:
        np.add.at(counts, (*np.indices(grid.shape), grid), 1)
    counts += 20 * overall / overall.sum()
    return overall / overall.sum(), counts / counts.sum(axis=-1, keepdims=True)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--epochs", default=4, show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the trained prior's weights.")
def main(data, epochs, out, keep):
    vqvae, vae, judge = (medzoo.load(n) for n in ("vqvae-chestxray-64", "vae-chestxray-64", "ae-chestxray"))
    films = {s: to_float(load_npz(data, s, ["chest_xray"])) for s in ("train", "val", "test")}
    codes = {s: vqvae.encode(x) for s, x in films.items()}
    size = vqvae.quantizer.codebook_size
    keras.utils.set_random_seed(0)
    prior = AutoregressivePrior(size, codes["train"].shape[1:], width=128, depth=4, dropout=0.1)
    steps = epochs * -(-len(codes["train"]) // 16)
    prior.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(1e-5, steps, warmup_target=1.5e-3, warmup_steps=200)
        )
    )
    best = keras.callbacks.EarlyStopping(monitor="val_loss", patience=epochs, restore_best_weights=True)
    prior.fit(codes["train"], validation_data=codes["val"], batch_size=16, epochs=epochs, callbacks=[best], verbose=2)

    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        prior.save_weights(keep / "prior.weights.h5")
    overall, placed = frequencies(codes["train"], size)
    rows, columns = np.indices(codes["test"].shape[1:])
    bits = {
        "frequency of each code": -np.log2(overall[codes["test"]]).mean(),
        "frequency at each place": -np.log2(placed[rows, columns, codes["test"]]).mean(),
        "transformer": prior.evaluate(codes["test"], verbose=0) / np.log(2),
    }
    rng = np.random.default_rng(0)
    cumulative = placed.cumsum(axis=-1)
    alone = (rng.random((COUNT, *cumulative.shape[:2], 1)) > cumulative).sum(axis=-1).clip(0, size - 1)
    drawn = {
        "transformer": vqvae.decode(np.concatenate([prior.sample(60, seed=s) for s in range(COUNT // 60)])),
        "codes drawn place by place": vqvae.decode(alone.astype("int32")),
        "prior of vae-chestxray-64": vae.sample(COUNT, seed=0),
        "test films, reconstructed by vqvae-chestxray-64": vqvae.reconstruct(films["test"][:COUNT]),
    }
    real, found = extract_features(judge, films["val"]), []
    for method, images in drawn.items():
        seen = extract_features(judge, images)
        m = min(len(seen), len(real))
        measures = {
            "frechet": round(frechet(seen, real), 3),
            "precision": round(_covered(seen[:m], real[:m]), 3),
            "recall": round(_covered(real[:m], seen[:m]), 3),
            "copies": round(float(detect_copies(images, films["train"], vqvae.reconstruct(films["test"])).mean()), 4),
        }
        found.append({"method": method, **measures})
        click.echo(f"{method:44} {measures}")
    save_grid(out.with_suffix(".png"), drawn["transformer"][:32], title="drawn code by code: patients who do not exist")
    facts = {
        "backend": keras.backend.backend(),
        "epochs": epochs,
        "parameters": prior.count_params(),
        "bits_per_code": {k: round(float(v), 4) for k, v in bits.items()},
        "samples": found,
    }
    text = (
        f"`AutoregressivePrior` with {prior.count_params():,} parameters, {epochs} epochs on the codes of "
        f"{len(codes['train']):,} films. Fréchet distance, precision and recall against {len(real)} validation films "
        f"in the features of ae-chestxray, {COUNT} images each."
    )
    header = ["", "Fréchet distance", "precision", "recall", "called copies"]
    cells = [[r["method"], r["frechet"], r["precision"], r["recall"], f"{r['copies']:.1%}"] for r in found]
    tables = [
        ("Bits a code", ["what is known", "bits a code"], [[k, f"{v:.3f}"] for k, v in bits.items()]),
        ("Drawn films", header, cells),
    ]
    write(out, "A prior over codes", tables, facts, text)


if __name__ == "__main__":
    main()
