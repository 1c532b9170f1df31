"""Synthetic phantoms of the chest and the head for demonstrations and tests, without patient data.

The chest phantom models X-ray attenuation (Beer–Lambert law) through ellipsoids and curved rods of tissue, so that it
has the structures of a frontal chest X-ray: lungs, heart, spine, ribs, clavicles and diaphragm. `chest_phantom.png` in
this folder is `chest_phantom(256)`.
"""

import numpy as np


def chest_phantom(size: int = 256, seed: int | None = None) -> np.ndarray:
    """Generate a synthetic phantom of a frontal chest X-ray.

    Args:
        size: int. Side in pixels, default 256.
        seed: int or `None`. `None` (default) generates the standard phantom; an int varies anatomy, position and
            contrast.

    Returns:
        float32 array `(size, size, 1)` in [0, 1]; higher attenuation is brighter.
    """
    rng = np.random.default_rng(seed)

    def vary(value, by=0.06):
        return value if seed is None else value * (1 + by * rng.uniform(-1, 1))

    y, x = np.mgrid[0:size, 0:size] / (size - 1) * 2 - 1  # x: -1 left to 1 right of the image, y: -1 top to 1 bottom
    x, y = 0.92 * x, 0.92 * y - 0.02
    if seed is not None:
        x, y = x * vary(1.0) + rng.uniform(-0.05, 0.05), y * vary(1.0) + rng.uniform(-0.05, 0.05)

    def ellipsoid(cx, cy, a, b, depth, power=2.0):
        """Path length through an ellipsoid (power 2) or a superellipsoid."""
        inside = 1 - np.abs((x - cx) / a) ** power - np.abs((y - cy) / b) ** power
        return depth * np.sqrt(np.clip(inside, 0, None))

    def soft(edge, width):
        return 1 / (1 + np.exp(-np.clip(edge / width, -50, 50)))

    def rod(distance, radius):
        """Path length through a bone with circular cross-section and dense cortex."""
        outer = np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, None))
        return outer - 0.55 * np.sqrt(np.clip(1 - (distance / (0.7 * radius)) ** 2, 0, None))

    # Soft tissue: neck, shoulders and trunk, as half width at each height; arms next to the trunk.
    girth = vary(1.0)
    half = 0.20 + 0.64 * girth * soft(y + 0.80, 0.055) + 0.14 * soft(y + 0.62, 0.07) - 0.17 * soft(y + 0.22, 0.13)
    body = np.sqrt(np.clip(1 - np.abs(x / half) ** 3.2, 0, None)) * (0.50 + 0.50 * soft(y + 0.78, 0.10))
    for side in (-1, 1):
        arm = np.clip(1 - ((side * x - 1.00 - 0.10 * y) / 0.17) ** 2, 0, None) * soft(y + 0.45, 0.06)
        body = np.maximum(body, 0.55 * np.sqrt(arm))
    total = 1.15 * body

    # Lungs displace tissue; the right dome of the diaphragm (left in the image) is higher.
    lungs = np.zeros_like(x)
    for side, dome in ((-1, vary(0.44)), (1, vary(0.52))):
        cx = side * vary(0.37, 0.03)
        reach = (y + 0.80) / 1.4  # narrow at the apex
        shape = ellipsoid(cx, 0.06, vary(0.31) * np.clip(0.62 + 0.55 * reach, 0.3, 1.05), vary(0.88), 1.0, 2.4)
        floor = dome + 0.17 - 0.17 * np.cos(np.clip((x - cx) / 0.36, -1.5, 1.5))
        lungs += shape * soft(floor - y, 0.012)
    total -= 0.92 * lungs * np.clip(body, 0, 1)

    # Heart and great vessels, mostly in the right half of the image; hila with vessels of decreasing contrast.
    total += 0.50 * ellipsoid(0.12, 0.30, vary(0.31), vary(0.27), 1.0, 2.3)
    total += 0.30 * ellipsoid(0.02, -0.20, 0.13, 0.62, 1.0) + 0.22 * ellipsoid(0.10, -0.20, 0.10, 0.11, 1.0)
    tree = np.random.default_rng(0 if seed is None else seed)
    for side in (-1, 1):
        total += 0.16 * np.exp(-(((side * x - 0.17) / 0.07) ** 2 + ((y - 0.02) / 0.12) ** 2))
        for angle in np.linspace(-1.35, 1.45, 12) + tree.uniform(-0.12, 0.12, 12):
            u = (side * x - 0.14) * np.cos(angle) + (y - 0.02) * np.sin(angle)
            v = (y - 0.02) * np.cos(angle) - (side * x - 0.14) * np.sin(angle) + tree.uniform(-0.5, 0.5) * u**2
            fade = np.clip(1 - u / tree.uniform(0.32, 0.5), 0, 1) * soft(u - 0.03, 0.02)
            total += 0.11 * fade * np.exp(-((v / (0.008 + 0.014 * fade)) ** 2))

    # Abdomen below the diaphragm, with the gastric air bubble.
    total += 0.45 * soft(y - 0.56 - 0.10 * np.abs(x), 0.06) * np.clip(body, 0, 1)
    total -= 0.30 * ellipsoid(0.38, 0.68, 0.11, 0.06, 1.0)

    # Spine: vertebrae and intervertebral discs.
    spine = ellipsoid(0, 0, 0.080, 9, 1.0, 4.0)
    total += spine * (0.26 + 0.06 * np.cos(y * 2 * np.pi / 0.145)) * np.clip(body, 0, 1)

    # Posterior ribs, curved downwards and laterally; fainter anterior ribs; clavicles, shoulders, arms.
    for side in (-1, 1):
        across = side * x
        for i in range(10):
            top = -0.74 + 0.135 * i
            wall = 0.70 * girth * (1 - np.exp(-(top + 1.02) / 0.30))
            t = np.clip(across / wall, 0, 1)
            behind = top - 0.06 * np.sin(np.pi * np.clip(1.3 * t, 0, 1)) + 0.26 * t**2.6
            inside = soft(wall - across, 0.015) * soft(across - 0.05, 0.01)
            total += 0.17 * rod(y - behind, 0.030) * inside
            front = top + 0.26 + 0.34 * (1 - t) ** 0.9
            total += 0.07 * rod(y - front, 0.034) * inside * soft(t - 0.42, 0.06) * (i < 6)
        collar = -0.66 - 0.14 * across + 0.25 * (across - 0.35) ** 2
        total += 0.26 * rod(y - collar, 0.030) * soft(across - 0.07, 0.01) * soft(0.70 - across, 0.02)
        total += 0.30 * ellipsoid(side * 0.83, -0.55, 0.10, 0.11, 1.0)
        shaft = across - 0.86 - 0.16 * (y + 0.5)
        total += 0.30 * rod(shaft, 0.055) * soft(y + 0.52, 0.03)
        blade = across - 0.66 + 0.12 * (y + 0.2)
        total += 0.08 * np.exp(-((blade / 0.025) ** 2)) * soft(0.20 - y, 0.05) * soft(y + 0.55, 0.05)

    # Detector response: saturation at high values, gamma, and quantum noise.
    image = 1.08 * (1 - np.exp(-1.55 * np.clip(total, 0, None)))
    image = np.clip(image, 0, None) ** vary(1.35, 0.15)
    image += 0.006 * np.random.default_rng(0 if seed is None else seed + 1).standard_normal(image.shape)
    return np.clip(image, 0, 1).astype("float32")[..., None]


# Ellipses of Shepp & Logan (1974) with the contrasts of Toft (1996): value, half axes, center, rotation in degrees.
SHEPP_LOGAN = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0),
    (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0),
    (-0.2, 0.11, 0.31, 0.22, 0.0, -18),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18),
    (0.1, 0.21, 0.25, 0.0, 0.35, 0),
    (0.1, 0.046, 0.046, 0.0, 0.1, 0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0),
    (0.1, 0.046, 0.023, -0.08, -0.605, 0),
    (0.1, 0.023, 0.023, 0.0, -0.606, 0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0),
)


def head_phantom(size: int = 256, seed: int | None = None) -> np.ndarray:
    """Generate a Shepp–Logan head phantom (1974).

    The phantom has the contrast of an MR slice, smooth edges and noise.

    Args:
        size: int. Side in pixels, default 256.
        seed: int or `None`. `None` (default) generates the standard phantom; an int varies anatomy and position.

    Returns:
        float32 array `(size, size, 1)` in [0, 1].
    """
    rng = np.random.default_rng(seed)
    vary = (lambda by: 0.0) if seed is None else (lambda by: by * rng.uniform(-1, 1))
    y, x = 1 - np.mgrid[0:size, 0:size] / (size - 1) * 2
    x = -x
    tilt, scale, dx, dy = vary(0.15), 1.0 + vary(0.06), vary(0.04), vary(0.04)
    x, y = scale * (x * np.cos(tilt) - y * np.sin(tilt)) + dx, scale * (x * np.sin(tilt) + y * np.cos(tilt)) + dy
    image = np.zeros_like(x)
    for i, (value, a, b, cx, cy, rotation) in enumerate(SHEPP_LOGAN):
        grow = 1.0 if i < 2 else 1 + vary(0.15)
        angle = np.deg2rad(rotation + vary(0 if i < 2 else 6))
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        edge = (1 - np.hypot(u / (a * grow), v / (b * grow))) * min(a, b) * size / 2  # in pixels, negative outside
        image += value / (1 + np.exp(-np.clip(2 * edge, -50, 50)))
    image = np.clip(image, 0, 1) ** 0.6
    image += 0.01 * np.random.default_rng(0 if seed is None else seed + 1).standard_normal(image.shape)
    return np.clip(image, 0, 1).astype("float32")[..., None]


# Half axis and center of each ellipsoid along the third axis (Kak & Slaney 1988).
DEPTHS = ((0.81, 0), (0.78, 0), (0.22, 0), (0.28, 0), (0.41, -0.15), (0.05, 0.25), (0.05, 0.25), (0.05, 0), (0.02, 0))
DEPTHS += ((0.02, 0),)


def head_volume(sides: tuple[int, int, int] = (32, 48, 32), seed: int | None = None) -> np.ndarray:
    """Generate the 3D version of `head_phantom` from ellipsoids.

    Args:
        sides: `(depth, height, width)` in voxels, default `(32, 48, 32)`.
        seed: see `head_phantom`.

    Returns:
        float32 array `(depth, height, width, 1)` in [0, 1].
    """
    rng = np.random.default_rng(seed)
    z, y, x = (1 - 2 * (grid + 0.5) / side for grid, side in zip(np.indices(sides), sides, strict=True))
    x, z = -x, -z
    if seed is not None:
        x, y, z = ((1 + 0.08 * rng.uniform(-1, 1)) * axis + 0.08 * rng.uniform(-1, 1) for axis in (x, y, z))
    volume = np.zeros(sides)
    for (value, a, b, cx, cy, rotation), (c, cz) in zip(SHEPP_LOGAN, DEPTHS, strict=True):
        angle = np.deg2rad(rotation)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        edge = (1 - np.sqrt((u / a) ** 2 + (v / b) ** 2 + ((z - cz) / c) ** 2)) * min(a, b, c) * min(sides) / 2
        volume += value / (1 + np.exp(-np.clip(2 * edge, -50, 50)))
    volume = np.clip(volume, 0, 1) ** 0.6
    volume += 0.01 * np.random.default_rng(0 if seed is None else seed + 1).standard_normal(sides)
    return np.clip(volume, 0, 1).astype("float32")[..., None]
