"""MR slices of the head, 128x128 pixels, in three planes, with and without tumours."""

from medzoo.images.phantom import head_phantom
from medzoo.models import VAE, VQVAE
from medzoo.recipes import sources
from medzoo.recipes.chestxray_256 import CROPS, WIDE
from medzoo.recipes.declaration import Part, Recipe

SHARED = {
    "data": (Part(sources.BRAIN_MRI),),
    "phantoms": (head_phantom,),
    "modality": "MR",
    "subject": "MR slices of the head (axial, coronal and sagittal)",
    "augment": CROPS,
}

RECIPES = [
    Recipe(
        name="vae-brainmri",
        model=lambda **own: VAE(latent_dim=8, **WIDE, **own),
        use="Slices of any size as a small grid of smooth latents, to train on, to draw from.",
        tasks=("generate", "encode"),
        limits="A small tumour may be drawn where none is, and one that is there smoothed.",
        start="vae-medical",
        epochs=8,
        steps=500,
        batch_size=16,
        learning_rate=7e-4,
        **SHARED,
    ),
    Recipe(
        name="vqvae-brainmri",
        model=lambda **own: VQVAE((None, None, 1), latent_dim=8, codebook_size=512, filters=(32,), blocks=3, **own),
        use="Faithful reconstruction of slices of any size, from whole numbers.",
        tasks=("reconstruct", "encode"),
        limits="Each code stands for 4×4 pixels and knows little of the head as a whole.",
        epochs=11,
        **SHARED,
    ),
]
