"""Explored structures as CIF, POSCAR and extended XYZ."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from aiida import orm
from ase import Atoms
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar

from aiida_fuse2.core.answer.answers import NUMBERS, TEXTS
from aiida_fuse2.core.answer.ladder import EXACT
from aiida_fuse2.core.crystal.symmetry import StandardCell, SymmetryError, find_symmetry, primitive_cell, standard_cell
from aiida_fuse2.core.crystal.uniqueness import displacement
from aiida_fuse2.core.prototypes.naming import is_known_type
from aiida_fuse2.io.structures import read_text
from aiida_fuse2.io.trials import to_extxyz

SUFFIXES = {"cif": "cif", "poscar": "vasp", "extxyz": "extxyz"}
"""Endings of file names by format."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")

_VALUES = ("label", "rank", "found", "uuid")
"""Values of a row that are written into the comment of an extended XYZ file."""

_NAMES = ("protostructure", "type", "prototype")
"""The same, of searches that have named it."""

_PHASE_VALUES = ("rank", "found", "uuid", "spacegroup", "spacegroup_symbol", "type", "potential")
"""Values of a phase that are written into the comment of an extended XYZ file."""

MOMENTS = "moment_magnitude"
"""Column of an extended XYZ file of a phase, Bohr magnetons."""

_SPACE_GROUPS = ("spacegroup", "spacegroup_symbol", "spacegroup_loose", "spacegroup_symbol_loose")
"""The same, if the structure is written as relaxed."""

_READ_AS = {"cif": "cif", "poscar": "vasp", "extxyz": "extxyz"}
"""Names of the formats in ASE."""

_ROUNDED = 1e-3
"""Tolerance of positions in a file that is read back, Å; the written digits are more accurate."""


def file_name(formula: str, row: Mapping[str, Any], file_format: str, *, symprec: float | None = None) -> str:
    """Return a file name such as ``SrTiO3_01_Pm-3m_-8.4236.cif``; ``/`` in a symbol becomes ``_``.

    Its space group is that of the content: found at ``symprec``, or at the loose tolerance of the
    search for a structure as relaxed.

    Args:
        formula: formula of the search.
        row: row of ``query.ranked``.
        file_format: cif, poscar or extxyz.
        symprec: as for ``to_text``.

    Raises:
        SymmetryError: if no symmetry is found at the tolerance.
    """
    symbol = row["spacegroup_symbol_loose"] if symprec is None else find_symmetry(_relaxed(row), symprec).symbol
    symbol = _UNSAFE.sub("_", symbol or "unknown")
    return f"{formula}_{row['rank']:02d}_{symbol}_{row['energy']:.4f}.{SUFFIXES[file_format]}"


def to_text(row: Mapping[str, Any], file_format: str, *, symprec: float | None = None) -> str:
    """Return the structure of a row as the content of a file, checked by reading it back.

    Args:
        row: row of ``query.ranked``.
        file_format: cif, poscar or extxyz.
        symprec: tolerance within which atoms are symmetrised, Å; None leaves them as relaxed.

    Raises:
        SymmetryError: if no symmetry is found at the tolerance, or the symmetrised structure is another crystal.
    """
    relaxed = _relaxed(row)
    if file_format == "cif":
        return cif_text(relaxed, symprec=symprec)
    atoms = relaxed if symprec is None else primitive_cell(standard_cell(relaxed, symprec).atoms, _ROUNDED)
    if file_format == "extxyz":
        values = {key: row[key] for key in _VALUES} | {key: row[key] for key in _NAMES if row.get(key)}
        values |= _space_groups(row, relaxed, symprec)
        text = to_extxyz([(atoms, {**values, "energy_per_atom": row["energy"]})])
    else:
        structure = AseAtomsAdaptor.get_structure(atoms).get_sorted_structure()
        comment = f"{atoms.get_chemical_formula()} {row['label']} {row['energy']:.6f} eV/atom {row['uuid']}"
        text = Poscar(structure, comment=comment).get_str(significant_figures=10)
    _check(text, _READ_AS[file_format], relaxed, symprec)
    return text


def phase_texts(rows: Sequence[Mapping[str, Any]], file_format: str) -> list[tuple[str, str]]:
    """Return name and content of a file for each phase: conventional cells on their symmetry.

    Names are as ``SrTiO3_Pm-3m_Cubic-Perovskite.cif``; later ones of equal names have a number.

    Args:
        rows: rows of ``query.finishes.phases``.
        file_format: cif, poscar or extxyz.

    Raises:
        SymmetryError: if what is written would be read as another crystal.
    """
    texts = (phase_text(row, file_format) for row in rows)
    return list(zip(phase_names(rows, file_format), texts, strict=True))


def phase_names(rows: Sequence[Mapping[str, Any]], file_format: str) -> list[str]:
    """Return the names of ``phase_texts``."""
    names: Counter[str] = Counter()
    found = []
    for row in rows:
        name = _phase_name(row)
        names[name] += 1
        number = f"_{names[name]}" if names[name] > 1 else ""
        found.append(f"{name}{number}.{SUFFIXES[file_format]}")
    return found


def phase_table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[str, str]:
    """Return name and content of a table of phases (CSV): one row each, with its file (less the ending).

    Columns are those of ``query.phases`` that hold one value, in the same units. Values in values have columns of their
    own, as ``energy_second``.

    Args:
        rows: rows of ``query.finishes.phases``, at least one.
        names: names of their files.
    """
    flat = []
    for row, name in zip(rows, names, strict=True):
        nested = [(of, values) for of, values in row.items() if isinstance(values, dict)]
        inner = {f"{key}_{of}": value for of, values in nested for key, value in values.items()}
        found = {"file": name.rpartition(".")[0], **{key: row[key] for key in (*NUMBERS, *TEXTS)}, **row, **inner}
        flat.append({key: value for key, value in found.items() if not isinstance(value, dict | list)})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return f"{rows[0]['formula']}_phases.csv", text.getvalue()


def _phase_name(row: Mapping[str, Any]) -> str:
    """Return composition, space group and structure type for a file name; a type that is not known is left out."""
    kind = re.split(r" \(|, ", row["type"])[0] if is_known_type(row["type"]) else ""
    parts = [row["formula"], row["spacegroup_symbol"], kind.replace(" ", "-")]
    return "_".join(_UNSAFE.sub("_", part) for part in parts if part)


def phase_text(row: Mapping[str, Any], file_format: str) -> str:
    """Return the conventional cell of a phase as text; see ``phase_texts``."""
    atoms = _relaxed(row)
    if file_format == "cif":
        return cif_text(atoms, symprec=EXACT)
    if file_format == "extxyz":
        values = {key: row[key] for key in _PHASE_VALUES if isinstance(row.get(key), str | int)}
        moments = row.get("moments")
        if isinstance(moments, list) and len(moments) == len(atoms):
            atoms.arrays[MOMENTS] = np.array(moments, dtype=float)
        text = to_extxyz([(atoms, {**values, "energy_per_atom": row["energy"]})], columns=[MOMENTS])
    else:
        comment = f"{row['formula']} {row['spacegroup_symbol']} {row['energy']:.6f} eV/atom {row['uuid']}"
        structure = AseAtomsAdaptor.get_structure(atoms).get_sorted_structure()
        text = Poscar(structure, comment=comment).get_str(significant_figures=10)
    _check(text, _READ_AS[file_format], atoms, None)
    return text


def cif_text(atoms: Atoms, *, symprec: float | None = None) -> str:
    """Return a structure as CIF, checked by reading it back.

    Args:
        atoms: the structure.
        symprec: tolerance within which atoms are symmetrised, Å; the conventional cell is then written in
            the standard setting of its space group, with its operations and one atom of each orbit. None writes the
            cell as it is, in P1.

    Raises:
        SymmetryError: if no symmetry is found at the tolerance, or the symmetrised structure is another crystal.
    """
    if symprec is None:
        structure = AseAtomsAdaptor.get_structure(atoms)
        text = str(CifWriter(structure))
    else:
        text = _cif_with_symmetry(standard_cell(atoms, symprec))
    _check(text, "cif", atoms, symprec)
    return text


def _cif_with_symmetry(standard: StandardCell) -> str:
    """Return the CIF of a standard cell: space group, its operations, and one atom of each orbit."""
    from gemmi import cif, find_spacegroup_by_ops, symops_from_hall

    operations = symops_from_hall(standard.hall_symbol)
    group = find_spacegroup_by_ops(operations)
    atoms, (formula, units) = standard.atoms, standard.atoms.symbols.formula.reduce()
    document = cif.Document()
    block = document.add_new_block(str(formula))
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    values = {f"_cell_{name}": f"{value:.8f}" for name, value in zip(names, atoms.cell.cellpar(), strict=True)}
    values |= {
        "_cell_volume": f"{atoms.get_volume():.6f}",
        "_cell_formula_units_Z": str(units),
        "_chemical_formula_sum": cif.quote(" ".join(f"{s}{n}" for s, n in atoms.symbols.formula.count().items())),
        "_space_group_IT_number": str(standard.number),
        "_space_group_name_H-M_alt": cif.quote(group.xhm()),
        "_space_group_name_Hall": cif.quote(group.hall),
    }
    for tag, value in values.items():
        block.set_pair(tag, value)
    loop = block.init_loop("_space_group_symop_", ["id", "operation_xyz"])
    for number, operation in enumerate(operations, start=1):
        loop.add_row([str(number), cif.quote(operation.triplet())])
    tags = ["label", "type_symbol", "site_symmetry_multiplicity", "fract_x", "fract_y", "fract_z", "occupancy"]
    sites = block.init_loop("_atom_site_", tags)
    counts: Counter[str] = Counter()
    for orbit in standard.orbits:
        symbol = str(atoms.symbols[orbit[0]])
        counts[symbol] += 1
        place = [f"{x:.8f}" for x in atoms.get_scaled_positions()[orbit[0]]]
        sites.add_row([f"{symbol}{counts[symbol]}", symbol, str(len(orbit)), *place, "1"])
    return str(document.as_string())


def _check(text: str, file_format: str, atoms: Atoms, symprec: float | None) -> None:
    """Read a file back and compare it with the original structure.

    Raises:
        SymmetryError: ``another_crystal``.
    """
    read = read_text(text, file_format)
    wrong = read[0].problem if len(read) == 1 else f"holds {len(read)} structures"
    if wrong is None:
        wrong = _difference(read[0].atoms, atoms, symprec or _ROUNDED)
    if wrong is not None:
        tolerance = "" if symprec is None else f" with the symmetry found at {symprec:g} Å"
        raise SymmetryError("another_crystal", f"written{tolerance} it is another crystal: {wrong}")


def _difference(read: Atoms, atoms: Atoms, tolerance: float) -> str | None:
    """Return the difference between the structure that was read and the one that was written, or None.

    Args:
        read: structure that was read, in any cell of the crystal.
        atoms: structure that was written.
        tolerance: largest root-mean-square displacement of an atom, Å.
    """
    written_formula, formula = (structure.symbols.formula.reduce()[0] for structure in (atoms, read))
    if formula.count() != written_formula.count():
        return f"{formula} instead of {written_formula}"
    volume = atoms.get_volume() / len(atoms)
    if displacement(read, atoms, stol=tolerance / volume ** (1 / 3)) is None:
        return f"its atoms are more than {tolerance:g} Å from their places"
    return None


def _relaxed(row: Mapping[str, Any]) -> Atoms:
    """Return the structure of a row as relaxed."""
    return orm.load_node(row["uuid"]).get_ase()


def _space_groups(row: Mapping[str, Any], relaxed: Atoms, symprec: float | None) -> dict[str, Any]:
    """Return the space groups of a row, or the one to which its structure is symmetrised."""
    if symprec is None:
        return {key: row[key] for key in _SPACE_GROUPS}
    found = find_symmetry(relaxed, symprec)
    return {"spacegroup": found.number, "spacegroup_symbol": found.symbol, "symprec": symprec}
