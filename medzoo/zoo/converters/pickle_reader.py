"""Pickled data of PyTorch checkpoints, read without the `pickle` module and without calling anything in it.

A pickle is a program for a small stack machine. This machine knows the instructions that `torch.save` writes, and makes
dictionaries, lists, tuples, numbers, text and references to tensors. A class or function of the file is a name only:
nothing is imported. Names fall into three kinds: those in `known`, which the caller reads (tensors); harmless ones,
which become an inert `StandIn` (settings of Lightning, optimizers); all others, for which the file is refused.
"""

import struct
from collections import OrderedDict

from medzoo.errors import CheckpointError

MOST_OPERATIONS, MOST_DEPTH, LONGEST = 4_000_000, 64, 2**25  # LONGEST: bytes of one text
PLAIN = (str, int, float, bool, bytes, type(None))

# Modules whose functions no checkpoint of weights needs; a name from one of them is refused wherever it appears.
DANGEROUS = """
os posix nt ntpath posixpath subprocess sys runpy socket shutil importlib pty code codeop commands webbrowser ctypes
pickle _pickle cPickle dill cloudpickle joblib marshal types operator _operator multiprocessing asyncio timeit pdb bdb
cProfile profile trace pip requests urllib http ftplib smtplib platform signal threading _thread concurrent inspect gc
io _io tempfile glob linecache pkgutil zipimport imp site venv ensurepip distutils setuptools idlelib tkinter turtle
doctest unittest sqlite3 dbm shelve xml base64 zipfile tarfile mmap fcntl resource select
""".split()  # noqa: SIM905
BUILTINS = """
set frozenset list dict tuple int float bool str bytes bytearray slice range complex object long unicode xrange getattr
Ellipsis NotImplemented type print
""".split()  # noqa: SIM905
# What settings of a training may call or instantiate; the result is a `StandIn`.
HARMLESS = """
argparse. pathlib. collections. numpy. functools.partial omegaconf. pytorch_lightning. lightning. lightning_fabric.
lightning_utilities. torch.optim. torch.nn. torch.device torch.Size torch.dtype torch.Generator torch.distributed.
torch.serialization._get_layout torch._utils. torch._tensor. torch.jit._pickle. torch.amp. torch.cuda.amp.
torch.storage. monai. ignite. copyreg. copy_reg. _codecs.encode typing. datetime. enum.
decimal.Decimal fractions.Fraction uuid.UUID
""".split()  # noqa: SIM905
FORBIDDEN = ("numpy.load", "numpy.fromfile", "numpy.memmap", "numpy.f2py", "numpy.testing", "numpy.distutils")


class Name(str):
    """The dotted name of a class or function in the file; nothing was imported."""

    __slots__ = ()


class StandIn:
    """What stands for an object of a class that is not read: its name and what the file set on it."""

    __slots__ = ("name", "state")

    def __init__(self, name):
        self.name, self.state = str(name), None

    def __repr__(self):
        return f"<{self.name[:80]}, not read>"


class PickleReader:
    """The stack machine, over one buffer.

    Args:
        data: bytes-like. One or several pickles one behind the other.
        known: function of `(name, args)` for calls of names in `names`; returns the object.
        names: container of the names that `known` reads.
        persistent: function of what the file gives for data outside the pickle (storages); returns the object.

    Attributes:
        position: int. Where in `data` the next pickle begins.
    """

    def __init__(self, data, known, names, persistent):
        self.data, self.known, self.names, self.persistent = data, known, names, persistent
        self.position, self.operations = 0, 0

    def load(self):
        """Read one pickle.

        Raises:
            CheckpointError: If the data are damaged, or ask for anything but data.
        """
        self.stack, self.memo, self.marks, self.depths = [], {}, [], {}
        try:
            while True:
                self.operations += 1
                if self.operations > MOST_OPERATIONS:
                    raise CheckpointError(f"more than {MOST_OPERATIONS:,} instructions")
                code = self.take(1)[0]
                if code == 0x2E:  # STOP
                    return self.pop()
                if code not in OPERATIONS:
                    raise CheckpointError(f"the instruction {code:#x}, which torch.save does not write")
                OPERATIONS[code](self)
        except CheckpointError:
            raise
        except (IndexError, ValueError, KeyError, TypeError, OverflowError, RecursionError, struct.error) as error:
            raise CheckpointError(f"damaged pickled data ({type(error).__name__})") from None

    # --- the buffer and the stack -------------------------------------------------------------------------------

    def take(self, count):
        if not 0 <= count <= LONGEST or self.position + count > len(self.data):
            raise CheckpointError("pickled data that end too early or announce an impossible length")
        part = bytes(self.data[self.position : self.position + count])
        self.position += count
        return part

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self):
        end = self.data.find(b"\n", self.position, self.position + 1024)
        if end < 0:
            raise CheckpointError("a line of pickled data without an end")
        text = bytes(self.data[self.position : end])
        self.position = end + 1
        return text.decode()

    def push(self, value, parts=()):
        """Push a value; of a container, check how deep it nests."""
        if parts or not isinstance(value, PLAIN):
            depth = 1 + max((self.depths.get(id(part), (0, None))[0] for part in parts), default=0)
            if depth > MOST_DEPTH:
                raise CheckpointError(f"data nested more than {MOST_DEPTH} levels deep")
            self.depths[id(value)] = (depth, value)  # keeps the value alive, so that its id stays its own
        self.stack.append(value)

    def pop(self):
        if not self.stack or (self.marks and len(self.stack) <= self.marks[-1]):
            raise CheckpointError("an empty stack")
        return self.stack.pop()

    def since_mark(self):
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    # --- containers ---------------------------------------------------------------------------------------------

    def fill(self, items):
        target = self.pop()
        if isinstance(target, dict) and len(items) % 2 == 0:
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[_key(key)] = value
        elif not isinstance(target, (StandIn, Name)):
            raise CheckpointError("entries for something that is no dictionary")
        self.push(target, items)

    def extend(self, items):
        target = self.pop()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, (StandIn, Name)):
            raise CheckpointError("items for something that is no list")
        self.push(target, items)

    def tuple(self, count):
        items = [self.pop() for _ in range(count)][::-1]
        self.push(tuple(items), items)

    # --- names and calls ----------------------------------------------------------------------------------------

    def name(self, module, attribute):
        name = f"{module}.{attribute}"
        root = name.split(".")[0]
        builtin = root in ("builtins", "__builtin__")
        if (builtin and attribute not in BUILTINS) or root in DANGEROUS or "__" in attribute:
            raise CheckpointError(f"the file asks for {name[:200]}, which no file of weights needs")
        self.push(Name(name))

    def reduce(self):
        args, function = self.pop(), self.pop()
        if not isinstance(args, tuple):
            raise CheckpointError("a call without arguments")
        self.push(self.called(function, args), args)

    def called(self, function, args):
        if not isinstance(function, Name):
            raise CheckpointError("a call of something that is no name")
        if function == "collections.OrderedDict":
            pairs = args[0] if args else ()
            return OrderedDict((_key(key), value) for key, value in pairs)
        if function in self.names:
            return self.known(str(function), args)
        builtin = function.split(".")[0] in ("builtins", "__builtin__")
        if builtin or (function.startswith(tuple(HARMLESS)) and not function.startswith(FORBIDDEN)):
            return StandIn(function)
        raise CheckpointError(f"the file calls {function[:200]}, which is not on the list of what is read")

    def new_object(self):
        """An object of any class that is given its state, not called: settings of the training."""
        args, cls = self.pop(), self.pop()
        if not isinstance(cls, Name) or not isinstance(args, tuple):
            raise CheckpointError("an object without a class")
        self.push(self.called(cls, args) if cls == "collections.OrderedDict" else StandIn(cls), args)

    def set_state(self):
        state, target = self.pop(), self.pop()
        if isinstance(target, StandIn):
            target.state = state
        self.push(target, (state,))

    def persistent_id(self):
        self.push(self.persistent(self.pop()))

    def remember(self, index):
        self.memo[index] = self.stack[-1]

    def recall(self, index):
        self.stack.append(self.memo[index])


def _key(key):
    """A key of a dictionary, if hashing it takes no time: plain, a short tuple of plain values, or a stand-in."""
    if isinstance(key, (*PLAIN, StandIn)) or (
        isinstance(key, tuple) and len(key) <= 16 and all(isinstance(part, PLAIN) for part in key)
    ):
        return key
    raise CheckpointError("a key of a dictionary that is no plain value")


def _text(form, encoding="utf-8"):
    return lambda m: m.push(
        m.take(m.number(form)).decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict")
    )


def _integer_line(machine):
    text = machine.line()
    machine.push({"00": False, "01": True}[text] if text in ("00", "01") else int(text.rstrip("L")[:40]))


def _protocol(machine):
    if machine.number("<B") > 5:
        raise CheckpointError("a protocol of pickled data newer than 5")


def _global(machine):
    attribute, module = machine.pop(), machine.pop()
    if not isinstance(attribute, str) or not isinstance(module, str):
        raise CheckpointError("a name that is no text")
    machine.name(module, attribute)


def _long(machine):
    size = machine.number("<B")
    if size > 16:
        raise CheckpointError("an integer of more than 128 bits")
    machine.push(int.from_bytes(machine.take(size), "little", signed=True))


def _empty_set(machine):
    machine.push([])  # a set: kept as a list, nothing of it is needed


OPERATIONS = {
    0x80: _protocol,
    0x95: lambda m: m.number("<Q"),  # FRAME: its length is of no use here
    # constants
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("K"): lambda m: m.push(m.number("<B")),
    ord("M"): lambda m: m.push(m.number("<H")),
    ord("J"): lambda m: m.push(m.number("<i")),
    ord("G"): lambda m: m.push(m.number(">d")),
    ord("I"): _integer_line,
    ord("L"): _integer_line,
    ord("F"): lambda m: m.push(float(m.line())),
    0x8A: _long,
    ord("X"): _text("<I"),
    0x8C: _text("<B"),
    0x8D: _text("<Q"),
    ord("U"): _text("<B", "latin-1"),
    ord("T"): _text("<I", "latin-1"),
    ord("C"): lambda m: m.push(m.take(m.number("<B"))),
    ord("B"): lambda m: m.push(m.take(m.number("<I"))),
    0x8E: lambda m: m.push(m.take(m.number("<Q"))),
    0x96: lambda m: m.push(m.take(m.number("<Q"))),
    # containers
    ord("}"): lambda m: m.push({}),
    ord("]"): lambda m: m.push([]),
    0x8F: _empty_set,
    ord(")"): lambda m: m.push(()),
    0x85: lambda m: m.tuple(1),
    0x86: lambda m: m.tuple(2),
    0x87: lambda m: m.tuple(3),
    ord("("): lambda m: m.marks.append(len(m.stack)),
    ord("t"): lambda m: (lambda items: m.push(tuple(items), items))(m.since_mark()),
    ord("l"): lambda m: (lambda items: m.push(items, items))(m.since_mark()),
    ord("d"): lambda m: (lambda items: (m.push({}), m.fill(items)))(m.since_mark()),
    0x91: lambda m: (lambda items: m.push(list(items), items))(m.since_mark()),  # FROZENSET
    ord("s"): lambda m: (lambda value, key: m.fill([key, value]))(m.pop(), m.pop()),
    ord("u"): lambda m: m.fill(m.since_mark()),
    ord("a"): lambda m: (lambda value: m.extend([value]))(m.pop()),
    ord("e"): lambda m: m.extend(m.since_mark()),
    0x90: lambda m: m.extend(m.since_mark()),  # ADDITEMS
    # the stack and the memo
    ord("0"): lambda m: m.pop(),
    ord("1"): lambda m: m.since_mark(),
    ord("2"): lambda m: m.stack.append(m.stack[-1]),
    ord("q"): lambda m: m.remember(m.number("<B")),
    ord("r"): lambda m: m.remember(m.number("<I")),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("h"): lambda m: m.recall(m.number("<B")),
    ord("j"): lambda m: m.recall(m.number("<I")),
    # names, calls, objects
    ord("c"): lambda m: m.name(m.line(), m.line()),
    0x93: _global,
    ord("R"): lambda m: m.reduce(),
    0x81: lambda m: m.new_object(),
    0x92: lambda m: (m.pop(), m.new_object()),
    ord("b"): lambda m: m.set_state(),
    ord("Q"): lambda m: m.persistent_id(),
}
