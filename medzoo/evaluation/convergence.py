"""Check whether a preset has converged: `python -m medzoo.evaluation.convergence`.

Trains presets for another 10% of their steps, for presets whose training did not record the final 20%. The improvement
on validation images is added to `training.json` and to the model card; the weights do not change.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medzoo.evaluation.model_card import read_json
from medzoo.evaluation.publish import publish
from medzoo.recipes import recipe
from medzoo.training.trainer import validation_images
from medzoo.utils.files import write_json
from medzoo.zoo.manifest import BUNDLED
from medzoo.zoo.presets import load

if TYPE_CHECKING:
    from medzoo.training.recipe import Recipe


@click.command(help=__doc__)
@click.argument("names", nargs=-1, required=True, metavar="PRESET...")
@click.option(
    "--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder with the training datasets."
)
def main(names, data):
    for name in names:
        own, folder = recipe(name), BUNDLED / name
        gained = train_further(own, [data / part.source["file"] for part in own.data])
        click.echo(f"{name}: {gained}")
        write_json(folder / "training.json", {**read_json(folder, "training.json"), "extra_10_percent": gained})
    publish()


def train_further(recipe: "Recipe", data: Sequence[Path]) -> dict[str, float]:
    """Train a preset for another 10% of its epochs, at a third of its learning rate.

    Args:
        recipe: The preset's recipe.
        data: Paths of its training datasets.

    Returns:
        Dict with the improvement on validation images: `"psnr"`, the increase in dB, and `"loss"`, the decrease
        relative to the loss before.
    """
    further = replace(
        recipe,
        initial_weights=recipe.name,
        epochs=-(-recipe.epochs // 10),
        learning_rate=recipe.learning_rate / 3,
    )
    images = validation_images(recipe, [dataset for dataset, _ in recipe.open_datasets(data)])
    with tempfile.TemporaryDirectory() as folder:
        trained = load(further.train(data, Path(folder) / recipe.name))
    before, after = (_evaluate(model, images) for model in (load(recipe.name), trained))
    lost = (before["loss"] - after["loss"]) / abs(before["loss"])
    return {"psnr": round(after["psnr"] - before["psnr"], 4), "loss": round(lost, 5)}


def _evaluate(model, images):
    model.compile()
    return model.evaluate(images, batch_size=16, verbose=0, return_dict=True)


if __name__ == "__main__":
    main()
