"""MR slices of the head, 128x128 pixels, in three planes, with and without tumours."""

from medzoo.images.phantom import head_phantom
from medzoo.models import VAE, VQVAE
from medzoo.recipes import sources
from medzoo.recipes.declaration import Part, Recipe

SHARED = {
    "data": (Part(sources.BRAIN_MRI),),
    "phantoms": (head_phantom,),
    "modality": "MR",
    "subject": "MR slices of the head (axial, coronal and sagittal)",
}

RECIPES = [
    Recipe(
        name="vae-brainmri",
        model=lambda **own: VAE((128, 128, 1), latent_dim=64, filters=(32, 64, 96), blocks=1, **own),
        use="Features of whole slices as one short vector; drawing slices.",
        limits="The reconstruction is soft, and a tumour may be smoothed away or invented.",
        epochs=45,
        augment={"shift": 5.0, "warp": 0.12, "contrast": 0.2, "flip": True},
        **SHARED,
    ),
    Recipe(
        name="vqvae-brainmri",
        model=lambda **own: VQVAE((None, None, 1), latent_dim=8, codebook_size=512, filters=(32,), blocks=3, **own),
        use="Faithful reconstruction of slices of any size, from whole numbers.",
        limits="Each code stands for 4×4 pixels and knows little of the head as a whole.",
        epochs=11,
        augment={"crop": 64, "contrast": 0.2, "flip": True},
        **SHARED,
    ),
]
