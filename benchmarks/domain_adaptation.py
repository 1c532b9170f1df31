"""A preset at another hospital: what adaptation without labels brings, in PSNR and in the AUC of a probe.

    python benchmarks/domain_adaptation.py --data DIR --out benchmarks/domain_adaptation

DIR holds chestxray_256.npz (adults, USA), pneumoniamnist_28.npz (children, China) and medical_mnist_64.npz. The probe
is a logistic regression for pneumonia, fitted to labelled films of the old hospital only and used at the new one.
"""

from pathlib import Path

import click
import keras
import numpy as np
from common import write

import medzoo
from medzoo import metrics
from medzoo.data.npz import load_npz, load_npz_labels, to_float
from medzoo.io.intensity import standardize
from medzoo.metrics.bootstrap import bootstrap_mean_ci, format_ci
from medzoo.metrics.classification import classification_metrics
from medzoo.tasks.adapt import adapt, coral
from medzoo.tasks.features import extract_features, resize_to_model

METHODS = {
    "fine-tuned on the new films": {"distance_weight": 0.0},
    "fine-tuned, CORAL term": {"distance": "coral", "distance_weight": 0.1},
    "fine-tuned, MMD term": {"distance": "mmd", "distance_weight": 0.1},
}


def other_scanner(images, seed=0):
    """The same films as from another scanner: darker gamma, less contrast, blurred, noisy."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    x = 0.15 + 0.7 * images**1.6
    x = gaussian_filter(x, (0, 0.8, 0.8, 0))
    return np.clip(x + rng.normal(0, 0.03, x.shape), 0, 1).astype("float32")


def hospitals(model, data):
    """Yields (title, old, new): each a dict of images and labels by split; the new one's labels only judge."""

    def read(file):
        path = data / file
        return {s: (resize_to_model(model, load_npz(path, s)), load_npz_labels(path, s)) for s in ("train", "test")}

    children, adults = read("pneumoniamnist_28.npz"), read("chestxray_256.npz")
    (images, labels), (test, test_labels) = children["train"], children["test"]
    half = np.random.default_rng(0).permutation(len(images)) < len(images) // 2
    old = {"train": (images[half], labels[half]), "test": (test, test_labels)}
    new = {"train": (other_scanner(images[~half]), labels[~half]), "test": (other_scanner(test, 1), test_labels)}
    yield "The same children, a simulated scanner", old, new
    yield "Adults in the USA, then children in China", adults, children


def auc(model, old, new, align=False, prepare=lambda x: x):
    """Of the probe on the old hospital's latents, at the old and at the new hospital."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def numbers(images):
        return extract_features(model, prepare(images))

    known = numbers(old["train"][0])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=3000, class_weight="balanced"))
    probe.fit(known, old["train"][1])
    result = []
    for hospital in (old, new):
        images, labels = hospital["test"]
        x = numbers(images)
        if align and hospital is new:  # the transform is learned from unlabelled training films
            x = coral(known, numbers(new["train"][0]), x)
        result.append(classification_metrics(probe.predict_proba(x), labels)["auc"])
    return result


def psnr(model, images):
    return bootstrap_mean_ci(metrics.per_image(metrics.psnr, images, model.reconstruct(images)))


def measures(model, old, new, archive, align=False, prepare=lambda x: x):
    at_old, at_new = auc(model, old, new, align, prepare)
    return {
        "psnr_new": psnr(model, new["test"][0]),
        "psnr_old": psnr(model, old["test"][0]),
        "psnr_training_archive": psnr(model, archive),
        "auc_old": at_old,
        "auc_new": at_new,
    }


def results(name, data):
    """Yields (title, method, measures)."""
    model = medzoo.load(name)
    archive = to_float(load_npz(data / "medical_mnist_64.npz", "test", ["chest_xray"]))
    for title, old, new in hospitals(model, data):
        yield title, "as it is", measures(model, old, new, archive)
        yield (
            title,
            "as it is; exposure standardised for the probe",
            measures(model, old, new, archive, False, standardize),
        )
        yield title, "as it is; latents aligned (CORAL)", measures(model, old, new, archive, True)
        for method, arguments in METHODS.items():
            adapted = adapt(model, old["train"][0], new["train"][0], **arguments)
            yield title, method, measures(adapted, old, new, archive)
            yield title, f"{method}; latents aligned", measures(adapted, old, new, archive, True)


def figure(path, rows):
    from matplotlib.figure import Figure

    titles = list(dict.fromkeys(title for title, _, _ in rows))
    drawing = Figure(figsize=(10, 3 * len(titles)), layout="constrained")
    for (left, right), title in zip(drawing.subplots(len(titles), 2, sharey="row"), titles, strict=True):
        own = [(method, m) for t, method, m in rows if t == title]
        for i, (_, m) in enumerate(own):
            for axis, key, color in ((left, "psnr_new", "C0"), (right, "auc_new", "C1")):
                axis.plot(m[key]["interval"], [i, i], color=color, alpha=0.5)
                axis.plot(m[key]["mean"], i, "o", color=color)
        left.set_yticks(range(len(own)), [method for method, _ in own], fontsize=8)
        left.invert_yaxis()
        left.set(xlabel="PSNR at the new hospital, dB", title=title)
        right.set(xlabel="AUC of the old probe at the new hospital")
        for axis in (left, right):
            axis.grid(axis="x", alpha=0.3)
    drawing.savefig(path, dpi=120)


TEXT = """`{model}`, adapted with the new hospital's training films, no labels. PSNR of reconstructions of test films
(new hospital, old hospital, and the archive that the preset was trained on: what is forgotten), AUC for pneumonia of a
logistic regression on the latents, fitted to labelled films of the old hospital only. 95% bootstrap intervals over
images. The simulated scanner lowers gamma and contrast, blurs, and adds noise; its films show the same children as the
old hospital's test films, so nothing but the scanner differs."""


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder with the archives.")
@click.option("--model", default="ae-chestxray-64", show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, model, out):
    rows = []
    for row in results(model, data):
        rows.append(row)
        click.echo(f"{row[1]:44} PSNR {format_ci(row[2]['psnr_new'])} AUC {format_ci(row[2]['auc_new'], 3)}")
    header = ["", "PSNR, new", "PSNR, old", "PSNR, training archive", "AUC, old", "AUC, new"]
    tables = []
    for title in dict.fromkeys(t for t, _, _ in rows):
        cells = [
            [
                method,
                format_ci(m["psnr_new"]),
                f"{m['psnr_old']['mean']:.2f}",
                f"{m['psnr_training_archive']['mean']:.2f}",
                f"{m['auc_old']['mean']:.3f}",
                format_ci(m["auc_new"], 3),
            ]
            for t, method, m in rows
            if t == title
        ]
        tables.append((title, header, cells))
    facts = {
        "backend": keras.backend.backend(),
        "model": model,
        "results": [{"hospitals": t, "method": method, **m} for t, method, m in rows],
    }
    figure(out.with_suffix(".png"), rows)
    write(out, "Adapt", tables, facts, TEXT.format(model=model))


if __name__ == "__main__":
    main()
