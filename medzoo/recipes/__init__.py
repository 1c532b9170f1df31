"""Recipes: the training settings of each preset. `recipe(name).train(data, out)` trains it again."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medzoo.training.recipe import Recipe

_MODULES = ("chestxray_64", "chestxray_256", "brainmri", "modalities", "hippocampus", "imagenet", "ct")


def _recipes():
    modules = (import_module(f"medzoo.recipes.{name}") for name in _MODULES)
    return {recipe.name: recipe for module in modules for recipe in module.RECIPES}


def names() -> list[str]:
    """Return the names of all recipes."""
    return list(_recipes())


def recipe(name: str) -> "Recipe":
    """Return the recipe of a preset.

    Args:
        name: Name of a preset, e.g. `"vae-chestxray"`.

    Returns:
        A `medzoo.training.recipe.Recipe`.

    Raises:
        ValueError: If there is no recipe of this name.
    """
    recipes = _recipes()
    if name not in recipes:
        raise ValueError(f"recipe: unknown name {name!r}. Expected one of {', '.join(recipes)}.")
    return recipes[name]
