"""CT slices in Hounsfield units, 512×512 pixels and any other size, trained on crops."""

from medzoo.models import VAE
from medzoo.recipes import datasets
from medzoo.recipes.chestxray_256 import CROPS, WIDE
from medzoo.training.recipe import Recipe, TrainingSource

# Four patients contribute 81% of the slices: the sampling weights follow the patients.
SLICES = (
    TrainingSource(datasets.CT_LIDC, sampling_weight=3),
    TrainingSource(datasets.CT_TCGA, sampling_weight=4),
    TrainingSource(datasets.CT_LUNG, sampling_weight=1),
    TrainingSource(datasets.CT_BODY, sampling_weight=2),
)
RECIPES = [
    Recipe(
        name="vae-ct",
        model=lambda **own: VAE(latent_dim=8, **WIDE, **own),
        modality="CT",
        domain="axial CT slices of chest, abdomen and pelvis",
        description="Spatial VAE for CT slices of any size in Hounsfield units: reconstruction, latents.",
        tasks=("reconstruct", "encode"),
        limitations=(
            "The interval is -1024 to 3071 HU; denser metal is clipped. Training images are of few patients, most with "
            "lung cancer. Fine noise texture is smoothed."
        ),
        data=SLICES,
        preprocessing={"size": None, "window": None, "intensity": "range", "limits": [-1024, 3071]},
        epochs=30,
        steps=500,
        batch_size=16,
        learning_rate=1e-3,
        augment={**CROPS, "contrast": 0.02},
    ),
]
