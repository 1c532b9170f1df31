"""Models of all modalities together, every image at its own size, and of breast ultrasound: learned from crops."""

from medzoo.data.phantom import chest_phantom, head_phantom
from medzoo.models import VAE, VQVAE, ConvAutoencoder, MaskedAutoencoder
from medzoo.recipes import datasets as sources
from medzoo.recipes.chestxray_256 import CROPS, FILMS, WIDE
from medzoo.training.recipe import Recipe, TrainingSource

STEPS = {"steps": 500, "batch_size": 16, "augment": CROPS}
EVERYTHING = {
    "data": (
        TrainingSource(sources.MEDICAL_MNIST, ["head_ct", "abdomen_ct", "breast_mri", "hand_xray"], sampling_weight=4),
        TrainingSource(sources.BRAIN_MRI, sampling_weight=2),
        TrainingSource(sources.BREAST_US, sampling_weight=1),
        *(TrainingSource(part.source, sampling_weight=1) for part in FILMS),
    ),
    "example_images": (chest_phantom, head_phantom),
    "modality": "several",
    "domain": "X-ray, CT, MR and ultrasound images of chest, head, abdomen, breast and hand",
    **STEPS,
}
RECIPES = [
    Recipe(
        name="vae-medical",
        model=lambda **own: VAE(latent_dim=8, **WIDE, **own),
        description="Images of any modality and size; a start for those that no other preset knows.",
        tasks=("encode",),
        limits="It codes each 8×8 pixels nearly by itself: no model of any one organ.",
        initial_weights="vae-chestxray",
        epochs=14,
        learning_rate=1e-3,
        **EVERYTHING,
    ),
    Recipe(
        name="ae-medical",
        model=lambda **own: ConvAutoencoder(latent_dim=8, **WIDE, **own),
        description="Faithful reconstruction of images of any modality and size; a start for segmenting and classifying them.",
        tasks=("reconstruct", "segment"),
        limits="It codes each 8×8 pixels nearly by itself: no model of any one organ.",
        initial_weights="vae-medical",
        epochs=6,
        learning_rate=7e-4,
        **EVERYTHING,
    ),
    Recipe(
        name="vqvae-medical",
        model=lambda **own: VQVAE(
            (None, None, 1), latent_dim=8, codebook_size=1024, filters=(32,), blocks_per_stage=3, **own
        ),
        description="Images of any modality and size as whole numbers: codes for compression and priors.",
        tasks=("reconstruct", "encode"),
        limits="Each code stands for 4×4 pixels: no model of any one organ.",
        epochs=8,
        **EVERYTHING,
    ),
    Recipe(
        name="mae-medical",
        model=lambda **own: MaskedAutoencoder(latent_dim=64, **own),
        description="Features of images of any modality for telling findings apart, frozen or fine-tuned.",
        tasks=("classify", "anomaly"),
        limits="It learned from images of 128 pixels: bring yours to about that size.",
        initial_weights="mae-chestxray",
        size=128,
        epochs=6,
        learning_rate=7e-4,
        **{**EVERYTHING, "steps": 600, "batch_size": 32, "augment": {**CROPS, "crop": 96}},
    ),
    Recipe(
        name="vae-breastus",
        model=lambda **own: VAE(latent_dim=8, **WIDE, **own),
        data=(TrainingSource(sources.BREAST_US),),
        modality="ultrasound",
        domain="ultrasound images of the breast",
        description="Ultrasound images as a small grid of smooth latents, to train on, to draw from.",
        tasks=("generate", "encode"),
        limits="It learned from 467 images: what it draws may lie close to one of them.",
        initial_weights="vae-medical",
        epochs=4,
        learning_rate=5e-4,
        **STEPS,
    ),
]
