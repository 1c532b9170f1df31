"""How wide the noise should be that learned priors draw from.

    KERAS_BACKEND=torch python benchmarks/spread.py --data DIR --adult adult_cxr_256.npz --out benchmarks/spread

DIR holds brainmri_128.npz and breast_us_192.npz. Fréchet distance, precision and recall of drawn images (films: adults
without findings) against validation images, in the features of models that learned from other archives; 20 steps. A
network that has not learned all there is answers with averages, so that what is drawn from N(0, 1) noise varies too
little; one that knows its few images by heart needs no wider noise. The best of each preset becomes its `spread`, in
its config.json; what it gives on test images is in generate.md and films.md.
"""

from pathlib import Path

import click
import numpy as np
from films import JUDGE, KIND, KINDS
from films import NAME as FILMS
from generate import CASES
from results import explained, write

import medzoo
from medzoo.evaluate.card import read_json
from medzoo.evaluate.publish import publish
from medzoo.evaluate.samples import _covered, frechet
from medzoo.files import write_json
from medzoo.images.archive import to_float
from medzoo.images.datasets import open_collection
from medzoo.tasks.features import features, fit_size
from medzoo.zoo.manifest import BUNDLED

SPREADS = (1.0, 1.05, 1.1, 1.15, 1.2)
COUNT, STEPS = 200, 20


def cases(data, adult):
    """Yields (preset, judge, its kind of features, validation images, class)."""
    classes = read_json(BUNDLED / FILMS, "prior.json")["classes"]
    yield FILMS, JUDGE, KIND, to_float(open_collection(adult).images("val")), classes.index(KINDS["adults"])
    for case in CASES:
        vae = medzoo.load(case.name)
        if vae.prior is not None:
            yield (
                case.name,
                case.judge,
                "latents",
                fit_size(vae, open_collection(data / case.archive).images("val")),
                None,
            )


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--adult", required=True, type=click.Path(path_type=Path, exists=True), help="What adult_cxr.py made.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, adult, out):
    rows = []
    for name, judge, kind, images, label in cases(data, adult):
        vae, judge, images = medzoo.load(name), medzoo.load(judge), images[:COUNT]
        real = features(judge, images, kind)
        for spread in SPREADS:
            vae.prior.spread = spread
            drawn = features(judge, vae.sample(len(images), seed=0, steps=STEPS, label=label), kind)
            found = {
                "frechet": frechet(drawn, real),
                "precision": _covered(drawn, real),
                "recall": _covered(real, drawn),
            }
            own = {"model": name, "images": len(images), "spread": spread}
            rows.append({**own, **{key: round(float(value), 3) for key, value in found.items()}})
            click.echo(str(rows[-1]))
        set_spread(BUNDLED / name, min(rows[-len(SPREADS) :], key=lambda row: row["frechet"])["spread"])
    publish()
    figure(out.with_suffix(".png"), rows)
    header = ["preset", "validation images", "spread", "Fréchet distance", "precision", "recall"]
    write(
        out, "Spread of the noise", [("", header, [list(row.values()) for row in rows])], {"results": rows}, explained()
    )


def set_spread(folder, spread):
    config = read_json(folder, "config.json")
    config["model"]["config"]["prior"]["spread"] = spread
    write_json(folder / "config.json", config)


def figure(path, rows):
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6, 3.5), layout="constrained")
    axis = drawing.subplots()
    for name in dict.fromkeys(r["model"] for r in rows):
        own = [r for r in rows if r["model"] == name]
        distances = np.array([r["frechet"] for r in own])
        axis.plot([r["spread"] for r in own], distances / distances[0], marker="o", label=name)
    axis.set(xlabel="standard deviation of the noise", ylabel="Fréchet distance, relative to that at 1")
    axis.legend()
    drawing.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
