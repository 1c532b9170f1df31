"""Images and masks, moved together, to train on."""

import numpy as np
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from medzoo.io.intensity import unit_range
from medzoo.models.epochs import EpochDataset


class AugmentedSegmentationDataset(EpochDataset):
    """Batches of images and their masks, each pair moved, turned and scaled alike, the image exposed a little
    differently; repeatable for a given seed.

    Args:
        images: float32 `(N, H, W, 1)` in [0, 1], uint8 or uint16; or volumes `(N, D, H, W, 1)`.
        masks: integers `(N, H, W)`, or `(N, H, W, K)` of 0 and 1; of volumes with the depth before the height.
        batch_size: pairs a batch.
        steps: batches an epoch; by default as many as show each pair once.
        seed: int.
        shift: largest movement, as a share of each side.
        warp: largest turn in radians and largest relative change of scale.
        contrast: largest relative change of contrast, and of gamma.

    Attributes:
        epoch: see `Epochs`.
    """

    def __init__(self, images, masks, batch_size=8, steps=None, seed=0, shift=0.05, warp=0.1, contrast=0.2):
        super().__init__()
        self.images, self.masks = unit_range(images, "AugmentedSegmentationDataset"), masks
        self.batch_size, self.seed = batch_size, seed
        self.steps = steps or -(-len(images) // batch_size)
        self.shift, self.warp, self.contrast = shift, warp, contrast

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        rng = np.random.default_rng((self.seed, self.epoch, index))
        # All of them before any comes again: the i-th batch is a piece of endless shuffles.
        first = (self.epoch * self.steps + index) * self.batch_size
        chosen = [self._order(n) for n in range(first, first + self.batch_size)]
        pairs = [self._moved(self.images[i], self.masks[i], rng) for i in chosen]
        return tuple(np.stack(part) for part in zip(*pairs, strict=True))

    def _order(self, n):
        turn, place = divmod(n, len(self.images))
        return np.random.default_rng((self.seed, turn)).permutation(len(self.images))[place]

    def _moved(self, image, mask, rng):
        sides = np.array(image.shape[:-1])
        axes = len(sides)
        turn = self.warp * rng.uniform(-1, 1, 3) * ((1, 1, 1) if axes == 3 else (0, 0, 1))
        rotation = Rotation.from_rotvec(turn).as_matrix()[:axes, :axes]
        matrix = rotation * (1 + self.warp * rng.uniform(-1, 1, axes))
        middle = (sides - 1) / 2
        offset = middle - matrix @ middle + self.shift * sides * rng.uniform(-1, 1, axes)
        several = mask.ndim > axes

        def layer(values, order):
            return affine_transform(values, matrix, offset, order=order, mode="nearest")

        gamma, gain = 1 + self.contrast * rng.uniform(-1, 1, 2)
        moved = np.clip(gain * np.clip(layer(image[..., 0], 1), 0, 1) ** gamma, 0, 1)
        mask = np.stack([layer(m, 0) for m in np.moveaxis(mask, -1, 0)], axis=-1) if several else layer(mask, 0)
        return moved[..., None].astype("float32"), mask
