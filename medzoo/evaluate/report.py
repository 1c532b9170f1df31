"""Measures a trained preset on its archive's test split and writes metrics and card beside it."""

from medzoo.evaluate.card import interval, write_card
from medzoo.evaluate.reconstruction import evaluate, write_metrics
from medzoo.zoo.presets import load


def report(folder, data, classes=None):
    """Writes `metrics.json`, `README.md` and `samples.png` into a preset folder.

    Args:
        folder: preset folder as a recipe leaves it.
        data: the archive it was trained on.
        classes: the recipe's.

    Returns: a line that sums up.
    """
    result = evaluate(load(folder), data, "test", classes)
    write_metrics(folder, result)
    write_card(folder)
    pca = f"; PCA {interval(result['pca']['psnr'])}" if "pca" in result else ""
    return f"{folder}: test PSNR {interval(result['psnr'])} dB, SSIM {interval(result['ssim'], 4)}{pca}"
