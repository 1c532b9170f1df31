"""Models of frontal chest X-rays of 64×64 pixels: small models for features, generation and teaching."""

from typing import Any

from medzoo.models import VAE, VQVAE, ConvAutoencoder
from medzoo.recipes import datasets
from medzoo.training.recipe import Recipe, TrainingSource

NETWORK: dict[str, Any] = {"filters": (32, 64, 128), "blocks_per_stage": 1}
SHARED: dict[str, Any] = {
    "data": (TrainingSource(datasets.MEDICAL_MNIST, ["chest_xray"]),),
    "probe": datasets.PNEUMONIA_MNIST,
    "modality": "X-ray",
    "domain": "frontal chest X-rays",
}

RECIPES = [
    Recipe(
        name="ae-chestxray-64",
        model=lambda **own: ConvAutoencoder((64, 64, 1), latent_dim=64, **NETWORK, **own),
        description="One latent vector per chest X-ray, for features and retrieval; small, for teaching.",
        tasks=("retrieve",),
        epochs=48,
        **SHARED,
    ),
    Recipe(
        name="vae-chestxray-64",
        model=lambda **own: VAE((64, 64, 1), latent_dim=128, **NETWORK, **own),
        description="Generation of small chest X-rays, features and 2D projections; small, for teaching and tests.",
        tasks=("generate", "retrieve"),
        epochs=60,
        **SHARED,
    ),
    Recipe(
        name="vqvae-chestxray-64",
        model=lambda **own: VQVAE(
            (64, 64, 1), latent_dim=8, codebook_size=512, filters=(32,), blocks_per_stage=3, **own
        ),
        description="Chest X-rays as a few hundred discrete codes, for learned priors, compression and teaching.",
        tasks=("encode",),
        epochs=25,
        **SHARED,
    ),
]
