"""Frontal chest films of 64x64 pixels: small models for features, generation and teaching."""

from medzoo.models import VAE, VQVAE, ConvAutoencoder
from medzoo.recipes import sources
from medzoo.recipes.training import Recipe

NET = {"filters": (32, 64, 128), "blocks": 1}
SHARED = {
    "data": "medical_mnist_64.npz",
    "classes": ["chest_xray"],
    "source": sources.MEDICAL_MNIST,
    "probe": sources.PNEUMONIA_MNIST,
    "subject": "frontal chest X-rays",
}
LIMIT = "64×64 pixels show the shape of the chest, not a nodule: good for {} only."

RECIPES = [
    Recipe(
        name="ae-chestxray",
        model=lambda **own: ConvAutoencoder((64, 64, 1), latent_dim=64, **NET, **own),
        limits=LIMIT.format("features and teaching"),
        epochs=48,
        **SHARED,
    ),
    Recipe(
        name="ae-chestxray-z256",
        # 8x8x4 = 256 latents: a vector of 256 hardly left its PCA start (27.6 dB on validation films).
        model=lambda **own: ConvAutoencoder(
            (64, 64, 1), latent_dim=4, bottleneck="spatial", filters=(48, 96), blocks=3, **own
        ),
        limits=LIMIT.format("features and teaching"),
        epochs=32,
        **SHARED,
    ),
    Recipe(
        name="vae-chestxray",
        model=lambda **own: VAE((64, 64, 1), latent_dim=128, **NET, **own),
        limits=LIMIT.format("features, teaching and generation"),
        epochs=60,
        **SHARED,
    ),
    Recipe(
        name="vqvae-chestxray",
        model=lambda **own: VQVAE((64, 64, 1), latent_dim=8, codebook_size=512, filters=(32,), blocks=3, **own),
        limits=LIMIT.format("teaching and for priors over codes"),
        epochs=25,
        **SHARED,
    ),
    Recipe(
        name="sae-chestxray",
        model=lambda **own: ConvAutoencoder(
            (64, 64, 1), latent_dim=128, active=32, filters=(24, 48, 96), blocks=1, **own
        ),
        limits=LIMIT.format("features and teaching"),
        epochs=9,
        **SHARED,
    ),
]
