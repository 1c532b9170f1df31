"""MONAI bundles: `configs/inference.json` with the network's definition, and its weights under `models/`."""

import re

from medzoo.errors import CheckpointError

CONFIGS = ("inference.json", "inference.yaml", "train_autoencoder.json", "train.json")
TARGETS = ("AutoencoderKL", "AutoencoderKlMaisi", "VQVAE")
PREFERRED = ("autoencoder_def", "network_def", "net")
# Arguments that change nothing of what is computed, or only how it is split and trained.
IGNORED = {"_target_", "num_splits", "dim_split", "print_info", "save_mem", "norm_float16", "dropout", "ddp_sync"}
IGNORED |= {
    "use_checkpointing",
    "use_flash_attention",
    "_disabled_",
    "_requires_",
    "_desc_",
    "_mode_",
    "embedding_init",
}
MOST_STEPS = 16  # of references to references


def _target(value):
    return (
        value["_target_"].rsplit(".", 1)[-1]
        if isinstance(value, dict) and isinstance(value.get("_target_"), str)
        else ""
    )


def definition(content, variant, where):
    """Return `(name, arguments)` of the autoencoder's definition in a bundle's configuration.

    Args:
        content: dict. The configuration.
        variant: str. Part of the definition's name, where there are several.
        where: path, for errors.

    Raises:
        CheckpointError: If there is none, or several that `variant` does not tell apart, or an argument is an
            expression of Python.
    """
    found = [name for name, value in content.items() if _target(value) in TARGETS]
    chosen = [name for name in found if variant and variant.removesuffix("_def") in name] or found
    preferred = [name for name in PREFERRED if name in chosen]
    exact = [name for name in chosen if variant and name == f"{variant.removesuffix('_def')}_def"]
    name = next(iter([*exact, *preferred]), chosen[0] if len(chosen) == 1 else None)
    if name is None:
        raise CheckpointError(
            f"{where}: defines {', '.join(found) or 'no autoencoder'}. Expected one of the classes {', '.join(TARGETS)}"
            + ("; pass variant= with a definition's name." if found else ".")
        )
    arguments = {key: _resolved(v, content, where) for key, v in content[name].items() if key not in IGNORED}
    return name, {**arguments, "_class_name": _target(content[name])}


def _resolved(value, content, where, steps=0):
    """A value with references such as `@latent_channels` and `@network#channels` followed; nothing is evaluated."""
    if isinstance(value, (list, tuple)):
        return [_resolved(v, content, where, steps + 1) for v in value]
    if not isinstance(value, str) or not value.startswith(("@", "$")):
        return value
    match = re.fullmatch(r"\$?@(\w+(?:(?:#|::)\w+)*)", value)
    target = content
    for key in re.split(r"#|::", match[1]) if match else ():
        if isinstance(target, list) and key.isdigit() and int(key) < len(target):
            target = target[int(key)]
        else:
            target = target.get(key) if isinstance(target, dict) else None
    if not match or target is None or steps > MOST_STEPS:
        raise CheckpointError(
            f"{where}: {value[:100]!r} is an expression or a reference that is not in the file, and expressions are "
            "not evaluated. Replace it by its value, or pass config= with the network's arguments."
        )
    return _resolved(target, content, where, steps + 1)


def weights(files, content, name, variant, folder):
    """Return the file of weights that belongs to a definition.

    Args:
        files: list of paths under `models/`.
        content: dict. The configuration, which names files for definitions.
        name: str. The definition, e.g. `"autoencoder_def"`.
        variant: str. A file's stem, if given.
        folder: path, for errors.
    """
    if not files:
        raise CheckpointError(f"{folder}: has no weights under models/.")
    if variant and (exact := [file for file in files if file.stem == variant]):
        return exact[0]
    if len(files) == 1:
        return files[0]
    stem, longer = _stem(content, name)
    listed = named_files(content, name)
    named = {file for file in files if file.name in listed}
    named = named or {file for file in files if stem in file.stem and not any(other in file.stem for other in longer)}
    if len(named) != 1:
        names = ", ".join(file.stem for file in files)
        raise CheckpointError(f"{folder}: models/ holds {names}. Expected variant= one of them.")
    return named.pop()


def _stem(content, name):
    """`("autoencoder", ["mask_generation_autoencoder"])`: a definition's stem, and others' that contain it."""
    stem = name.removesuffix("_def")
    return stem, [n.removesuffix("_def") for n in content if n.endswith("_def") and stem in n and n != name]


def named_files(content, name):
    """Return the names of files of weights that the configuration's entries for a definition hold."""
    stem, longer = _stem(content, name)
    found = []
    for key, value in content.items():
        if stem in key and isinstance(value, str) and not any(other in key for other in longer):
            found += [part for part in re.split(r"[/'\" ]", value) if part.endswith((".pt", ".pth", ".ckpt"))]
    return found


def preprocessing(content):
    """Return what a bundle's transforms say of intensities, as arguments of `medzoo.zoo.preprocessor.Preprocessor`.

    The first transform of intensities is taken; `value_range`, in which the network works, goes with it.
    """
    for transform in _transforms(content):
        kind, low, high = _target(transform), transform.get("b_min", 0.0), transform.get("b_max", 1.0)
        if kind.startswith("ScaleIntensityRangePercentiles"):
            found = {"intensity": "percentiles", "limits": [transform.get("lower"), transform.get("upper")]}
        elif kind.startswith("ScaleIntensityRange"):
            found = {"intensity": "range", "limits": [transform.get("a_min"), transform.get("a_max")]}
        elif kind in ("ScaleIntensity", "ScaleIntensityd", "ScaleIntensityDict"):
            found, low, high = {"intensity": "minmax"}, transform.get("minv", 0.0), transform.get("maxv", 1.0)
        else:
            continue
        numbers = [*found.get("limits", []), low, high]
        if all(isinstance(n, (int, float)) for n in numbers) and low < high:
            return {**found, "value_range": [float(low), float(high)]}
    return {}


def _transforms(value, depth=0):
    """All definitions in a configuration, in its order."""
    if depth > MOST_STEPS:
        return
    if _target(value):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _transforms(inner, depth + 1)
