"""A checkpoint of another library as a model of medzoo."""

import re
from importlib import import_module

from medzoo.errors import CheckpointError, PresetError
from medzoo.zoo.converters.sources import read_config, recognize, source_of
from medzoo.zoo.converters.weight_files import read_weights

# (source, sign among the names of tensors): module; the first that fits is taken
MODULES = (
    ("diffusers", "encoder.layers.", "tiny"),
    ("taesd", "", "tiny"),
    ("monai", "quantizer.", "monai_vqvae"),
)


def convert(path, source=None, variant=None, config=None, **options):
    """Return a medzoo model with the weights of another library's autoencoder, and its preprocessing.

    Args:
        path: str or path. A file of weights (`.safetensors`, `.pt`, `.pth`, `.ckpt`, `.bin`) or a folder: of diffusers,
            a MONAI bundle, or MedVAE's.
        source: str. `"diffusers"`, `"monai"`, `"medvae"`, `"ldm"`, `"torchxrayvision"` or `"taesd"`; `None`: told from
            names of files and tensors.
        variant: str. Which network of several, see `medzoo.zoo.converters.sources.recognize`.
        config: dict or path. The source's own configuration, where the file has none beside it.
        **options: What a file without a configuration does not tell, and the error asks for (`groups`, `epsilon`,
            `scaling_factor`, ...); or other arguments of the family.

    Returns:
        A model of one of `medzoo.models.FAMILIES`, with `preprocess` attached.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        CheckpointError: If the weights cannot be read, or do not belong to the network.
    """
    found = recognize(path, source, variant)
    if config is not None:
        found.config = config if isinstance(config, dict) else read_config(config)
    return convert_checkpoint(found, **options)


def convert_checkpoint(found, **options):
    """Return the model of a `Checkpoint`; see `convert`."""
    from medzoo.zoo.preprocessor import Preprocessor

    where = found.files[0]
    arrays = [read_weights(file) for file in found.files]
    source = found.source or source_of(arrays[0], where)
    module = import_module(f"medzoo.zoo.converters.{_module(source, arrays[0])}")
    given = {**found.preprocessing}
    if "value_range" in given:
        options = {"value_range": given.pop("value_range"), **options}
    if source == "medvae":
        options = {"variant": found.variant, **options}
    options.setdefault("name", _model_name(found))
    try:
        model, preprocessing = module.convert(arrays if len(arrays) > 1 else arrays[0], where, found.config, **options)
    except PresetError:
        raise
    except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{where}: cannot be converted ({type(error).__name__}: {error}).") from error
    size = None if None in model.image_shape else list(model.image_shape[:-1])
    model.preprocess = Preprocessor(**{"size": size, **preprocessing, **given})
    return model


def _module(source, names):
    for of, sign, module in MODULES:
        if of == source and any(sign in name for name in names):
            return module
    return source


def _model_name(found):
    name = found.variant or found.files[0].stem
    if found.source == "diffusers":
        name = next((p.name for p in found.files[0].parents if p.name not in ("vae", "")), name)
    return re.sub(r"[^\w-]+", "-", name).strip("-_") or "converted"
