"""Reading the user's structures: CIF, POSCAR and (extended) XYZ. Nothing is written.

A file or a structure that cannot be used is reported with its reason, and reading continues with the others.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from aiida_fuse2.core.crystal.validity import MAX_POSITION
from aiida_fuse2.core.errors import one_line, printable
from aiida_fuse2.core.generators.provided import has_partial_occupancy

from .cif_texts import cif_texts, read_block
from .structure_texts import (
    MAX_ATOMS_READ,
    Parsed,
    UnusableTextError,
    poscar_texts,
    read_poscar,
    read_xyz,
    too_many,
    xyz_texts,
)

MAX_FILE_BYTES = 100 * 1024**2
"""Largest file that is read: some hundred thousand small structures."""

MAX_BARREN = 200
"""Number of unusable structures in a row after which the rest of a file is not read."""

MAX_PROBLEM_LENGTH = 200
"""Longest text copied from an error of a reader."""

_SUFFIXES = {".cif": "cif", ".vasp": "vasp", ".poscar": "vasp", ".xyz": "extxyz", ".extxyz": "extxyz"}

_NAMES = {"": "a file of structures", "cif": "a CIF", "vasp": "a POSCAR", "extxyz": "extended XYZ"}

_KNOWN = "CIF (.cif), VASP (POSCAR*, CONTCAR*, .vasp) or extended XYZ (.xyz, .extxyz)"

BROKEN = "cannot be read: is not {}, or a broken one"
"""Message about a file that its reader does not understand."""


@dataclass(frozen=True, kw_only=True)
class ReadStructure:
    """A structure of a file, or the reason why there is none.

    Attributes:
        path: the file, as named by the user or found in the directory that the user named.
        index: number of the structure in the file, from 0.
        atoms: the structure, or None.
        problem: why there is no structure, or None.
        warnings: texts for the user about how it was read.
    """

    path: Path
    index: int
    atoms: Atoms | None
    problem: str | None
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name in messages: the file, and the number of the structure in it."""
        return str(self.path) if self.index == 0 else f"{self.path}[{self.index}]"


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
    return one_line(error, MAX_PROBLEM_LENGTH) or type(error).__name__


def _reader_problem(path: Path, error: Exception) -> str:
    """Return the problem of a file that could not be read to its end.

    Some errors of readers have no meaning for the user: an assertion, an index or a key.
    """
    if isinstance(error, OSError):
        return f"cannot be read: {_short(error)}"
    return BROKEN.format(_NAMES[_format_of(path) or ""])


def _structure_problem(atoms: Atoms) -> str | None:
    """Return why a structure that was read cannot be used, or None."""
    if len(atoms) == 0:
        return "has no atoms"
    if len(atoms) > MAX_ATOMS_READ:
        return too_many(len(atoms))
    checks = (
        (not np.isfinite(atoms.cell.array).all(), "has lattice vectors that are not numbers"),
        (not np.isfinite(atoms.positions).all(), "has positions that are not numbers"),
        ((np.abs(atoms.positions) >= MAX_POSITION).any(), f"has positions further away than {MAX_POSITION:.0f} Å"),
        (atoms.cell.rank < 3, "has no unit cell"),
        (atoms.numbers.min() < 1 or atoms.numbers.max() >= len(chemical_symbols), "has atoms of no known element"),
        (has_partial_occupancy(atoms), "has partial occupancies; give an ordered structure"),
    )
    return next((problem for is_wrong, problem in checks if is_wrong), None)


# --- reading --------------------------------------------------------------------------------------

_READERS: dict[str, tuple[Callable[[TextIO], Iterator[str | UnusableTextError]], Callable[[str], Parsed | None]]] = {
    "cif": (cif_texts, read_block),
    "vasp": (poscar_texts, read_poscar),
    "extxyz": (xyz_texts, read_xyz),
}
"""Functions that cut a file into texts, and that read a text, by format."""


def _structures_of(stream: TextIO, path: Path, file_format: str) -> Iterator[ReadStructure]:
    """Yield the structures of a text."""
    cut, read_one = _READERS[file_format]
    index = barren = 0
    for text in cut(stream):
        found = _structure(text, read_one, path, index)
        barren = 0 if found is not None and found.problem is None else barren + 1
        if found is not None:
            yield found
            index += 1
        if barren >= MAX_BARREN:
            yield _failed(path, f"{barren} structures in a row cannot be used; the rest is not read", index)
            return
    if index == 0:
        yield _failed(path, "holds no structure")


def _structure(
    text: str | UnusableTextError, read_one: Callable[[str], Parsed | None], path: Path, index: int
) -> ReadStructure | None:
    """Return the structure of a text, or why there is none; None if the text is of something else."""
    try:
        if isinstance(text, UnusableTextError):
            raise text
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of numpy and spglib; those for the user are returned
            read = read_one(text)
        problem = None if read is None else _structure_problem(read.atoms)
    except UnusableTextError as error:
        return _failed(path, str(error), index)
    except Exception:  # noqa: BLE001 - a broken text may cause any error, without a useful message
        return _failed(path, BROKEN.format(_NAMES[_format_of(path) or ""]), index)
    if read is None:
        return None
    atoms = None if problem else read.atoms
    return ReadStructure(path=path, index=index, atoms=atoms, problem=problem, warnings=tuple(read.warnings))


def _encoding(path: Path) -> str:
    """Return the encoding from the first bytes of a file: a byte order mark, or zeros in every second byte."""
    with path.open("rb") as stream:
        head = stream.read(64)
    marks = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
    marks |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    for mark, encoding in marks.items():
        if head.startswith(mark):
            return encoding
    if len(head) > 4 and not any(head[1::2]) and all(head[::2]):
        return "utf-16-le"
    if len(head) > 4 and not any(head[::2]) and all(head[1::2]):
        return "utf-16-be"
    return "utf-8"


def _read_file(path: Path) -> Iterator[ReadStructure]:
    """Yield the structures of a file."""
    problem = _file_problem(path)
    if problem is not None:
        yield _failed(path, problem)
        return
    found = 0
    try:
        with path.open(encoding=_encoding(path), errors="replace") as stream:
            for structure in _structures_of(stream, path, _format_of(path) or ""):
                yield structure
                found += 1
    except Exception as error:  # noqa: BLE001 - the system or a reader may raise anything
        yield _failed(path, _reader_problem(path, error), found)


def warn_of(structures: Iterable[ReadStructure]) -> None:
    """Show the warnings of how structures were read."""
    for structure in structures:
        for text in structure.warnings:
            warnings.warn(f"{printable(structure.name)}: {text}", UserWarning, stacklevel=3)


def read_text(text: str, file_format: str) -> list[ReadStructure]:
    """Read structures from the content of a file.

    Args:
        text: the content.
        file_format: cif, vasp or extxyz.

    Returns:
        As for ``read_structures``; the path is empty.
    """
    return list(_structures_of(io.StringIO(text, newline=None), Path(), file_format))


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # the problem of the file itself is reported later
        return False


def _files_of(path: Path) -> Iterator[Path | ReadStructure]:
    """Yield a file itself, or the files of a directory by name; hidden ones and sub-directories are omitted."""
    if not _is_directory(path):
        yield path
        return
    try:
        names = sorted(p for p in path.iterdir() if not p.name.startswith(".") and not _is_directory(p))
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
    return list(iter_structures(paths))


def iter_structures(paths: Iterable[Path]) -> Iterator[ReadStructure]:
    """Yield what ``read_structures`` returns, one after the other."""
    for path in paths:
        for item in _files_of(Path(path)):
            if isinstance(item, ReadStructure):
                yield item
            else:
                yield from _read_file(item)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and the content of the files of a directory, that can be read.

    Raises:
        OSError: if one cannot be opened.
    """
    if _is_directory(path):
        whole = hashlib.sha256()
        for item in _files_of(path):
            if isinstance(item, Path) and _file_problem(item) is None:
                whole.update(os.fsencode(item.name) + b"\0" + digest_of(item).encode())
        return whole.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
