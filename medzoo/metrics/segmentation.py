"""Agreement of segmentation masks."""

import numpy as np


def one_hot_masks(masks: np.ndarray, classes: int, multi_label: bool = False) -> np.ndarray:
    """Return masks as one channel of 0 and 1 per label, without the background.

    Args:
        masks: int array `(N, H, W)` of labels from 0 to `classes` - 1; with `multi_label` an array `(N, H, W, K)` of 0
            and 1, which is returned unchanged.
        classes: int. Number of classes, including the background.
        multi_label: bool. Whether labels may overlap.

    Returns:
        uint8 array `(N, H, W, K)`.
    """
    return masks if multi_label else np.stack([(masks == k).astype("uint8") for k in range(1, classes)], axis=-1)


def dice(y_true: np.ndarray, y_pred: np.ndarray, label: int = 1) -> np.ndarray:
    """Return the Dice score of one class per image; 1 if both masks are empty.

    Args:
        y_true: int array `(N, H, W)`, reference masks.
        y_pred: int array shaped like `y_true`, predicted masks.
        label: int. Class.

    Returns:
        float array `(N,)` from 0 to 1.
    """
    a, b = (np.reshape(m == label, (len(m), -1)) for m in (y_true, y_pred))
    total = a.sum(axis=1) + b.sum(axis=1)
    return np.where(total == 0, 1.0, 2 * (a & b).sum(axis=1) / np.maximum(total, 1))


def hausdorff_distance(y_true: np.ndarray, y_pred: np.ndarray, label: int = 1, percentile: float = 95) -> np.ndarray:
    """Return the Hausdorff distance between the boundaries of one class, in pixels.

    The percentile is taken of the distances from each boundary to the other, and the larger of both directions is
    returned.

    Args:
        y_true: int array `(N, H, W)`, reference masks.
        y_pred: int array shaped like `y_true`, predicted masks.
        label: int. Class.
        percentile: float from 0 to 100.

    Returns:
        float array `(N,)`: 0 if both masks are empty, infinity if one is.
    """
    from scipy.ndimage import binary_erosion, distance_transform_edt

    def boundary(mask):
        return mask & ~binary_erosion(mask)

    result = []
    for a, b in zip(y_true == label, y_pred == label, strict=True):
        a, b = boundary(np.squeeze(a)), boundary(np.squeeze(b))
        if not (a.any() and b.any()):
            result.append(0.0 if not (a.any() or b.any()) else np.inf)
            continue
        forward, backward = distance_transform_edt(~b)[a], distance_transform_edt(~a)[b]
        result.append(max(np.percentile(forward, percentile), np.percentile(backward, percentile)))
    return np.array(result)
