"""MR slices of the head, 128x128 pixels, in three planes, with and without tumours."""

from medzoo.data.phantom import head_phantom
from medzoo.models import VAE, VQVAE
from medzoo.recipes import datasets as sources
from medzoo.recipes.chestxray_256 import CROPS, WIDE
from medzoo.training.recipe import Recipe, TrainingSource

SHARED = {
    "data": (TrainingSource(sources.BRAIN_MRI),),
    "example_images": (head_phantom,),
    "modality": "MR",
    "domain": "MR slices of the head (axial, coronal and sagittal)",
    "augment": CROPS,
}

RECIPES = [
    Recipe(
        name="vae-brainmri",
        model=lambda **own: VAE(latent_dim=8, **WIDE, **own),
        description="Slices of any size as a small grid of smooth latents, to train on, to draw from.",
        tasks=("generate", "encode"),
        limits="A small tumour may be drawn where none is, and one that is there smoothed.",
        initial_weights="vae-medical",
        epochs=8,
        steps=500,
        batch_size=16,
        learning_rate=7e-4,
        **SHARED,
    ),
    Recipe(
        name="vqvae-brainmri",
        model=lambda **own: VQVAE(
            (None, None, 1), latent_dim=8, codebook_size=512, filters=(32,), blocks_per_stage=3, **own
        ),
        description="Faithful reconstruction of slices of any size, from whole numbers.",
        tasks=("reconstruct", "encode"),
        limits="Each code stands for 4×4 pixels and knows little of the head as a whole.",
        epochs=11,
        **SHARED,
    ),
]
