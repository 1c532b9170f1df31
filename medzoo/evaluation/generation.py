"""Are the images that a VAE draws from its prior like real ones, as varied, and new?"""

import numpy as np

from medzoo.tasks.features import extract_features
from medzoo.tasks.generate import nearest_training_distance

NEIGHBOURS = 3  # k of precision and recall, as in the paper


def sample_quality(model, train, test, encoder, n=2000, seed=0):
    """Judges prior samples of a VAE by numbers, JSON-ready.

    - `frechet`: Frechet distance (Heusel et al. 2017, arXiv:1706.08500) to the test images in the features of
      `encoder`, a frozen model that was not trained on the same archive: of the samples, of as many samples of a
      probabilistic PCA with the same number of latents, and of training images, which is what a perfect model would
      reach.
    - `precision`, `recall`: share of samples among the real images, and of real images among the samples
      (Kynkaanniemi et al. 2019, arXiv:1904.06991), against the test images.
    - `novelty`: distance in pixels to the nearest training image, of the samples and, since samples are as soft, of
      reconstructed test images: medians, and the share of samples that are nearer than all but 1% of those.
      A model that repeats its training images has a share near one.

    Args:
        model: a VAE.
        train, test: float32 images.
        encoder: another medzoo model that takes the images' size.
        n: how many samples; at most as many as training images.
    """
    n = min(n, len(train))
    rng = np.random.default_rng(seed)
    drawn = model.sample(n, seed=seed)
    gaussian = _pca_samples(train, n, model.latent_dim, rng)
    some = train[rng.permutation(len(train))[:n]]
    real = extract_features(encoder, test)
    sets = {"model": drawn, "pca": gaussian, "training_images": some}
    seen = {name: extract_features(encoder, images) for name, images in sets.items()}
    m = min(n, len(test))
    reference, distances = (nearest_training_distance(train, images) for images in (model.reconstruct(test), drawn))
    return {
        "samples": n,
        "encoder": encoder.name,
        "frechet": {name: round(frechet(x, real), 4) for name, x in seen.items()},
        "precision": round(_covered(seen["model"][:m], real[:m]), 4),
        "recall": round(_covered(real[:m], seen["model"][:m]), 4),
        "novelty": {
            "median_distance": round(float(np.median(distances)), 4),
            "median_of_reconstructed_test_images": round(float(np.median(reference)), 4),
            "share_nearer_than_1_percent": round(float((distances < np.percentile(reference, 1)).mean()), 4),
        },
    }


def frechet(a, b):
    """Frechet distance between Gaussians fitted to two tables `(N, D)`."""
    covariance_a, covariance_b = np.cov(a.T.astype("float64")), np.cov(b.T.astype("float64"))
    # The trace of the root of a product is the sum of the roots of its eigenvalues, which are real and >= 0.
    roots = np.sqrt(np.clip(np.linalg.eigvals(covariance_a @ covariance_b).real, 0, None)).sum()
    gap = np.square(a.mean(axis=0, dtype="float64") - b.mean(axis=0, dtype="float64")).sum()
    return float(gap + np.trace(covariance_a) + np.trace(covariance_b) - 2 * roots)


def _pca_samples(train, n, components, rng):
    from sklearn.decomposition import PCA

    pca = PCA(components, svd_solver="randomized", random_state=0).fit(train.reshape(len(train), -1))
    z = rng.standard_normal((n, components)) * np.sqrt(pca.explained_variance_)
    return np.clip(pca.inverse_transform(z), 0, 1).reshape(n, *train.shape[1:]).astype("float32")


def _covered(points, manifold):
    """Share of points that lie nearer to some point of the manifold than its third neighbour does."""
    from sklearn.neighbors import NearestNeighbors

    radius = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(manifold).kneighbors(manifold)[0][:, -1]
    distance = np.linalg.norm(points[:, None] - manifold[None], axis=-1)
    return float((distance <= radius).any(axis=1).mean())
