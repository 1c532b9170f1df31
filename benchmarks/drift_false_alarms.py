"""False-alarm rates and power of the drift tests, and false-alarm rates of the OOD p-values.

    python benchmarks/drift_false_alarms.py --data DIR --out benchmarks/drift_false_alarms

DIR contains medical_mnist_64.npz. The sets are random disjoint parts of one set, so there is no drift: of 700 chest
X-rays of the test split of Medical MNIST (latents of ae-chestxray-64, and its statistics behind `model.ood_pvalue`),
and of 20 normally distributed features. Each false-alarm rate is the fraction of 200 repetitions in which drift was
detected; it should be 5%. The power is the fraction of 40 repetitions where the second set was changed: a gamma of
1.3, or a mean shifted by 0.5 standard deviations. The columns "before" were measured at commit 3aead2c and are kept
from the JSON file: `medzoo drift` reported drift at p <= 0.05 or an AUC of 0.6, and the model warned of a shift above
0.5 standard deviations. P-values of single images are those of 50 further images of the same set with the stated
number of reference images, over 200 repetitions.
"""

import json
from functools import partial
from pathlib import Path

import click
import numpy as np
from common import description, write_page

import medzoo
from medzoo.data.image_dataset import open_dataset
from medzoo.data.npz import to_float
from medzoo.metrics.conformal import conformal_pvalues
from medzoo.metrics.two_sample import ALPHA, two_sample_test
from medzoo.models import ood as after
from medzoo.tasks.features import extract_features
from medzoo.utils.progress import track

PRESET, CLASS = "ae-chestxray-64", "chest_xray"
SIZES, REFERENCES, GAMMA = (10, 30, 100), (30, 100, 400), 1.3


def command_after(old, new, seed):
    return two_sample_test(old, new, seed=seed) <= ALPHA


def method_after(old, new, seed):
    known = after.ReferenceStatistics.from_components(*old)
    return two_sample_test(known.scores, known.scores_from_components(*new), seed=seed) <= ALPHA


def rate(test, sample, repetitions, title):
    return float(np.mean([bool(test(*sample(i), i)) for i in track(range(repetitions), title)]))


def parts(rows, others, size, seed):
    """Return two disjoint sets of `size` images; the second from `others`, which is `rows` or changed images."""
    order = np.random.default_rng(seed).permutation(len(rows[-1]))
    pair = (order[:size], rows), (order[size : 2 * size], others)
    first, second = (tuple(column[chosen] for column in table) for chosen, table in pair)
    return first, second


def single_table(rows, others, size, seed):
    (first,), (second,) = parts((rows,), (others,), size, seed)
    return first, second


def synthetic(shift, size, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, 20)), shift + rng.normal(size=(size, 20))


def single_images(rows, count):
    """Return the fraction of held-out images with p-values up to 0.05 and 0.01."""
    found = []
    for seed in range(200):
        order = np.random.default_rng(seed).permutation(len(rows[-1]))
        known, new = (tuple(column[part] for column in rows) for part in (order[:count], order[count : count + 50]))
        own = after.ReferenceStatistics.from_components(*known)
        found.append(conformal_pvalues(own.scores, own.scores_from_components(*new)))
    return {str(a): round(float((np.concatenate(found) <= a + 1e-9).mean()), 4) for a in (0.05, 0.01)}


def figure(path, results):
    from matplotlib.figure import Figure

    plot = Figure(figsize=(9, 3.4), layout="constrained")
    for axis, (title, own) in zip(plot.subplots(1, len(results), sharey=True), results.items(), strict=True):
        for when, color in (("before", "#D55E00"), ("after", "#0072B2")):
            axis.plot(SIZES, [own[str(n)]["no drift"][when] for n in SIZES], "o-", color=color, label=when)
            axis.plot(SIZES, [own[str(n)]["drift"][when] for n in SIZES], "s:", color=color, label=f"{when}, power")
        axis.axhline(ALPHA, color="k", linewidth=0.8)
        axis.set_xscale("log")
        axis.set_xticks(SIZES, [f"{n}+{n}" for n in SIZES])
        axis.minorticks_off()
        axis.set_xlabel("Images")
        axis.set_title(title, fontsize=9)
    plot.axes[0].set_ylabel("Fraction of sets with detected drift")
    plot.axes[0].legend(fontsize=8)
    plot.savefig(path, dpi=120)


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of the data set.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
@click.option("--repetitions", default=1000, show_default=True, help="Number of repetitions.")
def main(data, out, repetitions):
    kept = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    model = medzoo.load(PRESET)
    dataset = open_dataset(data / "medical_mnist_64.npz")
    chosen = dataset.labels("test").ravel() == dataset.class_names.index(CLASS)
    images = to_float(dataset.images("test")[chosen])
    changed = images**GAMMA
    rows, moved = (after._components(model, x) for x in (images, changed))
    latents, moved_latents = (extract_features(model, x) for x in (images, changed))
    cases = {
        "medzoo drift, X-rays": (
            command_after,
            partial(single_table, latents, latents),
            partial(single_table, latents, moved_latents),
        ),
        "medzoo drift, normal": (command_after, partial(synthetic, 0.0), partial(synthetic, 0.5)),
        "model.distribution_shift_pvalue, X-rays": (
            method_after,
            partial(parts, rows, rows),
            partial(parts, rows, moved),
        ),
    }
    results = {title: {} for title in cases}
    for title, (test, same, other) in cases.items():
        for size in SIZES:
            results[title][str(size)] = own = {}
            for kind, sample, n in (("no drift", same, repetitions), ("drift", other, repetitions // 5)):
                found = rate(test, partial(sample, size), n, title)
                own[kind] = {"before": kept["sets"][title][str(size)][kind]["before"], "after": found}
            click.echo(f"{title}, {size}+{size}: {results[title][str(size)]}")
    single = {str(n): {"before": kept["images"][str(n)]["before"], "after": single_images(rows, n)} for n in REFERENCES}
    figure(out.with_suffix(".png"), results)
    sets = [
        [title, f"{n}+{n}", *(f"{own[n][kind][when]:.1%}" for kind in own[n] for when in ("before", "after"))]
        for title, own in results.items()
        for n in own
    ]
    shown = [
        [n, *(f"{own[when][a]:.1%}" for a in ("0.05", "0.01") for when in ("before", "after"))]
        for n, own in single.items()
    ]
    header = ["test", "images", "false alarms, before", "after", "power, before", "after"]
    below = ["reference images", "p <= 0.05, before", "after", "p <= 0.01, before", "after"]
    facts = {"repetitions": repetitions, "sets": results, "images": single}
    tables = [("Sets of images", header, sets), ("Single in-distribution images", below, shown)]
    write_page(out, "False alarms of drift tests and OOD p-values", tables, facts, description())


if __name__ == "__main__":
    main()
