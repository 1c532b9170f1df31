"""Recipes: how each preset was trained. `recipe(name).train(data, out)` makes it again."""

from importlib import import_module

_MODULES = {
    "ae-chestxray": "ae_chestxray",
    "vae-chestxray": "vae_chestxray",
    "vqvae-chestxray": "vqvae_chestxray",
}


def names():
    """Names of the recipes."""
    return list(_MODULES)


def recipe(name):
    """The recipe of a preset, see `medzoo.recipes.training.Recipe`.

    Raises:
        ValueError: no such recipe.
    """
    if name not in _MODULES:
        raise ValueError(f"no recipe {name!r}; there is: {', '.join(_MODULES)}.")
    return import_module(f"medzoo.recipes.{_MODULES[name]}").RECIPE
