"""Look around in the latents: maps, traversals, similar cases, what a latent sees, and drift between data sets."""

from medzoo.tasks.explore.drift import drift
from medzoo.tasks.explore.latents import integrated_gradients, mutual_information_gap, occlusion, traverse
from medzoo.tasks.explore.maps import latent_map, map_folders
from medzoo.tasks.explore.similar import SimilarCases

__all__ = [
    "SimilarCases",
    "drift",
    "integrated_gradients",
    "latent_map",
    "map_folders",
    "mutual_information_gap",
    "occlusion",
    "traverse",
]
