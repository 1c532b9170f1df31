"""Sampling of images from latent distributions, interpolation, and detection of memorized training images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.mixture import GaussianMixture
from sklearn.utils.validation import check_is_fitted

from medzoo.data.patients import patients_of_files
from medzoo.io.volume import Volume
from medzoo.io.writers import write_png
from medzoo.models import VAE
from medzoo.utils.groups import group_indices, hold_out
from medzoo.visualization import save_grid, three_planes
from medzoo.zoo.presets import loaded


class GaussianMixtureSampler(BaseEstimator):
    """Gaussian mixture fitted to the latents of images, for sampling instead of the prior.

    The aggregate posterior of a VAE differs from its prior (Hoffman & Johnson 2016). Sampling from a density fitted to
    the latents gives more typical images, works for plain autoencoders, and, with labels, generates images of one class
    (Ghosh et al. 2020, arXiv:1903.12436).

    Args:
        model: A medzoo model with a vector bottleneck, or anything `medzoo.load` takes.
        n_components: int. Number of Gaussians, per class if there are labels; reduced where there are few images.
        seed: int. Seed of the fit.

    Attributes:
        mixtures_: Dict of one `sklearn.mixture.GaussianMixture` per label; the key is `None` without labels.
        model_: The loaded model.

    Examples:
        ```python
        sampler = GaussianMixtureSampler("vae-chestxray-64").fit(images, labels)
        samples = sampler.sample(16, label=1, seed=0)
        ```
    """

    def __init__(self, model: keras.Model | str | Path = "vae-chestxray-64", n_components: int = 10, seed: int = 0):
        self.model = model
        self.n_components = n_components
        self.seed = seed

    def fit(self, X: Any, y: Sequence | None = None) -> Self:
        """Fit the mixture to the latents of images (for a VAE, to samples from their posteriors).

        Args:
            X: Images or paths, as `FeatureExtractor` takes them.
            y: Labels of shape `(N,)`, or `None`.

        Returns:
            The sampler.

        Raises:
            ValueError: If the model has a spatial bottleneck.
        """
        self.model_ = loaded(self.model)
        if self.model_.bottleneck != "vector":
            raise ValueError(
                "GaussianMixtureSampler: unsuitable model. Expected a model with a vector bottleneck, got "
                f"{self.model_.name} with a grid of latents."
            )
        images = self.model_.preprocess(X)
        options = {"sample": True} if isinstance(self.model_, VAE) else {}
        latents = self.model_.encode(images, **options)
        labels = np.full(len(latents), None) if y is None else np.asarray(y)
        self.mixtures_ = {}
        for label in sorted(set(labels.tolist()), key=str):
            own = latents[labels == label] if label is not None else latents
            # A full covariance requires several times as many images as latents.
            count = max(1, min(self.n_components, len(own) // (4 * latents.shape[1])))
            kind = "full" if len(own) >= 2 * latents.shape[1] else "diag"
            mixture = GaussianMixture(count, covariance_type=kind, reg_covar=1e-3, random_state=self.seed)
            self.mixtures_[label] = mixture.fit(own.astype("float64"))  # float32 covariances are not accurate enough
        return self

    def sample(self, n: int, label: Any = None, seed: int | None = None) -> np.ndarray:
        """Generate images.

        Args:
            n: int. Number of images.
            label: Class to generate; required if the sampler was fitted with labels.
            seed: int, or `None`. With a seed the result is reproducible.

        Returns:
            Float32 array of shape `(n, height, width, 1)` with values in [0, 1].

        Raises:
            ValueError: If the sampler was not fitted with that label.
        """
        check_is_fitted(self, "mixtures_")
        if label not in self.mixtures_:
            expected = sorted(self.mixtures_, key=str)
            raise ValueError(f"GaussianMixtureSampler: unknown label. Expected one of {expected}, got {label!r}.")
        mixture = self.mixtures_[label]
        mixture.random_state = np.random.RandomState(seed)
        latents, _ = mixture.sample(n)
        return self.model_.decode(np.random.default_rng(seed).permutation(latents).astype("float32"))


def interpolate(model: keras.Model, start: np.ndarray, end: np.ndarray, steps: int = 8) -> np.ndarray:
    """Interpolate linearly between the latents of two images.

    Args:
        model: A medzoo model with continuous latents (not a VQ-VAE).
        start: Float32 array of shape `(height, width, 1)` with values in [0, 1].
        end: Float32 array shaped like `start`.
        steps: int. Number of images, including the reconstructions of both ends.

    Returns:
        Float32 array of shape `(steps, height, width, 1)`.

    Raises:
        ValueError: If the latents of the model are discrete codes.
    """
    if not hasattr(model, "latent_dim") or model.encode(start[None]).dtype.kind != "f":
        raise ValueError(f"interpolate: unsuitable model. Expected continuous latents, got {model.name} with codes.")
    a, b = (model.encode(image[None]) for image in (start, end))
    way = np.linspace(0, 1, steps, dtype="float32").reshape(-1, *[1] * (a.ndim - 1))
    return model.decode(a + way * (b - a))


def detect_copies(
    samples: np.ndarray, training: np.ndarray, held_out: np.ndarray, quantile: float = 0.01
) -> np.ndarray:
    """Detect generated images that may be copies of training images.

    A sample counts as a copy if it is closer to a training image than a quantile of the held-out images is.

    Args:
        samples: Array of shape `(N, height, width, 1)`. Generated images.
        training: Array of images that the generator was trained on.
        held_out: Array of images of the same distribution that it was not trained on, as sharp as the samples
            (reconstruct them, for a VAE).
        quantile: float. Fraction of held-out images that are closer to a training image than the threshold. With n
            held-out images it is at least `1 / (n + 1)`.

    Returns:
        Boolean array of shape `(N,)`. A generator that memorizes nothing has a fraction of about `quantile`.
    """
    reference = nearest_training_distance(training, held_out)
    return nearest_training_distance(training, samples) < np.quantile(reference, quantile)


def nearest_training_distance(training: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the distance of each image to the nearest training image.

    Args:
        training: Array of shape `(M, height, width, 1)`.
        images: Array of shape `(N, height, width, 1)`.

    Returns:
        Array of shape `(N,)`: root-mean-square differences of pixel intensities.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(training.reshape(len(training), -1))
    distance, _ = search.kneighbors(images.reshape(len(images), -1))
    return distance[:, 0] / np.sqrt(np.prod(training.shape[1:]))


def sample_without_copies(
    sample: Callable[[int, int], np.ndarray],
    n: int,
    training: np.ndarray,
    held_out: np.ndarray,
    seed: int = 0,
    max_copy_fraction: float = 0.2,
) -> np.ndarray:
    """Generate images and discard those that may be copies of training images.

    Args:
        sample: Function `(n, seed)` that generates images, e.g. `lambda n, seed: vae.sample(n, seed)`.
        n: int. Number of images.
        training: See `detect_copies`.
        held_out: See `detect_copies`.
        seed: int. Seed of the first call of `sample`.
        max_copy_fraction: float. Fraction of copies among the samples above which the generator is rejected. Few
            held-out images determine the threshold of `detect_copies` inaccurately; then the fraction is raised to the
            one that a generator without copies exceeds with a probability of 5%.

    Returns:
        Array of n images.

    Raises:
        ValueError: If the fraction of copies exceeds `max_copy_fraction`.
    """
    kept: list[np.ndarray] = []
    count, copies = 0, 0
    # The fraction below the minimum of n exchangeable distances follows a Beta(1, n) distribution.
    max_copy_fraction = max(max_copy_fraction, 1 - 0.05 ** (1 / len(held_out)))
    while sum(map(len, kept)) < n:
        samples = sample(n, seed + len(kept))
        copied = detect_copies(samples, training, held_out)
        count, copies = count + len(samples), copies + int(copied.sum())
        if count >= 20 and copies > max_copy_fraction * count:
            closest = max(0.01, 1 / (len(held_out) + 1))
            raise ValueError(
                f"sample_without_copies: the generator repeats what it was trained on. Expected at most "
                f"{max_copy_fraction:.0%} copies, got {copies} of {count} samples that are closer to a training image "
                f"than all but {closest:.0%} of held-out images."
            )
        kept.append(samples[~copied])
    return np.concatenate(kept)[:n]


def sample_like(
    model: keras.Model | str | Path,
    images: np.ndarray,
    n: int,
    seed: int = 0,
    groups: Sequence | np.ndarray | None = None,
) -> np.ndarray:
    """Generate images from the latent distribution of given images, without copies of them.

    A quarter of the images (of the patients, where these are known) is held out to estimate how close images of new
    patients are to the other images.

    Args:
        model: See `GaussianMixtureSampler`.
        images: Float32 array of shape `(N, height, width, 1)` with values in [0, 1]; 20 images or more.
        n: int. Number of images to generate.
        seed: int. Random seed.
        groups: Sequence of N patient identifiers, or `None`. Images with a missing identifier count as separate
            patients.

    Returns:
        Float32 array of shape `(n, height, width, 1)` with values in [0, 1].

    Raises:
        ValueError: If there are too few images or patients, or too many copies (see `sample_without_copies`).
    """
    if len(images) < 20:
        raise ValueError(f"sample_like: too few images. Expected 20 or more, got {len(images)}.")
    patients = group_indices(groups, len(images))
    kept, rest = hold_out(patients, [max(1, len(patients) // 4)], seed)
    held_out, training = images[kept], images[rest]
    mixture = GaussianMixtureSampler(model).fit(training)
    reconstructed = mixture.model_.reconstruct(held_out)
    return sample_without_copies(lambda n, s: mixture.sample(n, seed=s), n, training, reconstructed, seed)


def sample_images(
    model: keras.Model | str | Path,
    n: int,
    seed: int = 0,
    temperature: float = 1.0,
    reference: Sequence[str | Path] | None = None,
    label: int | None = None,
    groups: Sequence | np.ndarray | None = None,
) -> np.ndarray:
    """Generate images from the prior of a VAE or from reference images.

    With reference images, the latents are sampled from their distribution, see `sample_like`.

    Args:
        model: A medzoo model, or anything `medzoo.load` takes.
        n: int. Number of images.
        seed: int. Random seed.
        temperature: float. Temperature of the prior, see `VAE.sample`.
        reference: Paths of image files, or `None`; see `sample_like`.
        label: int. Class of a class-conditional prior, or `None` for any; the model card lists the classes.
        groups: Patient identifiers of `reference`; by default the PatientID of DICOM files.

    Returns:
        Float32 array of shape `(n, height, width, 1)` with values in [0, 1]; of volumes
        `(n, depth, height, width, 1)`.

    Raises:
        ValueError: If the model is not a VAE and there is no reference, its spatial latents have no learned prior, the
            class is unknown, or as for `sample_like`.
    """
    model = loaded(model)
    if reference is not None:
        groups = patients_of_files(reference) if groups is None else groups
        return sample_like(model, model.preprocess(reference), n, seed, groups)
    if not isinstance(model, VAE):
        raise ValueError(
            f"sample_images: {model.name} has no prior. Expected a VAE or reference images, got a "
            f"{type(model).__name__} without reference images."
        )
    if model.prior is None and model.bottleneck == "spatial":
        raise ValueError(
            f"sample_images: {model.name} has spatial latents without a learned prior, so samples from N(0, I) cannot "
            "be decoded to images. Train a prior with `model.fit_prior(images)` or `medzoo fit-prior`."
        )
    return model.sample(n, seed=seed, temperature=temperature, label=label)


def sample_paths(model: keras.Model, folder: str | Path, n: int) -> list[Path]:
    """Return the paths at which `save_samples` stores n images.

    Args:
        model: A medzoo model.
        folder: Folder of the images.
        n: int. Number of images.

    Returns:
        Paths `00000.png`, `00001.png`, ...; for volumes `00000.nii.gz`, ...
    """
    return [Path(folder) / f"{i:05d}{'.nii.gz' if model.spatial_dims == 3 else '.png'}" for i in range(n)]


def save_samples(images: np.ndarray, files: Sequence[Path], title: str | None = None) -> None:
    """Write generated images to files, and the first 64 of them to one figure, `all.png`.

    Images are written as 8-bit PNG. Volumes are written as NIfTI with 1 mm voxels, an arbitrary origin, and axes that
    point to the patient's right, front and head.

    Args:
        images: Float array with values in [0, 1], as `sample_images` returns it.
        files: One path per image, see `sample_paths`.
        title: Title of the figure, or `None`.
    """
    folder = Path(files[0]).parent
    folder.mkdir(parents=True, exist_ok=True)
    for image, file in zip(images, files, strict=True):
        if images.ndim == 4:
            write_png(file, np.round(255 * image[..., 0]).astype("uint8"))
        else:
            shape, affine = image.shape[2::-1], np.eye(4)
            Volume(np.empty(shape), affine, Path(file), (shape, affine)).save(image, file, overwrite=True)
    save_grid(folder / "all.png", images[:64] if images.ndim == 4 else three_planes(images[:64]), title=title)
