"""PyTorch's files are read without PyTorch, and whatever asks for more than data is refused."""

import io
import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from medzoo.errors import CheckpointError
from medzoo.zoo.converters.torch_file import read_torch_file
from medzoo.zoo.converters.weight_files import read_weights

FILES = Path(__file__).parent / "fixtures" / "torch_files"


# --- good files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "plain_legacy", "protocol4", "lightning", "lightning_legacy"])
def test_tensors_of_all_kinds_equal_those_of_torch(name):
    """Half precision, bfloat16, integers, views, transposed, strided, expanded and empty tensors."""
    read, expected = read_torch_file(FILES / f"{name}.pt"), np.load(FILES / "expected.npz")
    assert list(read) == list(expected)
    for key, values in read.items():
        assert values.shape == expected[key].shape
        assert np.array_equal(np.asarray(values, "float32"), expected[key]), key
    assert (read["f16"].dtype, read["bf16"].dtype, read["i64"].dtype) == ("float16", "float32", "int64")


def test_reading_needs_neither_torch_nor_pickle():
    sources = list(Path(sys.modules["medzoo.zoo.converters.torch_file"].__file__).parent.glob("*.py"))
    lines = [line.split() for path in sources for line in path.read_text(encoding="utf-8").splitlines()]
    imported = {words[1].split(".")[0] for words in lines if len(words) > 1 and words[0] in ("import", "from")}
    assert "numpy" in imported
    assert not imported & {"torch", "pickle", "_pickle", "dill", "joblib"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("module.pt", r"\.Sequential.* state_dict|calls|list"),
        ("script.pt", "TorchScript program"),
        ("expected.npz", "zip"),
    ],
)
def test_files_without_a_table_of_weights_are_refused(name, message):
    with pytest.raises(CheckpointError, match=message):
        read_torch_file(FILES / name)


def test_bfloat16_in_safetensors_is_read(tmp_path):
    values = np.array([1.5, -2.0, 3.0e38], "float32")
    header = b'{"w":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}'
    data = (values.view("uint32") >> 16).astype("uint16").tobytes()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data)
    read = read_weights(tmp_path / "a.safetensors")["w"]
    assert read.dtype == "float32"
    assert read == pytest.approx(values, rel=2**-8)


# --- files that mean harm ---------------------------------------------------------------------------------------


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def archive(path, content, entries=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", content)
        for name, data in entries:
            file.writestr(f"archive/data/{name}", data)
    return path


def legacy(path, content):
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join(head) + content + pickle.dumps([], 2))
    return path


MARKER = "opened-by-a-pickle"
CALLS = {
    "os.system": (os.system, f"touch {MARKER}"),
    "eval": (eval, f"open({MARKER!r}, 'w')"),
    "exec": (exec, f"open({MARKER!r}, 'w')"),
    "open": (open, MARKER, "w"),
    "subprocess": (subprocess.call, ["touch", MARKER]),
    "getattr": (getattr, Call(__import__, "os"), "system"),
    "np.load": (np.load, MARKER),
    "random": (random.seed, 1),
    "memmap": (np.memmap, MARKER, "uint8", "w+"),
}


@pytest.mark.parametrize("write", [archive, legacy])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("call", CALLS)
def test_a_pickle_that_calls_is_refused_and_nothing_runs(call, protocol, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"state_dict": {"w": Call(*CALLS[call])}}, protocol)
    with pytest.raises(CheckpointError):
        read_torch_file(write(tmp_path / "x.pt", content))
    assert not (tmp_path / MARKER).exists()


NAMED = {
    "torch.load": b"\x80\x02}X\x01\x00\x00\x00wctorch\nload\nX\x01\x00\x00\x00a\x85Rs.",
    "torch.hub.load": b"\x80\x02ctorch.hub\nload\nX\x01\x00\x00\x00a\x85R.",
    "my.module.run": b"\x80\x02cmy.module\nrun\n)R.",
    "collections.OrderedDict.__class__": b"\x80\x04\x8c\x0bcollections\x8c\x15OrderedDict.__class__\x93)R.",
    "torch._utils._rebuild_tensor_v2": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "numpy.testing": b"\x80\x02cnumpy.testing._private.utils\nrunstring\n)R.",
}


@pytest.mark.parametrize("name", NAMED)
def test_calls_beyond_the_list_are_refused_by_name(name, tmp_path):
    with pytest.raises(CheckpointError, match=name.rsplit(".", 1)[-1].strip("_")):
        read_torch_file(archive(tmp_path / "x.pt", NAMED[name]))


def n8(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def chain(count):
    """Lists of which each is put into the one before it, from the outermost on."""
    made = b"".join(b"]r" + struct.pack("<I", i) for i in range(count))
    pairs = ((struct.pack("<I", i), struct.pack("<I", i + 1)) for i in range(count - 1))
    return b"\x80\x02" + made + b"".join(b"j" + a + b"j" + b + b"a0" for a, b in pairs) + b"j\0\0\0\0."


BOMBS = {
    "nested lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "nested tuples": b"\x80\x02)" + b"\x85" * 1_000_000 + b".",
    "chained lists": chain(5_000),
    "shared tuples": b"\x80\x02K\x01" + b"2\x86" * 60 + b"}" + b"N" + b"0.",
    "shared tuples as a key": b"\x80\x02}K\x01" + b"2\x86" * 60 + b"K\x01s.",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "a dictionary in itself": b"\x80\x02}q\x00X\x0a\x00\x00\x00state_dicth\x00s.",
    "a huge memo": b"\x80\x02K\x01r\xff\xff\xff\xff.",
    "a huge text": b"\x80\x02X\xff\xff\xff\xffabc.",
    "huge bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "a huge frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xffN.",
    "a huge integer": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "a long integer line": b"\x80\x02I" + b"9" * 100_000 + b"\n.",
    "many instructions": b"\x80\x02" + b"N0" * 3_000_000 + b"N.",
    "an empty stack": b"\x80\x022.",
    "a mark popped": b"\x80\x02(0.",
    "an extension": b"\x80\x02\x82\x01.",
    "INST": b"\x80\x02(X\x04\x00\x00\x00echoios\nsystem\n.",
    "OBJ": b"\x80\x02(cos\nsystem\nX\x04\x00\x00\x00echoo.",
    "buffers out of band": b"\x80\x05\x97.",
    "protocol 9": b"\x80\x09N.",
    "no end": b"\x80\x02}",
    "nothing": b"",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_and_damaged_pickles_are_refused(name, tmp_path):
    with pytest.raises(CheckpointError):
        read_torch_file(archive(tmp_path / "x.pt", BOMBS[name]))


def tensor(count, offset, shape, stride, key="0", kind=b"FloatStorage"):
    def numbers(values):
        return b"(" + b"".join(map(n8, values)) + b"t"

    storage = b"(X\x07\x00\x00\x00storagectorch\n" + kind + b"\nX" + struct.pack("<I", len(key)) + key.encode()
    storage += b"X\x03\x00\x00\x00cpu" + n8(count) + b"tQ"
    head = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n("
    return head + storage + n8(offset) + numbers(shape) + numbers(stride) + b"\x89ccollections\nOrderedDict\n)RtRs."


DATA = [("0", np.arange(4, dtype="float32").tobytes())]
VIEWS = {
    "offset beyond the end": (4, 3, (2, 2), (2, 1)),
    "stride beyond the end": (4, 0, (2, 2), (10**9, 1)),
    "negative stride": (4, 0, (2, 2), (-2, 1)),
    "negative offset": (4, -4, (2, 2), (2, 1)),
    "expanded to terabytes": (4, 0, (10**6, 10**6), (0, 0)),
    "sizes that overflow": (4, 0, (2**32, 2**32), (2**31, 2**31)),
    "negative shape": (4, 0, (-1, 2), (1, 1)),
    "more than is stored": (2**40, 0, (2, 2), (2, 1)),
    "fewer than is stored": (3, 0, (1, 2), (2, 1)),
    "no such storage": (4, 0, (2, 2), (2, 1), "7"),
    "a path": (4, 0, (2, 2), (2, 1), "../../../../etc/passwd"),
    "an unknown type": (4, 0, (2, 2), (2, 1), "0", b"EvilStorage"),
    "shape and stride of different length": (4, 0, (2, 2), (1,)),
}


def test_a_plain_tensor_is_read(tmp_path):
    read = read_torch_file(archive(tmp_path / "x.pt", tensor(4, 0, (2, 2), (1, 2)), DATA))
    assert np.array_equal(read["w"], [[0, 2], [1, 3]])


@pytest.mark.parametrize("name", VIEWS)
def test_tensors_that_do_not_fit_the_file_are_refused(name, tmp_path):
    with pytest.raises(CheckpointError):
        read_torch_file(archive(tmp_path / "x.pt", tensor(*VIEWS[name]), DATA))


def test_archives_that_torch_does_not_write_are_refused(tmp_path):
    good = tensor(4, 0, (2, 2), (2, 1))
    with pytest.raises(CheckpointError, match="compressed"):
        read_torch_file(archive(tmp_path / "a.pt", good, DATA, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as file:
        file.writestr("deep/archive/data.pkl", good)
    with pytest.raises(CheckpointError, match=r"without data\.pkl"):
        read_torch_file(tmp_path / "b.pt")
    whole = (FILES / "plain.pt").read_bytes()
    for part in (whole[: len(whole) // 2], whole[:40], b"", b"\x89HDF\r\n\x1a\n", b"GIF89a"):
        (tmp_path / "c.pt").write_bytes(part)
        with pytest.raises(CheckpointError):
            read_torch_file(tmp_path / "c.pt")
    old = (FILES / "plain_legacy.pt").read_bytes()
    (tmp_path / "d.pt").write_bytes(old[:-40])
    with pytest.raises(CheckpointError):
        read_torch_file(tmp_path / "d.pt")


def mutated(data, draw):
    data = bytearray(data)
    for _ in range(draw.randint(1, 6)):
        i, kind = draw.randrange(len(data)), draw.random()
        if kind < 0.6:
            data[i] = draw.randrange(256)
        elif kind < 0.8:
            del data[i : i + draw.randint(1, 8)]
        else:
            data[i:i] = draw.randbytes(draw.randint(1, 8))
    return bytes(data)


@pytest.mark.parametrize("rounds", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_damaged_files_are_read_or_refused_and_nothing_else(rounds, tmp_path):
    draw, path = random.Random(rounds), tmp_path / "x.pt"
    whole = [(FILES / f"{name}.pt").read_bytes() for name in ("plain_legacy", "lightning_legacy")]
    archives = []
    for name in ("plain", "lightning", "protocol4"):
        with zipfile.ZipFile(FILES / f"{name}.pt") as file:
            archives.append({entry: file.read(entry) for entry in file.namelist()})
    for _ in range(rounds):
        if draw.random() < 0.5:
            path.write_bytes(mutated(draw.choice(whole), draw))
        else:
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as file:
                for entry, data in draw.choice(archives).items():
                    file.writestr(entry, mutated(data, draw) if entry.endswith("data.pkl") else data)
            data = buffer.getvalue()
            path.write_bytes(mutated(data, draw) if draw.random() < 0.3 else data)
        try:
            read = read_torch_file(path)
        except CheckpointError:
            continue
        assert all(isinstance(values, np.ndarray) for values in read.values())


def test_damaged_safetensors_are_read_or_refused(tmp_path):
    from safetensors.numpy import save

    whole, draw = save({"a": np.ones((3, 4), "float32"), "b": np.zeros(5, "float16")}), random.Random(0)
    for _ in range(300):
        (tmp_path / "x.safetensors").write_bytes(mutated(whole, draw))
        try:
            read_weights(tmp_path / "x.safetensors")
        except CheckpointError:
            continue
