"""Models of chest X-rays of 256×256 pixels and larger: one latent position per 8×8 pixels, trained on crops."""

from typing import Any

from medzoo.models import VAE, VQVAE, Codec, ConvAutoencoder, MaskedAutoencoder
from medzoo.recipes import datasets
from medzoo.training.recipe import Recipe, TrainingSource

OPEN: dict[str, Any] = {
    "image_shape": (None, None, 1),
    "bottleneck": "spatial",
    "filters": (48, 96),
    "blocks_per_stage": 2,
}
WIDE: dict[str, Any] = {**OPEN, "filters": (64, 128)}
CROPS: dict[str, Any] = {"crop": 64, "contrast": 0.2, "flip": True}
CHEST_XRAYS = (
    TrainingSource(datasets.CHESTXRAY14, sampling_weight=2),
    TrainingSource(datasets.ADULT_CXR, sampling_weight=3),
    TrainingSource(datasets.PEDIATRIC_CXR, sampling_weight=2),
)
SHARED: dict[str, Any] = {
    "data": (TrainingSource(datasets.CHESTXRAY14),),
    "modality": "X-ray",
    "domain": "frontal chest X-rays",
    "batch_size": 16,
    "augment": CROPS,
}
RECIPES = [
    Recipe(
        name="ae-chestxray",
        model=lambda **own: ConvAutoencoder(latent_dim=4, **WIDE, **own),
        description="Reconstruction of chest X-rays of any size; initialization for segmentation and classification.",
        tasks=("reconstruct", "segment"),
        initial_weights="vae-chestxray",
        epochs=16,
        steps=500,
        learning_rate=1e-3,
        **{**SHARED, "data": CHEST_XRAYS},
    ),
    Recipe(
        name="vae-chestxray",
        model=lambda **own: VAE(latent_dim=4, **WIDE, **own),
        description="Spatial VAE for chest X-rays of any size: reconstruction, generation and training on latents.",
        tasks=("reconstruct", "generate", "encode"),
        epochs=48,
        steps=500,
        learning_rate=1e-3,
        **{**SHARED, "data": CHEST_XRAYS},
    ),
    Recipe(
        name="vqvae-chestxray",
        model=lambda **own: VQVAE(latent_dim=4, codebook_size=4096, **WIDE, **own),
        description="Chest X-rays of any size as discrete codes, for learned priors, compression and retrieval.",
        tasks=("reconstruct", "encode"),
        initial_weights="ae-chestxray",
        epochs=16,
        steps=500,
        learning_rate=1e-3,
        **{**SHARED, "data": CHEST_XRAYS},
    ),
    Recipe(
        name="mae-chestxray",
        model=lambda **own: MaskedAutoencoder(latent_dim=64, **own),
        description="Features for classification of chest X-rays, with a frozen or fine-tuned encoder.",
        tasks=("classify",),
        limitations="The training images had 128×128 pixels; resize input images to about this size.",
        size=128,
        epochs=8,
        steps=600,
        learning_rate=1e-3,
        data=CHEST_XRAYS,
        modality=SHARED["modality"],
        domain=SHARED["domain"],
        augment={**CROPS, "crop": 96},
    ),
    Recipe(
        name="dae-chestxray",
        model=lambda **own: ConvAutoencoder(
            latent_dim=16, noise_std=(0.0, 0.12), poisson_noise=(0.0, 0.12), **OPEN, **own
        ),
        description="Denoising of chest X-rays.",
        tasks=("denoise",),
        limitations="The training noise was independent between pixels; detector noise is spatially correlated.",
        epochs=9,
        **SHARED,
    ),
    Recipe(
        name="codec-chestxray",
        model=lambda **own: Codec(**OPEN, **own),
        description="Learned compression of chest X-rays, optimized for rate and distortion; see `medzoo compress`.",
        tasks=("compress",),
        initial_weights="codec-chestxray",  # after 24 epochs at 7e-4, with noisy latents as input of the entropy model
        epochs=4,
        prior_epochs=2,
        steps=1000,
        learning_rate=5e-4,
        data=(
            TrainingSource(datasets.CHESTXRAY14, sampling_weight=3),
            TrainingSource(datasets.ADULT_CXR, sampling_weight=3),
            TrainingSource(datasets.PEDIATRIC_CXR, sampling_weight=2),
        ),
        modality=SHARED["modality"],
        domain=SHARED["domain"],
        batch_size=8,
        # No zoom: interpolation would smooth the noise texture, which accounts for most of the bits.
        augment={**CROPS, "crop": 128, "zoom": 1.0},
    ),
]
