"""How far from its best a preset is: trains it on for a tenth of its steps, `python -m medzoo.evaluation.convergence`.

For presets whose training kept no record of its last fifth. What was gained on validation images goes into the preset's
`training.json` and from there into its card; its weights stay as they are.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import click

from medzoo.evaluation.model_card import read_json
from medzoo.evaluation.publish import publish
from medzoo.recipes import recipe
from medzoo.training.trainer import validation_of
from medzoo.utils.files import write_json
from medzoo.zoo.manifest import BUNDLED
from medzoo.zoo.presets import load


@click.command(help=__doc__)
@click.argument("names", nargs=-1, required=True)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder with the archives.")
def main(names, data):
    for name in names:
        own, folder = recipe(name), BUNDLED / name
        gained = trained_on(own, [data / part.source["file"] for part in own.data])
        click.echo(f"{name}: {gained}")
        write_json(folder / "training.json", {**read_json(folder, "training.json"), "a_tenth_more": gained})
    publish()


def trained_on(own, data):
    """What a tenth of a recipe's epochs more, at a third of its rate, gain on its validation images: PSNR in dB, and
    how much of the loss goes."""
    further = replace(own, start=own.name, epochs=-(-own.epochs // 10), learning_rate=own.learning_rate / 3)
    images = validation_of(own, [collection for collection, _ in own.collections(data)])
    with tempfile.TemporaryDirectory() as folder:
        trained = load(further.train(data, Path(folder) / own.name))
    before, after = (measured(model, images) for model in (load(own.name), trained))
    lost = (before["loss"] - after["loss"]) / abs(before["loss"])
    return {"psnr": round(after["psnr"] - before["psnr"], 4), "loss": round(lost, 5)}


def measured(model, images):
    model.compile()
    return model.evaluate(images, batch_size=16, verbose=0, return_dict=True)


if __name__ == "__main__":
    main()
