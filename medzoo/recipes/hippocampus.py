"""Volumes of the region of the hippocampus in MR, 32x48x32 voxels of 1 mm."""

from medzoo.models import VAE, VQVAE, ConvAutoencoder
from medzoo.recipes import sources
from medzoo.recipes.declaration import Part, Recipe

WHOLE = {"image_shape": (*sources.HIPPOCAMPUS["size"], 1), "latent_dim": 128, "filters": (32, 64, 128)}


def drawn(size, seed):
    """A volume that `vae-hippocampus` draws: nobody's."""
    from medzoo.zoo.presets import load

    return load("vae-hippocampus").sample(1, seed=seed)[0]


SHARED = {
    "data": (Part(sources.HIPPOCAMPUS),),
    "modality": "MR",
    "subject": "volumes of the region of the hippocampus (T1-weighted MR)",
    "limits": "It learned from 144 volumes of one hospital.",
    "phantoms": (drawn,),
    "steps": 100,
    "batch_size": 8,
}
MOVED = {"shift": 3.0, "warp": 0.1, "contrast": 0.15}
RECIPES = [
    Recipe(
        name="ae-hippocampus",
        model=lambda **own: ConvAutoencoder(**WHOLE, **own),
        use="Whole volumes as one vector: features, maps, what is unlike the others.",
        epochs=16,
        augment=MOVED,
        **SHARED,
    ),
    Recipe(
        name="vae-hippocampus",
        model=lambda **own: VAE(**WHOLE, **own),
        use="Drawing volumes, features and maps of whole volumes.",
        epochs=16,
        augment=MOVED,
        **SHARED,
    ),
    Recipe(
        name="vqvae-hippocampus",
        model=lambda **own: VQVAE(
            (None, None, None, 1), latent_dim=8, codebook_size=1024, filters=(48,), blocks=2, **own
        ),
        use="MR volumes of any size as whole numbers; a start for segmenting them.",
        epochs=16,
        learning_rate=1e-3,
        augment={**MOVED, "flip": True},
        **SHARED,
    ),
]
