"""Writes ``requirements-worker.txt``: the worker's needs, with exact versions, for a cluster without AiiDA.

    python -m tests.packaging.requirements_worker

Nothing is listed twice: what the worker imports is read from its sources, which package has it and what that needs in
turn from the environment, which of them are the project's from ``pyproject.toml``, the versions from
``constraints.txt``.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "aiida_fuse2"
TARGET = ROOT / "requirements-worker.txt"
PYTHONS = ("3.11", "3.12", "3.13")
"""Versions of Python on which the worker may run; what one of them needs is listed."""

HEADER = """\
# What aiida-fuse2-worker needs where jobs run, with the versions of constraints.txt, and nothing of AiiDA:
#
#   pip install --no-deps -r requirements-worker.txt aiida_fuse2-*.whl
#
# Made from pyproject.toml and constraints.txt: python -m tests.packaging.requirements_worker
"""


def imports(path: Path) -> Iterator[str]:
    """Yield the names of the modules that a file imports, at its head or later, as absolute names."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def file_of(module: str) -> Path | None:
    """Return the file of a module of this package."""
    folder = ROOT.joinpath(*module.split("."))
    return next((path for path in (folder / "__init__.py", folder.with_suffix(".py")) if path.is_file()), None)


def imported_by_worker() -> set[str]:
    """Return the top-level modules outside this package that the worker can come to import."""
    waiting = list((ROOT / PACKAGE / "worker").rglob("*.py"))
    seen, found = set(waiting), set()
    while waiting:
        for module in imports(waiting.pop()):
            root = module.partition(".")[0]
            if root != PACKAGE:
                found.add(root)
            elif (path := file_of(module)) is not None and path not in seen:
                seen.add(path)
                waiting.append(path)
    return found


def direct_needs() -> set[str]:
    """Return those of the project's dependencies, and of its extra for CHGNet, that the worker imports."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = [*project["dependencies"], *project["optional-dependencies"]["chgnet"]]
    ours = {canonicalize_name(Requirement(text).name) for text in stated}
    providers = packages_distributions()
    return {canonicalize_name(name) for module in imported_by_worker() for name in providers.get(module, ())} & ours


def applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    """Return whether a package needs another on Linux with one of the versions of Python, for some of its extras."""
    if requirement.marker is None:
        return True
    environments = (
        {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"} | {"extra": extra}
        for python in PYTHONS
        for extra in ("", *extras)
    )
    return any(requirement.marker.evaluate(environment) for environment in environments)


def all_needs(names: Iterable[str], pins: Iterable[str]) -> set[str]:
    """Return packages with everything that they need in turn, as far as it is pinned.

    Not pinned are the libraries for GPUs of some builds of PyTorch, which come with them.
    """
    known = set(pins)
    waiting, found = [(name, frozenset[str]()) for name in names], set()
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        found.add(name)
        for requirement in map(Requirement, requires(name) or ()):
            need = (canonicalize_name(requirement.name), frozenset(requirement.extras))
            if need[0] in known and need not in seen and applies(requirement, extras):
                seen.add(need)
                waiting.append(need)
    return found


def text() -> str:
    """Return the content of the file."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pins = {canonicalize_name(Requirement(line).name): line for line in lines}
    needs = all_needs(direct_needs(), pins)
    return HEADER + "".join(f"{line}\n" for name, line in pins.items() if name in needs)


if __name__ == "__main__":
    TARGET.write_text(text())
