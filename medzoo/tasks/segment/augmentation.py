"""Augmentation of images together with their masks."""

import numpy as np
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from medzoo.io.intensity import unit_range
from medzoo.models.epochs import EpochDataset


class AugmentedSegmentationDataset(EpochDataset):
    """Batches of augmented images and masks, reproducible for a given seed.

    Each pair is translated, rotated and scaled together; contrast and gamma of the image vary.

    Args:
        images: Array of shape `(N, H, W, 1)`, float32 in [0, 1], uint8 or uint16; of volumes `(N, D, H, W, 1)`.
        masks: Integer array of shape `(N, H, W)`, or `(N, H, W, K)` with values 0 and 1; of volumes with the depth axis
            before the height.
        batch_size: int. Number of pairs per batch.
        steps: int. Number of batches per epoch; by default each pair is used once per epoch.
        seed: int. Random seed.
        translation: float. Maximum translation as a fraction of each side.
        affine: float. Maximum rotation in radians, and maximum relative change of scale.
        contrast: float. Maximum relative change of contrast and of gamma.

    Attributes:
        epoch: int. Current epoch, see `EpochDataset`.
    """

    def __init__(
        self,
        images: np.ndarray,
        masks: np.ndarray,
        batch_size: int = 8,
        steps: int | None = None,
        seed: int = 0,
        translation: float = 0.05,
        affine: float = 0.1,
        contrast: float = 0.2,
    ):
        super().__init__()
        self.images, self.masks = unit_range(images, "AugmentedSegmentationDataset"), masks
        self.batch_size, self.seed = batch_size, seed
        self.steps = steps or -(-len(images) // batch_size)
        self.translation, self.affine, self.contrast = translation, affine, contrast

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        # Every pair is used before any is repeated: batches are consecutive parts of repeated permutations.
        first = (self.epoch * self.steps + index) * self.batch_size
        chosen = [self._index(n) for n in range(first, first + self.batch_size)]
        pairs = [self._augmented(self.images[i], self.masks[i], rng) for i in chosen]
        return tuple(np.stack(part) for part in zip(*pairs, strict=True))

    def _index(self, n):
        """Return the index of the n-th pair of the repeated permutations."""
        repeat, position = divmod(n, len(self.images))
        return np.random.default_rng((self.seed, repeat)).permutation(len(self.images))[position]

    def _augmented(self, image, mask, rng):
        """Return one augmented pair."""
        sides = np.array(image.shape[:-1])
        axes = len(sides)
        angles = self.affine * rng.uniform(-1, 1, 3) * ((1, 1, 1) if axes == 3 else (0, 0, 1))
        rotation = Rotation.from_rotvec(angles).as_matrix()[:axes, :axes]
        matrix = rotation * (1 + self.affine * rng.uniform(-1, 1, axes))
        middle = (sides - 1) / 2
        offset = middle - matrix @ middle + self.translation * sides * rng.uniform(-1, 1, axes)
        multi_label = mask.ndim > axes

        def transformed(values, order):
            return affine_transform(values, matrix, offset, order=order, mode="nearest")

        gamma, gain = 1 + self.contrast * rng.uniform(-1, 1, 2)
        augmented = np.clip(gain * np.clip(transformed(image[..., 0], 1), 0, 1) ** gamma, 0, 1)
        if multi_label:
            mask = np.stack([transformed(m, 0) for m in np.moveaxis(mask, -1, 0)], axis=-1)
        else:
            mask = transformed(mask, 0)
        return augmented[..., None].astype("float32"), mask
