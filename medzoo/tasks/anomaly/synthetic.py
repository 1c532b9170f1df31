"""Anomaly detection by segmentation of synthetic anomalies that are inserted into normal images."""

from typing import Self, cast

import keras
import numpy as np
from scipy.ndimage import gaussian_filter

from medzoo.data.augmentation import AugmentedDataset, random_acquisition
from medzoo.io.intensity import equalize_histogram, standardize
from medzoo.tasks.segment import Segmenter
from medzoo.utils.progress import fit_progress
from medzoo.utils.schedules import cosine_schedule

KINDS = ("foreign", "texture", "pale", "pale", "hazy")  # sampled uniformly, "pale" with double weight
NORMAL_FRACTION = 0.25  # fraction of the training images without a synthetic anomaly
MIN_CHANGE = 0.02  # mean change of pixel intensity that makes a region an anomaly
TOP_FRACTION = 0.2  # fraction of the pixels, those of highest anomaly score, whose mean is the score of an image


def insert_synthetic_anomaly(
    image: np.ndarray, others: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Insert one to four synthetic anomalies with soft edges into an image.

    A region is blended with a shifted region of another image (foreign; Natural Synthetic Anomalies, Schlüter et al.
    2022, arXiv:2109.15222), with brighter or darker noise texture (texture), with the intensity of the brightest tissue
    of the image (pale), or with its own blurred, low-contrast version (hazy).

    Args:
        image: Float array of shape `(H, W)` with values in [0, 1].
        others: Float array of shape `(N, H, W)`. Images that foreign regions are taken from.
        rng: NumPy random generator.

    Returns:
        `(image, mask)`: float32 array with values in [0, 1], and uint8 array with 1 where an anomaly changed the image.
    """
    mask = np.zeros(image.shape, "uint8")
    for _ in range(rng.integers(1, 5)):
        weight = _soft_region(image.shape, rng)
        blended = np.clip(image + weight * (_anomalous_image(image, others, rng) - image), 0, 1)
        inside = weight > 0.5
        if inside.any() and np.abs(blended - image)[inside].mean() > MIN_CHANGE:
            mask[inside] = 1
        image = blended
    return image.astype("float32"), mask


def _anomalous_image(image, others, rng):
    """Return the image that a region is blended with, anomalous everywhere."""
    kind, strength = rng.choice(KINDS), rng.uniform(0.3, 1)
    if kind == "foreign":
        side = image.shape[0] // 3
        anomalous = np.roll(others[rng.integers(len(others))], rng.integers(-side, side + 1, 2), axis=(0, 1))
    elif kind == "texture":
        texture = gaussian_filter(rng.normal(size=image.shape), rng.uniform(1, 5))
        sign = 1 if rng.random() < 0.8 else -1
        return image + sign * rng.uniform(0.05, 0.35) * (1 + 0.5 * texture / texture.std())
    elif kind == "pale":
        bright = np.quantile(image, rng.uniform(0.6, 0.95)) * rng.uniform(0.7, 1)
        anomalous = np.maximum(gaussian_filter(image, rng.uniform(0, 2)), rng.random() * image + bright)
    else:
        blurred = gaussian_filter(image, rng.uniform(1, 4))
        anomalous = blurred + 0.5 * strength * (rng.uniform(0.4, 0.8) - blurred)
    return image + strength * (anomalous - image)


def _soft_region(shape, rng, smallest=0.05, largest=0.4):
    """Return blending weights in [0, 1] of a region with an irregular outline and soft edges."""
    size = min(shape) * np.exp(rng.uniform(np.log(smallest), np.log(largest)))
    row, column = rng.uniform(0.1, 0.9, 2) * shape
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    angle = np.arctan2(rows - row, columns - column)
    waves = sum(rng.normal(0, 0.2 / k) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 4))
    stretch = np.exp(rng.uniform(-0.5, 0.5))
    distance = np.hypot((rows - row) * stretch, (columns - column) / stretch) / np.maximum(size * (1 + waves), 1)
    steepness = np.exp(rng.uniform(np.log(1.5), np.log(8)))
    return 1 / (1 + np.exp(np.minimum((distance - 1) * steepness, 50)))


def partial_histogram_equalization(images: np.ndarray) -> np.ndarray:
    """Average the standardized and the histogram-equalized version of images.

    This reduces differences in brightness and tone curve between scanners, and preserves contrast between tissues.

    Args:
        images: Float32 array of shape `(N, H, W, 1)` with values in [0, 1].

    Returns:
        Float32 array of the same shape.
    """
    return (standardize(images) + equalize_histogram(images)) / 2


class SyntheticAnomalyDataset(keras.utils.PyDataset):
    """Batches of augmented normal images with synthetic anomalies, and their masks.

    A quarter of the images has no anomaly. Items are tuples of a float32 array of shape `(batch, H, W, 1)`, as
    `partial_histogram_equalization` returns it, and a uint8 array of shape `(batch, H, W)`.

    Args:
        images: Float32 array of shape `(N, H, W, 1)` with values in [0, 1]. Normal images.
        steps: int. Number of batches.
        batch_size: int. Number of images per batch.
        seed: int. Random seed.
    """

    def __init__(self, images: np.ndarray, steps: int, batch_size: int, seed: int):
        super().__init__()
        self.images, self.steps, self.batch_size, self.seed = images, steps, batch_size, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, index))
        chosen = self.images[rng.integers(len(self.images), size=2 * self.batch_size)]
        shift = chosen.shape[1] / 16
        seed = int(rng.integers(1 << 31))
        batches = AugmentedDataset(chosen, len(chosen), seed, translation=shift, affine=0.15, flip=True)
        augmented = cast("np.ndarray", batches[0])[..., 0]
        own, others = augmented[: self.batch_size], augmented[self.batch_size :]
        pairs = []
        for image in own:
            image = random_acquisition(image, rng)
            if rng.random() < NORMAL_FRACTION:
                pairs.append((image, np.zeros(image.shape, "uint8")))
            else:
                pairs.append(insert_synthetic_anomaly(image, others, rng))
        images, masks = (np.stack(part) for part in zip(*pairs, strict=True))
        return partial_histogram_equalization(images[..., None]), masks


@keras.saving.register_keras_serializable("medzoo")
class MaskEntropy(keras.losses.Loss):
    """Binary cross-entropy of masks, averaged over pixels.

    Targets are masks of shape `(N, H, W)` or `(N, H, W, 1)` with values 0 and 1; predictions are probabilities of shape
    `(N, H, W, 2)`.
    """

    def call(self, y_true, y_pred):
        """Return the loss of each image.

        Args:
            y_true: Masks, see the class.
            y_pred: Probabilities, see the class.

        Returns:
            Float tensor of shape `(N,)`.
        """
        truth = keras.ops.cast(y_true, y_pred.dtype)
        truth = keras.ops.squeeze(truth, -1) if len(truth.shape) == len(y_pred.shape) else truth
        likelihood = keras.ops.where(truth > 0.5, y_pred[..., 1], y_pred[..., 0])
        return -keras.ops.mean(keras.ops.log(keras.ops.maximum(likelihood, 1e-6)), axis=(1, 2))


class SyntheticAnomalyScore:
    """Mean of the top 20% of the anomaly map of a segmenter trained on synthetic anomalies.

    The segmenter is a U-Net on the model's encoder (`medzoo.Segmenter`). The anomaly map is the mean of its predictions
    for the image and its mirror image, both after `partial_histogram_equalization`.

    Args:
        steps: int. Number of training batches of 16 images.
        seed: int. Seed of the training.

    Attributes:
        segmenter: The trained `medzoo.Segmenter`.
    """

    def __init__(self, steps: int = 600, seed: int = 0):
        self.steps, self.seed = steps, seed

    def fit(self, model: keras.Model, normals: np.ndarray) -> Self:
        """Train the segmenter on normal images with synthetic anomalies.

        Args:
            model: A medzoo model.
            normals: Normal images, float32 array of shape `(N, H, W, 1)` with values in [0, 1].

        Returns:
            The fitted score.
        """
        keras.utils.set_random_seed(self.seed)
        self.segmenter = Segmenter.from_pretrained(model, 2)
        warmup = self.steps // 10
        rate = cosine_schedule(2e-3, self.steps, warmup, final=0.02)
        self.segmenter.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0), loss=MaskEntropy())
        with fit_progress(self.steps, "training the anomaly segmenter") as callback:
            batches = SyntheticAnomalyDataset(normals, self.steps, 16, self.seed)
            self.segmenter.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=[callback])
        return self

    def score(self, model: keras.Model, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score images.

        Args:
            model: Not used.
            images: Float32 array of shape `(N, H, W, 1)` with values in [0, 1].

        Returns:
            `(scores, maps)`: arrays of shape `(N,)` and `(N, H, W)` with values in [0, 1].
        """
        images = partial_histogram_equalization(images)
        probabilities = [
            self.segmenter.predict(x, batch_size=32, verbose=0)[..., 1] for x in (images, images[:, :, ::-1])
        ]
        maps = (probabilities[0] + probabilities[1][:, :, ::-1]) / 2
        ordered = np.sort(maps.reshape(len(maps), -1), axis=1)
        return ordered[:, -max(1, round(TOP_FRACTION * ordered.shape[1])) :].mean(axis=1), maps
