"""ae-chestxray: frontal chest films of 64x64 pixels to 64 numbers, and back."""

from medzoo.models import ConvAutoencoder
from medzoo.recipes import sources
from medzoo.recipes.training import Recipe

RECIPE = Recipe(
    name="ae-chestxray",
    model=lambda seed: ConvAutoencoder(
        (64, 64, 1), latent_dim=64, filters=(32, 64, 128), blocks=1, seed=seed, name="ae-chestxray"
    ),
    classes=["chest_xray"],
    source=sources.MEDICAL_MNIST,
    subject="frontal chest X-rays",
    limits="64×64 pixels show the shape of the chest, not a nodule: good for features and teaching only.",
    epochs=48,
)
