"""The rooms of CONTRIBUTING.md: a room imports only rooms named before it."""

import ast
from pathlib import Path

import medzoo

ROOT = Path(medzoo.__file__).parent
ROOMS = ("errors", "files", "progress", "layers", "losses", "metrics", "models", "images", "zoo", "recipes", "reports")
ROOMS += ("tasks", "evaluate", "app", "cli")
LONGEST = 320  # lines of a file
SCREEN = 55  # lines of a function, its docstring left out
COMMAND = 26  # lines of a command's body
LONG = ("card", "chest_phantom")  # a page of text, and a drawing stroke by stroke


def sources():
    return [path for path in sorted(ROOT.rglob("*.py")) if path.parent != ROOT or path.stem in ROOMS]


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "medzoo":
            parts = node.module.split(".")[1:]
            yield from ([parts[0]] if parts else [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("medzoo."))


def test_no_room_imports_one_named_after_it():
    lazy = medzoo._NAMES | medzoo._MODULES  # names of the package stand for the room they come from
    wrong = []
    for path in sources():
        for name in imports_of(path):
            room = lazy[name].split(".")[1] if name in lazy and name not in ROOMS else name
            if room in ROOMS and ROOMS.index(room) > ROOMS.index(room_of(path)):
                wrong.append(f"{path.relative_to(ROOT)} imports {room}")
    assert not wrong


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def length(function):
    """Lines of the body without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_files_and_functions_stay_short_and_commands_thin():
    long = [str(path) for path in sources() if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST]
    long += [
        f"{path}: {f.name}" for path in sources() for f in functions(path) if length(f) > SCREEN and f.name not in LONG
    ]
    long += [
        f"{path}: {f.name}"
        for path in sources()
        if room_of(path) == "cli"
        for f in functions(path)
        if length(f) > COMMAND
    ]
    assert not long
