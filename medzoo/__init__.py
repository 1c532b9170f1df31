"""medzoo: pretrained autoencoders of medical images for Keras 3.

    import medzoo

    model = medzoo.load("vae-chestxray")
    z = model.encode(model.preprocess("image.dcm"))

Names are imported on first use, so that `import medzoo` takes milliseconds.
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "ConvAutoencoder": "medzoo.models",
    "VAE": "medzoo.models",
    "VQVAE": "medzoo.models",
    "MaskedAutoencoder": "medzoo.models",
    "Codec": "medzoo.models",
    "AutoencoderKL": "medzoo.models",
    "TinyAutoencoder": "medzoo.models",
    "StridedVQVAE": "medzoo.models",
    "ResNetAutoencoder": "medzoo.models",
    "VectorQuantizer": "medzoo.layers",
    "Sampling": "medzoo.layers",
    "ImageError": "medzoo.errors",
    "PresetError": "medzoo.errors",
    "MultiWorkerMixin": "medzoo.models.multi_worker",
    "CompressedFileError": "medzoo.errors",
    "FeatureExtractor": "medzoo.tasks.features",
    "Classifier": "medzoo.tasks.classify",
    "AnomalyDetector": "medzoo.tasks.anomaly",
    "Segmenter": "medzoo.tasks.segment",
    "adapt": "medzoo.tasks.adapt",
    "denoise": "medzoo.tasks.denoise",
    "compress": "medzoo.tasks.compress",
    "decompress": "medzoo.tasks.compress",
    "read_image": "medzoo.io",
    "read_volume": "medzoo.io",
    "load_masks": "medzoo.data.masks",
    "center_crop_resize": "medzoo.io",
    "load": "medzoo.zoo",
    "list_models": "medzoo.zoo",
    "list_converted": "medzoo.zoo",
    "save_preset": "medzoo.zoo",
    "export": "medzoo.zoo.export",
}
_MODULES = {
    "datasets": "medzoo.data.datasets",
    "errors": "medzoo.errors",
    "layers": "medzoo.layers",
    "losses": "medzoo.losses",
    "metrics": "medzoo.metrics",
    "models": "medzoo.models",
    "recipes": "medzoo.recipes",
}
__all__ = [*_NAMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(import_module(_NAMES[name]), name)
    elif name in _MODULES:
        value = import_module(_MODULES[name])
    elif name == "__version__":
        from importlib.metadata import version

        value = version("medzoo")
    else:
        raise AttributeError(f"module 'medzoo' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
