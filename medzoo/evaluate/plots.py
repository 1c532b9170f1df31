"""Figures as PNG files; `Figure` objects only, so nothing needs a display."""

import numpy as np


def _figure(rows, columns, cell=1.6, extra=0.3):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * cell, rows * cell + extra), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes


def _show(axis, image, title=None, difference=False):
    if difference:
        axis.imshow(image[..., 0], cmap="RdBu_r", vmin=-0.25, vmax=0.25)
    else:
        axis.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
    if title:
        axis.set_title(title, fontsize=8)


def save_reconstructions(path, images, reconstructions, titles, title=None):
    """One row an image: input, reconstruction, difference (red: reconstructed too bright; scale -0.25 to 0.25)."""
    figure, axes = _figure(len(images), 3, cell=2.4)
    for row, image, reconstruction, text in zip(axes, images, reconstructions, titles, strict=True):
        _show(row[0], image, "input")
        _show(row[1], reconstruction, text)
        _show(row[2], reconstruction - image, "difference (±0.25)", difference=True)
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=120)


def save_grid(path, images, columns=8, title=None):
    """A grid of images."""
    rows = -(-len(images) // columns)
    figure, axes = _figure(rows, columns, cell=1.1)
    for axis, image in zip(axes.flat, images, strict=False):
        _show(axis, image)
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=120)


def save_demo(path, image, reconstruction, title, samples):
    """Input, reconstruction and difference above a row of samples from the prior."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.2), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(3, 2))
    axes = top.subplots(1, 3)
    _show(axes[0], image, "input: a drawn phantom, no patient")
    _show(axes[1], reconstruction, title)
    _show(axes[2], reconstruction - image, "difference (±0.25)", difference=True)
    row = bottom.subplots(2, len(samples) // 2)
    for axis, sample in zip(row.flat, samples, strict=True):
        _show(axis, sample)
    bottom.suptitle("drawn from the prior: patients who do not exist", fontsize=8)
    for axis in (*axes, *row.flat):
        axis.set_axis_off()
    figure.savefig(path, dpi=110)


def difference_strip(image, reconstruction):
    """uint8 `(H, 3 W, 3)`: input, reconstruction and coloured difference side by side, pixel for pixel."""
    import matplotlib

    grey = np.concatenate([image, reconstruction], axis=1)[..., 0]
    difference = np.clip((reconstruction - image)[..., 0] / 0.5 + 0.5, 0, 1)
    colour = matplotlib.colormaps["RdBu_r"](difference)[..., :3]
    strip = np.concatenate([np.repeat(grey[..., None], 3, axis=-1), colour], axis=1)
    return np.round(strip * 255).astype("uint8")
