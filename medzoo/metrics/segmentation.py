"""How well masks agree."""

import numpy as np


def one_hot_masks(masks, classes, multi_label=False):
    """Masks as one layer of 0 and 1 for each label: `(N, H, W)` of the labels 0 to `classes` - 1, or `(N, H, W,
    classes)` if they may overlap, to `(N, H, W, K)`; the background is none."""
    return masks if multi_label else np.stack([(masks == k).astype("uint8") for k in range(1, classes)], axis=-1)


def dice(truth, found, label=1):
    """Dice overlap of one class, `(N,)`, from integer masks `(N, H, W)`; 1 where both are empty."""
    a, b = (np.reshape(m == label, (len(m), -1)) for m in (truth, found))
    total = a.sum(axis=1) + b.sum(axis=1)
    return np.where(total == 0, 1.0, 2 * (a & b).sum(axis=1) / np.maximum(total, 1))


def hausdorff_distance(truth, found, label=1, percentile=95):
    """Hausdorff distance between the outlines of one class in pixels, `(N,)`.

    The given percentile of the distances from each outline to the other, the larger of the two ways; 0 where both masks
    are empty, infinity where one is.
    """
    from scipy.ndimage import binary_erosion, distance_transform_edt

    def outline(mask):
        return mask & ~binary_erosion(mask)

    result = []
    for a, b in zip(truth == label, found == label, strict=True):
        a, b = outline(np.squeeze(a)), outline(np.squeeze(b))
        if not (a.any() and b.any()):
            result.append(0.0 if not (a.any() or b.any()) else np.inf)
            continue
        there, back = distance_transform_edt(~b)[a], distance_transform_edt(~a)[b]
        result.append(max(np.percentile(there, percentile), np.percentile(back, percentile)))
    return np.array(result)
