"""MedVAE (Varma et al. 2025, arXiv:2502.14753): Latent Diffusion's layout with a latent projection and adapters.

Files as its package names them: `model_weights/medvae_4x1.yaml` with `vae_4x_1c_2D.ckpt`, and so on.
"""

from medzoo.errors import CheckpointError
from medzoo.zoo.converters import ldm

REPOSITORY = "stanfordmimi/MedVAE"
# variant: (configuration, weights)
VARIANTS = {
    f"medvae_{factor}_{channels}_{axes}d": (
        f"model_weights/medvae_{factor}x{channels}.yaml",
        f"model_weights/vae_{factor}x_{channels}c_{axes}D.ckpt",
    )
    for factor, channels, axes in ((4, 1, 2), (4, 3, 2), (4, 4, 2), (8, 1, 2), (8, 4, 2), (4, 1, 3), (8, 1, 3))
}
MODALITIES = ("mri", "ct", "xray")


def variant_of(file_name):
    """Return the variant that a file of weights or a configuration is of, `None` if the name does not tell."""
    names = [v for v, (_, weights) in VARIANTS.items() if weights.rsplit("/")[-1] == file_name]
    return names[0] if names else None


def convert(arrays, where, config=None, variant=None, modality=None, **options):
    """Return an `AutoencoderKL` with MedVAE's weights and its preprocessing.

    Preprocessing, as in MedVAE's `apply_transform`: each image or volume is scaled from its minimum and maximum, for
    `modality="ct"` from -1000 and 1000 HU. Color becomes one channel by the mean of the scaled channels; gray becomes
    three channels by repetition, which MedVAE itself refuses. Volumes are cut to multiples of the downsampling, not to
    the foreground as in MedVAE.

    Args:
        arrays: dict of names to arrays.
        where: str. The file, for errors.
        config: dict. The yaml configuration.
        variant: str. One of `VARIANTS`; its dimension is compared with the tensors.
        modality: str. `"mri"`, `"ct"` or `"xray"`, which chooses the intensity range.
        **options: See `medzoo.zoo.converters.ldm.convert`.
    """
    if modality is not None and modality not in MODALITIES:
        raise CheckpointError(f"{where}: modality={modality!r}. Expected one of {', '.join(MODALITIES)}.")
    model, _ = ldm.convert(arrays, where, config, **options)
    if variant is not None and f"{model.spatial_dims}d" != variant[-2:]:
        raise CheckpointError(
            f"{where}: holds a network of {model.spatial_dims} dimensions. Expected variant {variant}."
        )
    if modality == "ct":
        return model, {"intensity": "range", "limits": [-1000.0, 1000.0]}
    return model, {"intensity": "minmax"}
