"""How wide the noise should be that learned priors draw from.

    KERAS_BACKEND=torch python benchmarks/prior_noise_scale.py --data DIR --adult adult_cxr_256.npz --out benchmarks/prior_noise_scale

DIR holds brainmri_128.npz and breast_us_192.npz. A network that has not learned all there is answers with averages,
so that what is drawn from N(0, 1) noise varies too little; one that knows its few images by heart needs no wider
noise. The spread whose drawn latents vary as much as those of validation images (deviations as ratios to theirs)
becomes the preset's own, in its config.json. Beside it Fréchet distance, precision and recall of the drawn images
(films: adults without findings) against validation images, in the features of models that learned from other
archives; 20 steps. The distance alone would choose wider noise, for its grain: the picture shows the same films drawn
with each, and what becomes of ribs and vessels. What the chosen spread gives on test images is in generate.md and
films.md.
"""

from pathlib import Path

import click
import keras
import numpy as np
from films import JUDGE, KIND, KINDS
from films import NAME as FILMS
from generate import CASES
from common import explained, write

import medzoo
from medzoo import visualization as plots
from medzoo.data.datasets import open_dataset
from medzoo.data.npz import to_float
from medzoo.evaluation.generation import _covered, frechet
from medzoo.evaluation.model_card import read_json
from medzoo.evaluation.publish import publish
from medzoo.tasks.features import extract_features, resize_to_model
from medzoo.utils.files import write_json
from medzoo.zoo.manifest import BUNDLED

SPREADS = (1.0, 1.05, 1.1, 1.15)
COUNT, STEPS = 200, 20


def cases(data, adult):
    """Yields (preset, judge, its kind of features, validation images, class)."""
    classes = read_json(BUNDLED / FILMS, "prior.json")["classes"]
    yield FILMS, JUDGE, KIND, to_float(open_dataset(adult).images("val")), classes.index(KINDS["adults"])
    for case in CASES:
        vae = medzoo.load(case.name)
        if vae.prior is not None:
            yield (
                case.name,
                case.judge,
                "latents",
                resize_to_model(vae, open_dataset(data / case.archive).images("val")),
                None,
            )


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--adult", required=True, type=click.Path(path_type=Path, exists=True), help="What adult_cxr.py made.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, adult, out):
    rows, shown = [], []
    for name, judge, kind, images, label in cases(data, adult):
        vae, judge, images = medzoo.load(name), medzoo.load(judge), images[:COUNT]
        real, prior = extract_features(judge, images, kind), vae.prior
        means, log_variances = vae.posteriors(images)
        noise = np.random.default_rng(0).standard_normal(means.shape)
        usual = deviation(prior, means + np.exp(log_variances / 2) * noise)
        for spread in SPREADS:
            prior.spread = spread
            z = prior.sample(len(images), label, seed=0, num_steps=STEPS)
            drawn = vae.decode(z)
            shown += [drawn[:8]] * (name == FILMS)
            seen = extract_features(judge, drawn, kind)
            found = {"deviation": deviation(prior, z) / usual, "frechet": frechet(seen, real)}
            found |= {"precision": _covered(seen, real), "recall": _covered(real, seen)}
            own = {"model": name, "images": len(images), "spread": spread}
            rows.append({**own, **{key: round(float(value), 3) for key, value in found.items()}})
            click.echo(str(rows[-1]))
        set_spread(BUNDLED / name, min(rows[-len(SPREADS) :], key=lambda row: abs(row["deviation"] - 1))["spread"])
    publish()
    title = "the same noise, spread " + ", ".join(map(str, SPREADS)) + " from above: none of these patients exists"
    plots.save_grid(out.with_suffix(".png"), np.concatenate(shown), columns=8, title=title)
    header = [
        "preset",
        "validation images",
        "spread",
        "deviation of the latents",
        "Fréchet distance",
        "precision",
        "recall",
    ]
    write(
        out, "Spread of the noise", [("", header, [list(row.values()) for row in rows])], {"results": rows}, explained()
    )


def deviation(prior, latents):
    """Standard deviation of latents, all channels at the scale that the prior sees them in."""
    mean, scale = (keras.ops.convert_to_numpy(v) for v in (prior.mean, prior.deviation))
    return ((latents - mean) / scale).std()


def set_spread(folder, spread):
    config = read_json(folder, "config.json")
    config["model"]["config"]["prior"]["spread"] = spread
    write_json(folder / "config.json", config)


if __name__ == "__main__":
    main()
