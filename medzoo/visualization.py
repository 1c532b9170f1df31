"""Figures as PNG files; `Figure` objects only, so nothing needs a display."""

import io

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
    """Writes a PNG; one without colour as shades of grey, in half the space."""
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=dpi, format="png")
    picture = Image.open(drawn).convert("RGB")
    red, green, blue = (np.asarray(channel) for channel in picture.split())
    if (red == green).all() and (green == blue).all():
        picture = picture.convert("L")
    picture.save(path, format="PNG", optimize=True)


def _show(axis, image, title=None, difference=False):
    if difference:
        axis.imshow(image[..., 0], cmap="RdBu_r", vmin=-0.25, vmax=0.25)
    else:
        axis.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
    if title:
        axis.set_title(title, fontsize=8)


def save_reconstructions(path, images, reconstructions, titles, title=None):
    """Input, reconstruction, difference (red: reconstructed too bright; scale -0.25 to 0.25); two images a row."""
    across = min(2, len(images))
    rows = -(-len(images) // across)
    figure, axes = _figure(rows, 3 * across, cell=2.0)
    triples = axes.reshape(rows * across, 3)
    for row, image, reconstruction, text in zip(triples, images, reconstructions, titles, strict=False):
        _show(row[0], image, "input")
        _show(row[1], reconstruction, text)
        _show(row[2], reconstruction - image, "difference (±0.25)", difference=True)
    figure.suptitle(title, fontsize=9)
    _save(figure, path, 120)


def flat(volumes):
    """Images as they are; of volumes `(N, D, H, W, 1)` the middle axial slices."""
    return volumes if volumes.ndim == 4 else volumes[:, volumes.shape[1] // 2]


def three_planes(volumes):
    """The middle axial, coronal and sagittal slices of volumes `(N, D, H, W, 1)` below each other, `(N, H', W', 1)`."""
    _, d, h, w, _ = volumes.shape
    planes = volumes[:, d // 2], volumes[:, ::-1, h // 2], volumes[:, ::-1, :, w // 2]
    widest = max(plane.shape[2] for plane in planes)
    margins = [(widest - plane.shape[2]) // 2 for plane in planes]
    padded = [
        np.pad(plane, [(0, 0), (1, 1), (m, widest - plane.shape[2] - m), (0, 0)], constant_values=1)
        for plane, m in zip(planes, margins, strict=True)
    ]
    return np.concatenate(padded, axis=1)


def save_planes(path, images, reconstructions, spacing, title=None, place=0.5):
    """A volume in three planes: input, reconstruction, difference (scale -0.25 to 0.25) below each other.

    Args:
        images, reconstructions: `(depth, height, width, 1)` as `Volume.images()` gives them.
        spacing: of the voxels from side to side, front to back and up, in mm.
        place: of the planes, from 0, the first slice along each axis, to 1, the last; by default the middle.
    """
    across, along, up = spacing
    figure, axes = _figure(3, 3, cell=2.4)
    d, h, w = (min(n - 1, int(place * n)) for n in images.shape[:3])
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


def save_grid(path, images, columns=8, title=None):
    """A grid of images."""
    rows = -(-len(images) // columns)
    figure, axes = _figure(rows, columns, cell=1.1)
    for axis, image in zip(axes.flat, images, strict=False):
        _show(axis, image)
    figure.suptitle(title, fontsize=9)
    _save(figure, path, 120)


def save_heat_map(path, image, heat, boxes, title):
    """Image with boxes, beside the same with the heat map over it."""
    from matplotlib.patches import Rectangle

    figure, axes = _twice(image)
    axes[0, 1].imshow(heat[..., 0], cmap="inferno", alpha=0.5)
    for top, left, bottom, right in boxes:
        frame = Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor="C1")
        axes[0, 0].add_patch(frame)
    figure.suptitle(title, fontsize=9)
    _save(figure, path, 120)


def _twice(image):
    figure, axes = _figure(1, 2, cell=3.2)
    for axis in axes[0]:
        _show(axis, image)
    return figure, axes


def save_explanation(path, image, heat, title):
    """An image, beside the same with a heat map over it: red speaks for what was found, blue against."""
    figure, axes = _twice(image)
    most = np.abs(heat).max() or 1.0
    axes[0, 1].imshow(heat, cmap="seismic", vmin=-most, vmax=most, alpha=0.4)
    figure.suptitle(title, fontsize=9)
    _save(figure, path, 120)


def save_segmentation(path, images, truth, found, titles, title):
    """Images with the outlines of masks, layers of 0 and 1 `(N, H, W, K)`: found ones orange, true ones (if given)
    blue."""
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    figure, axes = _figure(rows, columns, cell=2.6)
    for i, axis in enumerate(axes.flat[: len(images)]):
        _show(axis, images[i], titles[i])
        for masks, color in ((truth, "C0"), (found, "C1")):
            for layer in () if masks is None else np.moveaxis(masks[i], -1, 0):
                if layer.any():
                    axis.contour(layer, levels=[0.5], colors=color, linewidths=1)
    figure.suptitle(title, fontsize=9)
    _save(figure, path, 120)


def save_classification(path, probabilities, labels, names, title):
    """ROC curves (one against the rest, or of each finding) beside the reliability diagram.

    Args:
        path: of the PNG.
        probabilities, labels: see `medzoo.metrics.classification.measure`.
        names: of the classes or findings.
        title: of the figure.
    """
    from matplotlib.figure import Figure
    from sklearn.metrics import roc_curve

    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    several = labels.ndim == 2
    truth = labels.astype(bool) if several else labels[:, None] == np.arange(probabilities.shape[1])
    for k in [1] if not several and len(names) == 2 else range(len(names)):
        if 0 < truth[:, k].sum() < len(truth):
            false, true, _ = roc_curve(truth[:, k], probabilities[:, k])
            left.plot(false, true, label=f"{names[k]}: AUC {roc_auc(probabilities[:, k], truth[:, k]):.3f}")
    left.plot([0, 1], [0, 1], "--", color="0.7", linewidth=1)
    left.set(xlabel="1 - specificity", ylabel="sensitivity")
    left.legend(frameon=False, fontsize=8)
    if several:
        confidence, hit, axis = probabilities.ravel(), truth.ravel(), "share that has it"
    else:
        confidence, hit, axis = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, "share right"
    bins = np.minimum((confidence * 10).astype(int), 9)
    used = np.unique(bins)
    right.plot([0, 1], [0, 1], "--", color="0.7", linewidth=1)
    right.plot([confidence[bins == b].mean() for b in used], [hit[bins == b].mean() for b in used], "o-")
    right.set(xlabel="probability" if several else "confidence", ylabel=axis, xlim=(0, 1), ylim=(0, 1.02))
    figure.suptitle(title, fontsize=9)
    _save(figure, path, 120)


def save_latents(path, kl, means, title):
    """KL of each latent, sorted, beside the histogram of the posterior means against the prior's density."""
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


def save_projection(path, where, labels, title):
    """Points `(N, 2)`, one colour a label."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    axis = figure.subplots()
    labels = np.asarray(labels)
    for label in dict.fromkeys(labels.tolist()):
        axis.plot(*where[labels == label].T, ".", markersize=5, alpha=0.7, label=str(label))
    axis.legend(frameon=False, fontsize=8)
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()
    _save(figure, path, 120)


def save_tuning(path, rows, what, chosen, title):
    """PSNR against the setting, and against bits where they are known."""
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


def save_analysis(path, image, reconstruction, heat, name):
    """Input, reconstruction, difference, and the input under a map of what is unlike normal images."""
    figure, axes = _figure(1, 4, cell=3.0)
    for axis, title in zip(axes[0], ("input", f"by {name}", "difference (±0.25)", "anomaly map"), strict=True):
        _show(axis, image, title)
    _show(axes[0, 1], reconstruction)
    _show(axes[0, 2], reconstruction - image, difference=True)
    height, width = image.shape[:2]
    shown = axes[0, 3].imshow(
        heat[..., 0], cmap="inferno", alpha=0.5, vmin=0, vmax=max(3.0, heat.max()), extent=(0, width, height, 0)
    )
    figure.colorbar(shown, ax=axes[0, 3], label="1: as in normal images", shrink=0.6)
    _save(figure, path, 110)


def save_neighbours(path, images, titles):
    """Images in a row, each with its name and similarity."""
    figure, axes = _figure(1, len(images), cell=1.9, extra=0.5)
    for axis, image, title in zip(axes[0], images, titles, strict=True):
        _show(axis, image, title)
    figure.suptitle("most similar (cosine of features)", fontsize=9)
    _save(figure, path, 110)


def save_demo(path, image, reconstruction, title, samples):
    """Input, reconstruction and difference above a row of samples from the prior."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.6), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(5, 2))
    axes = top.subplots(1, 3)
    _show(axes[0], image, "input: a drawn phantom, no patient")
    _show(axes[1], reconstruction, title)
    _show(axes[2], reconstruction - image, "difference (±0.25)", difference=True)
    row = bottom.subplots(1, len(samples))
    for axis, sample in zip(row, samples, strict=True):
        _show(axis, sample)
    bottom.suptitle("drawn by the model: patients who do not exist", fontsize=8)
    for axis in (*axes, *row):
        axis.set_axis_off()
    _save(figure, path, 110)


def difference_strip(image, reconstruction, shown=None):
    """uint8 `(H, 3 W, 3)`: input, reconstruction and coloured difference side by side, pixel for pixel; with `shown`
    that in the input's place."""
    import matplotlib

    grey = np.concatenate([image if shown is None else shown, reconstruction], axis=1)[..., 0]
    difference = np.clip((reconstruction - image)[..., 0] / 0.5 + 0.5, 0, 1)
    colour = matplotlib.colormaps["RdBu_r"](difference)[..., :3]
    strip = np.concatenate([np.repeat(grey[..., None], 3, axis=-1), colour], axis=1)
    return np.round(strip * 255).astype("uint8")
