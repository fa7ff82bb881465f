"""The rooms of the package: imports go one way, and never in a circle.

The order of the rooms is below. A room imports those after it, never those before; so everything that a module needs
can be read without the rest of the house.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import aiida_fuse2

PACKAGE = Path(aiida_fuse2.__file__).parent

ROOMS = (
    "cli",
    "benchmarks",
    "report",
    "launch",
    "export",
    "workchains",
    "environment",
    "storage",
    "query",
    "tiers",
    "calculations",
    "parsers",
    "worker",
    "io",
    "protocols",
    "core",
)
"""Rooms of the package, each of which imports only those after it."""

CORE_ROOMS = (
    "training",
    "answer",
    "search",
    "moves",
    "generators",
    "prototypes",
    "relaxers",
    "potentials",
    "crystal",
    "settings",
    "chemistry",
)
"""Rooms of the science, each of which imports only those after it."""

CORE_MODULES = {"errors", "plugins", "rng"}
"""Modules of the science that every room may import."""

WITHOUT_AIIDA = {"core", "io", "protocols", "worker", "benchmarks"}
"""Rooms that are also used where AiiDA is not installed."""

BENCHMARKS_NEED = {"worker", "io", "protocols", "core"}
"""Rooms that benchmarks stand on: they run without AiiDA."""

AIIDA = {"aiida", "plumpy", "kiwipy"}


def name_of(path: Path) -> str:
    """Return the dotted name of a module."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full name of each module that a file imports, inside functions, too."""
    own = name_of(path)
    package = own if path.name == "__init__.py" else own.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{module}.{alias.name}"
                yield node.lineno, full if full in MODULES else module


def room(name: str) -> str:
    """Return the room of a module of the package."""
    return name.split(".")[1] if "." in name else ""


def core_room(name: str) -> str:
    """Return the room of a module of the science."""
    return name.split(".")[2] if name.count(".") > 1 else ""


def is_before(other: str, own: str) -> bool:
    """Return whether a room of the science comes before another one, which therefore must not import it."""
    if other in {*CORE_MODULES, own}:
        return False
    return own in CORE_MODULES or CORE_ROOMS.index(other) < CORE_ROOMS.index(own)


def offences(path: Path) -> Iterator[str]:
    """Yield the lines of a module that import what is before its room."""
    own = name_of(path)
    for line, name in imports(path):
        where = f"{path.relative_to(PACKAGE.parent)}:{line}: {own} imports {name}"
        if name.split(".")[0] in AIIDA and room(own) in WITHOUT_AIIDA:
            yield f"{where}, but {room(own)} needs no AiiDA"
        if room(name) not in ROOMS or not name.startswith("aiida_fuse2."):
            continue
        if ROOMS.index(room(name)) < ROOMS.index(room(own)):
            yield f"{where}, which is before {room(own)}"
        if room(name) == "benchmarks" and room(own) not in {"cli", "benchmarks"}:
            yield f"{where}, which only commands do"
        if room(own) == "benchmarks" and room(name) not in {*BENCHMARKS_NEED, "benchmarks"}:
            yield f"{where}, which needs AiiDA"
        if room(own) == room(name) == "core" and is_before(core_room(name), core_room(own)):
            yield f"{where}, which is before {core_room(own)}"


def test_imports_go_one_way():
    assert [line for path in MODULES.values() if room(name_of(path)) for line in offences(path)] == []


def test_nothing_stands_outside_the_rooms():
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py"}
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} == set(ROOMS)
    assert {path.stem for path in (PACKAGE / "core").glob("*.py")} == {"__init__", *CORE_MODULES}
    assert {path.parent.name for path in (PACKAGE / "core").glob("*/__init__.py")} == set(CORE_ROOMS)


def test_no_circle():
    """Remove modules that import none of the rest, until nothing is left: what is left is in a circle or needs one."""
    needs = {own: {name for _, name in imports(path)} & set(MODULES) - {own} for own, path in MODULES.items()}
    while free := {own for own, names in needs.items() if not names & set(needs)}:
        needs = {own: names for own, names in needs.items() if own not in free}
    assert {own: sorted(names & set(needs)) for own, names in needs.items()} == {}


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        (
            "core/crystal/x.py",
            "from aiida_fuse2.core.search import state",
            "core.search.state, which is before crystal",
        ),
        ("query/x.py", "from aiida_fuse2.launch.search import prepare_search", "launch.search, which is before query"),
        ("worker/x.py", "import aiida", "imports aiida, but worker needs no AiiDA"),
        ("benchmarks/x.py", "from aiida_fuse2 import query", "aiida_fuse2.query, which needs AiiDA"),
        ("core/rng.py", "from aiida_fuse2.core.crystal import slicing", "core.crystal.slicing, which is before rng"),
    ],
)
def test_a_line_against_the_direction_is_named(tmp_path, monkeypatch, module, source, said):
    path = tmp_path / "aiida_fuse2" / module
    path.parent.mkdir(parents=True)
    path.write_text(f"\n{source}\n")
    monkeypatch.setattr("tests.test_layout.PACKAGE", tmp_path / "aiida_fuse2")
    (line,) = offences(path)
    assert line.startswith(f"aiida_fuse2/{module}:2: ")
    assert line.endswith(said)
