"""Figures as PNG files. Only `Figure` objects are used, so no display is needed."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from medzoo.metrics.classification import roc_auc


def _figure(rows, columns, cell=1.6, extra=0.3):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * cell, rows * cell + extra), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes


def _save(figure, path, dpi):
    """Write a PNG; a figure without color as grayscale, which halves the size."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png")
    image = Image.open(buffer).convert("RGB")
    red, green, blue = (np.asarray(channel) for channel in image.split())
    if (red == green).all() and (green == blue).all():
        image = image.convert("L")
    image.save(path, format="PNG", optimize=True)


def _show(axis, image, title=None, difference=False):
    if difference:
        axis.imshow(image[..., 0], cmap="RdBu_r", vmin=-0.25, vmax=0.25)
    else:
        axis.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
    if title:
        axis.set_title(title, fontsize=8)


def save_reconstructions(
    path: str | Path, images: np.ndarray, reconstructions: np.ndarray, titles: Sequence[str], title: str | None = None
) -> None:
    """Save inputs, reconstructions and differences, two images per row.

    Differences are shown from -0.25 (blue) to 0.25 (red: the reconstruction is too bright).

    Args:
        path: Path of the PNG.
        images: float array `(N, H, W, 1)` with values in [0, 1].
        reconstructions: float array shaped like `images`.
        titles: Title of each reconstruction.
        title: Title of the figure.
    """
    per_row = min(2, len(images))
    rows = -(-len(images) // per_row)
    figure, axes = _figure(rows, 3 * per_row, cell=2.0)
    triples = axes.reshape(rows * per_row, 3)
    for row, image, reconstruction, text in zip(triples, images, reconstructions, titles, strict=False):
        _show(row[0], image, "input")
        _show(row[1], reconstruction, text)
        _show(row[2], reconstruction - image, "difference (±0.25)", difference=True)
    figure.suptitle(title, fontsize=9)
    _save(figure, path, 120)


def middle_slices(volumes: np.ndarray) -> np.ndarray:
    """Return the middle axial slices of volumes `(N, D, H, W, 1)`; images unchanged."""
    return volumes if volumes.ndim == 4 else volumes[:, volumes.shape[1] // 2]


def three_planes(volumes: np.ndarray) -> np.ndarray:
    """Return the middle axial, coronal and sagittal slices of volumes below each other.

    Args:
        volumes: float array `(N, D, H, W, 1)`.

    Returns:
        float array `(N, H', W', 1)`.
    """
    _, d, h, w, _ = volumes.shape
    planes = volumes[:, d // 2], volumes[:, ::-1, h // 2], volumes[:, ::-1, :, w // 2]
    widest = max(plane.shape[2] for plane in planes)
    margins = [(widest - plane.shape[2]) // 2 for plane in planes]
    padded = [
        np.pad(plane, [(0, 0), (1, 1), (m, widest - plane.shape[2] - m), (0, 0)], constant_values=1)
        for plane, m in zip(planes, margins, strict=True)
    ]
    return np.concatenate(padded, axis=1)


def save_planes(
    path: str | Path,
    images: np.ndarray,
    reconstructions: np.ndarray,
    spacing: Sequence[float],
    title: str | None = None,
    position: float = 0.5,
) -> None:
    """Save a volume in three planes: input, reconstruction and difference (-0.25 to 0.25).

    Args:
        path: Path of the PNG.
        images: float array `(depth, height, width, 1)`, as `Volume.to_images()` returns it.
        reconstructions: float array shaped like `images`.
        spacing: Voxel size in mm from side to side, front to back and up.
        title: Title of the figure.
        position: float from 0 (first slice along each axis) to 1 (last slice). Position of the planes.
    """
    across, along, up = spacing
    figure, axes = _figure(3, 3, cell=2.4)
    d, h, w = (min(n - 1, int(position * n)) for n in images.shape[:3])
    rows = {"input": images, "reconstruction": reconstructions, "difference (±0.25)": reconstructions - images}
    for row, (text, volume) in zip(axes, rows.items(), strict=True):
        planes = (
            ("axial", volume[d], along / across),
            ("coronal", volume[::-1, h], up / across),
            ("sagittal", volume[::-1, :, w], up / along),
        )
        for axis, (name, plane, aspect) in zip(row, planes, strict=True):
            _show(axis, plane, name if text == "input" else None, text.startswith("difference"))
            axis.set_aspect(aspect)
        row[0].text(-0.05, 0.5, text, rotation=90, ha="right", va="center", fontsize=8, transform=row[0].transAxes)
    figure.suptitle(title, fontsize=9)
    _save(figure, path, 120)


def save_grid(path: str | Path, images: np.ndarray, columns: int = 8, title: str | None = None) -> None:
    """Save images in a grid."""
    rows = -(-len(images) // columns)
    figure, axes = _figure(rows, columns, cell=1.1)
    for axis, image in zip(axes.flat, images, strict=False):
        _show(axis, image)
    figure.suptitle(title, fontsize=9)
    _save(figure, path, 120)


def save_anomaly_map(
    path: str | Path, image: np.ndarray, anomaly_map: np.ndarray, boxes: Sequence[Sequence[int]], title: str
) -> None:
    """Save an image with bounding boxes, and the image with the anomaly map on top.

    Args:
        path: Path of the PNG.
        image: float array `(H, W, 1)` with values in [0, 1].
        anomaly_map: float array `(H, W, 1)`.
        boxes: Bounding boxes `(top, left, bottom, right)` in pixels.
        title: Title of the figure.
    """
    from matplotlib.patches import Rectangle

    figure, axes = _two_panels(image)
    axes[0, 1].imshow(anomaly_map[..., 0], cmap="inferno", alpha=0.5)
    for top, left, bottom, right in boxes:
        frame = Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor="C1")
        axes[0, 0].add_patch(frame)
    figure.suptitle(title, fontsize=9)
    _save(figure, path, 120)


def _two_panels(image):
    figure, axes = _figure(1, 2, cell=3.2)
    for axis in axes[0]:
        _show(axis, image)
    return figure, axes


def save_attribution_map(path: str | Path, image: np.ndarray, attribution: np.ndarray, title: str) -> None:
    """Save an image, and the image with an attribution map on top.

    Red regions increase the score of the predicted class, blue regions decrease it.

    Args:
        path: Path of the PNG.
        image: float array `(H, W, 1)` with values in [0, 1].
        attribution: float array `(H, W)`.
        title: Title of the figure.
    """
    figure, axes = _two_panels(image)
    limit = np.abs(attribution).max() or 1.0
    axes[0, 1].imshow(attribution, cmap="seismic", vmin=-limit, vmax=limit, alpha=0.4)
    figure.suptitle(title, fontsize=9)
    _save(figure, path, 120)


def save_segmentation(
    path: str | Path,
    images: np.ndarray,
    truth: np.ndarray | None,
    predicted: np.ndarray,
    titles: Sequence[str],
    title: str | None,
) -> None:
    """Save images with the outlines of predicted masks (orange) and reference masks (blue).

    Args:
        path: Path of the PNG.
        images: float array `(N, H, W, 1)` with values in [0, 1].
        truth: Reference masks, uint8 array `(N, H, W, K)` of 0 and 1, or `None`.
        predicted: Predicted masks, uint8 array `(N, H, W, K)`.
        titles: Title of each image.
        title: Title of the figure.
    """
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    figure, axes = _figure(rows, columns, cell=2.6)
    for i, axis in enumerate(axes.flat[: len(images)]):
        _show(axis, images[i], titles[i])
        for masks, color in ((truth, "C0"), (predicted, "C1")):
            for layer in () if masks is None else np.moveaxis(masks[i], -1, 0):
                if layer.any():
                    axis.contour(layer, levels=[0.5], colors=color, linewidths=1)
    figure.suptitle(title, fontsize=9)
    _save(figure, path, 120)


def save_classification(
    path: str | Path, probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str], title: str
) -> None:
    """Save the ROC curves (one-vs-rest, or one per label) and the reliability diagram.

    Args:
        path: Path of the PNG.
        probabilities: float array, see `medzoo.metrics.classification.classification_metrics`.
        labels: int array, see `medzoo.metrics.classification.classification_metrics`.
        names: Names of the classes or labels.
        title: Title of the figure.
    """
    from matplotlib.figure import Figure
    from sklearn.metrics import roc_curve

    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    multi_label = labels.ndim == 2
    truth = labels.astype(bool) if multi_label else labels[:, None] == np.arange(probabilities.shape[1])
    for k in [1] if not multi_label and len(names) == 2 else range(len(names)):
        if 0 < truth[:, k].sum() < len(truth):
            false, true, _ = roc_curve(truth[:, k], probabilities[:, k])
            left.plot(false, true, label=f"{names[k]}: AUC {roc_auc(probabilities[:, k], truth[:, k]):.3f}")
    left.plot([0, 1], [0, 1], "--", color="0.7", linewidth=1)
    left.set(xlabel="1 - specificity", ylabel="sensitivity")
    left.legend(frameon=False, fontsize=8)
    if multi_label:
        confidence, hit, axis = probabilities.ravel(), truth.ravel(), "observed frequency"
    else:
        confidence, hit, axis = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, "accuracy"
    bins = np.minimum((confidence * 10).astype(int), 9)
    used = np.unique(bins)
    right.plot([0, 1], [0, 1], "--", color="0.7", linewidth=1)
    right.plot([confidence[bins == b].mean() for b in used], [hit[bins == b].mean() for b in used], "o-")
    right.set(xlabel="probability" if multi_label else "confidence", ylabel=axis, xlim=(0, 1), ylim=(0, 1.02))
    figure.suptitle(title, fontsize=9)
    _save(figure, path, 120)


def save_latents(path: str | Path, kl: np.ndarray, means: np.ndarray, title: str) -> None:
    """Save the sorted KL of the latents and the histogram of posterior means.

    The histogram is shown with the density of the prior N(0, 1).

    Args:
        path: Path of the PNG.
        kl: float array `(D,)` in nats.
        means: float array of posterior means.
        title: Title of the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.bar(range(1, len(kl) + 1), np.sort(kl)[::-1], color="0.4")
    left.set(xlabel="latent, sorted", ylabel="KL to the prior, nats")
    z = np.linspace(-4, 4, 200)
    right.hist(means.ravel(), bins=80, range=(-4, 4), density=True, color="0.7", label="posterior means")
    right.plot(z, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), color="C0", label="prior N(0, 1)")
    right.set(xlabel="latent", ylabel="density")
    right.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=9)
    _save(figure, path, 120)


def save_projection(path: str | Path, points: np.ndarray, labels: Sequence, title: str) -> None:
    """Save a scatter plot of points `(N, 2)` with one color per label."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    axis = figure.subplots()
    labels = np.asarray(labels)
    for label in dict.fromkeys(labels.tolist()):
        axis.plot(*points[labels == label].T, ".", markersize=5, alpha=0.7, label=str(label))
    axis.legend(frameon=False, fontsize=8)
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()
    _save(figure, path, 120)


def save_tuning(path: str | Path, rows: Sequence[dict], what: str, chosen: object, title: str) -> None:
    """Save PSNR versus the tuned value, and versus bits per pixel where they are known."""
    from matplotlib.figure import Figure

    bits = "bits" in rows[0]
    figure = Figure(figsize=(8 if bits else 4.5, 3.5), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, 2 if bits else 1))
    psnr, error = ([r[key] for r in rows] for key in ("psnr", "psnr_error"))
    for axis, key, label in zip(axes, ("setting", "bits"), (what, "bits per pixel"), strict=False):
        axis.errorbar([r[key] for r in rows], psnr, error, fmt="o-", capsize=3, markersize=4)
        mark = next(r for r in rows if r["setting"] == chosen)
        axis.plot(mark[key], mark["psnr"], "o", markersize=11, fillstyle="none", color="C1", label=f"chosen: {chosen}")
        axis.set(xlabel=label, ylabel="PSNR, dB")
        axis.grid(alpha=0.3)
    axes[0].set_xscale("log")
    axes[0].set_xticks([r["setting"] for r in rows], [str(r["setting"]) for r in rows])
    axes[0].minorticks_off()
    axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=9)
    _save(figure, path, 120)


def save_analysis(
    path: str | Path, image: np.ndarray, reconstruction: np.ndarray, anomaly_map: np.ndarray, name: str
) -> None:
    """Save input, reconstruction, difference, and the input with its anomaly map on top."""
    figure, axes = _figure(1, 4, cell=3.0)
    for axis, title in zip(
        axes[0], ("Input", f"Reconstruction ({name})", "Difference (±0.25)", "Anomaly map"), strict=True
    ):
        _show(axis, image, title)
    _show(axes[0, 1], reconstruction)
    _show(axes[0, 2], reconstruction - image, difference=True)
    height, width = image.shape[:2]
    shown = axes[0, 3].imshow(
        anomaly_map[..., 0],
        cmap="inferno",
        alpha=0.5,
        vmin=0,
        vmax=max(3.0, anomaly_map.max()),
        extent=(0, width, height, 0),
    )
    figure.colorbar(shown, ax=axes[0, 3], label="Anomaly score (relative to normal images)", shrink=0.6)
    _save(figure, path, 110)


def save_similar_images(path: str | Path, images: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """Save images in a row, each with its name and similarity."""
    figure, axes = _figure(1, len(images), cell=1.9, extra=0.5)
    for axis, image, title in zip(axes[0], images, titles, strict=True):
        _show(axis, image, title)
    figure.suptitle("most similar images (cosine similarity of features)", fontsize=9)
    _save(figure, path, 110)


def save_demo(path: str | Path, image: np.ndarray, reconstruction: np.ndarray, title: str, samples: np.ndarray) -> None:
    """Save input, reconstruction and difference above a row of generated images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.6), layout="constrained")
    top, bottom = cast("Any", figure.subfigures(2, 1, height_ratios=(5, 2)))
    axes = top.subplots(1, 3)
    _show(axes[0], image, "input: synthetic phantom")
    _show(axes[1], reconstruction, title)
    _show(axes[2], reconstruction - image, "difference (±0.25)", difference=True)
    row = bottom.subplots(1, len(samples))
    for axis, sample in zip(row, samples, strict=True):
        _show(axis, sample)
    bottom.suptitle("generated images (synthetic, no patient)", fontsize=8)
    for axis in (*axes, *row):
        axis.set_axis_off()
    _save(figure, path, 110)


def difference_strip(image: np.ndarray, reconstruction: np.ndarray, shown: np.ndarray | None = None) -> np.ndarray:
    """Return input, reconstruction and colored difference side by side.

    Args:
        image: float array `(H, W, 1)` with values in [0, 1].
        reconstruction: float array shaped like `image`.
        shown: Image that is shown instead of the input, or `None`.

    Returns:
        uint8 array `(H, 3 W, 3)`.
    """
    import matplotlib

    gray = np.concatenate([image if shown is None else shown, reconstruction], axis=1)[..., 0]
    difference = np.clip((reconstruction - image)[..., 0] / 0.5 + 0.5, 0, 1)
    color = matplotlib.colormaps["RdBu_r"](difference)[..., :3]
    strip = np.concatenate([np.repeat(gray[..., None], 3, axis=-1), color], axis=1)
    return np.round(strip * 255).astype("uint8")
