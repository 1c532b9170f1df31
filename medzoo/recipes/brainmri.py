"""Models of 2D brain MR images, 128×128 pixels, in three planes, with and without tumors."""

from typing import Any

from medzoo.data.phantom import head_phantom
from medzoo.models import VAE, VQVAE
from medzoo.recipes import datasets
from medzoo.recipes.chestxray_256 import CROPS, WIDE
from medzoo.training.recipe import Recipe, TrainingSource

SHARED: dict[str, Any] = {
    "data": (TrainingSource(datasets.BRAIN_MRI),),
    "example_images": (head_phantom,),
    "modality": "MR",
    "domain": "MR slices of the head (axial, coronal and sagittal)",
    "augment": CROPS,
}

RECIPES = [
    Recipe(
        name="vae-brainmri",
        model=lambda **own: VAE(latent_dim=8, **WIDE, **own),
        description="Spatial VAE for brain MR slices of any size: generation and training on latents.",
        tasks=("generate", "encode"),
        limitations="Generated images may show tumors, and reconstructions may smooth out small tumors.",
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
        description="Reconstruction of brain MR slices of any size from discrete codes.",
        tasks=("reconstruct", "encode"),
        limitations="Each code describes 4×4 pixels and contains little information about global anatomy.",
        epochs=11,
        **SHARED,
    ),
]
