"""Analysis and generation of single images or volumes, independent of the web framework."""

import base64
import io
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medzoo.visualization import save_analysis, save_planes, save_similar_images

if TYPE_CHECKING:
    import keras

MAX_SIDE = 1024  # pixels; larger images are downsampled before they are analyzed
MAX_VOXELS = 2**25  # a preset for volumes takes about 20 s for a volume of this size
N_PHANTOMS = 64
N_GENERATED = 4
N_NEIGHBORS = 5


class InputFile(NamedTuple):
    """An image or volume that was read from a file.

    Attributes:
        name: File name.
        file_size: Size of the file in bytes.
        values: float32 array of shape `(H, W, 1)`, or for volumes `(D, H, W, 1)`, with values in [0, 1].
        spacing: Voxel spacing of a volume in mm, or `None` for images.
    """

    name: str
    file_size: int
    values: np.ndarray
    spacing: tuple[float, ...] | None = None


class InferenceSession:
    """Loaded presets and reference images that analyze and generate images.

    Args:
        folder: Folder of 20 or more normal images of the same kind as the images to analyze. They are the reference set
            of the anomaly detector and of the retrieval of similar images. `None`: 64 synthetic chest X-ray phantoms,
            for demonstration only.

    Attributes:
        reference_images: Array of shape `(N, 64, 64, 1)`.
        reference_names: One name per reference image.
        detector: `medzoo.AnomalyDetector` fitted to the reference images.
        retriever: `medzoo.tasks.retrieval.ImageRetriever` fitted to the reference images.
    """

    detector_preset, codec_preset = "ae-chestxray-64", "codec-chestxray"

    def __init__(self, folder: str | Path | None = None):
        from medzoo.data.patients import patients_of_files
        from medzoo.data.phantom import chest_phantom
        from medzoo.io.listing import list_images
        from medzoo.tasks.anomaly import AnomalyDetector
        from medzoo.tasks.retrieval import ImageRetriever
        from medzoo.zoo.presets import load

        encoder, groups = load(self.detector_preset), None
        if folder is None:
            self.reference_names = [f"Phantom {seed}" for seed in range(N_PHANTOMS)]
            phantoms = [chest_phantom(64, seed) for seed in range(N_PHANTOMS)]
            self.reference_images = np.stack(phantoms).astype("float32")
            self.reference = f"{N_PHANTOMS} synthetic phantoms (for other images: medzoo app --images FOLDER)"
        else:
            files = list_images(folder)
            self.reference_names = [file.name for file in files]
            self.reference_images, groups = encoder.preprocess(files), patients_of_files(files)
            self.reference = f"the {len(files)} images of {Path(folder).name}"
        detector = AnomalyDetector(encoder, ("knn",), "padim", n_augmented=0)
        self.detector = detector.fit(self.reference_images, groups=groups)
        self.retriever = ImageRetriever(encoder).fit(self.reference_images)
        self.models = {}

    def model(self, preset: str) -> "keras.Model":
        """Return a preset, loaded on first use and kept: TensorFlow releases little of the memory of a model."""
        from medzoo.zoo.presets import load

        if preset not in self.models:
            self.models[preset] = load(preset)
        return self.models[preset]

    @staticmethod
    def read(path: str | Path) -> InputFile:
        """Read an image file, or a NIfTI volume.

        Args:
            path: File. Images with a side of more than `MAX_SIDE` pixels are downsampled.

        Returns:
            The file's content.

        Raises:
            ImageError: If the file is invalid, or a volume has more than `MAX_VOXELS` voxels.
        """
        from medzoo.errors import ImageError
        from medzoo.io.image import read_image
        from medzoo.io.intensity import center_crop_resize
        from medzoo.io.nifti import is_nifti
        from medzoo.io.volume_reader import read_volume

        path = Path(path)
        if is_nifti(path):
            volume = read_volume(path)
            if volume.values.size > MAX_VOXELS:
                raise ImageError(
                    f"{path}: the volume is too large. Expected at most {MAX_VOXELS:,} voxels, got "
                    f"{_shape(volume.values.shape)}."
                )
            return InputFile(path.name, path.stat().st_size, volume.to_images(), volume.spacing)
        image = read_image(path)
        height, width = image.shape[:2]
        if max(height, width) > MAX_SIDE:
            scale = MAX_SIDE / max(height, width)
            image = center_crop_resize(image, (round(height * scale), round(width * scale)))
        return InputFile(path.name, path.stat().st_size, image)

    def analyze(
        self, file: InputFile, preset: str, slice_position: float = 0.5, false_positive_rate: float = 0.05
    ) -> dict:
        """Reconstruct an image or volume and compare it with the reference images.

        Args:
            file: Result of `read`.
            preset: Name of a preset.
            slice_position: float from 0 (first slice) to 1 (last slice). Position of the displayed planes of a volume.
                A preset for images analyzes the axial slice at this position.
            false_positive_rate: float in (0, 1). Fraction of normal images whose anomaly score may exceed the
                threshold.

        Returns:
            Dict with `figure` (PNG, bytes), `metrics` (list of pairs of name and text) and, for images, `neighbors`
            (PNG, bytes).

        Raises:
            ValueError: If the preset is for volumes and the file is an image.
        """
        model, values = self.model(preset), file.values
        if values.ndim == 4 and model.spatial_dims == 3:
            return self._analyze_volume(file, model, slice_position)
        if values.ndim == 4:
            number = round(slice_position * (len(values) - 1))
            title = f"{file.name}, axial slice {number} of {len(values)}"
            return self._analyze_image(file._replace(name=title, values=values[number]), model, false_positive_rate)
        if model.spatial_dims == 3:
            raise ValueError(f"{preset}: Expected a volume (NIfTI), got {file.name}, which is an image.")
        return self._analyze_image(file, model, false_positive_rate)

    def generate(self, preset: str, label: int | None = None, seed: int = 0, count: int = N_GENERATED) -> dict:
        """Generate synthetic images with a preset that has a prior.

        Args:
            preset: Name of a preset.
            label: int. Class of the prior, see `prior_class_names`, or `None` for all classes.
            seed: int. Random seed.
            count: int. Number of images.

        Returns:
            Dict with `figure` (PNG, bytes) and `metrics`, as `analyze` returns them.

        Raises:
            ValueError: If the preset cannot generate images, or the class is unknown.
        """
        from medzoo.tasks.generate import sample_images
        from medzoo.visualization import middle_slices, save_grid

        images = middle_slices(sample_images(self.model(preset), count, seed, label=label))
        figure = _png(lambda file, x: save_grid(file, x, columns=count, title=f"{preset}, seed {seed}"), images)
        metrics = [("Preset", preset), ("Generated images", f"{count} (synthetic, no real patients)")]
        return {"figure": figure, "metrics": [*metrics, ("Seed", str(seed))]}

    @staticmethod
    def _analyze_volume(file, model, slice_position):
        from medzoo import metrics
        from medzoo.io.volume import center_crop_or_pad
        from medzoo.models.tiles import default_tile, pad_to_multiple

        volume, own = file.values, model.image_shape[:-1]
        x = center_crop_or_pad(volume, own)[None] if own[0] else pad_to_multiple(volume[None], model)
        reconstruction = model.reconstruct(x, tile=default_tile(x))
        rows = [
            ("File", file.name),
            ("Input size", f"{_shape(volume.shape[:3])} voxels"),
            ("Model input", f"{_shape(x.shape[1:4])} voxels ({model.name})"),
            ("Latent shape", _shape(model.latent_shape(x.shape[1:]))),
            ("PSNR", f"{float(metrics.psnr(x, reconstruction)[0]):.2f} dB"),
        ]
        figure = _png(save_planes, x[0], reconstruction[0], file.spacing, model.name, slice_position)
        return {"figure": figure, "metrics": rows}

    def _analyze_image(self, file, model, false_positive_rate):
        from medzoo import metrics
        from medzoo.io.intensity import center_crop_resize

        image = file.values
        x = model.preprocess.center_crop_resize(image)[None]
        reconstruction = model.reconstruct(x)
        small = center_crop_resize(image, self.reference_images.shape[1:3])[None]
        score, anomaly_map = float(self.detector.anomaly_scores(small)[0]), self.detector.anomaly_map(small)[0]
        threshold = self._threshold(false_positive_rate)
        rows = [
            ("File", file.name),
            ("Input size", f"{_shape(image.shape[:2])} pixels"),
            ("Model input", f"{_shape(x.shape[1:3])} pixels ({model.name})"),
            ("Latent shape", _shape(model.latent_shape(x.shape[1:]))),
            ("PSNR", f"{float(metrics.psnr(x, reconstruction)[0]):.2f} dB"),
            ("SSIM", f"{float(metrics.ssim(x, reconstruction)[0]):.4f}"),
            ("Anomaly score", f"{score:.1f}"),
            ("Anomaly threshold", f"{threshold:.1f} (false-positive rate {self._attained_rate(false_positive_rate)})"),
            ("Decision", f"{'anomalous' if score > threshold else 'normal'}, relative to {self.reference}"),
            *self._compression(file.file_size, image),
        ]
        if warning := model.ood_warning(x):
            rows.insert(4, ("Warning", warning))
        figure = _png(save_analysis, x[0], reconstruction[0], anomaly_map, model.name)
        return {"figure": figure, "neighbors": self._neighbors(small), "metrics": rows}

    def _threshold(self, false_positive_rate):
        with warnings.catch_warnings():  # `_attained_rate` reports a rate that is not attainable
            warnings.simplefilter("ignore")
            return self.detector.threshold_at(false_positive_rate)

    def _attained_rate(self, requested):
        """The false-positive rate of the threshold, and the reason where it is not the requested one."""
        from medzoo.tasks.anomaly import attained_rate
        from medzoo.utils.groups import group_indices

        count = len(group_indices(self.detector.held_out_groups_, len(self.detector.held_out_scores_)))
        attained = attained_rate(count, requested)
        if attained > requested:
            limit = f"smallest attainable with {count} held-out normal images, {requested:.0%} requested"
            return f"{attained:.0%}, {limit}"
        return f"{attained:.0%}"

    def _compression(self, file_size, image):
        from medzoo import metrics
        from medzoo.tasks.compress import compress, decompress

        try:
            import constriction  # noqa: F401
        except ImportError:
            return [("Compressed size", 'not available: run pip install "medzoo[compress]"')]
        stored = np.round(image[..., 0] * 255).astype("uint8")
        codec = self.model(self.codec_preset)
        data = compress([stored], codec)
        decoded = decompress(data, codec)[0].reshape(stored.shape)
        psnr = float(metrics.psnr(stored[None, ..., None] / 255.0, decoded[None, ..., None] / 255.0)[0])
        bpp = 8 * len(data) / math.prod(stored.shape)
        return [
            ("Compressed size", f"{len(data):,} bytes, {bpp:.3f} bpp at PSNR {psnr:.1f} dB ({self.codec_preset})"),
            ("Uncompressed size", f"{stored.size:,} bytes (8-bit pixels); input file {file_size:,} bytes"),
        ]

    def _neighbors(self, small):
        scores, indices = self.retriever.search(small, N_NEIGHBORS)
        titles = [
            f"{self.reference_names[i]},\nsimilarity {score:.2f}"
            for i, score in zip(indices[0], scores[0], strict=True)
        ]
        return _png(save_similar_images, self.reference_images[indices[0]], titles)


def prior_class_names(preset: str) -> list[str]:
    """Return the class names of a preset's prior; an empty list without a class-conditional prior.

    Args:
        preset: Name of a preset that is included in the package.

    Returns:
        List of class names; their positions are the labels.
    """
    from medzoo.evaluation.model_card import read_json
    from medzoo.zoo.manifest import BUNDLED

    folder = BUNDLED / preset
    names = read_json(folder, "prior.json")["classes"] if (folder / "prior.json").is_file() else []
    return names if len(names) > 1 else []


def _shape(sides):
    return " × ".join(map(str, sides))


def _png(save: Callable, *arguments):
    buffer = io.BytesIO()
    save(buffer, *arguments)
    return buffer.getvalue()


def render_html(result: dict) -> str:
    """Return a result of `analyze` or `generate` as HTML with embedded images, so that nothing is written to disk.

    Args:
        result: Dict with `metrics`, `figure` and optionally `neighbors`.

    Returns:
        HTML fragment: a table of metrics, followed by the images.
    """
    from html import escape

    images = [
        f'<img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{base64.b64encode(result[key]).decode()}">'
        for key, alt in (
            ("figure", "Input, reconstruction, difference and anomaly map"),
            ("neighbors", "Most similar reference images"),
        )
        if key in result
    ]
    rows = "".join(
        f'<tr><th scope="row" style="text-align:left">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in result["metrics"]
    )
    header = '<tr><th style="text-align:left">Metric</th><th style="text-align:left">Value</th></tr>'
    table = f"<table><thead>{header}</thead><tbody>{rows}</tbody></table>"
    return f'<div class="result">{table}{"".join(images)}</div>'
