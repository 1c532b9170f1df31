"""Volumes of the region of the hippocampus in MR, 32x48x32 voxels of 1 mm."""

from medzoo.data.phantom import head_volume
from medzoo.models import VAE, VQVAE, ConvAutoencoder
from medzoo.recipes import datasets as sources
from medzoo.training.recipe import Recipe, TrainingSource

SHARED = {
    "data": (TrainingSource(sources.HIPPOCAMPUS),),
    "modality": "MR",
    "domain": "volumes of the region of the hippocampus (T1-weighted MR)",
}
WHOLE = {  # not mirrored: all lie the same way
    **SHARED,
    "limits": "It learned from 144 volumes of one hospital, and knows only that crop of the head.",
    "epochs": 8,
    "steps": 128,
    "batch_size": 16,
    "learning_rate": 2e-3,
    "augment": {"translation": 3.0, "affine": 0.12, "contrast": 0.15},
}
SIZE = (*sources.HIPPOCAMPUS["size"], 1)
NARROW = {"latent_dim": 256, "filters": (16, 32, 64)}

RECIPES = [
    Recipe(
        name="ae-hippocampus",
        model=lambda **own: ConvAutoencoder(SIZE, **NARROW, **own),
        description="Whole volumes as 256 numbers: features, search, maps.",
        tasks=("explore",),
        example_images=(lambda size, seed: head_volume(sources.HIPPOCAMPUS["size"], seed),),
        **WHOLE,
    ),
    Recipe(
        name="vae-hippocampus",
        model=lambda **own: VAE(SIZE, **NARROW, **own),
        description="Whole volumes as 256 smooth numbers; draws new ones.",
        tasks=("generate", "explore"),
        **WHOLE,
    ),
    Recipe(
        name="vqvae-hippocampus",
        model=lambda **own: VQVAE(
            (None, None, None, 1), latent_dim=8, codebook_size=1024, filters=(48,), blocks_per_stage=2, **own
        ),
        description="MR volumes of any size as whole numbers; a start for segmenting them.",
        tasks=("reconstruct", "segment"),
        limits="It learned from 144 volumes of one hospital; each code stands for 4×4×4 voxels and knows little of the "
        "whole.",
        example_images=(lambda size, seed: head_volume(sources.HIPPOCAMPUS["size"], seed),),
        epochs=16,
        steps=100,
        batch_size=8,
        learning_rate=1e-3,
        augment={"translation": 3.0, "affine": 0.1, "contrast": 0.15, "flip": True},
        **SHARED,
    ),
]
