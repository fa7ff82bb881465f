"""Reading the user's structures: CIF, POSCAR and (extended) XYZ. Nothing is written.

A file that cannot be used is reported with its reason and the others are read on.
"""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms
from ase.io import iread

from aiida_fuse2.core.generators.provided import has_partial_occupancy
from aiida_fuse2.core.settings import MAX_ATOMS_LIMIT

MAX_FILE_BYTES = 100 * 1024**2
"""Largest file that is read: some hundred thousand small structures."""

MAX_ATOMS_READ = 4 * MAX_ATOMS_LIMIT
"""Most atoms of a structure that is read: four primitive cells, as in a face-centred lattice."""

MAX_PROBLEM_LENGTH = 200
"""Longest text taken over from an error of a reader."""

_SUFFIXES = {".cif": "cif", ".vasp": "vasp", ".poscar": "vasp", ".xyz": "extxyz", ".extxyz": "extxyz"}

_KNOWN = "CIF (.cif), VASP (POSCAR*, CONTCAR*, .vasp) or extended XYZ (.xyz, .extxyz)"


@dataclass(frozen=True, kw_only=True)
class ReadStructure:
    """A structure of a file, or why there is none.

    Attributes:
        path: the file, as named by the user or found in the directory that the user named.
        index: which structure of the file, from 0.
        atoms: the structure, or None.
        problem: why there is no structure, or None.
    """

    path: Path
    index: int
    atoms: Atoms | None
    problem: str | None


def _failed(path: Path, problem: str, index: int = 0) -> ReadStructure:
    return ReadStructure(path=path, index=index, atoms=None, problem=problem)


def _format_of(path: Path) -> str | None:
    """Return ASE's name of the format that a file name stands for."""
    if path.name.upper().startswith(("POSCAR", "CONTCAR")) and path.suffix.lower() not in _SUFFIXES:
        return "vasp"
    return _SUFFIXES.get(path.suffix.lower())


def _file_problem(path: Path) -> str | None:
    """Return why a path cannot be opened as a structure file; links are followed."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        return f"cannot be found: {_short(error)}"
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if _format_of(path) is None:
        return f"is of no known type; give {_KNOWN}"
    if status.st_size == 0:
        return "is empty"
    if status.st_size > MAX_FILE_BYTES:
        return f"has {status.st_size / 1024**2:.0f} MB; at most {MAX_FILE_BYTES // 1024**2} MB are read"
    return None


def _short(error: Exception) -> str:
    """Return an error as one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MAX_PROBLEM_LENGTH else text[:MAX_PROBLEM_LENGTH] + "…"


def _structure_problem(atoms: Atoms) -> str | None:
    if len(atoms) == 0:
        return "has no atoms"
    if len(atoms) > MAX_ATOMS_READ:
        return f"has {len(atoms)} atoms; at most {MAX_ATOMS_READ} are read"
    if atoms.cell.rank < 3:
        return "has no unit cell"
    if has_partial_occupancy(atoms):
        return "has partial occupancies; give an ordered structure"
    return None


def _read_file(path: Path) -> Iterator[ReadStructure]:
    """Yield the structures of a file, up to the first that cannot be read."""
    problem = _file_problem(path)
    if problem is not None:
        yield _failed(path, problem)
        return
    index = 0
    try:
        with warnings.catch_warnings(), path.open(encoding="utf-8", errors="replace") as stream:
            warnings.simplefilter("ignore")
            # An open file, not its name: ASE reads '@' and '*' in names as an index and a pattern.
            for atoms in iread(stream, index=":", format=_format_of(path)):
                wrong = _structure_problem(atoms)
                yield ReadStructure(path=path, index=index, atoms=None if wrong else atoms, problem=wrong)
                index += 1
    except Exception as error:  # noqa: BLE001 - readers raise whatever a broken file makes them raise
        yield _failed(path, f"cannot be read: {_short(error)}", index)
        return
    if index == 0:
        yield _failed(path, "holds no structure")


def _files_of(path: Path) -> Iterator[Path | ReadStructure]:
    """Yield a file itself, or the files of a directory by name; hidden ones and sub-directories are left out."""
    if not path.is_dir():
        yield path
        return
    try:
        names = sorted(p for p in path.iterdir() if not p.name.startswith(".") and not p.is_dir())
    except OSError as error:
        yield _failed(path, f"cannot be listed: {_short(error)}")
        return
    if not names:
        yield _failed(path, "is a directory without files")
    yield from names


def read_structures(paths: Iterable[Path]) -> list[ReadStructure]:
    """Read structures from files and directories.

    Args:
        paths: CIF, POSCAR or extended XYZ files (all structures of each), or directories of them (not
            their sub-directories). Links are followed.

    Returns:
        One entry for each structure, and one for each file, structure or directory that cannot be used,
        in the order of the paths.
    """
    found: list[ReadStructure] = []
    for path in paths:
        for item in _files_of(Path(path)):
            found.extend([item] if isinstance(item, ReadStructure) else _read_file(item))
    return found
