"""Weights in files of any of the kinds that the sources use: safetensors, PyTorch's, and either in several shards."""

import json
from pathlib import Path

import numpy as np

from medzoo.errors import CheckpointError
from medzoo.zoo.converters.tensors import BFLOAT16, widened
from medzoo.zoo.converters.torch_file import read_torch_file

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
INDEX = ".index.json"
LARGEST_INDEX, LARGEST_HEADER = 2**24, 2**26
TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": BFLOAT16, "BOOL": "bool"}
TYPES |= {f"{kind}{bits}": f"{name}{bits}" for kind, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)}


def read_weights(path):
    """Return the weights in a file, or in the shards that an index names.

    Args:
        path: str or path. `.safetensors`, `.pt`, `.pth`, `.ckpt`, `.bin`, or the `.index.json` of several of them.

    Returns:
        dict of parameter names to NumPy arrays; bfloat16 becomes float32.

    Raises:
        FileNotFoundError: If there is no such file, or a shard is missing.
        CheckpointError: If a file is damaged or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    if path.name.endswith(INDEX):
        return _read_shards(path)
    with open(path, "rb") as file:
        head = file.read(9)
    if path.suffix.lower() == ".safetensors" or (head[8:9] == b"{" and not head.startswith((b"PK", b"\x80"))):
        return _read_safetensors(path)
    return read_torch_file(path)


def _read_safetensors(path):
    from safetensors import SafetensorError, deserialize

    data = path.read_bytes()
    if len(data) < 8 or not 0 < int.from_bytes(data[:8], "little") <= min(len(data) - 8, LARGEST_HEADER):
        raise CheckpointError(f"{path}: {len(data):,} bytes without a header. Expected a safetensors file.")
    try:
        entries = deserialize(data)
    except (SafetensorError, ValueError, OverflowError, UnicodeError) as error:
        raise CheckpointError(f"{path}: no safetensors file ({error}).") from None
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] not in TYPES:
            raise CheckpointError(f"{path}: {name} is of type {entry['dtype']}. Expected one of {', '.join(TYPES)}.")
        dtype = TYPES[entry["dtype"]]
        values = np.frombuffer(entry["data"], "uint16" if dtype == BFLOAT16 else dtype)
        arrays[name] = widened(values, dtype).reshape(entry["shape"])
    return arrays


def shards_of(path):
    """Return the names of the shards that an index file names, sorted.

    Raises:
        CheckpointError: If it is no index, or names anything but files beside it.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST_INDEX:
            raise ValueError(f"{path.stat().st_size:,} bytes")
        shards = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        plain = all(isinstance(n, str) and n.endswith(SUFFIXES) and not set(n) & set("/\\") for n in shards)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: no index of weights ({type(error).__name__}: {error}).") from None
    if not shards or not plain:
        raise CheckpointError(f"{path}: names {sorted(map(str, shards))[:4]}. Expected files of weights beside it.")
    return sorted(shards)


def _read_shards(path):
    listed = json.loads(path.read_text(encoding="utf-8"))["weight_map"] if shards_of(path) else {}
    arrays = {}
    for shard in shards_of(path):
        arrays |= read_weights(path.parent / shard)
    if missing := sorted(set(listed) - set(arrays)):
        raise CheckpointError(f"{path}: its shards lack {', '.join(missing[:12])}.")
    return arrays
