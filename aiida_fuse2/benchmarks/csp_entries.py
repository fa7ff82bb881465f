"""The compositions of a benchmark of structure prediction, with their known space groups and structures."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from aiida_fuse2.core.chemistry.composition import FormulaUnit, parse_composition
from aiida_fuse2.core.errors import InputError, one_line, printable
from aiida_fuse2.core.settings import MAX_ATOMS_LIMIT
from aiida_fuse2.io.structures import read_structures

ID, NAME, ATOMS, SPACE_GROUP, CATEGORY = "material_id", "pretty_formula", "nsites", "spacegroup", "category"
COLUMNS = (ID, NAME, ATOMS, SPACE_GROUP, CATEGORY)
"""Columns that are read; those of the files of CSPBench (Wei et al., arXiv 2407.00733)."""

MAX_LENGTH = 2_000_000
"""Longest file that is read, characters."""

N_SPACE_GROUPS = 230


@dataclass(frozen=True)
class Entry:
    """A composition whose space group is known.

    Attributes:
        key: its identifier.
        name: its formula as it is written.
        unit: formula unit.
        atoms: number of atoms of the known primitive cell.
        spacegroup: number of the known space group.
        category: its category.
    """

    key: str
    name: str
    unit: FormulaUnit
    atoms: int
    spacegroup: int
    category: str

    def limit(self, max_atoms: int) -> int:
        """Return the limit of atoms of its search: that of all, or one formula unit if this is more."""
        return max(max_atoms, self.unit.n_atoms)


def read_entries(path: Path) -> list[Entry]:
    """Read the entries of a CSV file.

    Raises:
        InputError: if it cannot be read, a column is missing, or a value is wrong.
    """
    try:
        if not path.is_file():
            raise InputError("ENTRIES", str(path), "is not a file" if path.exists() else "there is no such file")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            text = stream.read(MAX_LENGTH + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("ENTRIES", str(path), f"cannot be read: {one_line(error)}") from error
    if len(text) > MAX_LENGTH:
        raise InputError("ENTRIES", str(path), f"is longer than {MAX_LENGTH} characters")
    try:
        reader = csv.DictReader(io.StringIO(text), strict=True)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError("ENTRIES", str(path), f"has no column {', '.join(missing)}; needs {', '.join(COLUMNS)}")
        entries = [_entry(row, f"ENTRIES, line {reader.line_num}") for row in reader]
    except csv.Error as error:
        raise InputError("ENTRIES", str(path), f"is no CSV: {one_line(error)}") from error
    if not entries:
        raise InputError("ENTRIES", str(path), "holds no composition")
    seen: set[str] = set()
    for entry in entries:
        if entry.key in seen:
            raise InputError("ENTRIES", entry.key, f"the same {ID} occurs twice")
        seen.add(entry.key)
    return entries


def _entry(row: Mapping[str, str | None], where: str) -> Entry:
    """Return the entry of a line.

    Raises:
        InputError: for the first wrong value.
    """
    values = {column: printable((row[column] or "").strip()) for column in COLUMNS}
    empty = next((column for column in COLUMNS if not values[column]), None)
    if empty is not None:
        raise InputError(f"{where}: {empty}", "", "must have a value")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Li2O2 is searched as LiO
            unit = parse_composition(values[NAME])
    except InputError as error:
        raise InputError(f"{where}: {NAME}", error.value, error.expected) from error
    atoms = _number(values[ATOMS], MAX_ATOMS_LIMIT, f"{where}: {ATOMS}", "a number of atoms")
    if atoms % unit.n_atoms:
        expected = f"must be a multiple of the {unit.n_atoms} atoms of {unit.formula}"
        raise InputError(f"{where}: {ATOMS}", atoms, expected)
    group = _number(values[SPACE_GROUP], N_SPACE_GROUPS, f"{where}: {SPACE_GROUP}", "a number of a space group")
    return Entry(values[ID], values[NAME], unit, atoms, group, values[CATEGORY])


def _number(text: str, most: int, where: str, what: str) -> int:
    """Return a whole number from 1 on.

    Raises:
        InputError: if it is none, or too large.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise InputError(where, text, f"must be {what}, 1 to {most}")
    return int(text)


def known_structures(folder: Path, entries: Sequence[Entry]) -> dict[str, Atoms]:
    """Return the known structures, by key of their entry.

    Args:
        folder: folder of structure files whose names, without ending, are keys or formulas of entries.
        entries: the entries; those without a file have no known structure.

    Raises:
        InputError: if there is no such file, one cannot be read, or holds another composition.
    """
    if not folder.is_dir():
        raise InputError("--structures", str(folder), "is no folder")
    read = {found.path.stem: found for found in reversed(read_structures([folder]))}  # the first of each file
    structures = {}
    for entry in entries:
        found = read.get(entry.key, read.get(entry.name))
        if found is None:
            continue
        if found.atoms is None:
            raise InputError("--structures", found.name, str(found.problem))
        if entry.unit.z_of(found.atoms) is None:
            raise InputError("--structures", found.name, f"is no structure of {entry.name}")
        structures[entry.key] = found.atoms
    if not structures:
        raise InputError("--structures", str(folder), f"has no file named as an entry, e.g. {entries[0].key}.cif")
    return structures
