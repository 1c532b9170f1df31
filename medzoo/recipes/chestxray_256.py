"""Chest films of 256x256 pixels and more: one latent grid point for 8x8 pixels, learned from crops."""

from medzoo.models import VAE, VQVAE, Codec, ConvAutoencoder
from medzoo.recipes import sources
from medzoo.recipes.training import Recipe

OPEN = {"image_shape": (None, None, 1), "bottleneck": "spatial", "filters": (48, 96), "blocks": 2}
SHARED = {
    "data": "chestxray_256.npz",
    "classes": None,
    "source": sources.CHESTXRAY14,
    "subject": "frontal chest X-rays",
    "batch_size": 16,
    "augment": {"crop": 64, "contrast": 0.2, "flip": True},
}
LIMIT = (
    "It was trained on films reduced to 256×256 pixels; it takes larger ones, but has not seen the grain of a film at "
    "its full resolution."
)

RECIPES = [
    Recipe(
        name="ae-chestxray-256",
        model=lambda **own: ConvAutoencoder(latent_dim=4, **OPEN, **own),
        limits=LIMIT,
        epochs=20,
        **SHARED,
    ),
    Recipe(
        name="vae-chestxray-256",
        model=lambda **own: VAE(latent_dim=1, **OPEN, **own),
        limits=LIMIT,
        epochs=20,
        learning_rate=1e-3,
        **SHARED,
    ),
    Recipe(
        name="vqvae-chestxray-256",
        model=lambda **own: VQVAE(latent_dim=8, codebook_size=1024, **OPEN, **own),
        limits=LIMIT,
        epochs=12,
        **SHARED,
    ),
    Recipe(
        name="dae-chestxray-256",
        model=lambda **own: ConvAutoencoder(
            latent_dim=16, noise_std=(0.0, 0.12), photon_noise=(0.0, 0.12), **OPEN, **own
        ),
        limits=LIMIT + " The noise it learned to remove is independent from pixel to pixel; scanner noise is not.",
        epochs=9,
        **SHARED,
    ),
    Recipe(
        name="codec-chestxray-256",
        model=lambda **own: Codec(latent_dim=16, **OPEN, **own),
        limits=LIMIT,
        epochs=12,
        learning_rate=1e-3,
        **{**SHARED, "batch_size": 8, "augment": {**SHARED["augment"], "crop": 96}},
    ),
]
