"""The other body parts of Medical MNIST at 64x64 pixels: one VAE each; and models of all modalities together."""

from medzoo.images.phantom import chest_phantom, head_phantom
from medzoo.models import VAE, VQVAE
from medzoo.recipes import sources
from medzoo.recipes.chestxray_256 import FILMS, WIDE
from medzoo.recipes.declaration import Part, Recipe

EVERYTHING = (
    Part(sources.MEDICAL_MNIST, ["head_ct", "abdomen_ct", "breast_mri", "hand_xray"], share=4),
    Part(sources.BRAIN_MRI, share=2),
    Part(sources.BREAST_US, share=1),
    *(Part(part.source, share=1) for part in FILMS),
)
TOGETHER = {
    "data": (Part(sources.MEDICAL_MNIST),),
    "phantoms": (chest_phantom, head_phantom),
    "modality": "several",
    "subject": "CT, MR and X-ray images of chest, head, abdomen, breast and hand",
}


def _vae(name, modality, classes, subject):
    return Recipe(
        name=name,
        model=lambda **own: VAE((64, 64, 1), latent_dim=32, filters=(24, 48, 96), blocks=1, **own),
        data=(Part(sources.MEDICAL_MNIST, classes),),
        modality=modality,
        subject=subject,
        use="Features of whole images as one short vector; drawing small images; for teaching.",
        epochs=30,
    )


RECIPES = [
    _vae("vae-headct", "CT", ["head_ct"], "CT slices of the head"),
    _vae("vae-breastmri", "MR", ["breast_mri"], "MR slices of the breast"),
    _vae("vae-handxray", "X-ray", ["hand_xray"], "X-rays of the hand"),
    _vae("vae-abdomenct", "CT", ["abdomen_ct"], "CT slices of the abdomen"),
    Recipe(
        name="vae-medical",
        model=lambda **own: VAE(latent_dim=4, **WIDE, **own),
        data=EVERYTHING,
        phantoms=TOGETHER["phantoms"],
        modality="several",
        subject="X-ray, CT, MR and ultrasound images of chest, head, abdomen, breast and hand",
        use="Images of any modality and size; a start for those that no other preset knows.",
        limits="It codes each 8×8 pixels nearly by itself: no model of any one organ.",
        start="vae-chestxray",
        epochs=12,
        steps=500,
        batch_size=16,
        learning_rate=1e-3,
        augment={"crop": 64, "contrast": 0.2, "flip": True},
    ),
    Recipe(
        name="vqvae-medical",
        model=lambda **own: VQVAE((None, None, 1), latent_dim=8, codebook_size=1024, filters=(32,), blocks=3, **own),
        use="A start for images that no other preset knows; codes for compression and priors.",
        limits="Each code stands for 4×4 pixels: no model of any one organ.",
        epochs=3,
        augment={"crop": 64, "contrast": 0.2, "flip": True},
        **TOGETHER,
    ),
]
