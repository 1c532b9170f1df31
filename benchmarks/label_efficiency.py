"""What labels buy: each preset's frozen features, and the best preset fine-tuned, at 1, 10 and 100% of the labels.

    KERAS_BACKEND=torch python benchmarks/label_efficiency.py --data DIR --out benchmarks/label_efficiency

DIR holds pediatric_cxr (pneumonia or none; the official test films), breast_us_192.npz (malignant or not; split by
image) and brainmri_128.npz (four classes; split by image, so slices of one patient may stand on both sides); images are
brought to 96 pixels. Where not all labels are used, five draws of them, the same for every row, at least two images a
class. Frozen: logistic regression; its strength of regularisation and which features of the preset it sees ("latents"
or "deep") are chosen on validation images. Fine-tuned: the masked autoencoder whose frozen features are better on the
validation images at 10% of the labels, 2 epochs of the head and 6 of everything, against the same net from random
weights with as many steps of everything; the epoch of least validation loss is kept. AUC of the test images (of four
classes each against the rest), averaged over the draws; 95% intervals, also of paired differences, by drawing images
and seeds anew. With `--only` the other rows are those of the run before.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import click
import keras
import numpy as np
from common import alone, explained, over, remembered, write

import medzoo
from medzoo.data.datasets import open_dataset
from medzoo.data.npz import to_float
from medzoo.io.intensity import center_crop_resize
from medzoo.metrics.bootstrap import format_ci
from medzoo.metrics.classification import macro_roc_auc
from medzoo.tasks.classify import fine_tune
from medzoo.tasks.features import extract_features, resize_to_model

SIDE, SEEDS = 96, 5
SHARES = (0.01, 0.1, 1.0)
STRENGTHS = (1e-3, 1e-2, 1e-1)
TASKS = {
    "children's pneumonia": ("pediatric_cxr", None),
    "breast ultrasound, malignant": ("breast_us_192.npz", "malignant"),
    "brain MR, four classes": ("brainmri_128.npz", None),
}
MASKED = ("mae-chestxray", "mae-medical")
NET = "random weights"
EPOCHS, STEPS = (2, 6), {0.01: 20, 0.1: 20, 1.0: 50}  # batches of 16 an epoch


@lru_cache(1)
def read(data, task, side=SIDE):
    """`{split: (uint8 images (N, side, side, 1), labels)}`."""
    name, positive = TASKS[task]
    collection = open_dataset(data / name, 224)
    found = {}
    for split in ("train", "val", "test"):
        images = np.round(255 * center_crop_resize(to_float(collection.images(split)), (side, side))).astype("uint8")
        labels = np.asarray(collection.labels(split))
        found[split] = images, labels if positive is None else labels == collection.class_names.index(positive)
    return {split: (images, labels.astype(int)) for split, (images, labels) in found.items()}


def draw(labels, share, seed):
    """Indices of a stratified share of the images, at least two a class."""
    rng = np.random.default_rng(seed)
    own = (np.flatnonzero(labels == k) for k in np.unique(labels))
    return np.sort(np.concatenate([rng.choice(i, max(2, round(share * len(i))), replace=False) for i in own]))


def frozen(data, task, name):
    """`(row, scores, validation AUC)` of one preset's features, of PCA, or of a masked net's random weights."""
    images = read(data, task)
    labels = {split: own for split, (_, own) in images.items()}
    best = None
    for kind, seen in extract_features_from(name, {split: own for split, (own, _) in images.items()}):
        scores, validation = {}, {}
        for share in SHARES:
            tried = []
            for strength in STRENGTHS:
                pairs = [probe(seen, labels, share, seed, strength) for seed in range(SEEDS if share < 1 else 1)]
                tried.append((np.mean([macro_roc_auc(v, labels["val"]) for v, _ in pairs]), [t for _, t in pairs]))
            validation[share], scores[share] = max(tried, key=lambda pair: pair[0])
        if best is None or validation[0.1] > best[2][0.1]:
            best = f"{name}, {kind}" if kind else name, scores, validation
    return best


def probe(seen, labels, share, seed, strength):
    """Probabilities of validation and test images."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chosen = draw(labels["train"], share, seed)
    regression = LogisticRegression(C=strength, max_iter=300, class_weight="balanced")
    model = make_pipeline(StandardScaler(), regression).fit(seen["train"][chosen], labels["train"][chosen])
    return model.predict_proba(seen["val"]), model.predict_proba(seen["test"])


def extract_features_from(name, images):
    """Yields (kind, {split: features})."""
    if name == "pixels, PCA of 256":
        from sklearn.decomposition import PCA

        flat = {split: to_float(x).reshape(len(x), -1) for split, x in images.items()}
        pca = PCA(min(256, len(flat["train"])), svd_solver="randomized", random_state=0).fit(flat["train"])
        yield "", {split: pca.transform(x) for split, x in flat.items()}
        return
    keras.utils.set_random_seed(0)
    model = medzoo.load(MASKED[0] if name == NET else name)
    if name == NET:
        model = type(model).from_config(model.get_config())
    for kind in ("latents", "deep"):
        yield kind, {split: extract_features(model, resize_to_model(model, x), kind) for split, x in images.items()}


def tuned(data, task, name, pretrained, share, seed):
    """Probabilities of the test images."""
    images = read(data, task)
    x, y = images["train"]
    chosen = draw(y, share, seed)
    keras.utils.set_random_seed(seed)
    model = medzoo.Classifier.from_pretrained(name, 1 + int(y.max()), pretrained=pretrained)
    epochs = EPOCHS if pretrained else (0, sum(EPOCHS))
    own = {"epochs": epochs, "learning_rates": (1e-3, 1e-3), "batch_size": 16, "steps": STEPS[share]}
    fine_tune(model, x[chosen], y[chosen], images["val"], seed=seed, **own)
    return model.predict(to_float(images["test"][0]), verbose=0)


def frozen_job(job):
    cache, data, task, name = job
    return remembered(cache, ["frozen", task, name], lambda: frozen(data, task, name))


def tuned_job(job):
    cache, data, *rest = job
    return remembered(cache, ["tuned", *rest], lambda: tuned(data, *rest))


def fine_tuned(pool, cache, data, best):
    """`{(task, pretrained, share): [probabilities of the test images of each seed]}`."""
    keys = [(t, pretrained, share) for t in TASKS for pretrained in (True, False) for share in SHARES]
    jobs = {
        (t, *rest): pool.map(tuned_job, [(cache, data, t, best[t], *rest, seed) for seed in range(SEEDS)])
        for t, *rest in keys
    }
    return {key: list(found) for key, found in jobs.items()}


def replaced(table, rows, start):
    """A table with new rows in the place of those whose names begin so; if there are none, behind the frozen ones."""
    if not any(name.startswith(start) for name in table):
        start = [name for name in table if not name.endswith("fine-tuned") and not name.startswith("its net")][-1]
        rows = {start: table[start], **rows}
    found = {}
    for name, values in table.items():
        found |= rows if name.startswith(start) else {name: values}
    return found


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="Folder for what was reached.")
@click.option("--jobs", default=2, show_default=True, help="Processes, one core each.")
@click.option("--only", help="Preset whose frozen features are measured; other rows stay as in OUT.json.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(data, cache, jobs, only, out):
    cache.mkdir(parents=True, exist_ok=True)
    names = ["pixels, PCA of 256", NET, *(n for n in medzoo.list_models() if medzoo.load(n).axes == 2)]
    names = [only] if only else names
    with ProcessPoolExecutor(jobs, get_context("spawn"), alone) as pool:
        probed = {t: pool.map(frozen_job, [(cache, data, t, n) for n in names]) for t in TASKS}
        probed = {t: dict(zip(names, rows, strict=True)) for t, rows in probed.items()}
        if not only:
            best = {t: max(MASKED, key=lambda n, rows=rows: rows[n][2][0.1]) for t, rows in probed.items()}
            runs = fine_tuned(pool, cache, data, best)
    facts = json.loads(out.with_suffix(".json").read_text())["results"] if only else {}
    for task, rows in probed.items():
        labels = {split: own for split, (_, own) in read(data, task).items()}
        truth, rows = labels["test"], list(rows.values())
        found = {f"frozen: {row}": {str(s): over(own[s], truth, macro_roc_auc) for s in SHARES} for row, own, _ in rows}
        validation = {row: {str(s): round(float(own[s]), 4) for s in SHARES} for row, _, own in rows}
        if only:
            own = facts[task]
            own["auc"] = replaced(own["auc"], found, f"frozen: {only},")
            own["frozen_on_validation"] = replaced(own["frozen_on_validation"], validation, f"{only},")
            continue
        for row, way in {f"{best[task]}, fine-tuned": True, f"its net from {NET}": False}.items():
            found[row] = {str(s): over(runs[task, way, s], truth, macro_roc_auc) for s in SHARES}
        less = {str(s): over(runs[task, True, s], truth, macro_roc_auc, runs[task, False, s]) for s in SHARES}
        counts = {"test_images": len(truth), "labels": {str(s): len(draw(labels["train"], s, 0)) for s in SHARES}}
        facts[task] = {**counts, "auc": found, "difference": less, "frozen_on_validation": validation}
    figure(out.with_suffix(".png"), {task: own["auc"] for task, own in facts.items()})
    tables = [tabled(task, own) for task, own in facts.items()]
    write(out, "Labels", tables, {"backend": keras.backend.backend(), "results": facts}, explained())


def tabled(task, facts):
    """`(heading, header, rows)` of one task."""
    header = [f"{s:.0%} ({facts['labels'][str(s)]:,})" for s in SHARES]
    rows = facts["auc"] | {"fine-tuned less random": facts["difference"]}
    cells = [[row, *(format_ci(of[str(s)], 3) for s in SHARES)] for row, of in rows.items()]
    return task[0].upper() + task[1:], [f"{facts['test_images']} test images", *header], cells


def figure(path, results):
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(12, 4), layout="constrained")
    axes = drawing.subplots(1, len(results))
    for axis, (task, rows) in zip(axes, results.items(), strict=True):
        kept = [row for row in rows if any(word in row for word in ("PCA", "mae-", "ae-efficientnet-lite0", NET))]
        for row, found in rows.items():
            values = [found[str(s)]["mean"] for s in SHARES]
            own = {"label": row, "color": f"C{kept.index(row)}", "marker": "o"} if row in kept else {"color": "0.85"}
            axis.plot([100 * s for s in SHARES], values, "-" if "frozen" in row else "--", **own, zorder=row in kept)
        axis.set(xscale="log", xlabel="labelled images, %", ylabel="AUC", title=task)
        axis.set_xticks([100 * s for s in SHARES], [f"{s:.0%}" for s in SHARES])
        axis.legend(frameon=False, fontsize=6)
    drawing.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
