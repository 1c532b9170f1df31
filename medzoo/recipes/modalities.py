"""Models of several modalities, with images of different sizes, and of breast ultrasound; trained on crops."""

from typing import Any

from medzoo.data.phantom import chest_phantom, head_phantom
from medzoo.models import VAE, VQVAE, ConvAutoencoder, MaskedAutoencoder
from medzoo.recipes import datasets
from medzoo.recipes.chestxray_256 import CHEST_XRAYS, CROPS, WIDE
from medzoo.training.recipe import Recipe, TrainingSource

STEPS: dict[str, Any] = {"steps": 500, "batch_size": 16, "augment": CROPS}
ALL_MODALITIES: dict[str, Any] = {
    "data": (
        TrainingSource(datasets.MEDICAL_MNIST, ["head_ct", "abdomen_ct", "breast_mri", "hand_xray"], sampling_weight=4),
        TrainingSource(datasets.BRAIN_MRI, sampling_weight=2),
        TrainingSource(datasets.BREAST_US, sampling_weight=1),
        *(TrainingSource(part.source, sampling_weight=1) for part in CHEST_XRAYS),
    ),
    "example_images": (chest_phantom, head_phantom),
    "modality": "several",
    "domain": "X-ray, CT, MR and ultrasound images of chest, head, abdomen, breast and hand",
    **STEPS,
}
LOCAL = "Each latent position describes 8×8 pixels almost independently; the model does not represent global anatomy."
RECIPES = [
    Recipe(
        name="vae-medical",
        model=lambda **own: VAE(latent_dim=8, **WIDE, **own),
        description="Latents of images of any modality and size; initialization for other modalities.",
        tasks=("encode",),
        limitations=LOCAL,
        initial_weights="vae-chestxray",
        epochs=14,
        learning_rate=1e-3,
        **ALL_MODALITIES,
    ),
    Recipe(
        name="ae-medical",
        model=lambda **own: ConvAutoencoder(latent_dim=8, **WIDE, **own),
        description="Reconstruction of images of any modality and size; initialization for segmentation and "
        "classification.",
        tasks=("reconstruct", "segment"),
        limitations=LOCAL,
        initial_weights="vae-medical",
        epochs=6,
        learning_rate=7e-4,
        **ALL_MODALITIES,
    ),
    Recipe(
        name="vqvae-medical",
        model=lambda **own: VQVAE(
            (None, None, 1), latent_dim=8, codebook_size=1024, filters=(32,), blocks_per_stage=3, **own
        ),
        description="Images of any modality and size as discrete codes, for compression and learned priors.",
        tasks=("reconstruct", "encode"),
        limitations="Each code describes 4×4 pixels; the model does not represent global anatomy.",
        epochs=8,
        **ALL_MODALITIES,
    ),
    Recipe(
        name="mae-medical",
        model=lambda **own: MaskedAutoencoder(latent_dim=64, **own),
        description="Features for classification of images of any modality, with a frozen or fine-tuned encoder.",
        tasks=("classify", "anomaly"),
        limitations="The training images had 128×128 pixels; resize input images to about this size.",
        initial_weights="mae-chestxray",
        size=128,
        epochs=6,
        learning_rate=7e-4,
        **{**ALL_MODALITIES, "steps": 600, "batch_size": 32, "augment": {**CROPS, "crop": 96}},
    ),
    Recipe(
        name="vae-breastus",
        model=lambda **own: VAE(latent_dim=8, **WIDE, **own),
        data=(TrainingSource(datasets.BREAST_US),),
        modality="ultrasound",
        domain="ultrasound images of the breast",
        description="Spatial VAE for breast ultrasound images of any size: generation and training on latents.",
        tasks=("generate", "encode"),
        limitations="The model was trained on 467 images; generated images may be similar to one of them.",
        initial_weights="vae-medical",
        epochs=4,
        learning_rate=5e-4,
        **STEPS,
    ),
]
