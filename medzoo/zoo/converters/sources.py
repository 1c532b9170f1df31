"""What a file or a folder of weights is: which source, which files, which configuration."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from medzoo.errors import CheckpointError
from medzoo.zoo.converters import bundles, medvae
from medzoo.zoo.converters.weight_files import INDEX, SUFFIXES

SOURCES = ("diffusers", "monai", "medvae", "ldm", "torchxrayvision", "taesd")
LARGEST_CONFIG = 2**20  # bytes
DIFFUSERS, CLASSES = "diffusion_pytorch_model", ("AutoencoderKL", "AutoencoderTiny")
# Names of tensors that only one source has.
SIGNS = (
    ("diffusers", "encoder.down_blocks.0."),
    ("diffusers", "encoder.layers.0."),
    ("medvae", "channel_proj.weight"),
    ("ldm", "encoder.down.0."),
    ("ldm", "first_stage_model.encoder.down.0."),
    ("monai", "encoder.blocks.0."),
    ("torchxrayvision", "uplayer1."),
)


@dataclass
class Checkpoint:
    """Weights of another library.

    Fields:
        source: str. One of `SOURCES`, or `None` where only the tensors tell.
        files: list of paths, the weights; several are parts of one network.
        config: dict. The source's own configuration, or `None`.
        variant: str. Which of several networks, or `None`.
        preprocessing: dict. What the source's configuration says of intensities.
    """

    source: str | None
    files: list
    config: dict | None = None
    variant: str | None = None
    preprocessing: dict = field(default_factory=dict)


def read_config(path):
    """Return a configuration of JSON or yaml as a dict.

    Raises:
        CheckpointError: If it is too large or damaged.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise ValueError(f"{path.stat().st_size:,} bytes, expected at most {LARGEST_CONFIG:,}")
        text = path.read_text(encoding="utf-8")
        if path.suffix in (".yaml", ".yml"):
            import yaml

            try:
                content = yaml.load(text, Loader=_plain_loader())
            except yaml.YAMLError as error:
                raise ValueError(f"no yaml: {str(error)[:200]}") from None
        else:
            content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("expected a mapping of names to values")
        return content
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: no configuration ({type(error).__name__}: {error}).") from error


def _plain_loader():
    """yaml's loader of plain values, without anchors: a few lines of them can stand for gigabytes."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent, index):
            if self.check_event(yaml.events.AliasEvent):
                raise yaml.YAMLError("aliases are not read")
            return super().compose_node(parent, index)

    return Loader


def is_checkpoint(path):
    """Whether a path holds weights of another library: a file of weights, or a folder that is no preset."""
    path = Path(path)
    if path.is_file():
        return path.name.endswith((*SUFFIXES, INDEX))
    config = path / "config.json"
    if config.is_file():
        try:
            content = read_config(config)
        except CheckpointError:
            return False  # a damaged preset, whose own error says more
        if "_class_name" in content or "format" in content:
            return "_class_name" in content
    if not path.is_dir():
        return False
    return any((path / name).exists() for name in ("vae", "configs", "model_weights")) or bool(_weights_in(path))


def is_other_config(path):
    """Whether a `config.json` can be read and is not that of a preset of medzoo."""
    try:
        return not {"format", "model", "weights"} & set(read_config(path))
    except CheckpointError:
        return False


def recognize(path, source=None, variant=None):
    """Return the `Checkpoint` in a file or a folder.

    Args:
        path: str or path.
        source: str. One of `SOURCES`; `None`: told from names of files.
        variant: str. Which of several networks: MedVAE's names, `"fp16"` for diffusers, a stem of a file's name for
            MONAI bundles.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        CheckpointError: If it is none of the known layouts, or holds several networks and `variant` does not tell.
    """
    path = Path(path)
    if source is not None and source not in SOURCES:
        raise CheckpointError(f"{path}: source={source!r}. Expected one of {', '.join(SOURCES)}.")
    if path.is_file():
        return _file(path, source, variant)
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such file or folder.")
    for layout, of in (("diffusers", _diffusers), ("monai", _monai), ("medvae", _medvae), ("taesd", _taesd)):
        if source in (None, layout) and (found := of(path, variant)):
            return found
    files = _weights_in(path)
    if len(files) == 1:
        return _file(files[0], source, variant)
    raise CheckpointError(
        f"{path}: {', '.join(sorted(p.name for p in path.iterdir())[:12]) or 'empty'}. Expected a diffusers folder "
        "(config.json with _class_name), a MONAI bundle (configs/inference.json, models/), MedVAE's model_weights/, or "
        "one file of weights."
    )


def _weights_in(folder):
    return sorted(p for p in folder.iterdir() if p.is_file() and p.name.endswith(SUFFIXES))


def _file(path, source, variant):
    """A single file, with the configuration beside it where one belongs to it."""
    variant = variant or medvae.variant_of(path.name)
    if variant in medvae.VARIANTS and source in (None, "medvae"):
        name = medvae.VARIANTS[variant][0].rsplit("/")[-1]
        config = path.parent / name
        return Checkpoint("medvae", [path], read_config(config) if config.is_file() else None, variant)
    beside = path.parent / "config.json"
    if source in (None, "diffusers") and path.name.startswith(DIFFUSERS) and beside.is_file():
        return Checkpoint("diffusers", [path], read_config(beside))
    if source in (None, "taesd") and (pair := _pair(path)):
        return Checkpoint("taesd", pair)
    return Checkpoint(source, [path], None, variant)


def _pair(path):
    """`[encoder, decoder]` of the original tiny autoencoders: `taesd_encoder.pth` and `taesd_decoder.pth`."""
    match = re.fullmatch(r"(.*)(encoder|decoder)(\.\w+)", path.name)
    pair = [path.with_name(match[1] + side + match[3]) for side in ("encoder", "decoder")] if match else []
    return pair if pair and all(p.is_file() for p in pair) else None


def _taesd(folder, variant):
    pairs = {pair[0].name: pair for path in _weights_in(folder) if (pair := _pair(path))}
    if variant is not None:
        pairs = {name: pair for name, pair in pairs.items() if name.startswith(variant)}
    if len(pairs) > 1:
        raise CheckpointError(
            f"{folder}: holds {', '.join(pairs)}. Expected one; pass variant= with a name's beginning."
        )
    return Checkpoint("taesd", next(iter(pairs.values()))) if pairs else None


def _diffusers(folder, variant):
    for inside in (folder, folder / "vae"):
        config = inside / "config.json"
        if config.is_file() and "_class_name" in (content := read_config(config)):
            if content["_class_name"] not in CLASSES:
                raise CheckpointError(f"{config}: class {content['_class_name']!r}. Expected {' or '.join(CLASSES)}.")
            return Checkpoint("diffusers", [_diffusers_weights(inside, variant)], content)
    return None


def diffusers_names(variant=None):
    """Names of the files that diffusers keeps weights in, in its order of preference."""
    middle = f".{variant}" if variant else ""
    names = [f"{DIFFUSERS}{middle}{suffix}" for suffix in (".safetensors", ".bin")]
    return [name for n in names for name in (n, n + INDEX)]


def _diffusers_weights(folder, variant):
    for name in diffusers_names(variant):
        if (folder / name).is_file():
            return folder / name
    others = sorted(p.name for p in folder.iterdir() if p.name.startswith(DIFFUSERS) and p.name.endswith(SUFFIXES))
    if variant is None and len(others) == 1:
        return folder / others[0]
    raise CheckpointError(
        f"{folder}: has {', '.join(others) or 'no weights'}. Expected {diffusers_names(variant)[0]}"
        + ("; pass variant=." if others else ".")
    )


def _monai(folder, variant):
    configs = [folder / "configs" / name for name in bundles.CONFIGS if (folder / "configs" / name).is_file()]
    if not configs:
        return None
    content = read_config(configs[0])
    definition, config = bundles.definition(content, variant, configs[0])
    files = sorted(p for p in (folder / "models").glob("*") if p.name.endswith(SUFFIXES))
    file = bundles.weights(files, content, definition, variant, folder)
    return Checkpoint("monai", [file], config, variant, bundles.preprocessing(content))


def _medvae(folder, variant):
    found = {}
    for name, (config, weights) in medvae.VARIANTS.items():
        for root in (folder, folder.parent if folder.name == "model_weights" else folder):
            paths = [p for p in (root / weights, root / Path(weights).name) if p.is_file()]
            if paths:
                configs = [p for p in (root / config, root / Path(config).name) if p.is_file()]
                found[name] = (paths[0], configs[0] if configs else None)
    if not found:
        return None
    if variant is None and len(found) == 1:
        variant = next(iter(found))
    if variant not in found:
        raise CheckpointError(f"{folder}: holds {', '.join(found)}. Expected variant= one of them, got {variant!r}.")
    weights, config = found[variant]
    return Checkpoint("medvae", [weights], config and read_config(config), variant)


def source_of(names, where):
    """Return the source whose names of tensors these are."""
    for source, sign in SIGNS:
        if any(name.startswith(sign) for name in names):
            return source
    raise CheckpointError(
        f"{where}: tensors {', '.join(list(names)[:4])} and so on are of no known source. Expected an autoencoder of "
        f"{', '.join(SOURCES)}."
    )
