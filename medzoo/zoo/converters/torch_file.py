"""The tensors of a PyTorch file (.pt, .pth, .ckpt, .bin) without PyTorch, and without running anything in it.

Both of `torch.save`'s formats are read: the zip archive, and the older sequence of pickles with the data behind them.
Sizes are compared with the file before memory is taken. `pickle_reader` says what is refused.
"""

import mmap
import struct
import zipfile
from pathlib import Path

from medzoo.errors import CheckpointError
from medzoo.zoo.converters.pickle_reader import Name, PickleReader, StandIn
from medzoo.zoo.converters.tensors import BFLOAT16, Storage, Tensor

STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
TYPES = {f"torch.{name}": name for name in STORAGES.values()} | {
    "torch.float": "float32",
    "torch.double": "float64",
    "torch.half": "float16",
    "torch.long": "int64",
    "torch.int": "int32",
}
REBUILD = {
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._tensor._rebuild_from_type_v2",
    "torch.Size",
}
LARGEST_PICKLE, MOST_ENTRIES = 2**26, 100_000
LEGACY_MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
# Where training programs keep the weights in a file; looked for in this order, up to four levels deep.
WRAPPERS = ("state_dict", "model_state_dict", "autoencoder_state_dict", "network_weights", "model", "autoencoder")
WRAPPERS += ("generator", "module", "net", "ema", "params", "unet_state_dict")


def read_torch_file(path):
    """Return the weights in a PyTorch file.

    Args:
        path: str or path. A file that `torch.save` wrote: a table of weights, or a training program's checkpoint with
            one in it.

    Returns:
        dict of parameter names to NumPy arrays, in the file's order; bfloat16 becomes float32.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is damaged, holds no table of weights, or asks for anything but data.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        table = weights_in(load(path))
        return {name: tensor.read() for name, tensor in table.items()}
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}. Expected weights as torch.save writes them.") from None


def load(path):
    """Return what is in a PyTorch file: containers, numbers, text, `Tensor` and `StandIn`; no tensor is read yet."""
    with open(path, "rb") as file:
        head = file.read(8)
    if head.startswith(b"PK\x03\x04"):
        try:
            return _load_zip(path)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, struct.error) as error:
            raise CheckpointError(f"a damaged zip archive ({type(error).__name__})") from None
    if head.startswith(b"\x80"):
        return _load_legacy(path)
    found = "HDF5" if head.startswith(b"\x89HDF") else "no PyTorch file"
    raise CheckpointError(f"{found}; it begins with {head[:4]!r}")


def weights_in(content):
    """Return the table of weights in what `load` returns: dict of names to `Tensor`."""
    for _ in range(4):
        if not isinstance(content, dict):
            break
        tensors = {key: v for key, v in content.items() if isinstance(key, str) and isinstance(v, Tensor)}
        if len(tensors) >= max(1, len(content) / 2):
            return tensors
        inner = [key for key in WRAPPERS if isinstance(content.get(key), dict)]
        if not inner:
            break
        content = content[inner[0]]
    if isinstance(content, StandIn):
        raise CheckpointError(f"holds an object of {content.name[:100]}; save its state_dict() instead")
    raise CheckpointError("holds no table of weights")


def _known(name, args):
    """What the known functions of torch make."""
    name = name.rsplit(".", 1)[-1]
    if name == "Size":
        return tuple(args[0]) if args and isinstance(args[0], (list, tuple)) else ()
    if name.startswith("_rebuild_parameter") and args and isinstance(args[0], Tensor):
        return args[0]
    if name == "_rebuild_from_type_v2" and len(args) == 4 and args[0] in REBUILD and isinstance(args[2], tuple):
        return _known(str(args[0]), args[2])  # a subclass of Tensor, e.g. MONAI's MetaTensor
    if len(args) >= 4 and isinstance(args[0], Storage) and not name.startswith("_rebuild_parameter"):
        dtype = None
        if name == "_rebuild_tensor_v3":
            dtype = TYPES.get(str(args[6])) if len(args) > 6 else None
            if dtype is None:
                raise CheckpointError(f"a tensor of type {str(args[6])[:40] if len(args) > 6 else 'unknown'}")
        return Tensor(args[0], args[1], args[2], args[3], dtype)
    raise CheckpointError(f"a tensor that {name} cannot make of its arguments")


def _dtype_of(kind):
    name = str(kind).rsplit(".", 1)[-1] if isinstance(kind, Name) and kind.startswith("torch") else None
    if name not in STORAGES:
        raise CheckpointError(f"a storage of type {str(kind)[:60]}")
    return STORAGES[name]


def _storage_of(identity, lengths=(5,)):
    """`(dtype, key, count)` of a reference to data outside the pickle."""
    plain = isinstance(identity, tuple) and len(identity) in lengths and identity[0] == "storage"
    if not plain or not isinstance(identity[2], str) or type(identity[4]) is not int or identity[4] < 0:
        raise CheckpointError("a reference to data that is no storage")
    return _dtype_of(identity[1]), identity[2], identity[4]


def _load_zip(path):
    archive = zipfile.ZipFile(path)  # kept open by the tensors that are read later
    entries = {info.filename: info for info in archive.infolist()}
    listed, size = archive.infolist(), path.stat().st_size
    if len(listed) > MOST_ENTRIES or len(entries) != len(listed):
        raise CheckpointError("a zip archive with double or too many entries")
    found = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(found) != 1:
        raise CheckpointError("a zip archive without data.pkl")
    root = found[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in entries or any(name.startswith(f"{root}code/") for name in entries):
        raise CheckpointError("a TorchScript program (torch.jit.save), which is code and is not read")
    if any(info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size for info in listed):
        raise CheckpointError("a compressed zip archive, which torch.save does not write")
    if sum(info.file_size for info in listed) > size:
        raise CheckpointError("a zip archive whose entries overlap")
    order = entries.get(f"{root}byteorder")
    if order is not None and (order.file_size > 16 or archive.read(order).strip() != b"little"):
        raise CheckpointError("a big-endian file")
    if entries[found[0]].file_size > LARGEST_PICKLE:
        raise CheckpointError(f"pickled data of {entries[found[0]].file_size:,} bytes")

    def storage(identity):
        dtype, key, count = _storage_of(identity)
        made = Storage(dtype, count, lambda: archive.read(f"{root}data/{key}"))
        entry = entries.get(f"{root}data/{key}")
        if entry is None or entry.file_size != made.size:
            raise CheckpointError(f"the storage {key[:40]!r} is missing or has not the announced {made.size:,} bytes")
        return made

    return PickleReader(archive.read(found[0]), _known, REBUILD, storage).load()


def _load_legacy(path):
    size = path.stat().st_size
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    storages, places = {}, {}

    def storage(identity):
        if isinstance(identity, tuple) and len(identity) >= 2 and identity[0] == "module":
            return identity[1]  # a whole module was saved: its class is a name
        dtype, key, count = _storage_of(identity, (5, 6))
        if len(identity) == 6 and identity[5] is not None:
            raise CheckpointError("views of storages, as PyTorch wrote them before 0.4")
        made = Storage(dtype, count, lambda: data[places[key] : places[key] + storages[key].size])
        known = storages.setdefault(key, made)
        if (known.dtype, known.count) != (dtype, count) or made.size > size:
            raise CheckpointError(f"the storage {key[:40]!r} has an impossible size")
        return known

    reader = PickleReader(data, _known, REBUILD, storage)
    if reader.load() != LEGACY_MAGIC or reader.load() != LEGACY_VERSION:
        raise CheckpointError("pickled data, but not of torch.save")
    system = reader.load()
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise CheckpointError("a big-endian file")
    content, keys, position = reader.load(), reader.load(), None
    position = reader.position
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, str) or key not in storages or position + 8 > size:
            raise CheckpointError("data that belong to no storage")
        (count,) = struct.unpack("<q", data[position : position + 8])
        places[key] = position + 8
        position += 8 + storages[key].size
        if count != storages[key].count or position > size:
            raise CheckpointError(f"the storage {key[:40]!r} has not the announced {storages[key].size:,} bytes")
    if set(storages) - set(places):
        raise CheckpointError("storages without data")
    return content
