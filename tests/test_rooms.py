"""The house of the package: rooms in one order, which CONTRIBUTING.md shows, and no circle between modules."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "code" / "captioning"
DOORS = ("", "__main__")  # the package itself and `python -m captioning`: whoever comes in may go anywhere


def rooms():
    """Rooms, and modules that stand beside them, in the order of the picture in CONTRIBUTING.md: lowest first."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    [picture] = re.findall(r"^## How it is built$.*?^```rooms\n(.*?)^```$", text, re.S | re.M)
    return [line.split()[0].removesuffix("/").removesuffix(".py") for line in picture.splitlines()]


def modules(package=PACKAGE):
    """{dotted name: its file} of all modules; a folder has the name of its `__init__.py`."""
    files = sorted(package.rglob("*.py"))
    parts = [(package.name, *file.relative_to(package).with_suffix("").parts) for file in files]
    return {".".join(p[:-1] if p[-1] == "__init__" else p): file for p, file in zip(parts, files, strict=True)}


class Imports(ast.NodeVisitor):
    """What a module imports of the package, in functions too; not what is there for type checkers only."""

    def __init__(self, known):
        self.known, self.found = known, set()

    def visit_If(self, node):
        checked = node.orelse if "TYPE_CHECKING" in ast.unparse(node.test) else [*node.body, *node.orelse]
        for child in checked:
            self.visit(child)

    def visit_Import(self, node):
        self.found |= {name.name for name in node.names if name.name in self.known}

    def visit_ImportFrom(self, node):
        assert node.level == 0, f"line {node.lineno}: a relative import; name the module in full"
        named = {f"{node.module}.{name.name}" for name in node.names} & self.known.keys()
        self.found |= named or {node.module} & self.known.keys()


def imports(package=PACKAGE):
    """{module: the modules of the package that it imports}."""
    known, found = modules(package), {}
    for name, file in known.items():
        visitor = Imports(known)
        visitor.visit(ast.parse(file.read_text(encoding="utf-8")))
        found[name] = visitor.found
    return found


def room_of(module):
    return (module.split(".") + [""])[1]


def wrong_ways(graph, order):
    """The imports that lead from a room into one that stands after it."""
    floor = {name: place for place, name in enumerate(order)}
    arrows = [(module, other) for module, others in sorted(graph.items()) for other in sorted(others)]
    inside = [arrow for arrow in arrows if not {room_of(arrow[0]), room_of(arrow[1])} & {*DOORS}]
    return [f"{module} imports {other}" for module, other in inside if floor[room_of(other)] > floor[room_of(module)]]


def test_the_picture_names_every_room():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    there = folders | {"disk", "paths", "text", "writing"}
    assert len(rooms()) == len(set(rooms())) and set(rooms()) == there


def test_a_room_imports_only_from_rooms_before_it():
    assert wrong_ways(imports(), rooms()) == []


def test_no_module_imports_itself_by_way_of_others():
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_an_import_that_is_turned_round_is_found(tmp_path):
    """Also where it hides in a function; what only type checkers read is no arrow."""
    package = tmp_path / "captioning"
    for room, body in {
        "data": "def load():\n    from captioning.cli import train",
        "cli": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from captioning.data import train",
    }.items():
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").touch()
        (package / room / "train.py").write_text(body)
    graph = imports(package)
    assert wrong_ways(graph, ["data", "cli"]) == ["captioning.data.train imports captioning.cli.train"]
    assert graph["captioning.cli.train"] == set()


def test_a_room_says_who_lives_there_and_nothing_else():
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent == PACKAGE or path.parent.name == "cli":  # `captioning.caption`, and the command line
            continue
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert [type(node) for node in body] == [ast.Expr] and isinstance(body[0].value, ast.Constant), path


def test_nothing_new_stands_beside_the_rooms():
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == {
        *("__init__.py", "__main__.py", "disk.py", "paths.py", "text.py", "writing.py", "py.typed")
    }


def test_a_file_is_read_in_one_sitting():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {str(path): length for path, length in lengths.items() if length > 350} == {}
    chapters = [path for path in lengths if path.parent.name == "course" and not path.stem.startswith(("mini_", "run"))]
    assert {str(path): lengths[path] for path in chapters if lengths[path] >= 150} == {}
