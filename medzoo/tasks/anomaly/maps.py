"""Bounding boxes and resampling of anomaly maps."""

import numpy as np


def find_boxes(anomaly_map: np.ndarray, level: float = 0.6, min_area: float = 0.002) -> list[tuple[int, int, int, int]]:
    """Return bounding boxes of the regions with the highest values of an anomaly map.

    Args:
        anomaly_map: Float array of shape `(H, W, 1)`.
        level: float in [0, 1]. Threshold as a fraction of the range from the median to the maximum of the map.
        min_area: float. Minimum area of a region as a fraction of the image area.

    Returns:
        List of `(top, left, bottom, right)` in pixels.
    """
    from scipy.ndimage import find_objects, label

    middle = np.median(anomaly_map)
    regions, _ = label(anomaly_map[..., 0] > middle + level * (anomaly_map.max() - middle))
    sizes = np.bincount(regions.ravel())[1:]
    found = zip(find_objects(regions), sizes, strict=True)
    return [(r.start, c.start, r.stop, c.stop) for (r, c), size in found if size >= min_area * regions.size]


def resize_maps(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize anomaly maps by bicubic interpolation.

    Args:
        maps: Float array of shape `(N, h, w)`.
        size: Tuple `(height, width)`.

    Returns:
        Float32 array of shape `(N, height, width)`.
    """
    from PIL import Image

    resized = (Image.fromarray(m.astype("float32")).resize(size[::-1], Image.Resampling.BICUBIC) for m in maps)
    return np.stack([np.asarray(m, "float32") for m in resized])
