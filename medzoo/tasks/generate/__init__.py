"""Draw images that nobody's body gave: from the prior, from where real latents lie, between two images."""

from medzoo.tasks.generate.code_prior import CodePrior
from medzoo.tasks.generate.draw import (
    AggregatePosterior,
    copies,
    draw,
    draw_like,
    drawn_files,
    interpolate,
    nearest,
    new_images,
    save_drawn,
)

__all__ = [
    "AggregatePosterior",
    "CodePrior",
    "copies",
    "draw",
    "draw_like",
    "drawn_files",
    "interpolate",
    "nearest",
    "new_images",
    "save_drawn",
]
