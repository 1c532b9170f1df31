"""Cross-site generalization of pneumonia classifiers, and the warnings given by OOD p-values, shift and drift.

    KERAS_BACKEND=torch python benchmarks/cross_site_generalization.py --data DIR --out benchmarks/cross_site_generalization

DIR contains chestxray_256.npz (adults, USA; pneumonia labels from radiology reports) and pediatric_cxr (children,
China). Images are resized to 64 pixels. A `Classifier` for pneumonia on `ae-chestxray-64` is trained on the labeled
images of one site and evaluated on the test images of both sites, without labels of the other site. The table lists the
AUC with 95% intervals over images, averaged over three seeds. "OOD" is the fraction of test images with an `ood_pvalue`
of at most 0.01. "Shift" is the `distribution_shift` of the test images in standard deviations. `medzoo classify` warns
of both, of the latter by its p-value. "Drift" is the AUC of a classifier that discriminates between the images of the
two sites. Standardized images have equal mean and contrast. The second table lists the AUC for pneumonia of single
image statistics: mean intensity, contrast, and the intensity difference between center and border. The figure shows,
for each site, the mean of the pneumonia images minus the mean of the other images after standardization; red is
brighter.
"""  # noqa: E501

from pathlib import Path

import click
import keras
import numpy as np
from common import description, use_one_core, write_page

import medzoo
from medzoo.data.npz import to_float
from medzoo.io.intensity import standardize
from medzoo.metrics.bootstrap import bootstrap_ci, format_ci
from medzoo.metrics.classification import roc_auc
from medzoo.tasks.classify import fine_tune
from medzoo.tasks.drift import detect_drift
from medzoo.tasks.features import extract_features

SIDE, SEEDS, STEPS, NAME = 64, 3, 22, "ae-chestxray-64"
PATIENTS = r"(person\d+|IM-\d+|NORMAL2-IM-\d+)"


def sites(data):
    """Return `{site: {split: (images, labels)}}`."""
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


def image_statistics(images):
    """Return simple statistics of images, `{name: (N,)}`."""
    rim = np.ones((SIDE, SIDE), bool)
    rim[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4] = False
    center, border = images[:, ~rim].mean(axis=(1, 2)), images[:, rim].mean(axis=(1, 2))
    return {
        "mean intensity": images.mean(axis=(1, 2, 3)),
        "contrast": images.std(axis=(1, 2, 3)),
        "center minus border intensity": center - border,
    }


def trained(own, prepare, seed):
    keras.utils.set_random_seed(seed)
    classifier = medzoo.Classifier.from_pretrained(NAME, 2)
    (x, y), (v, w) = own["train"], own["val"]
    fine_tune(classifier, prepare(x), y, (prepare(v), w), epochs=(5, 10), steps=STEPS, seed=seed)
    classifier.calibrate(prepare(v), w)
    classifier.fit_reference(prepare(v))
    return classifier


def evaluate(own, other, prepare):
    """Return AUC, fraction of OOD images and shift on the internal and the external test set."""
    rows = {"internal": own["test"], "external": other["test"]}
    scores, ood, shift = ({test: [] for test in rows} for _ in range(3))
    for seed in range(SEEDS):
        classifier = trained(own, prepare, seed)
        for test, (x, _) in rows.items():
            scores[test].append(classifier.predict(prepare(x), verbose=0)[:, 1])
            ood[test].append((classifier.ood_pvalue(prepare(x)) <= 0.01).mean())
            shift[test].append(classifier.distribution_shift(prepare(x)))
    result = {}
    for test, (_, y) in rows.items():
        each = scores[test]
        value = bootstrap_ci(lambda i, e=each, y=y: np.mean([roc_auc(s[i], y[i]) for s in e]), len(y), 1000)
        means = {key: round(float(np.mean(own[test])), 3) for key, own in (("ood_fraction", ood), ("shift", shift))}
        result[test] = {"auc": value, **means}
    return result


def figure(path, found):
    from matplotlib.figure import Figure

    plot = Figure(figsize=(7, 3.4), layout="constrained")
    for axis, (name, own) in zip(plot.subplots(1, 2), found.items(), strict=True):
        images, labels = own["train"]
        images = standardize(images)[..., 0]
        shown = axis.imshow(
            images[labels == 1].mean(axis=0) - images[labels == 0].mean(axis=0), cmap="RdBu_r", vmin=-0.15, vmax=0.15
        )
        axis.set(title=f"{name}: {(labels == 1).sum()} pneumonia, {(labels == 0).sum()} other", xticks=[], yticks=[])
    plot.colorbar(shown, ax=plot.axes, shrink=0.8, label="Mean difference, pneumonia − other")
    plot.savefig(path, dpi=100)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, out):
    use_one_core()
    found = sites(data)
    figure(out.with_suffix(".png"), found)
    ways = {"unchanged": lambda x: x, "standardized": standardize}
    model, (first, second) = medzoo.load(NAME), found
    drift_auc = {
        way: detect_drift(*(extract_features(model, prepare(found[name]["test"][0]), "both") for name in found))["auc"]
        for way, prepare in ways.items()
    }
    results, rows = {}, []
    for internal, external in ((first, second), (second, first)):
        for way, prepare in ways.items():
            own = results[f"{internal}, {way}"] = evaluate(found[internal], found[external], prepare)
            cells = [f(own[test]) for test in ("internal", "external") for f in (_auc, _ood, _shift)]
            rows.append([internal, way, *cells, round(drift_auc[way], 3)])
    single = {
        name: {k: round(float(roc_auc(v, own["test"][1])), 3) for k, v in image_statistics(own["test"][0]).items()}
        for name, own in found.items()
    }
    header = ["Training site", "Images", "AUC, internal", "OOD", "shift"]
    header += ["AUC, external", "OOD", "shift", "drift AUC"]
    tables = [
        ("Internal and external test sets", header, rows),
        (
            "AUC of single image statistics",
            ["Statistic", *found],
            [[k, *(single[n][k] for n in found)] for k in single[first]],
        ),
    ]
    write_page(
        out,
        "Cross-site generalization",
        tables,
        {"results": results, "drift": drift_auc, "single_statistics": single},
        description(),
    )


def _auc(own):
    return format_ci(own["auc"], 3)


def _ood(own):
    return f"{own['ood_fraction']:.0%}"


def _shift(own):
    return f"{own['shift']:.2f}"


if __name__ == "__main__":
    main()
