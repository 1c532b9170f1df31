"""Models of hippocampus MR volumes, 32×48×32 voxels of 1 mm."""

from typing import Any

from medzoo.data.phantom import head_volume
from medzoo.models import VAE, VQVAE, ConvAutoencoder
from medzoo.recipes import datasets
from medzoo.training.recipe import Recipe, TrainingSource

SHARED: dict[str, Any] = {
    "data": (TrainingSource(datasets.HIPPOCAMPUS),),
    "modality": "MR",
    "domain": "volumes of the region of the hippocampus (T1-weighted MR)",
}
VECTOR: dict[str, Any] = {  # no flips: all volumes have the same orientation
    **SHARED,
    "limitations": "The model was trained on 144 volumes of one site, which show this region of the head only.",
    "epochs": 8,
    "steps": 128,
    "batch_size": 16,
    "learning_rate": 2e-3,
    "augment": {"translation": 3.0, "affine": 0.12, "contrast": 0.15},
}
SIZE = (*datasets.HIPPOCAMPUS["size"], 1)
NARROW: dict[str, Any] = {"latent_dim": 256, "filters": (16, 32, 64)}

RECIPES = [
    Recipe(
        name="ae-hippocampus",
        model=lambda **own: ConvAutoencoder(SIZE, **NARROW, **own),
        description="One 256-dimensional latent vector per volume, for features, retrieval and 2D projections.",
        tasks=("retrieve",),
        example_images=(lambda size, seed: head_volume(datasets.HIPPOCAMPUS["size"], seed),),
        **VECTOR,
    ),
    Recipe(
        name="vae-hippocampus",
        model=lambda **own: VAE(SIZE, **NARROW, **own),
        description="One 256-dimensional latent vector per volume, with a learned prior for generation.",
        tasks=("generate", "retrieve"),
        **VECTOR,
    ),
    Recipe(
        name="vqvae-hippocampus",
        model=lambda **own: VQVAE(
            (None, None, None, 1), latent_dim=8, codebook_size=1024, filters=(48,), blocks_per_stage=2, **own
        ),
        description="MR volumes of any size as discrete codes; initialization for 3D segmentation.",
        tasks=("reconstruct", "segment"),
        limitations="The model was trained on 144 volumes of one site. Each code describes 4×4×4 voxels and contains "
        "little information about global anatomy.",
        example_images=(lambda size, seed: head_volume(datasets.HIPPOCAMPUS["size"], seed),),
        epochs=16,
        steps=100,
        batch_size=8,
        learning_rate=1e-3,
        augment={"translation": 3.0, "affine": 0.1, "contrast": 0.15, "flip": True},
        **SHARED,
    ),
]
