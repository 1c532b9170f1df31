"""Recipes: how each preset was trained. `recipe(name).train(data, out)` makes it again."""

from importlib import import_module

_MODULES = ("chestxray_64", "chestxray_256", "brainmri", "modalities", "hippocampus", "imagenet")


def _recipes():
    modules = (import_module(f"medzoo.recipes.{name}") for name in _MODULES)
    return {recipe.name: recipe for module in modules for recipe in module.RECIPES}


def names():
    """Names of the recipes."""
    return list(_recipes())


def recipe(name):
    """The recipe of a preset, see `medzoo.training.recipe.Recipe`.

    Raises:
        ValueError: no such recipe.
    """
    recipes = _recipes()
    if name not in recipes:
        raise ValueError(f"no recipe {name!r}; there is: {', '.join(recipes)}.")
    return recipes[name]
