"""Noise scale of learned priors: standard deviation of sampled latents and quality of generated images.

    KERAS_BACKEND=torch python benchmarks/prior_noise_scale.py --data DIR --adult adult_cxr_256.npz --out benchmarks/prior_noise_scale

DIR contains brainmri_128.npz and breast_us_192.npz. A network that underfits predicts averages, so samples from N(0, 1)
noise vary too little; a network that memorizes a small data set needs no wider noise. The noise scale at which sampled
latents vary as much as those of validation images (standard deviations as ratios to theirs) becomes the value of the
preset, in its config.json. The table also lists Fréchet distance, precision and recall of generated images (chest
X-rays: adults without findings) against validation images, in the features of models that were trained on other data
sets; 20 steps. The Fréchet distance alone would favor wider noise because of its high-frequency noise: the figure shows
images from the same noise at each scale, with the effect on ribs and vessels. Results of the chosen scale on test
images are in generation.md and chestxray_generation.md.
"""  # noqa: E501

from pathlib import Path

import click
import keras
import numpy as np
from chestxray_generation import ENCODER, FEATURE_TYPE, GROUPS
from chestxray_generation import NAME as CHEST_XRAY
from common import description, write_page
from generation import CASES

import medzoo
from medzoo import visualization as plots
from medzoo.data.datasets import open_dataset
from medzoo.data.npz import to_float
from medzoo.evaluation.generation import covered_fraction, frechet_distance
from medzoo.evaluation.model_card import read_json
from medzoo.evaluation.publish import publish
from medzoo.tasks.features import extract_features, resize_to_model
from medzoo.utils.files import write_json
from medzoo.zoo.manifest import BUNDLED

NOISE_SCALES = (1.0, 1.05, 1.1, 1.15)
COUNT, STEPS = 200, 20


def cases(data, adult):
    """Yield `(preset, encoder, feature type, validation images, class)`."""
    classes = read_json(BUNDLED / CHEST_XRAY, "prior.json")["classes"]
    yield (
        CHEST_XRAY,
        ENCODER,
        FEATURE_TYPE,
        to_float(open_dataset(adult).images("val")),
        classes.index(GROUPS["adults"]),
    )
    for case in CASES:
        vae = medzoo.load(case.name)
        if vae.prior is not None:
            yield (
                case.name,
                case.encoder,
                "latent",
                resize_to_model(vae, open_dataset(data / case.data).images("val")),
                None,
            )


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option(
    "--adult", required=True, type=click.Path(path_type=Path, exists=True), help="NPZ file of adult chest X-rays."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, adult, out):
    rows, shown = [], []
    for name, encoder, feature_type, images, label in cases(data, adult):
        vae, encoder, images = medzoo.load(name), medzoo.load(encoder), images[:COUNT]
        real, prior = extract_features(encoder, images, feature_type), vae.prior
        means, log_variances = vae.posteriors(images)
        noise = np.random.default_rng(0).standard_normal(means.shape)
        reference = latent_std(prior, means + np.exp(log_variances / 2) * noise)
        for noise_scale in NOISE_SCALES:
            prior.noise_scale = noise_scale
            z = prior.sample(len(images), label, seed=0, num_steps=STEPS)
            generated = vae.decode(z)
            shown += [generated[:8]] * (name == CHEST_XRAY)
            seen = extract_features(encoder, generated, feature_type)
            found = {"latent_std": latent_std(prior, z) / reference, "frechet": frechet_distance(seen, real)}
            found |= {"precision": covered_fraction(seen, real), "recall": covered_fraction(real, seen)}
            own = {"model": name, "images": len(images), "noise_scale": noise_scale}
            rows.append({**own, **{key: round(float(value), 3) for key, value in found.items()}})
            click.echo(str(rows[-1]))
        set_noise_scale(
            BUNDLED / name, min(rows[-len(NOISE_SCALES) :], key=lambda row: abs(row["latent_std"] - 1))["noise_scale"]
        )
    publish()
    title = "Generated from the same noise; noise scale from top: " + ", ".join(map(str, NOISE_SCALES))
    plots.save_grid(out.with_suffix(".png"), np.concatenate(shown), columns=8, title=title)
    header = [
        "Preset",
        "validation images",
        "noise scale",
        "relative latent std",
        "Fréchet distance",
        "precision",
        "recall",
    ]
    write_page(
        out,
        "Noise scale of the prior",
        [("", header, [list(row.values()) for row in rows])],
        {"results": rows},
        description(),
    )


def latent_std(prior, latents):
    """Return the standard deviation of latents, with all channels standardized as in the prior."""
    mean, scale = (keras.ops.convert_to_numpy(v) for v in (prior.mean, prior.std))
    return ((latents - mean) / scale).std()


def set_noise_scale(folder, noise_scale):
    config = read_json(folder, "config.json")
    config["model"]["config"]["prior"]["noise_scale"] = noise_scale
    write_json(folder / "config.json", config)


if __name__ == "__main__":
    main()
