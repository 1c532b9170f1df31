"""The package structure of CONTRIBUTING.md: a package imports only packages listed before it, without cycles."""

import ast
import re
from pathlib import Path

import pytest

import medzoo

ROOT = Path(medzoo.__file__).parent
# The order of packages and top-level modules; the single source of the rule. CONTRIBUTING.md lists the same names.
LAYERS = (
    "errors",
    "utils",
    "losses",
    "metrics",
    "layers",
    "models",
    "io",
    "data",
    "visualization",
    "zoo",
    "training",
    "recipes",
    "tasks",
    "evaluation",
    "app",
    "cli",
)
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70  # without the docstring
MAX_COMMAND_LINES = 26  # body of a command
EXEMPT = ("render_card", "chest_phantom")  # a page of text, and a list of shapes


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
LAZY = medzoo._NAMES | medzoo._MODULES  # names of `medzoo`, imported on first use


def layer_of(module):
    """The package or top-level module, e.g. `models` of `medzoo.models.vae`; of `medzoo` itself, `None`."""
    return module.split(".")[1] if "." in module else None


def imports_of(module, top_level=False):
    """Modules of medzoo that a module imports: anywhere, or only when it is imported itself."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "medzoo":
            for alias in node.names:
                name = LAZY.get(alias.name) if node.module == "medzoo" else f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "medzoo")


def test_every_package_has_its_position_in_the_order():
    assert {layer_of(module) for module in MODULES} - {None, "__main__"} == set(LAYERS)


def test_contributing_lists_the_packages_in_this_order():
    page = ROOT.parent / "CONTRIBUTING.md"
    if not page.is_file():
        pytest.skip("not a checkout")
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(re.findall(r"[a-z_]+", " ".join(rows))) == LAYERS


def test_a_package_imports_only_packages_listed_before_it():
    wrong = []
    for module in MODULES:
        for imported in imports_of(module):
            layers = layer_of(module), layer_of(imported)
            if all(layer in LAYERS for layer in layers) and LAYERS.index(layers[0]) < LAYERS.index(layers[1]):
                wrong.append(f"{module} imports {imported}")
    assert not wrong


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: sorted(set(imports_of(module, top_level=True)) - {module}) for module in MODULES}
    finished, cycles = set(), []

    def visit(module, path):
        if module in path:
            cycles.append(" -> ".join([*path[path.index(module) :], module]))
        elif module not in finished:
            for imported in graph.get(module, ()):
                visit(imported, [*path, module])
            finished.add(module)

    for module in graph:
        visit(module, [])
    assert not cycles


def functions_of(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def body_lines(function):
    """Number of lines of the body without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_files_functions_and_commands_stay_within_their_line_limits():
    long = []
    for module, path in MODULES.items():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_FILE_LINES:
            long.append(f"{module}: {lines} lines")
        limit = MAX_COMMAND_LINES if layer_of(module) == "cli" else MAX_FUNCTION_LINES
        for function in functions_of(path):
            if body_lines(function) > limit and function.name not in EXEMPT:
                long.append(f"{module}.{function.name}: {body_lines(function)} lines")
    assert not long
