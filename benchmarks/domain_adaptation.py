"""Unsupervised domain adaptation of a preset: reconstruction quality and linear-probe AUC on the target domain.

    python benchmarks/domain_adaptation.py --data DIR --out benchmarks/domain_adaptation

DIR contains chestxray_256.npz (adult chest X-rays, USA), pneumoniamnist_28.npz (pediatric chest X-rays, China) and
medical_mnist_64.npz. The linear probe is a logistic regression for pneumonia. It is fitted to labeled images of the
source domain only and applied to the target domain.
"""

from pathlib import Path

import click
import keras
import numpy as np
from common import write_page

import medzoo
from medzoo import metrics
from medzoo.data.npz import load_npz, load_npz_labels, to_float
from medzoo.io.intensity import standardize
from medzoo.metrics.bootstrap import bootstrap_mean_ci, format_ci
from medzoo.metrics.classification import classification_metrics
from medzoo.tasks.adapt import adapt, coral
from medzoo.tasks.features import extract_features, resize_to_model

METHODS = {
    "fine-tuned on target images": {"distance_weight": 0.0},
    "fine-tuned, CORAL penalty": {"distance": "coral", "distance_weight": 0.1},
    "fine-tuned, MMD penalty": {"distance": "mmd", "distance_weight": 0.1},
}


def simulated_scanner(images, seed=0):
    """Return the images as of another scanner: darker gamma, lower contrast, blur and noise."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    x = 0.15 + 0.7 * images**1.6
    x = gaussian_filter(x, (0, 0.8, 0.8, 0))
    return np.clip(x + rng.normal(0, 0.03, x.shape), 0, 1).astype("float32")


def domains(model, data):
    """Yield `(title, source, target)`, dicts of images and labels by split; target labels are for evaluation only."""

    def read(file):
        path = data / file
        return {s: (resize_to_model(model, load_npz(path, s)), load_npz_labels(path, s)) for s in ("train", "test")}

    pediatric, adults = read("pneumoniamnist_28.npz"), read("chestxray_256.npz")
    (images, labels), (test, test_labels) = pediatric["train"], pediatric["test"]
    half = np.random.default_rng(0).permutation(len(images)) < len(images) // 2
    source = {"train": (images[half], labels[half]), "test": (test, test_labels)}
    target = {
        "train": (simulated_scanner(images[~half]), labels[~half]),
        "test": (simulated_scanner(test, 1), test_labels),
    }
    yield "Same pediatric patients, simulated scanner", source, target
    yield "Adults (USA) to children (China)", adults, pediatric


def auc(model, source, target, align=False, prepare=lambda x: x):
    """Return the AUC of a probe on latents of the source domain, on the source and on the target domain."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def latents(images):
        return extract_features(model, prepare(images))

    known = latents(source["train"][0])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=3000, class_weight="balanced"))
    probe.fit(known, source["train"][1])
    result = []
    for domain in (source, target):
        images, labels = domain["test"]
        x = latents(images)
        if align and domain is target:  # the transform is fitted to unlabeled training images
            x = coral(known, latents(target["train"][0]), x)
        result.append(classification_metrics(probe.predict_proba(x), labels)["auc"])
    return result


def psnr(model, images):
    return bootstrap_mean_ci(metrics.per_image(metrics.psnr, images, model.reconstruct(images)))


def evaluate(model, source, target, training_data, align=False, prepare=lambda x: x):
    auc_source, auc_target = auc(model, source, target, align, prepare)
    return {
        "psnr_target": psnr(model, target["test"][0]),
        "psnr_source": psnr(model, source["test"][0]),
        "psnr_training_data": psnr(model, training_data),
        "auc_source": auc_source,
        "auc_target": auc_target,
    }


def results(name, data):
    """Yield `(title, method, results)`."""
    model = medzoo.load(name)
    training_data = to_float(load_npz(data / "medical_mnist_64.npz", "test", ["chest_xray"]))
    for title, source, target in domains(model, data):
        yield title, "no adaptation", evaluate(model, source, target, training_data)
        yield (
            title,
            "no adaptation; images standardized for the probe",
            evaluate(model, source, target, training_data, False, standardize),
        )
        yield title, "no adaptation; latents aligned (CORAL)", evaluate(model, source, target, training_data, True)
        for method, arguments in METHODS.items():
            adapted = adapt(model, source["train"][0], target["train"][0], **arguments)
            yield title, method, evaluate(adapted, source, target, training_data)
            yield title, f"{method}; latents aligned", evaluate(adapted, source, target, training_data, True)


def figure(path, rows):
    from matplotlib.figure import Figure

    titles = list(dict.fromkeys(title for title, _, _ in rows))
    plot = Figure(figsize=(10, 3 * len(titles)), layout="constrained")
    for (left, right), title in zip(plot.subplots(len(titles), 2, sharey="row"), titles, strict=True):
        own = [(method, m) for t, method, m in rows if t == title]
        for i, (_, m) in enumerate(own):
            for axis, key, color in ((left, "psnr_target", "C0"), (right, "auc_target", "C1")):
                axis.plot(m[key]["interval"], [i, i], color=color, alpha=0.5)
                axis.plot(m[key]["mean"], i, "o", color=color)
        left.set_yticks(range(len(own)), [method for method, _ in own], fontsize=8)
        left.invert_yaxis()
        left.set(xlabel="PSNR on the target domain (dB)", title=title)
        right.set(xlabel="AUC of the source probe on the target domain")
        for axis in (left, right):
            axis.grid(axis="x", alpha=0.3)
    plot.savefig(path, dpi=120)


TEXT = """`{model}` is adapted with unlabeled training images of the target domain. The tables list the PSNR of
reconstructed test images (target domain, source domain, and the data set that the preset was trained on, which shows
forgetting) and the AUC for pneumonia of a logistic regression on the latents, fitted to labeled images of the source
domain only, with 95% bootstrap intervals over images. The simulated scanner applies a darker gamma, lowers contrast,
blurs, and adds noise. Its images show the same children as the source test images, so the domains differ only in the
scanner."""


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option("--model", default="ae-chestxray-64", show_default=True, help="Preset.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, model, out):
    rows = []
    for row in results(model, data):
        rows.append(row)
        click.echo(f"{row[1]:44} PSNR {format_ci(row[2]['psnr_target'])} AUC {format_ci(row[2]['auc_target'], 3)}")
    header = [
        "Method",
        "PSNR, target (dB)",
        "PSNR, source (dB)",
        "PSNR, training data (dB)",
        "AUC, source",
        "AUC, target",
    ]
    tables = []
    for title in dict.fromkeys(t for t, _, _ in rows):
        cells = [
            [
                method,
                format_ci(m["psnr_target"]),
                f"{m['psnr_source']['mean']:.2f}",
                f"{m['psnr_training_data']['mean']:.2f}",
                f"{m['auc_source']['mean']:.3f}",
                format_ci(m["auc_target"], 3),
            ]
            for t, method, m in rows
            if t == title
        ]
        tables.append((title, header, cells))
    facts = {
        "backend": keras.backend.backend(),
        "model": model,
        "results": [{"domains": t, "method": method, **m} for t, method, m in rows],
    }
    figure(out.with_suffix(".png"), rows)
    write_page(out, "Domain adaptation", tables, facts, TEXT.format(model=model))


if __name__ == "__main__":
    main()
