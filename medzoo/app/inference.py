"""What the web demo shows of one image or volume; knows nothing of the web."""

import base64
import io
import warnings
from pathlib import Path

import numpy as np

from medzoo.visualization import save_analysis, save_neighbours, save_planes

LARGEST = 1024  # pixels a side; larger images are made smaller first
MOST_VOXELS = 2**25  # of a volume: a third of a minute for a preset of volumes
DRAWN = 4  # images at once


class InferenceSession:
    """All that the zoo says about one image, beside a set of images to compare it with.

    Args:
        folder: normal images of the same kind, 20 or more: what is unlike them is an anomaly, and neighbours are looked
            for among them. `None`: 64 drawn chest films, for a first impression only.
    """

    detector_preset, codec_preset = "ae-chestxray-64", "codec-chestxray"

    def __init__(self, folder=None):
        from medzoo.data.patients import patients_of_files
        from medzoo.data.phantom import chest_phantom
        from medzoo.io.listing import list_images
        from medzoo.tasks.anomaly import AnomalyDetector
        from medzoo.tasks.retrieval import ImageRetriever
        from medzoo.zoo.presets import load

        encoder, groups = load(self.detector_preset), None
        if folder is None:
            self.names = [f"drawn {seed}" for seed in range(64)]
            self.images = np.stack([chest_phantom(64, seed) for seed in range(64)]).astype("float32")
            self.compared = "64 drawn chest films, no patients (for your own: medzoo app --images FOLDER)"
        else:
            files = list_images(folder)
            self.names = [file.name for file in files]
            self.images, groups = encoder.preprocess(files), patients_of_files(files)
            self.compared = f"the {len(files)} images of {Path(folder).name}"
        detector = AnomalyDetector(encoder, ("knn",), "features", n_augmented=0)
        self.detector = detector.fit(self.images, groups=groups)
        self.search = ImageRetriever(encoder).fit(self.images)
        self.models = {}

    def model(self, name):
        """A preset, loaded once: TensorFlow gives back little of what a model has held, and there are few."""
        from medzoo.zoo.presets import load

        if name not in self.models:
            self.models[name] = load(name)
        return self.models[name]

    @staticmethod
    def read(path):
        """`(name, bytes of the file, image, None)` of an image file, at most `LARGEST` pixels a side; of a NIfTI file
        the volume `(D, H, W, 1)`, and in the place of `None` its voxels' millimetres.

        Raises:
            ImageError: a file that cannot be used, or a volume of more than `MOST_VOXELS`.
        """
        from medzoo.errors import ImageError
        from medzoo.io.image import read_image
        from medzoo.io.intensity import center_crop_resize
        from medzoo.io.nifti import is_nifti
        from medzoo.io.volume_reader import read_volume

        path = Path(path)
        if is_nifti(path):
            volume = read_volume(path)
            if volume.values.size > MOST_VOXELS:
                raise ImageError(f"{path}: {volume.values.shape} voxels; this page takes {MOST_VOXELS:,} at most.")
            return path.name, path.stat().st_size, volume.images(), volume.spacing
        image = read_image(path)
        height, width = image.shape[:2]
        if max(height, width) > LARGEST:
            scale = LARGEST / max(height, width)
            image = center_crop_resize(image, (round(height * scale), round(width * scale)))
        return path.name, path.stat().st_size, image, None

    def look(self, film, preset, place=0.5, rate=0.05):
        """What one preset makes of what `read` gave.

        Args:
            rate: share of normal images whose anomaly score may lie above the threshold.
            place: of a volume, which slices are shown: 0 the lowest, 1 the highest. A preset of images takes the axial
                one.

        Returns: dict with `figure` (PNG, bytes), `facts`, lines of text, and of images `neighbours` (PNG).

        Raises:
            ValueError: an image, for a preset of volumes.
        """
        (name, stored, image, spacing), model = film, self.model(preset)
        if image.ndim == 4 and model.spatial_dims == 3:
            return self._look_through(name, image, spacing, model, place)
        if image.ndim == 4:
            number = round(place * (len(image) - 1))
            return self._look_at(f"{name}, axial slice {number} of {len(image)}", stored, image[number], model, rate)
        if model.spatial_dims == 3:
            raise ValueError(f"{preset} takes volumes (NIfTI); {name} is an image.")
        return self._look_at(name, stored, image, model, rate)

    def draw(self, preset, label=None, seed=0, count=DRAWN):
        """Images of nobody, by a preset that can draw, as `look` gives them.

        Args:
            label: class of its learned prior, or `None` for any; see `classes_of`.

        Raises:
            ValueError: a preset that cannot draw, or a class that it does not know.
        """
        from medzoo.tasks.generate import sampling as draw
        from medzoo.visualization import flat, save_grid

        images = flat(draw(self.model(preset), count, seed, label=label))
        figure = _png(lambda file, x: save_grid(file, x, columns=count, title=f"{preset}, seed {seed}"), images)
        return {"figure": figure, "facts": [f"{preset}: {count} drawn, seed {seed}; nobody's body"]}

    @staticmethod
    def _look_through(name, volume, spacing, model, place):
        from medzoo import metrics
        from medzoo.io.volume import center_crop_or_pad
        from medzoo.models.tiles import padded, tile_for

        own = model.image_shape[:-1]
        x = center_crop_or_pad(volume, own)[None] if own[0] else padded(volume[None], model)
        made = model.reconstruct(x, tile=tile_for(x))
        sides, latents = (" × ".join(map(str, shape)) for shape in (x.shape[1:4], model.latent_shape(x.shape[1:])))
        facts = [
            f"{name}: {' × '.join(map(str, volume.shape[:3]))} voxels, seen by {model.name} at {sides}",
            f"reconstruction from {latents} latents: PSNR {float(metrics.psnr(x, made)[0]):.2f} dB",
        ]
        return {"figure": _png(save_planes, x[0], made[0], spacing, model.name, place), "facts": facts}

    def _look_at(self, name, stored, image, model, rate):
        from medzoo import metrics
        from medzoo.io.intensity import center_crop_resize

        x = model.preprocess.fit(image)[None]
        reconstruction = model.reconstruct(x)
        small = center_crop_resize(image, self.images.shape[1:3])[None]
        strange, heat = float(self.detector.anomaly_scores(small)[0]), self.detector.anomaly_map(small)[0]
        psnr, ssim = (float(f(x, reconstruction)[0]) for f in (metrics.psnr, metrics.ssim))
        threshold, latents = self._threshold(rate), " × ".join(map(str, model.latent_shape(x.shape[1:])))
        facts = [
            f"{name}: {image.shape[0]} × {image.shape[1]} pixels, seen by {model.name} at {x.shape[1]} × {x.shape[2]}",
            f"reconstruction from {latents} latents: PSNR {psnr:.2f} dB, SSIM {ssim:.4f}",
            f"anomaly score {strange:.1f}, threshold {threshold:.1f} for {self._rate(rate)} of normal images: "
            f"{'unlike' if strange > threshold else 'like'} {self.compared}",
            self._compressed(stored, image),
        ]
        if said := model.is_ood(x):
            facts.insert(1, f"this image {said}")
        figure = _png(save_analysis, x[0], reconstruction[0], heat, model.name)
        return {"figure": figure, "knn": self._neighbours(small), "facts": facts}

    def _threshold(self, rate):
        with warnings.catch_warnings():  # that few images promise no small rate, which the page says itself
            warnings.simplefilter("ignore")
            return self.detector.threshold_at(rate)

    def _rate(self, rate):
        """The share of normal images that the threshold keeps, and where it is not the one asked for, why."""
        from medzoo.data.patients import group_indices
        from medzoo.tasks.anomaly import attained_rate

        count = len(group_indices(self.detector.held_out_groups_, len(self.detector.held_out_scores_)))
        attained = attained_rate(count, rate)
        few = f" (the smallest that {count} held-out normal images allow, not {rate:.0%})" if attained > rate else ""
        return f"{attained:.0%}{few}"

    def _compressed(self, file_size, image):
        from medzoo import metrics
        from medzoo.tasks.compress import compress, decompress

        try:
            import constriction  # noqa: F401
        except ImportError:
            return 'compressed size: needs pip install "medzoo[compress]"'
        stored = np.round(image[..., 0] * 255).astype("uint8")
        codec = self.model(self.codec_preset)
        data = compress([stored], codec)
        back = decompress(data, codec)[0].reshape(stored.shape)
        psnr = float(metrics.psnr(stored[None, ..., None] / 255.0, back[None, ..., None] / 255.0)[0])
        bits = 8 * len(data) / stored.size
        return (
            f"compressed by {self.codec_preset}: {len(data):,} bytes at {psnr:.1f} dB, {bits:.3f} bit per pixel; "
            f"{stored.size:,} bytes as pixels, {file_size:,} as the file"
        )

    def _neighbours(self, small, n=5):
        similarity, indices = self.search.search(small, n)
        titles = [f"{self.names[i]}\n{s:.2f}" for i, s in zip(indices[0], similarity[0], strict=True)]
        return _png(save_neighbours, self.images[indices[0]], titles)


def classes_of(preset):
    """Names of the classes that a preset's learned prior knows; none where it has no prior, or one without classes."""
    from medzoo.evaluation.model_card import read_json
    from medzoo.zoo.manifest import BUNDLED

    own = BUNDLED / preset
    names = read_json(own, "prior.json")["classes"] if (own / "prior.json").is_file() else []
    return names if len(names) > 1 else []


def _png(save, *arguments):
    buffer = io.BytesIO()
    save(buffer, *arguments)
    return buffer.getvalue()


def page(result):
    """A result as HTML that holds its pictures, so that nothing is written to disk."""
    import html

    pictures = [
        f'<img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{base64.b64encode(result[key]).decode()}">'
        for key, alt in (("figure", "input, reconstruction, difference, anomaly map"), ("knn", "most similar"))
        if key in result
    ]
    facts = "".join(f"<li>{html.escape(fact)}</li>" for fact in result["facts"])
    return f'<div class="result"><ul>{facts}</ul>{"".join(pictures)}</div>'
