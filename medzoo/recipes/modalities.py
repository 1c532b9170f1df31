"""The other body parts of Medical MNIST at 64x64 pixels: one VAE each, and two models of all of them together."""

from medzoo.images.phantom import chest_phantom, head_phantom
from medzoo.models import VAE, VQVAE
from medzoo.recipes import sources
from medzoo.recipes.training import Recipe

DATA = {"data": "medical_mnist_64.npz", "source": sources.MEDICAL_MNIST}
LIMIT = "64×64 pixels show shapes, not findings: good for features, teaching and generation only."
TOGETHER = {
    **DATA,
    "classes": None,
    "phantoms": (chest_phantom, head_phantom),
    "subject": "CT, MR and X-ray images of chest, head, abdomen, breast and hand",
}


def _vae(name, classes, subject):
    return Recipe(
        name=name,
        model=lambda **own: VAE((64, 64, 1), latent_dim=32, filters=(24, 48, 96), blocks=1, **own),
        classes=classes,
        subject=subject,
        limits=LIMIT,
        epochs=30,
        **DATA,
    )


RECIPES = [
    _vae("vae-headct", ["head_ct"], "CT slices of the head"),
    _vae("vae-breastmri", ["breast_mri"], "MR slices of the breast"),
    _vae("vae-handxray", ["hand_xray"], "X-rays of the hand"),
    _vae("vae-abdomenct", ["abdomen_ct"], "CT slices of the abdomen"),
    Recipe(
        name="vae-medical",
        model=lambda **own: VAE((None, None, 1), latent_dim=4, bottleneck="spatial", filters=(48, 96), blocks=2, **own),
        limits="It codes each 8×8 pixels nearly by itself: a start for other images, no model of any one organ.",
        epochs=3,
        learning_rate=1e-3,
        augment={"crop": 64, "contrast": 0.2, "flip": True},
        **TOGETHER,
    ),
    Recipe(
        name="vqvae-medical",
        model=lambda **own: VQVAE((None, None, 1), latent_dim=8, codebook_size=1024, filters=(32,), blocks=3, **own),
        limits="Each code stands for 4×4 pixels: a start for other images, no model of any one organ.",
        epochs=3,
        augment={"crop": 64, "contrast": 0.2, "flip": True},
        **TOGETHER,
    ),
]
