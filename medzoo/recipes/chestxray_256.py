"""Chest films of 256x256 pixels and more: one latent grid point for 8x8 pixels, learned from crops."""

from medzoo.models import VAE, VQVAE, Codec, ConvAutoencoder, MaskedAutoencoder
from medzoo.recipes import datasets as sources
from medzoo.training.recipe import Recipe, TrainingSource

OPEN = {"image_shape": (None, None, 1), "bottleneck": "spatial", "filters": (48, 96), "blocks_per_stage": 2}
WIDE = {**OPEN, "filters": (64, 128)}
CROPS = {"crop": 64, "contrast": 0.2, "flip": True}
FILMS = (
    TrainingSource(sources.CHESTXRAY14, sampling_weight=2),
    TrainingSource(sources.ADULT_CXR, sampling_weight=3),
    TrainingSource(sources.PEDIATRIC_CXR, sampling_weight=2),
)
SHARED = {
    "data": (TrainingSource(sources.CHESTXRAY14),),
    "modality": "X-ray",
    "domain": "frontal chest X-rays",
    "batch_size": 16,
    "augment": CROPS,
}
RECIPES = [
    Recipe(
        name="ae-chestxray",
        model=lambda **own: ConvAutoencoder(latent_dim=4, **WIDE, **own),
        description="Faithful reconstruction of films of any size; a start for segmenting and classifying them.",
        tasks=("reconstruct", "segment"),
        initial_weights="vae-chestxray",
        epochs=16,
        steps=500,
        learning_rate=1e-3,
        **{**SHARED, "data": FILMS},
    ),
    Recipe(
        name="vae-chestxray",
        model=lambda **own: VAE(latent_dim=4, **WIDE, **own),
        description="Films of any size as a small grid of smooth latents, to train on, to draw from, to restore.",
        tasks=("reconstruct", "generate", "encode"),
        epochs=48,
        steps=500,
        learning_rate=1e-3,
        **{**SHARED, "data": FILMS},
    ),
    Recipe(
        name="vqvae-chestxray",
        model=lambda **own: VQVAE(latent_dim=4, codebook_size=4096, **WIDE, **own),
        description="Films of any size as whole numbers: codes for priors, compression and retrieval.",
        tasks=("reconstruct", "encode"),
        initial_weights="ae-chestxray",
        epochs=16,
        steps=500,
        learning_rate=1e-3,
        **{**SHARED, "data": FILMS},
    ),
    Recipe(
        name="mae-chestxray",
        model=lambda **own: MaskedAutoencoder(latent_dim=64, **own),
        description="Features of films for telling findings apart, frozen or fine-tuned.",
        tasks=("classify",),
        limits="It learned from films of 128 pixels: bring yours to about that size.",
        size=128,
        epochs=8,
        steps=600,
        learning_rate=1e-3,
        data=FILMS,
        modality=SHARED["modality"],
        domain=SHARED["domain"],
        augment={**CROPS, "crop": 96},
    ),
    Recipe(
        name="dae-chestxray",
        model=lambda **own: ConvAutoencoder(
            latent_dim=16, noise_std=(0.0, 0.12), poisson_noise=(0.0, 0.12), **OPEN, **own
        ),
        description="Taking noise out of films.",
        tasks=("denoise",),
        limits="The noise it learned to remove is independent from pixel to pixel; scanner noise is not.",
        epochs=9,
        **SHARED,
    ),
    Recipe(
        name="codec-chestxray",
        model=lambda **own: Codec(**OPEN, **own),
        description="Small files: compression for a rate and a distortion, see `medzoo compress`.",
        tasks=("compress",),
        initial_weights="codec-chestxray",  # after 24 epochs at 7e-4 in which the prior saw noisy latents
        epochs=4,
        prior_epochs=2,
        steps=1000,
        learning_rate=5e-4,
        data=(
            TrainingSource(sources.CHESTXRAY14, sampling_weight=3),
            TrainingSource(sources.ADULT_CXR, sampling_weight=3),
            TrainingSource(sources.PEDIATRIC_CXR, sampling_weight=2),
        ),
        modality=SHARED["modality"],
        domain=SHARED["domain"],
        batch_size=8,
        # Not zoomed: that would smooth the grain, which costs most of the bits.
        augment={**CROPS, "crop": 128, "zoom": 1.0},
    ),
]
