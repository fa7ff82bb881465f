"""The texts of single structures: POSCAR and (extended) XYZ, and the common part of all formats.

A file is cut into the texts of its structures first, so that an unreadable one does not hide the others. Each text
is checked before arrays are made from it: a few bytes can ask for thousands of millions of atoms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.io.extxyz import key_val_str_to_dict

from aiida_fuse2.core.errors import one_line, printable
from aiida_fuse2.core.settings import MAX_ATOMS_LIMIT

MAX_STRUCTURE_LENGTH = 10**6
"""Longest text of one structure, characters; 4000 atoms need a third of it."""

MAX_COMMENT_LENGTH = 20_000
"""Longest second line of an XYZ structure, characters."""

MAX_COLUMNS = 1000
"""Largest number of columns of an XYZ structure."""

MAX_ATOMS_READ = 4 * MAX_ATOMS_LIMIT
"""Largest number of atoms of a structure that is read: four primitive cells, as in a face-centred lattice."""

MAX_WORDS_LENGTH = 30
"""Longest text copied from a file into a message, characters."""

HYDROGEN = {"D", "T"}
"""Symbols of isotopes, which are read as hydrogen."""

HYDROGEN_WARNING = "deuterium and tritium (D, T) are read as H"

_POSCAR_HEAD = 8
"""Lines of a POSCAR down to the kind of coordinates."""

_TYPE = re.compile(r"([A-Za-z]{1,2})(?:\d*\.?\d*[+-]?|[+-]\d*)")
"""A species: an element, perhaps with a number or a charge, such as ``Sr``, ``Sr1``, ``O2-`` or ``Fe+3``."""


class UnusableTextError(ValueError):
    """The text of a structure that is not worth reading; the message says why."""


@dataclass
class Parsed:
    """A structure that was read.

    Attributes:
        atoms: the structure.
        warnings: texts for the user about how it was read.
    """

    atoms: Atoms
    warnings: list[str] = field(default_factory=list)


def shown(text: object) -> str:
    """Return words of a file for a message."""
    return repr(one_line(text, MAX_WORDS_LENGTH))


def too_many(n_atoms: int) -> str:
    """Return the problem of a number of atoms."""
    return f"has {printable(n_atoms, 20)} atoms; at most {MAX_ATOMS_READ} are read"


def broken(expected: str, text: object) -> UnusableTextError:
    """Return an error that names the found and the expected text."""
    found = shown(text) if str(text).strip() else "nothing"
    return UnusableTextError(f"cannot be read: {found} where {expected} should be")


def read_lines(stream: TextIO) -> Iterator[str]:
    """Yield the lines of a file; a line that is too long for any structure comes in pieces."""
    while line := stream.readline(MAX_STRUCTURE_LENGTH):
        yield line


def too_long() -> UnusableTextError:
    """Return the error for a text that is too long."""
    return UnusableTextError(f"a structure has more than {MAX_STRUCTURE_LENGTH} characters")


def numbers_of(words: Sequence[str], count: int, expected: str) -> list[float]:
    """Return the first words of a line as numbers, which may be infinite or NaN.

    Args:
        words: words of the line.
        count: how many numbers are needed.
        expected: name of the numbers, for the message.

    Raises:
        UnusableTextError: if there are fewer, or one is not a number.
    """
    try:
        if len(words) < count or any("_" in word for word in words[:count]):
            raise ValueError
        return [float(word.replace("D", "E").replace("d", "e")) for word in words[:count]]
    except ValueError:
        raise broken(expected, " ".join(words)) from None


def element_symbol(species: str) -> str:
    """Return the symbol of the element of a species such as ``Sr``, ``SR``, ``Sr1``, ``O2-``, or ``D``.

    Raises:
        UnusableTextError: if it names no element.
    """
    found = _TYPE.fullmatch(species)
    symbol = found[1].capitalize() if found else ""
    if symbol not in HYDROGEN and atomic_numbers.get(symbol, 0) < 1:
        raise UnusableTextError(f"cannot be read: {shown(species)} is not a known element")
    return symbol


def parsed(symbols: Sequence[str], **values: Any) -> Parsed:
    """Return a structure of symbols, isotopes among them, and other arguments of ``Atoms``."""
    elements = ["H" if symbol in HYDROGEN else symbol for symbol in symbols]
    return Parsed(Atoms(elements, **values), [HYDROGEN_WARNING] if elements != list(symbols) else [])


# --- POSCAR ---------------------------------------------------------------------------------------


def poscar_texts(stream: TextIO) -> Iterator[str | UnusableTextError]:
    """Yield the POSCARs of a file, and any text after the atoms of one that cannot be its velocities."""
    chunk: list[str] = []
    length = 0
    for line in read_lines(stream):
        chunk.append(line)
        length += len(line)
        if len(chunk) > _POSCAR_HEAD and _is_head(chunk[-_POSCAR_HEAD:]):
            yield from _ended(chunk[:-_POSCAR_HEAD], length)
            chunk = chunk[-_POSCAR_HEAD:]
            length = sum(map(len, chunk))
        elif length > MAX_STRUCTURE_LENGTH:
            del chunk[_POSCAR_HEAD:-_POSCAR_HEAD]  # the length is known, the text is not read
    yield from _ended(chunk, length)


def _is_head(lines: Sequence[str]) -> bool:
    """Return whether lines are the first ones of a POSCAR.

    Comment, scale, three vectors, elements (since VASP 5), numbers of atoms, and a word such as ``Direct``.
    """
    words = [_words(line) for line in lines]
    if len(words) < _POSCAR_HEAD or len(words[1]) not in {1, 3} or any(len(vector) != 3 for vector in words[2:5]):
        return False
    if not all(_is_number(word) for line in words[1:5] for word in line):
        return False
    place = 5 if _is_counts(words[5]) else 6
    return _is_counts(words[place]) and lines[place + 1].strip()[:1].lower() in {"s", "d", "c", "k"}


def _words(line: str) -> list[str]:
    return re.split(r"[!#]", line, maxsplit=1)[0].split()


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?", word) is not None


def _is_counts(words: Sequence[str]) -> bool:
    return bool(words) and all(word.isdecimal() for word in words)


def _ended(lines: list[str], length: int) -> Iterator[str | UnusableTextError]:
    """Yield a POSCAR, and separately the text after its atoms, if it holds more than numbers (velocities)."""
    if length > MAX_STRUCTURE_LENGTH:
        yield too_long()
        return
    end = len(lines)
    if _is_head(lines[:_POSCAR_HEAD]) and _is_counts(counts := _words(lines[6])):
        is_selective = lines[7].strip()[:1].lower() == "s"
        end = _POSCAR_HEAD + is_selective + sum(int(word) for word in counts)
    rest = lines[end:]
    if rest and len(words := rest[0].split()) >= 3 and all(_is_number(word) for word in words[:3]):
        yield UnusableTextError("cannot be read: has more positions than atoms")
    elif any(line.strip() for line in lines[:end]):
        yield "".join(lines[:end])
    while rest and _belongs_to_velocities(rest[0]):
        del rest[0]
    if rest:
        yield "".join(rest)


def _belongs_to_velocities(line: str) -> bool:
    text = line.strip().lower()
    if text in {"direct", "cartesian", "d", "c", "k"} or text.startswith("lattice velocities"):
        return True
    return all(_is_number(word) for word in text.split())


def read_poscar(text: str) -> Parsed:
    """Read one POSCAR with its elements.

    Raises:
        UnusableTextError: if it cannot be read.
    """
    lines = [*text.split("\n"), *[""] * _POSCAR_HEAD]
    total = max(_sum_of(line) for line in lines[5:7])
    if total > MAX_ATOMS_READ:
        raise UnusableTextError(too_many(total))
    scale = _words(lines[1])
    factors = np.array(numbers_of(scale, 3 if len(scale) == 3 else 1, "a scale factor"))
    vectors = np.array([numbers_of(_words(line), 3, "a lattice vector") for line in lines[2:5]])
    if not np.isfinite(factors).all() or (factors == 0).any() or (len(factors) == 3 and factors.min() < 0):
        raise broken("a scale factor", lines[1])
    if factors[0] < 0:  # the volume
        factors = np.cbrt(-factors / max(abs(np.linalg.det(vectors)), np.finfo(float).tiny))
    species, numbers = _words(lines[5]), _words(lines[6])
    if species and all(_is_whole(word) for word in species):
        raise UnusableTextError("names no elements; they belong on the line above the numbers of atoms")
    if not numbers or not all(_is_whole(word) and int(word) >= 0 for word in numbers):
        raise broken("the numbers of atoms", lines[6])
    if len(species) != len(numbers):
        raise UnusableTextError(f"cannot be read: names {len(species)} elements for {len(numbers)} numbers of atoms")
    symbols = [
        element_symbol(re.split("[_/]", word)[0])
        for word, n in zip(species, numbers, strict=True)
        for _ in range(int(n))
    ]
    start = 8 if lines[7].strip()[:1].lower() == "s" else 7
    mode = lines[start].strip()[:1].lower()
    if mode not in {"d", "c", "k"}:
        raise broken("Direct or Cartesian", lines[start])
    rows = [line.split() for line in lines[start + 1 : start + 1 + len(symbols)]]
    if len([row for row in rows if row]) < len(symbols):
        raise UnusableTextError(f"cannot be read: has {len(symbols)} atoms and {sum(map(bool, rows))} positions")
    places = np.array([numbers_of(row, 3, "a position") for row in rows]).reshape(-1, 3)
    cell = vectors * factors
    if mode == "d":
        return parsed(symbols, scaled_positions=places, cell=cell, pbc=True)
    return parsed(symbols, positions=places * factors, cell=cell, pbc=True)


def _is_whole(word: str) -> bool:
    try:
        int(word)
    except ValueError:
        return False
    return True


def _sum_of(line: str) -> int:
    """Return the sum of the whole numbers of a line."""
    return sum(abs(int(word)) for word in _words(line) if _is_whole(word))


# --- extended XYZ ---------------------------------------------------------------------------------


def xyz_texts(stream: TextIO) -> Iterator[str | UnusableTextError]:
    """Yield the frames of an XYZ file: number of atoms, comment, atoms, and lattice vectors (``VEC1`` ...).

    A line with nothing but a number begins a frame, unless it is the second line of one. So does any single word after
    the last atom, though it should be a number.
    """
    frame: list[str] = []
    length, is_skipping = 0, False
    for line in read_lines(stream):
        is_start = re.fullmatch(r"\s*\d+\s*", line, re.ASCII) is not None
        length += len(line)
        is_behind = len(frame) >= 2 and len(frame) >= int(frame[0]) + 2 and len(line.split()) == 1
        if len(frame) == 1 or (frame and not is_start and not is_behind):
            frame.append(line)
            if length > MAX_STRUCTURE_LENGTH:
                yield too_long()
                frame, is_skipping = [], True
        elif is_start or not (is_skipping or not line.strip()):
            if frame:
                yield "".join(frame)
            problem = _header_problem(line, is_start=is_start)
            frame, length, is_skipping = [] if problem else [line], len(line), problem is not None
            if problem is not None:
                yield UnusableTextError(problem)
    if frame:
        yield "".join(frame)


def _header_problem(line: str, *, is_start: bool) -> str | None:
    """Return why no frame begins with a line, or None."""
    try:
        n_atoms = int(line) if is_start else -1
    except ValueError:  # more digits than Python reads
        n_atoms = -1
    if n_atoms < 0:
        return str(broken("the number of atoms", line))
    return too_many(n_atoms) if n_atoms > MAX_ATOMS_READ else None


def read_xyz(text: str) -> Parsed:
    """Read one frame.

    Raises:
        UnusableTextError: if it cannot be read.
    """
    header, *lines = text.split("\n")
    n_atoms, comment = int(header), lines[0] if lines else ""
    values = _comment_values(comment)
    columns = _columns(str(values.get("Properties", "species:S:1:pos:R:3")))
    rows = [line.split() for line in lines[1:] if line.strip() and not line.startswith("VEC")]
    if len(rows) != n_atoms:
        raise UnusableTextError(f"cannot be read: has {n_atoms} atoms and {len(rows)} lines of atoms")
    if "pos" not in columns or not {"species", "Z"} & set(columns):
        raise UnusableTextError("cannot be read: its Properties name no species or no pos")
    place = columns["pos"][0]
    places = [numbers_of(row[place:], 3, "a position") for row in rows]
    cell, pbc = _lattice(values, [line for line in lines[1:] if line.startswith("VEC")])
    info = {
        name: [numbers_of([str(value)], 1, "an occupancy")[0] for value in np.ravel(values[name]).tolist()]
        for name in ("occupancy", "occupancies")
        if name in values
    }
    read = parsed(_xyz_symbols(rows, columns), positions=places or None, cell=cell, pbc=pbc, info=info)
    for name in {"occupancy", "occupancies"} & set(columns):
        start, width = columns[name]
        full = [numbers_of(row[start:], width, "an occupancy") for row in rows]
        read.atoms.set_array(name, np.array(full))
    return read


def _comment_values(comment: str) -> dict[str, Any]:
    if len(comment) > MAX_COMMENT_LENGTH:
        raise UnusableTextError(f"has a second line of more than {MAX_COMMENT_LENGTH} characters")
    try:
        values: dict[str, Any] = key_val_str_to_dict(comment)
    except Exception:  # noqa: BLE001 - broken JSON, a wrong lattice, and others
        lattice = re.search(r"Lattice\s*=", comment)
        raise broken("a lattice of nine numbers" if lattice else "a comment", comment) from None
    return values


def _columns(properties: str) -> dict[str, tuple[int, int]]:
    """Return the first column of each property of a frame, and its number of columns."""
    words = properties.split(":")
    names, kinds, widths = words[::3], words[1::3], words[2::3]
    if not len(names) == len(kinds) == len(widths) or not all(_is_whole(width) for width in widths):
        raise broken("Properties", properties)
    if sum(abs(int(width)) for width in widths) > MAX_COLUMNS:
        raise UnusableTextError(f"has more than {MAX_COLUMNS} columns")
    found, start = {}, 0
    for name, width in zip(names, widths, strict=True):
        found[name] = (start, int(width))
        start += int(width)
    return found


def _lattice(values: dict[str, Any], vectors: Sequence[str]) -> tuple[Any, Any]:
    """Return lattice vectors, or None, and in which directions a frame is periodic."""
    if "Lattice" in values:
        cell = np.array(values["Lattice"], dtype=float).T
        pbc = values.get("pbc", True)
    elif vectors:
        cell = np.array([numbers_of(line.split()[1:], 3, "a lattice vector") for line in vectors])
        pbc = True
    else:
        return None, False
    if cell.shape != (3, 3):
        raise UnusableTextError(f"cannot be read: has {len(cell)} lattice vectors")
    if not np.isin(np.ravel(pbc), (True, False)).all() or np.size(pbc) not in {1, 3}:
        raise broken("pbc of three T or F", pbc)
    return cell, np.ravel(pbc).astype(bool).tolist() if np.size(pbc) == 3 else bool(pbc)


def _xyz_symbols(rows: Sequence[Sequence[str]], columns: dict[str, tuple[int, int]]) -> list[str]:
    """Return the symbols of the atoms of a frame; a number stands for an element, too."""
    place = columns["species" if "species" in columns else "Z"][0]
    symbols = []
    for row in rows:
        word = row[place] if len(row) > place else ""
        if _is_whole(word):
            if not 1 <= int(word) < len(chemical_symbols):
                raise UnusableTextError(f"has atoms of no known element: {shown(word)}")
            symbols.append(chemical_symbols[int(word)])
        else:
            symbols.append(element_symbol(word))
    return symbols
