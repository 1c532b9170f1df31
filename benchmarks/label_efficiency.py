"""Label efficiency of frozen features and of fine-tuning, with 1, 10 and 100% of the labels.

    KERAS_BACKEND=torch python benchmarks/label_efficiency.py --data DIR --out benchmarks/label_efficiency

DIR contains pediatric_cxr (pneumonia or normal; the official test images), breast_us_192.npz (malignant or other;
image-level split) and brainmri_128.npz (four classes; image-level split, so slices of one patient may be in the
training and the test split). Images are resized to 96 pixels. Subsets of the labels are sampled five times, equally for
every row, with at least two images per class. Frozen: logistic regression; the regularization strength and the feature
type ("latent" or "encoder") are selected on validation images. Fine-tuned: the masked autoencoder whose frozen features
have the higher validation AUC with 10% of the labels, trained for 2 epochs of the head and 6 epochs of all layers,
compared with the same network trained from scratch for as many steps; the epoch with the lowest validation loss is
kept. The tables list the AUC of the test images (one-versus-rest for four classes), averaged over the subsets, with 95%
intervals, also of paired differences, from resampling images and seeds. With `--only`, the other rows are those of the
previous run.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import click
import keras
import numpy as np
from common import bootstrap_over_seeds, cached, description, use_one_core, write_page

import medzoo
from medzoo.data.datasets import open_dataset
from medzoo.data.npz import to_float
from medzoo.io.intensity import center_crop_resize
from medzoo.metrics.bootstrap import format_ci
from medzoo.metrics.classification import macro_roc_auc
from medzoo.tasks.classify import fine_tune
from medzoo.tasks.features import extract_features, resize_to_model

SIDE, SEEDS = 96, 5
FRACTIONS = (0.01, 0.1, 1.0)
STRENGTHS = (1e-3, 1e-2, 1e-1)
TASKS = {
    "pediatric pneumonia": ("pediatric_cxr", None),
    "breast ultrasound, malignant": ("breast_us_192.npz", "malignant"),
    "brain MR, four classes": ("brainmri_128.npz", None),
}
MASKED = ("mae-chestxray", "mae-medical")
UNTRAINED = "random initialization"
EPOCHS, STEPS = (2, 6), {0.01: 20, 0.1: 20, 1.0: 50}  # batches of 16 per epoch


@lru_cache(1)
def read(data, task, side=SIDE):
    """Return `{split: (uint8 images (N, side, side, 1), labels)}`."""
    name, positive = TASKS[task]
    dataset = open_dataset(data / name, 224)
    found = {}
    for split in ("train", "val", "test"):
        images = np.round(255 * center_crop_resize(to_float(dataset.images(split)), (side, side))).astype("uint8")
        labels = np.asarray(dataset.labels(split))
        found[split] = images, labels if positive is None else labels == dataset.class_names.index(positive)
    return {split: (images, labels.astype(int)) for split, (images, labels) in found.items()}


def stratified_subset(labels, fraction, seed):
    """Return the indices of a stratified fraction of the images, at least two per class."""
    rng = np.random.default_rng(seed)
    own = (np.flatnonzero(labels == k) for k in np.unique(labels))
    return np.sort(np.concatenate([rng.choice(i, max(2, round(fraction * len(i))), replace=False) for i in own]))


def frozen(data, task, name):
    """Return `(row, scores, validation AUC)` of the features of a preset, of PCA, or of an untrained network."""
    images = read(data, task)
    labels = {split: own for split, (_, own) in images.items()}
    best = None
    for feature_type, seen in feature_sets(name, {split: own for split, (own, _) in images.items()}):
        scores, validation = {}, {}
        for fraction in FRACTIONS:
            tried = []
            for strength in STRENGTHS:
                pairs = [probe(seen, labels, fraction, seed, strength) for seed in range(SEEDS if fraction < 1 else 1)]
                tried.append((np.mean([macro_roc_auc(v, labels["val"]) for v, _ in pairs]), [t for _, t in pairs]))
            validation[fraction], scores[fraction] = max(tried, key=lambda pair: pair[0])
        if best is None or validation[0.1] > best[2][0.1]:
            best = f"{name}, {feature_type}" if feature_type else name, scores, validation
    return best


def probe(seen, labels, fraction, seed, strength):
    """Return the probabilities of validation and test images."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chosen = stratified_subset(labels["train"], fraction, seed)
    regression = LogisticRegression(C=strength, max_iter=300, class_weight="balanced")
    model = make_pipeline(StandardScaler(), regression).fit(seen["train"][chosen], labels["train"][chosen])
    return model.predict_proba(seen["val"]), model.predict_proba(seen["test"])


def feature_sets(name, images):
    """Yield `(feature type, {split: features})`."""
    if name == "pixels, PCA with 256 components":
        from sklearn.decomposition import PCA

        flat = {split: to_float(x).reshape(len(x), -1) for split, x in images.items()}
        pca = PCA(min(256, len(flat["train"])), svd_solver="randomized", random_state=0).fit(flat["train"])
        yield "", {split: pca.transform(x) for split, x in flat.items()}
        return
    keras.utils.set_random_seed(0)
    model = medzoo.load(MASKED[0] if name == UNTRAINED else name)
    if name == UNTRAINED:
        model = type(model).from_config(model.get_config())
    for feature_type in ("latent", "encoder"):
        yield (
            feature_type,
            {split: extract_features(model, resize_to_model(model, x), feature_type) for split, x in images.items()},
        )


def tuned(data, task, name, pretrained, fraction, seed):
    """Return the probabilities of the test images."""
    images = read(data, task)
    x, y = images["train"]
    chosen = stratified_subset(y, fraction, seed)
    keras.utils.set_random_seed(seed)
    model = medzoo.Classifier.from_pretrained(name, 1 + int(y.max()), pretrained=pretrained)
    epochs = EPOCHS if pretrained else (0, sum(EPOCHS))
    own = {"epochs": epochs, "learning_rates": (1e-3, 1e-3), "batch_size": 16, "steps": STEPS[fraction]}
    fine_tune(model, x[chosen], y[chosen], images["val"], seed=seed, **own)
    return model.predict(to_float(images["test"][0]), verbose=0)


def frozen_job(job):
    cache, data, task, name = job
    return cached(cache, ["frozen", task, name], lambda: frozen(data, task, name))


def tuned_job(job):
    cache, data, *rest = job
    return cached(cache, ["tuned", *rest], lambda: tuned(data, *rest))


def fine_tuned(pool, cache, data, best):
    """Return `{(task, pretrained, fraction): [probabilities of the test images per seed]}`."""
    keys = [(t, pretrained, fraction) for t in TASKS for pretrained in (True, False) for fraction in FRACTIONS]
    jobs = {
        (t, *rest): pool.map(tuned_job, [(cache, data, t, best[t], *rest, seed) for seed in range(SEEDS)])
        for t, *rest in keys
    }
    return {key: list(found) for key, found in jobs.items()}


def replaced(table, rows, start):
    """Return a table with new rows instead of those whose names begin with `start`, or after the frozen rows."""
    if not any(name.startswith(start) for name in table):
        start = [name for name in table if not name.endswith("fine-tuned") and not name.startswith("same network")][-1]
        rows = {start: table[start], **rows}
    found = {}
    for name, values in table.items():
        found |= rows if name.startswith(start) else {name: values}
    return found


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data sets.")
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="Folder of intermediate results.")
@click.option("--jobs", default=2, show_default=True, help="Number of processes, one core each.")
@click.option("--only", help="Evaluate the frozen features of this preset only; other rows remain as in OUT.json.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(data, cache, jobs, only, out):
    cache.mkdir(parents=True, exist_ok=True)
    names = [
        "pixels, PCA with 256 components",
        UNTRAINED,
        *(n for n in medzoo.list_models() if medzoo.load(n).spatial_dims == 2),
    ]
    names = [only] if only else names
    with ProcessPoolExecutor(jobs, get_context("spawn"), use_one_core) as pool:
        frozen_rows = {t: pool.map(frozen_job, [(cache, data, t, n) for n in names]) for t in TASKS}
        frozen_rows = {t: dict(zip(names, rows, strict=True)) for t, rows in frozen_rows.items()}
        if not only:
            best = {t: max(MASKED, key=lambda n, rows=rows: rows[n][2][0.1]) for t, rows in frozen_rows.items()}
            runs = fine_tuned(pool, cache, data, best)
    facts = json.loads(out.with_suffix(".json").read_text())["results"] if only else {}
    for task, rows in frozen_rows.items():
        labels = {split: own for split, (_, own) in read(data, task).items()}
        truth, rows = labels["test"], list(rows.values())
        found = {
            f"frozen: {row}": {str(s): bootstrap_over_seeds(own[s], truth, macro_roc_auc) for s in FRACTIONS}
            for row, own, _ in rows
        }
        validation = {row: {str(s): round(float(own[s]), 4) for s in FRACTIONS} for row, _, own in rows}
        if only:
            own = facts[task]
            own["auc"] = replaced(own["auc"], found, f"frozen: {only},")
            own["frozen_on_validation"] = replaced(own["frozen_on_validation"], validation, f"{only},")
            continue
        for row, way in {f"{best[task]}, fine-tuned": True, "same network, from scratch": False}.items():
            found[row] = {str(s): bootstrap_over_seeds(runs[task, way, s], truth, macro_roc_auc) for s in FRACTIONS}
        difference = {
            str(s): bootstrap_over_seeds(runs[task, True, s], truth, macro_roc_auc, runs[task, False, s])
            for s in FRACTIONS
        }
        counts = {
            "test_images": len(truth),
            "labels": {str(s): len(stratified_subset(labels["train"], s, 0)) for s in FRACTIONS},
        }
        facts[task] = {**counts, "auc": found, "difference": difference, "frozen_on_validation": validation}
    figure(out.with_suffix(".png"), {task: own["auc"] for task, own in facts.items()})
    tables = [task_table(task, own) for task, own in facts.items()]
    write_page(out, "Label efficiency", tables, {"backend": keras.backend.backend(), "results": facts}, description())


def task_table(task, facts):
    """Return `(heading, header, rows)` of one task."""
    header = [f"{s:.0%} ({facts['labels'][str(s)]:,})" for s in FRACTIONS]
    rows = facts["auc"] | {"difference, fine-tuned − from scratch": facts["difference"]}
    cells = [[row, *(format_ci(of[str(s)], 3) for s in FRACTIONS)] for row, of in rows.items()]
    return task[0].upper() + task[1:], [f"{facts['test_images']} test images", *header], cells


def figure(path, results):
    from matplotlib.figure import Figure

    plot = Figure(figsize=(12, 5.4), layout="constrained")
    axes = plot.subplots(1, len(results))
    for axis, (task, rows) in zip(axes, results.items(), strict=True):
        kept = [
            row
            for row in rows
            if any(word in row for word in ("PCA", "mae-", "ae-efficientnet-lite0", UNTRAINED, "scratch"))
        ]
        for row, found in rows.items():
            values = [found[str(s)]["mean"] for s in FRACTIONS]
            own = {"label": row, "color": f"C{kept.index(row)}", "marker": "o"} if row in kept else {"color": "0.85"}
            axis.plot([100 * s for s in FRACTIONS], values, "-" if "frozen" in row else "--", **own, zorder=row in kept)
        axis.set(xscale="log", xlabel="Labeled images (%)", ylabel="AUC", title=task)
        axis.set_xticks([100 * s for s in FRACTIONS], [f"{s:.0%}" for s in FRACTIONS])
        axis.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    plot.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
