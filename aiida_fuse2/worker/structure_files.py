"""Reading the user's structures: CIF, POSCAR and (extended) XYZ. Nothing is written.

A file that cannot be used is reported with its reason and the others are read on. A file is cut into the
texts of its structures first, and each is looked over before ASE reads it: a few bytes can ask for
thousands of millions of atoms, columns or symmetry operations.
"""

from __future__ import annotations

import io
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.io import read
from ase.io.cif import CIFBlock, parse_cif
from ase.io.extxyz import key_val_str_to_dict

from aiida_fuse2.core.errors import one_line, printable
from aiida_fuse2.core.generators.provided import has_partial_occupancy
from aiida_fuse2.core.settings import MAX_ATOMS_LIMIT
from aiida_fuse2.core.validity import MAX_POSITION

MAX_FILE_BYTES = 100 * 1024**2
"""Largest file that is read: some hundred thousand small structures."""

MAX_STRUCTURE_LENGTH = 10**6
"""Longest text of one structure, characters; 4000 atoms need a third of it."""

MAX_COMMENT_LENGTH = 20_000
"""Longest second line of an XYZ structure, characters."""

MAX_COLUMNS = 1000
"""Most columns of an XYZ structure."""

MAX_ATOMS_READ = 4 * MAX_ATOMS_LIMIT
"""Most atoms of a structure that is read: four primitive cells, as in a face-centred lattice."""

MAX_EQUIVALENT = 10 * MAX_ATOMS_READ
"""Most sites times symmetry operations of a CIF; atoms on special positions are fewer."""

MAX_BARREN = 200
"""Structures in a row of one file that cannot be used, after which the rest of it is not read."""

MAX_OPERATIONS = 1000
"""Most symmetry operations of a CIF; a space group has 192 at most."""

MAX_PROBLEM_LENGTH = 200
"""Longest text taken over from an error of a reader."""

MAX_WORDS_LENGTH = 30
"""Longest text taken over from a file, characters."""

_SUFFIXES = {".cif": "cif", ".vasp": "vasp", ".poscar": "vasp", ".xyz": "extxyz", ".extxyz": "extxyz"}

_NAMES = {"cif": "a CIF", "vasp": "a POSCAR", "extxyz": "extended XYZ"}

_KNOWN = "CIF (.cif), VASP (POSCAR*, CONTCAR*, .vasp) or extended XYZ (.xyz, .extxyz)"

_OPERATIONS = (
    "_space_group_symop_operation_xyz",
    "_space_group_symop.operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
)
"""Tags of a CIF that list symmetry operations."""


class UnusableTextError(ValueError):
    """The text of a structure that is not worth reading; the message says why."""


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
    return one_line(error, MAX_PROBLEM_LENGTH) or type(error).__name__


def _reader_problem(path: Path, error: Exception) -> str:
    """Return what is wrong with a file that its reader gave up, whatever it raised.

    What it stumbles over in a file of another kind tells nothing: an assertion, an index or a key of its own.
    """
    if isinstance(error, AssertionError | LookupError | AttributeError) or not str(error).strip():
        return f"cannot be read: is not {_NAMES[_format_of(path) or '']}, or a broken one"
    return f"cannot be read: {_short(error)}"


def _structure_problem(atoms: Atoms) -> str | None:
    """Return why a structure that was read cannot be used, or None."""
    if len(atoms) == 0:
        return "has no atoms"
    if len(atoms) > MAX_ATOMS_READ:
        return _too_many(len(atoms))
    checks = (
        (not np.isfinite(atoms.cell.array).all(), "has lattice vectors that are no numbers"),
        (not np.isfinite(atoms.positions).all(), "has positions that are no numbers"),
        ((np.abs(atoms.positions) >= MAX_POSITION).any(), f"has positions further away than {MAX_POSITION:.0f} Å"),
        (atoms.cell.rank < 3, "has no unit cell"),
        (atoms.numbers.min() < 1 or atoms.numbers.max() >= len(chemical_symbols), "has atoms of no known element"),
        (has_partial_occupancy(atoms), "has partial occupancies; give an ordered structure"),
    )
    return next((problem for is_wrong, problem in checks if is_wrong), None)


def _too_many(n_atoms: int) -> str:
    return f"has {printable(n_atoms, 20)} atoms; at most {MAX_ATOMS_READ} are read"


# --- the texts of single structures ---------------------------------------------------------------


def _lines(stream: TextIO) -> Iterator[str]:
    """Yield the lines of a file; a line that is too long for any structure comes in pieces."""
    while line := stream.readline(MAX_STRUCTURE_LENGTH):
        yield line


def _check_length(length: int) -> None:
    if length > MAX_STRUCTURE_LENGTH:
        raise UnusableTextError(f"a structure has more than {MAX_STRUCTURE_LENGTH} characters")


def _whole_text(stream: TextIO) -> Iterator[str]:
    """Yield the text of a file that holds one structure."""
    text = stream.read(MAX_STRUCTURE_LENGTH + 1)
    _check_length(len(text))
    yield text


def _cif_blocks(stream: TextIO) -> Iterator[str]:
    """Yield the data blocks of a CIF, without the content of text fields (reflections, whole papers)."""
    block: list[str] = []
    length, in_field, has_begun = 0, False, False
    for line in _lines(stream):
        if line.startswith(";"):
            in_field = not in_field
            block.append(";\n")
            continue
        if in_field:
            continue
        if line[:5].lower() == "data_":
            if has_begun:
                yield "".join(block)
                block, length = [], 0
            has_begun = True
        length += len(line)
        _check_length(length)
        block.append(line)
    yield "".join(block)


def _xyz_frames(stream: TextIO) -> Iterator[str]:
    """Yield the frames of an XYZ file: number of atoms, comment, atoms, and lattice vectors (``VEC1`` ...)."""
    lines = _lines(stream)
    header = next(lines, "")
    while header:
        if not header.strip():
            header = next(lines, "")
            continue
        n_atoms = _number_of_atoms(header)
        if n_atoms > MAX_ATOMS_READ:
            raise UnusableTextError(_too_many(n_atoms))
        frame = [header]
        length, header = len(header), ""
        for line in lines:
            if len(frame) >= n_atoms + 2 and not line.startswith("VEC"):
                header = line
                break
            length += len(line)
            _check_length(length)
            frame.append(line)
        yield "".join(frame)


def _number_of_atoms(header: str) -> int:
    try:
        return int(header)
    except ValueError:
        words = one_line(header, MAX_WORDS_LENGTH)
        raise UnusableTextError(f"cannot be read: {words!r} where the number of atoms should be") from None


# --- reading them with ASE ------------------------------------------------------------------------


def _read_poscar(text: str) -> Iterator[Atoms]:
    n_atoms = max((_sum_of(line) for line in text.split("\n", 7)[5:7]), default=0)
    if n_atoms > MAX_ATOMS_READ:
        raise UnusableTextError(_too_many(n_atoms))
    try:
        yield read(io.StringIO(text), format="vasp")
    except AttributeError as error:  # ASE then looks beside the file for the output of a calculation
        raise UnusableTextError("names no elements; they belong on the line above the numbers of atoms") from error


def _sum_of(line: str) -> int:
    """Return the sum of the whole numbers of a line."""
    total = 0
    for word in line.split():
        try:
            total += abs(int(word))
        except ValueError:
            continue
    return total


def _read_cif(text: str) -> Iterator[Atoms]:
    for block in parse_cif(io.StringIO(text)):
        if block.has_structure():
            _check_symmetry(block)
            yield block.get_atoms()


def _check_symmetry(block: CIFBlock) -> None:
    """Refuse a block whose symmetry would make too many atoms."""
    listed = max((len(block[tag]) for tag in _OPERATIONS if isinstance(block.get(tag), list)), default=0)
    if listed > MAX_OPERATIONS:
        raise UnusableTextError(f"has {listed} symmetry operations; at most {MAX_OPERATIONS} are read")
    n_sites = len(block.get_symbols())
    if n_sites > MAX_ATOMS_READ:
        raise UnusableTextError(_too_many(n_sites))
    operations = len(block.get_spacegroup(subtrans_included=True).get_symop()) if block.get_cell().rank == 3 else 1
    if n_sites * operations > MAX_EQUIVALENT:
        raise UnusableTextError(f"has {n_sites} sites and {operations} symmetry operations, which is too many atoms")


def _read_xyz(text: str) -> Iterator[Atoms]:
    comment = text.split("\n", 2)[1] if "\n" in text else ""
    if len(comment) > MAX_COMMENT_LENGTH:
        raise UnusableTextError(f"has a second line of more than {MAX_COMMENT_LENGTH} characters")
    columns = str(key_val_str_to_dict(comment).get("Properties", "")).split(":")[2::3]
    if sum(abs(int(number)) for number in columns) > MAX_COLUMNS:
        raise UnusableTextError(f"has more than {MAX_COLUMNS} columns")
    yield read(io.StringIO(text), format="extxyz")


_READERS: dict[str, tuple[Callable[[TextIO], Iterator[str]], Callable[[str], Iterator[Atoms]]]] = {
    "cif": (_cif_blocks, _read_cif),
    "vasp": (_whole_text, _read_poscar),
    "extxyz": (_xyz_frames, _read_xyz),
}
"""What cuts a file into texts, and what reads a text, by format."""


def _structures_of(path: Path) -> Iterator[ReadStructure]:
    """Yield the structures of a file that can be opened; raises what its readers raise."""
    cut, read_text = _READERS[_format_of(path) or ""]
    index = barren = 0
    # An open file, not its name: ASE reads '@' and '*' in names as an index and a pattern.
    with path.open(encoding="utf-8", errors="replace") as stream:
        for text in cut(stream):
            barren += 1
            try:
                for atoms in read_text(text):
                    wrong = _structure_problem(atoms)
                    yield ReadStructure(path=path, index=index, atoms=None if wrong else atoms, problem=wrong)
                    index += 1
                    barren = barren if wrong else 0
            except UnusableTextError as error:
                yield _failed(path, str(error), index)
                index += 1
            if barren >= MAX_BARREN:
                yield _failed(path, f"{barren} structures in a row cannot be used; the rest is not read", index)
                return
    if index == 0:
        yield _failed(path, "holds no structure")


def _read_file(path: Path) -> Iterator[ReadStructure]:
    """Yield the structures of a file, up to the first that cannot be read."""
    problem = _file_problem(path)
    if problem is not None:
        yield _failed(path, problem)
        return
    found = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for structure in _structures_of(path):
                yield structure
                found += 1
    except UnusableTextError as error:
        yield _failed(path, str(error), found)
    except Exception as error:  # noqa: BLE001 - readers raise whatever a broken file makes them raise
        yield _failed(path, _reader_problem(path, error), found)


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # the file's own problem will be told
        return False


def _files_of(path: Path) -> Iterator[Path | ReadStructure]:
    """Yield a file itself, or the files of a directory by name; hidden ones and sub-directories are left out."""
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


def read_text(text: str, file_format: str) -> list[ReadStructure]:
    """Read structures from the content of a file.

    Args:
        text: the content.
        file_format: cif, vasp or extxyz.

    Returns:
        As for ``read_structures``; the path is empty.
    """
    found = []
    for index, atoms in enumerate(_READERS[file_format][1](text)):
        problem = _structure_problem(atoms)
        found.append(ReadStructure(path=Path(), index=index, atoms=None if problem else atoms, problem=problem))
    return found


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
