"""vqvae-chestxray: frontal chest films of 64x64 pixels to 16x16 codes of nine bits, and back."""

from medzoo.models import VQVAE
from medzoo.recipes import sources
from medzoo.recipes.training import Recipe

RECIPE = Recipe(
    name="vqvae-chestxray",
    model=lambda seed: VQVAE(
        (64, 64, 1), latent_dim=8, codebook_size=512, filters=(32,), blocks=3, seed=seed, name="vqvae-chestxray"
    ),
    classes=["chest_xray"],
    source=sources.MEDICAL_MNIST,
    subject="frontal chest X-rays",
    limits="64×64 pixels show the shape of the chest, not a nodule: good for teaching and for priors over codes only.",
    epochs=25,
)
