"""Models of all modalities together, every image at its own size, and of breast ultrasound: learned from crops."""

from medzoo.images.phantom import chest_phantom, head_phantom
from medzoo.models import VAE, VQVAE, ConvAutoencoder, MaskedAutoencoder
from medzoo.recipes import sources
from medzoo.recipes.chestxray_256 import CROPS, FILMS, WIDE
from medzoo.recipes.declaration import Part, Recipe

STEPS = {"steps": 500, "batch_size": 16, "augment": CROPS}
EVERYTHING = {
    "data": (
        Part(sources.MEDICAL_MNIST, ["head_ct", "abdomen_ct", "breast_mri", "hand_xray"], share=4),
        Part(sources.BRAIN_MRI, share=2),
        Part(sources.BREAST_US, share=1),
        *(Part(part.source, share=1) for part in FILMS),
    ),
    "phantoms": (chest_phantom, head_phantom),
    "modality": "several",
    "subject": "X-ray, CT, MR and ultrasound images of chest, head, abdomen, breast and hand",
    **STEPS,
}
RECIPES = [
    Recipe(
        name="vae-medical",
        model=lambda **own: VAE(latent_dim=8, **WIDE, **own),
        use="Images of any modality and size; a start for those that no other preset knows.",
        tasks=("encode",),
        limits="It codes each 8×8 pixels nearly by itself: no model of any one organ.",
        start="vae-chestxray",
        epochs=14,
        learning_rate=1e-3,
        **EVERYTHING,
    ),
    Recipe(
        name="ae-medical",
        model=lambda **own: ConvAutoencoder(latent_dim=8, **WIDE, **own),
        use="Faithful reconstruction of images of any modality and size; a start for segmenting and classifying them.",
        tasks=("reconstruct", "segment"),
        limits="It codes each 8×8 pixels nearly by itself: no model of any one organ.",
        start="vae-medical",
        epochs=6,
        learning_rate=7e-4,
        **EVERYTHING,
    ),
    Recipe(
        name="vqvae-medical",
        model=lambda **own: VQVAE((None, None, 1), latent_dim=8, codebook_size=1024, filters=(32,), blocks=3, **own),
        use="Images of any modality and size as whole numbers: codes for compression and priors.",
        tasks=("reconstruct", "encode"),
        limits="Each code stands for 4×4 pixels: no model of any one organ.",
        epochs=8,
        **EVERYTHING,
    ),
    Recipe(
        name="mae-medical",
        model=lambda **own: MaskedAutoencoder(latent_dim=64, **own),
        use="Features of images of any modality for telling findings apart, frozen or fine-tuned.",
        tasks=("classify", "anomaly"),
        limits="It learned from images of 128 pixels: bring yours to about that size.",
        start="mae-chestxray",
        size=128,
        epochs=6,
        learning_rate=7e-4,
        **{**EVERYTHING, "steps": 600, "batch_size": 32, "augment": {**CROPS, "crop": 96}},
    ),
    Recipe(
        name="vae-breastus",
        model=lambda **own: VAE(latent_dim=8, **WIDE, **own),
        data=(Part(sources.BREAST_US),),
        modality="ultrasound",
        subject="ultrasound images of the breast",
        use="Ultrasound images as a small grid of smooth latents, to train on, to draw from.",
        tasks=("generate", "encode"),
        limits="It learned from 467 images: what it draws may lie close to one of them.",
        start="vae-medical",
        epochs=4,
        learning_rate=5e-4,
        **STEPS,
    ),
]
