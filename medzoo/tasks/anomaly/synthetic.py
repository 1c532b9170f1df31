"""Learning to see what does not belong: normal images are spoiled on purpose, and a segmenter finds where."""

import keras
import numpy as np
from scipy.ndimage import gaussian_filter

from medzoo.data.augmentation import AugmentedDataset, random_acquisition
from medzoo.io.intensity import equalize_histogram, standardize
from medzoo.tasks.segment import Segmenter
from medzoo.utils.progress import fitting
from medzoo.utils.schedules import cosine_schedule

KINDS = ("foreign", "texture", "pale", "pale", "hazy")  # as often as they are named
UNTOUCHED = 0.25  # share of the images that stay normal
LEAST = 0.02  # mean change of grey values that makes a region an anomaly
SHARE = 0.2  # of an image's pixels, the strangest, whose mean is its score


def insert_synthetic_anomaly(image, others, rng):
    """Puts one to four soft regions on an image that do not belong there.

    A region is blended with a piece of another image from elsewhere (foreign; NSA, Schlueter et al. 2022,
    arXiv:2109.15222), with grainy brightness or darkness (texture), with the brightness of the image's brightest
    tissues (pale), or with its own blur (hazy).

    Args:
        image: float `(H, W)` in [0, 1].
        others: float `(N, H, W)`, where foreign pieces are from.
        rng: NumPy generator.

    Returns: `(image, mask)`, float32 in [0, 1] and uint8, 1 where a region changed the image.
    """
    mask = np.zeros(image.shape, "uint8")
    for _ in range(rng.integers(1, 5)):
        weight = _soft_region(image.shape, rng)
        painted = np.clip(image + weight * (_paint(image, others, rng) - image), 0, 1)
        inside = weight > 0.5
        if inside.any() and np.abs(painted - image)[inside].mean() > LEAST:
            mask[inside] = 1
        image = painted
    return image.astype("float32"), mask


def _paint(image, others, rng):
    """What a region is blended with: the image as it would be if all of it were spoiled."""
    kind, strength = rng.choice(KINDS), rng.uniform(0.3, 1)
    if kind == "foreign":
        side = image.shape[0] // 3
        paint = np.roll(others[rng.integers(len(others))], rng.integers(-side, side + 1, 2), axis=(0, 1))
    elif kind == "texture":
        grain = gaussian_filter(rng.normal(size=image.shape), rng.uniform(1, 5))
        sign = 1 if rng.random() < 0.8 else -1
        return image + sign * rng.uniform(0.05, 0.35) * (1 + 0.5 * grain / grain.std())
    elif kind == "pale":
        bright = np.quantile(image, rng.uniform(0.6, 0.95)) * rng.uniform(0.7, 1)
        paint = np.maximum(gaussian_filter(image, rng.uniform(0, 2)), rng.random() * image + bright)
    else:
        blurred = gaussian_filter(image, rng.uniform(1, 4))
        paint = blurred + 0.5 * strength * (rng.uniform(0.4, 0.8) - blurred)
    return image + strength * (paint - image)


def _soft_region(shape, rng, smallest=0.05, largest=0.4):
    """Weights in [0, 1] of a region with a wavering outline, its mean radius a share of the shorter side."""
    size = min(shape) * np.exp(rng.uniform(np.log(smallest), np.log(largest)))
    row, column = rng.uniform(0.1, 0.9, 2) * shape
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    angle = np.arctan2(rows - row, columns - column)
    waves = sum(rng.normal(0, 0.2 / k) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 4))
    stretch = np.exp(rng.uniform(-0.5, 0.5))
    distance = np.hypot((rows - row) * stretch, (columns - column) / stretch) / np.maximum(size * (1 + waves), 1)
    steepness = np.exp(rng.uniform(np.log(1.5), np.log(8)))
    return 1 / (1 + np.exp(np.minimum((distance - 1) * steepness, 50)))


def partial_histogram_equalization(images):
    """Images `(N, H, W, 1)` halfway between one mean and contrast and an even histogram: little is left of exposure and
    of a scanner's tone curve, and tissues still differ as they did."""
    return (standardize(images) + equalize_histogram(images)) / 2


class SyntheticAnomalyDataset(keras.utils.PyDataset):
    """Batches of normal images, moved, exposed and most of them spoiled, with the masks of where.

    Args:
        images: float32 `(N, H, W, 1)` in [0, 1].
        steps: batches.
        batch_size: images a batch.
        seed: int.

    Items: float32 `(batch, H, W, 1)` as `evened` gives them, and uint8 `(batch, H, W)`.
    """

    def __init__(self, images, steps, batch_size, seed):
        super().__init__()
        self.images, self.steps, self.batch_size, self.seed = images, steps, batch_size, seed

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        rng = np.random.default_rng((self.seed, index))
        chosen = self.images[rng.integers(len(self.images), size=2 * self.batch_size)]
        shift = chosen.shape[1] / 16
        draw = int(rng.integers(1 << 31))
        moved = AugmentedDataset(chosen, len(chosen), draw, translation=shift, affine=0.15, flip=True)[0][..., 0]
        own, others = moved[: self.batch_size], moved[self.batch_size :]
        pairs = []
        for image in own:
            image = random_acquisition(image, rng)
            untouched = rng.random() < UNTOUCHED
            pairs.append(
                (image, np.zeros(image.shape, "uint8")) if untouched else insert_synthetic_anomaly(image, others, rng)
            )
        images, masks = (np.stack(part) for part in zip(*pairs, strict=True))
        return partial_histogram_equalization(images[..., None]), masks


@keras.saving.register_keras_serializable("medzoo")
class MaskEntropy(keras.losses.Loss):
    """Cross-entropy of masks `(N, H, W)` of 0 and 1 and probabilities `(N, H, W, 2)`, averaged over pixels."""

    def call(self, y_true, y_pred):
        truth = keras.ops.cast(y_true, y_pred.dtype)
        truth = keras.ops.squeeze(truth, -1) if len(truth.shape) == len(y_pred.shape) else truth
        likelihood = keras.ops.where(truth > 0.5, y_pred[..., 1], y_pred[..., 0])
        return -keras.ops.mean(keras.ops.log(keras.ops.maximum(likelihood, 1e-6)), axis=(1, 2))


class SyntheticAnomalyScore:
    """Share of the image that a segmenter takes for spoiled, which learned on normal images that were spoiled.

    The segmenter is the model's encoder within a U-Net (`medzoo.Segmenter`). It sees each image, `evened`, and its
    mirror image.

    Args:
        steps: of the training, batches of 16.
        seed: int.
    """

    def __init__(self, steps=600, seed=0):
        self.steps, self.seed = steps, seed

    def fit(self, model, normals):
        keras.utils.set_random_seed(self.seed)
        self.segmenter = Segmenter.from_pretrained(model, 2)
        warmup = self.steps // 10
        rate = cosine_schedule(2e-3, self.steps, warmup, final=0.02)
        self.segmenter.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0), loss=MaskEntropy())
        with fitting(self.steps, "learning what is normal") as callback:
            batches = SyntheticAnomalyDataset(normals, self.steps, 16, self.seed)
            self.segmenter.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=[callback])
        return self

    def score(self, model, images):
        images = partial_histogram_equalization(images)
        seen = [self.segmenter.predict(x, batch_size=32, verbose=0)[..., 1] for x in (images, images[:, :, ::-1])]
        maps = (seen[0] + seen[1][:, :, ::-1]) / 2
        ordered = np.sort(maps.reshape(len(maps), -1), axis=1)
        return ordered[:, -max(1, round(SHARE * ordered.shape[1])) :].mean(axis=1), maps
