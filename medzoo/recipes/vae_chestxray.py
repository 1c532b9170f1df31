"""vae-chestxray: frontal chest films of 64x64 pixels to 128 numbers, and back."""

from medzoo.models import VAE
from medzoo.recipes import sources
from medzoo.recipes.training import Recipe

RECIPE = Recipe(
    name="vae-chestxray",
    model=lambda seed: VAE(
        (64, 64, 1), latent_dim=128, filters=(32, 64, 128), blocks=1, seed=seed, name="vae-chestxray"
    ),
    classes=["chest_xray"],
    source=sources.MEDICAL_MNIST,
    subject="frontal chest X-rays",
    limits="64×64 pixels show the shape of the chest, not a nodule: good for features, teaching and generation only.",
    epochs=60,
)
