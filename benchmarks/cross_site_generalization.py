"""A classifier at another hospital: why it fails, and what says so before it does harm.

    KERAS_BACKEND=torch python benchmarks/cross_site_generalization.py --data DIR --out benchmarks/cross_site_generalization

DIR holds chestxray_256.npz (adults, USA; pneumonia as reports name it) and pediatric_cxr (children, China). Films are
brought to 64 pixels. A `Classifier` for pneumonia on `ae-chestxray-64` learns from the labelled films of one hospital
and is used on the test films of both, without any label of the other. AUC with 95% intervals over films, averaged over
three seeds; "called unusual" is the share of test films that the classifier's own `belongs` puts at 0.01 or below;
"shift" is its `shift` of them all, in standard deviations: `medzoo classify` warns of both, of the latter by its
p-value; "drift" is the AUC of a classifier that tells the two hospitals' films apart. Standardised: each film brought
to one mean and contrast before. What single numbers know of pneumonia: AUC of the mean grey value, of the contrast,
and of how much brighter the middle is than the rim. The picture shows, at each hospital, the mean of the pneumonia
films less the mean of the others, after standardising: red where they are brighter.
"""

from pathlib import Path

import click
import keras
import numpy as np
from common import alone, explained, write

import medzoo
from medzoo.data.npz import to_float
from medzoo.io.intensity import standardize
from medzoo.metrics.bootstrap import bootstrap_ci, format_ci
from medzoo.metrics.classification import roc_auc
from medzoo.tasks import drift
from medzoo.tasks.classify import fine_tune
from medzoo.tasks.features import extract_features

SIDE, SEEDS, STEPS, NAME = 64, 3, 22, "ae-chestxray-64"
PATIENTS = r"(person\d+|IM-\d+|NORMAL2-IM-\d+)"


def hospitals(data):
    """`{name: {split: (films, labels)}}`."""
    adults = medzoo.datasets.open_dataset(data / "chestxray_256.npz")
    children = medzoo.datasets.open_dataset(data / "pediatric_cxr", 224, group=PATIENTS)
    found = {}
    for name, collection in {"adults, USA": adults, "children, China": children}.items():
        splits = {s: (np.asarray(collection.images(s)), collection.labels(s)) for s in ("train", "val", "test")}
        ill = collection.class_names.index("pneumonia")
        found[name] = {
            s: (medzoo.center_crop_resize(to_float(x), SIDE), (y == ill).astype(int)) for s, (x, y) in splits.items()
        }
    return found


def numbers(films):
    """Simple numbers of films, `{name: (N,)}`."""
    rim = np.ones((SIDE, SIDE), bool)
    rim[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4] = False
    middle, border = films[:, ~rim].mean(axis=(1, 2)), films[:, rim].mean(axis=(1, 2))
    return {
        "mean grey value": films.mean(axis=(1, 2, 3)),
        "contrast": films.std(axis=(1, 2, 3)),
        "middle brighter than rim": middle - border,
    }


def trained(own, prepare, seed):
    keras.utils.set_random_seed(seed)
    classifier = medzoo.Classifier.from_pretrained(NAME, 2)
    (x, y), (v, w) = own["train"], own["val"]
    fine_tune(classifier, prepare(x), y, (prepare(v), w), epochs=(5, 10), steps=STEPS, seed=seed)
    classifier.calibrate(prepare(v), w)
    classifier.fit_reference(prepare(v))
    return classifier


def carried(own, other, prepare):
    """AUC at home and away, and the share of test films called unusual there."""
    rows = {"home": own["test"], "away": other["test"]}
    scores, unusual, shift = ({place: [] for place in rows} for _ in range(3))
    for seed in range(SEEDS):
        classifier = trained(own, prepare, seed)
        for place, (x, _) in rows.items():
            scores[place].append(classifier.predict(prepare(x), verbose=0)[:, 1])
            unusual[place].append((classifier.ood_pvalue(prepare(x)) <= 0.01).mean())
            shift[place].append(classifier.distribution_shift(prepare(x)))
    result = {}
    for place, (_, y) in rows.items():
        each = scores[place]
        value = bootstrap_ci(lambda i, e=each, y=y: np.mean([roc_auc(s[i], y[i]) for s in e]), len(y), 1000)
        means = {key: round(float(np.mean(own[place])), 3) for key, own in (("unusual", unusual), ("shift", shift))}
        result[place] = {"auc": value, **means}
    return result


def figure(path, found):
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(7, 3.4), layout="constrained")
    for axis, (name, own) in zip(drawing.subplots(1, 2), found.items(), strict=True):
        films, labels = own["train"]
        films = standardize(films)[..., 0]
        shown = axis.imshow(
            films[labels == 1].mean(axis=0) - films[labels == 0].mean(axis=0), cmap="RdBu_r", vmin=-0.15, vmax=0.15
        )
        axis.set(title=f"{name}: {(labels == 1).sum()} less {(labels == 0).sum()} films", xticks=[], yticks=[])
    drawing.colorbar(shown, ax=drawing.axes, shrink=0.8)
    drawing.savefig(path, dpi=100)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder with the archives.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, out):
    alone()
    found = hospitals(data)
    figure(out.with_suffix(".png"), found)
    ways = {"as they are": lambda x: x, "standardised": standardize}
    model, (first, second) = medzoo.load(NAME), found
    apart = {
        way: drift(*(extract_features(model, prepare(found[name]["test"][0]), "both") for name in found))["auc"]
        for way, prepare in ways.items()
    }
    results, rows = {}, []
    for home, away in ((first, second), (second, first)):
        for way, prepare in ways.items():
            own = results[f"{home}, {way}"] = carried(found[home], found[away], prepare)
            cells = [f(own[place]) for place in ("home", "away") for f in (_auc, _unusual, _shift)]
            rows.append([home, way, *cells, round(apart[way], 3)])
    single = {
        name: {k: round(float(roc_auc(v, own["test"][1])), 3) for k, v in numbers(own["test"][0]).items()}
        for name, own in found.items()
    }
    header = ["trained on", "films", "AUC at home", "called unusual", "shift"]
    header += ["AUC away", "called unusual", "shift", "drift, AUC"]
    tables = [
        ("Carried over", header, rows),
        ("What single numbers know", ["", *found], [[k, *(single[n][k] for n in found)] for k in single[first]]),
    ]
    write(out, "Carry over", tables, {"results": results, "drift": apart, "single": single}, explained())


def _auc(own):
    return format_ci(own["auc"], 3)


def _unusual(own):
    return f"{own['unusual']:.0%}"


def _shift(own):
    return f"{own['shift']:.2f}"


if __name__ == "__main__":
    main()
