"""Explored structures as CIF, POSCAR and extended XYZ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiida import orm
from ase import Atoms
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar

from aiida_fuse2.core.symmetry import find_symmetry, symmetrise
from aiida_fuse2.worker.files import to_extxyz

SUFFIXES = {"cif": "cif", "poscar": "vasp", "extxyz": "extxyz"}
"""Ends of file names by format."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")

_VALUES = ("label", "rank", "found", "uuid")
"""Values of a row that go into the comment of an extended XYZ file."""

_SPACE_GROUPS = ("spacegroup", "spacegroup_symbol", "spacegroup_loose", "spacegroup_symbol_loose")
"""The same, where the structure is written as it was relaxed."""

_SPGLIB_ANGLES = -1
"""Angle tolerance with which spglib judges angles by the distance tolerance alone, as everywhere else here."""


def file_name(formula: str, row: Mapping[str, Any], file_format: str, *, symprec: float | None = None) -> str:
    """Return a file name such as ``SrTiO3_01_Pm-3m_-8.4236.cif``; ``/`` in a symbol becomes ``_``.

    Its space group is the one that the content has: found at ``symprec``, or at the loose tolerance of the
    search for a structure as it was relaxed.

    Args:
        formula: of the search.
        row: of ``query.ranked``.
        file_format: cif, poscar or extxyz.
        symprec: as for ``to_text``.

    Raises:
        SymmetryError: where no symmetry is found at the tolerance.
    """
    symbol = row["spacegroup_symbol_loose"] if symprec is None else find_symmetry(_relaxed(row), symprec).symbol
    symbol = _UNSAFE.sub("_", symbol or "unknown")
    return f"{formula}_{row['rank']:02d}_{symbol}_{row['energy']:.4f}.{SUFFIXES[file_format]}"


def to_text(row: Mapping[str, Any], file_format: str, *, symprec: float | None = None) -> str:
    """Return the structure of a row as the content of a file.

    Args:
        row: of ``query.ranked``.
        file_format: cif, poscar or extxyz.
        symprec: tolerance within which atoms are moved onto their symmetry, Å; None leaves them as relaxed.

    Raises:
        SymmetryError: where no symmetry is found at the tolerance.
    """
    relaxed = _relaxed(row)
    if file_format == "cif":
        return cif_text(relaxed, symprec=symprec)
    atoms = relaxed if symprec is None else symmetrise(relaxed, symprec)
    if file_format == "extxyz":
        values = {key: row[key] for key in _VALUES} | _space_groups(row, relaxed, symprec)
        return to_extxyz([(atoms, {**values, "energy_per_atom": row["energy"]})])
    structure = AseAtomsAdaptor.get_structure(atoms).get_sorted_structure()
    comment = f"{atoms.get_chemical_formula()} {row['label']} {row['energy']:.6f} eV/atom {row['uuid']}"
    return Poscar(structure, comment=comment).get_str(significant_figures=10)


def cif_text(atoms: Atoms, *, symprec: float | None = None) -> str:
    """Return a structure as CIF: as it is and in P1, or with the symmetry that it has within a tolerance.

    Args:
        atoms: the structure.
        symprec: the tolerance, Å, or None.
    """
    structure = AseAtomsAdaptor.get_structure(atoms)
    return str(CifWriter(structure, symprec=symprec, angle_tolerance=_SPGLIB_ANGLES))


def _relaxed(row: Mapping[str, Any]) -> Atoms:
    """Return the structure of a row as it was relaxed."""
    return orm.load_node(row["uuid"]).get_ase()


def _space_groups(row: Mapping[str, Any], relaxed: Atoms, symprec: float | None) -> dict[str, Any]:
    """Return the space groups of a row, or the one to which its structure is symmetrised."""
    if symprec is None:
        return {key: row[key] for key in _SPACE_GROUPS}
    found = find_symmetry(relaxed, symprec)
    return {"spacegroup": found.number, "spacegroup_symbol": found.symbol, "symprec": symprec}
