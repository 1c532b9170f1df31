"""Images from where real latents lie and from between two images, and whether they are copies."""

from pathlib import Path

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
    """A mixture of Gaussians over a model's latents of real images, to draw from instead of the prior.

        generator = GaussianMixtureSampler("vae-chestxray-64").fit(films, labels)
        films = generator.sample(16, label=1, seed=0)

    The aggregate posterior of a VAE is not quite its prior (Hoffman & Johnson 2016); drawing from a fit to it gives
    more typical images, works for plain autoencoders too, and with labels draws from one class (Ghosh et al. 2020,
    arXiv:1903.12436).

    Args:
        model: name or folder of a preset, or a medzoo model with a vector bottleneck.
        components: Gaussians, for each class if there are labels; fewer where images are few.
        seed: of the fit.

    Attributes: `mixtures_`, one `GaussianMixture` for each label (`None` without labels); `model_`.
    """

    def __init__(self, model="vae-chestxray-64", components=10, seed=0):
        self.model = model
        self.components = components
        self.seed = seed

    def fit(self, X, y=None):
        """Fits the mixture to the latents of images (for a VAE to draws from their posteriors).

        Args:
            X: images as `FeatureExtractor` takes them.
            y: labels `(N,)`, or `None`.
        """
        self.model_ = loaded(self.model)
        if self.model_.bottleneck != "vector":
            raise ValueError(
                f"GaussianMixtureSampler: {self.model_.name} has a grid of latents, which a mixture does not hold "
                "together; expected a model with a vector bottleneck."
            )
        images = self.model_.preprocess(X)
        draws = {"sample": True} if isinstance(self.model_, VAE) else {}
        latents = self.model_.encode(images, **draws)
        labels = np.full(len(latents), None) if y is None else np.asarray(y)
        self.mixtures_ = {}
        for label in sorted(set(labels.tolist()), key=str):
            own = latents[labels == label] if label is not None else latents
            # A full covariance needs several times as many images as latents.
            count = max(1, min(self.components, len(own) // (4 * latents.shape[1])))
            kind = "full" if len(own) >= 2 * latents.shape[1] else "diag"
            mixture = GaussianMixture(count, covariance_type=kind, reg_covar=1e-3, random_state=self.seed)
            self.mixtures_[label] = mixture.fit(
                own.astype("float64")
            )  # in float32 the covariances are not exact enough
        return self

    def sample(self, n, label=None, seed=None):
        """n images, float32 `(n, height, width, 1)` in [0, 1].

        Args:
            label: draw from this class; `None` draws from all, as often as they were seen (only without labels).
            seed: int or `None`; makes the draw repeatable.
        """
        check_is_fitted(self, "mixtures_")
        if label not in self.mixtures_:
            raise ValueError(f"GaussianMixtureSampler: label={label!r}; fitted with {sorted(self.mixtures_, key=str)}.")
        mixture = self.mixtures_[label]
        mixture.random_state = np.random.RandomState(seed)
        latents, _ = mixture.sample(n)
        return self.model_.decode(np.random.default_rng(seed).permutation(latents).astype("float32"))


def interpolate(model, start, end, steps=8):
    """Images on the way from one image to another, through the latents.

    Args:
        model: a medzoo model whose latents are numbers (no VQ-VAE).
        start, end: images `(height, width, 1)`, float32 in [0, 1].
        steps: how many, the reconstructions of both ends included.

    Returns: float32 `(steps, height, width, 1)`.
    """
    if not hasattr(model, "latent_dim") or model.encode(start[None]).dtype.kind != "f":
        raise ValueError(f"interpolate: the latents of {model.name} are codes; there is nothing between two of them.")
    a, b = (model.encode(image[None]) for image in (start, end))
    way = np.linspace(0, 1, steps, dtype="float32").reshape(-1, *[1] * (a.ndim - 1))
    return model.decode(a + way * (b - a))


def detect_copies(samples, training, held_out, share=0.01):
    """Which samples lie so near to a training image that they may be copies of it.

    Args:
        samples: `(N, height, width, 1)`.
        training: images that the generator was trained on.
        held_out: images of the same kind that it was not trained on, as sharp as the samples are (reconstruct them,
            for a VAE); how near these come to training images tells what is usual.
        share: of the held-out images that lie nearer than the limit. Of n held-out images it is `1 / (n + 1)` at least.

    Returns: boolean array `(N,)`; a generator that repeats nothing has about `share` of them.
    """
    reference = nearest_training_distance(training, held_out)
    return nearest_training_distance(training, samples) < np.quantile(reference, share)


def nearest_training_distance(training, images):
    """Root-mean-square distance, in grey values, of each image to the nearest training image, `(N,)`."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(training.reshape(len(training), -1))
    distance, _ = search.kneighbors(images.reshape(len(images), -1))
    return distance[:, 0] / np.sqrt(np.prod(training.shape[1:]))


def sample_without_copies(draw, n, training, held_out, seed=0, most_copies=0.2):
    """n samples none of which is nearly a training image; refuses where too many are.

    Args:
        draw: function `(n, seed)` that draws images, e.g. `lambda n, seed: vae.sample(n, seed)`.
        n: how many.
        training, held_out: see `copies`.
        seed: int.
        most_copies: share of copies among the draws above which the generator is not to be trusted at all. Few held-out
            images set the limit of `copies` inexactly; then it is the share that a generator without copies exceeds
            with a probability of 5%.

    Raises:
        ValueError: more than `most_copies` of the draws are copies.
    """
    kept, drawn, found = [], 0, 0
    # Below the least of n exchangeable distances lies a share that is distributed as Beta(1, n).
    most_copies = max(most_copies, 1 - 0.05 ** (1 / len(held_out)))
    while sum(map(len, kept)) < n:
        samples = draw(n, seed + len(kept))
        copied = detect_copies(samples, training, held_out)
        drawn, found = drawn + len(samples), found + int(copied.sum())
        if drawn >= 20 and found > most_copies * drawn:
            raise ValueError(
                f"sample_without_copies: {found} of {drawn} draws lie nearer to a training image than all but "
                f"{max(0.01, 1 / (len(held_out) + 1)):.0%} of held-out images do, more than {most_copies:.0%}; the "
                "generator repeats what it was trained on."
            )
        kept.append(samples[~copied])
    return np.concatenate(kept)[:n]


def sample_like(model, images, n, seed=0, groups=None):
    """n new images from where a model's latents of some images lie, none of them nearly one of these.

    A quarter of the images, or of the patients where these are known, is held out, to tell how near an image of an
    unseen patient usually comes to a seen one.

    Args:
        model: see `GaussianMixtureSampler`.
        images: float32 `(N, height, width, 1)` in [0, 1], 20 or more.
        n: how many.
        seed: int.
        groups: Sequence `(N,)` that tells patients apart, or `None`; missing values are patients of their own.

    Raises:
        ValueError: too few images or patients, or a generator that repeats them (see `sample_without_copies`).
    """
    if len(images) < 20:
        raise ValueError(f"sample_like: {len(images)} images; expected 20 or more.")
    patients = group_indices(groups, len(images))
    kept, rest = hold_out(patients, [max(1, len(patients) // 4)], seed)
    held_out, known = images[kept], images[rest]
    mixture = GaussianMixtureSampler(model).fit(known)
    restored = mixture.model_.reconstruct(held_out)
    return sample_without_copies(lambda n, s: mixture.sample(n, seed=s), n, known, restored, seed)


def sample_images(model, n, seed=0, temperature=1.0, like=None, label=None, groups=None):
    """n images: from a VAE's prior, or with `like` from where the latents of some images lie.

    Args:
        model: a medzoo model, or anything `medzoo.load` takes.
        n: how many.
        seed: int.
        temperature: of the prior, see `VAE.sample`.
        like: image files, or `None`; see `sample_like`.
        label: class of a learned prior, or `None` for any; a preset's card lists them.
        groups: of `like`, whatever tells patients apart; by default the PatientID of DICOM files.

    Raises:
        ValueError: neither a VAE nor files, a grid of latents without a learned prior, a class that the prior does not
            know, or as `sample_like`.
    """
    model = loaded(model)
    if like is not None:
        groups = patients_of_files(like) if groups is None else groups
        return sample_like(model, model.preprocess(like), n, seed, groups)
    if not isinstance(model, VAE):
        raise ValueError(
            f"{model.name} is a {type(model).__name__}, which has no prior; use a VAE, or images to follow."
        )
    if model.prior is None and model.bottleneck == "spatial":
        raise ValueError(
            f"{model.name}: its latents are a grid, and none of them drawn from N(0, I) gives an image; "
            "fit a prior to your images first: medzoo fit-prior."
        )
    return model.sample(n, seed=seed, temperature=temperature, label=label)


def sample_paths(model, folder, n):
    """Where `save_samples` puts n images: `00000.png`, or for volumes `00000.nii.gz`."""
    return [Path(folder) / f"{i:05d}{'.nii.gz' if model.spatial_dims == 3 else '.png'}" for i in range(n)]


def save_samples(images, files, title=None):
    """Writes images of `draw` to `sample_paths`, and the first 64 in one picture, `all.png`.

    Images become 8-bit PNG; volumes NIfTI, axes to the patient's right, forward and up, voxels of 1 mm at no known
    place.
    """
    folder = Path(files[0]).parent
    folder.mkdir(parents=True, exist_ok=True)
    for image, file in zip(images, files, strict=True):
        if images.ndim == 4:
            write_png(file, np.round(255 * image[..., 0]).astype("uint8"))
        else:
            shape, nowhere = image.shape[2::-1], np.eye(4)
            Volume(np.empty(shape), nowhere, Path(file), (shape, nowhere)).save(image, file, overwrite=True)
    save_grid(folder / "all.png", images[:64] if images.ndim == 4 else three_planes(images[:64]), title=title)
