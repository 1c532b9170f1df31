"""Films of 256 pixels drawn by vae-chestxray from its learned prior, beside what can be had without one.

    python benchmarks/chestxray_generation.py --data DIR --adult adult_cxr_256.npz --out benchmarks/chestxray_generation

DIR holds pediatric_cxr. Drawn by class, adults and children without findings, each judged against test films of its
kind: Fréchet distance, precision and recall in the features of vqvae-brainmri, which has seen MR slices and no film,
and the share that the memorisation check calls copies of training films. Beside them: N(0, I) in its place; samples of
vae-chestxray-64 enlarged; and, as what could be reached at most, training films and reconstructed test films. Numbers
of films are equal in all rows of a kind.
"""

from pathlib import Path

import click
import numpy as np
from generate import judged_by
from common import explained, seconds, write

import medzoo
from medzoo import visualization as plots
from medzoo.data.datasets import open_dataset
from medzoo.data.npz import to_float
from medzoo.evaluation.model_card import read_json
from medzoo.io.intensity import center_crop_resize
from medzoo.tasks.features import extract_features
from medzoo.training.trainer import device_name
from medzoo.zoo.manifest import BUNDLED

NAME, JUDGE, KIND = "vae-chestxray", "vqvae-brainmri", "both"
COUNT = 200
KINDS = {"adults": "adult_cxr_256: no_finding", "children": "pediatric_cxr: normal"}


def films_of(kind, data, adult):
    """Training and test films of one kind, float32 of 256 pixels; at most `COUNT` test films."""
    collection = open_dataset(adult) if kind == "adults" else open_dataset(data / "pediatric_cxr", 256)
    normal = {}
    for split in ("train", "test"):
        films = collection.images(split)
        if kind == "children":
            films = films[collection.labels(split) == collection.class_names.index("normal")]
        normal[split] = to_float(films)
    return normal["train"], normal["test"][:COUNT]


def draws(vae, label, kind, count):
    """Yields (how, films)."""
    yield "learned prior", vae.sample(count, seed=0, label=label)
    if kind == "adults":
        yield "N(0, I)", vae.sample(count, seed=0, size=(256, 256), learned=False)
        yield (
            "vae-chestxray-64, enlarged",
            center_crop_resize(medzoo.load("vae-chestxray-64").sample(count, seed=0), (256, 256)),
        )


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--adult", required=True, type=click.Path(path_type=Path, exists=True), help="What adult_cxr.py made.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, adult, out):
    vae, judge, rows = medzoo.load(NAME), medzoo.load(JUDGE), []
    classes = read_json(BUNDLED / NAME, "prior.json")["classes"]
    vae.sample(1, seed=0)  # compiles
    pace = seconds(lambda: vae.sample(8, seed=0)) / 8
    shown = []
    for kind, name in KINDS.items():
        train, test = films_of(kind, data, adult)
        held_out, real = vae.reconstruct(test), extract_features(judge, test, KIND)
        ways = dict(draws(vae, classes.index(name), kind, len(test)))
        shown.append(ways["learned prior"][:12])  # no patient's film goes into a page
        chosen = np.random.default_rng(0).permutation(len(train))[: len(test)]
        ways |= {"reconstructed test films": held_out, "training films": train[chosen]}
        for how, films in ways.items():
            found = judged_by(judge, films, real, train, held_out, KIND)
            rows.append({"kind": kind, "how": how, "films": len(films), **found})
            click.echo(str(rows[-1]))
    plots.save_grid(
        out.with_suffix(".png"), np.concatenate(shown), columns=12, title="drawn: none of these patients exists"
    )
    header = ["", "drawn from", "films", "Fréchet distance", "precision", "recall", "called copies"]
    cells = [[*list(r.values())[:-1], f"{r['copies']:.1%}"] for r in rows]
    text = (
        f"A film takes {pace:.2f} s on {device_name()}: 40 steps of Heun's method and the decoder. The picture shows "
        f"the first that were drawn, adults above and children below. {explained()}"
    )
    write(out, "Films", [("", header, cells)], {"seconds_per_film": round(pace, 3), "results": rows}, text)


if __name__ == "__main__":
    main()
