"""Generation of synthetic images: from a prior, from the latents of reference images, and by interpolation."""

from medzoo.tasks.generate.code_prior import AutoregressivePrior
from medzoo.tasks.generate.sampling import (
    GaussianMixtureSampler,
    detect_copies,
    interpolate,
    nearest_training_distance,
    sample_images,
    sample_like,
    sample_paths,
    sample_without_copies,
    save_samples,
)

__all__ = [
    "AutoregressivePrior",
    "GaussianMixtureSampler",
    "detect_copies",
    "interpolate",
    "nearest_training_distance",
    "sample_images",
    "sample_like",
    "sample_paths",
    "sample_without_copies",
    "save_samples",
]
