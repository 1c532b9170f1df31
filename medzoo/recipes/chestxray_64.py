"""Frontal chest films of 64x64 pixels: small models for features, generation and teaching."""

from medzoo.models import VAE, VQVAE, ConvAutoencoder
from medzoo.recipes import datasets as sources
from medzoo.training.recipe import Recipe, TrainingSource

NET = {"filters": (32, 64, 128), "blocks_per_stage": 1}
SHARED = {
    "data": (TrainingSource(sources.MEDICAL_MNIST, ["chest_xray"]),),
    "probe": sources.PNEUMONIA_MNIST,
    "modality": "X-ray",
    "domain": "frontal chest X-rays",
}

RECIPES = [
    Recipe(
        name="ae-chestxray-64",
        model=lambda **own: ConvAutoencoder((64, 64, 1), latent_dim=64, **NET, **own),
        description="Features of whole films as one short vector; finding films unlike the normal ones; small, for teaching.",
        tasks=("explore",),
        epochs=48,
        **SHARED,
    ),
    Recipe(
        name="vae-chestxray-64",
        model=lambda **own: VAE((64, 64, 1), latent_dim=128, **NET, **own),
        description="Drawing small films, features and maps of whole films; small, for teaching and tests.",
        tasks=("generate", "explore"),
        epochs=60,
        **SHARED,
    ),
    Recipe(
        name="vqvae-chestxray-64",
        model=lambda **own: VQVAE(
            (64, 64, 1), latent_dim=8, codebook_size=512, filters=(32,), blocks_per_stage=3, **own
        ),
        description="Films as a few hundred whole numbers: codes for priors, compression and teaching.",
        tasks=("encode",),
        epochs=25,
        **SHARED,
    ),
]
