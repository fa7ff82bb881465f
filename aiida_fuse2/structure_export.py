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

from aiida_fuse2.core.symmetry import symmetrise
from aiida_fuse2.worker.files import to_extxyz

SUFFIXES = {"cif": "cif", "poscar": "vasp", "extxyz": "extxyz"}
"""Ends of file names by format."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")

_VALUES = ("label", "spacegroup", "spacegroup_symbol", "rank", "found", "uuid")
"""Values of a row that go into the comment of an extended XYZ file."""


def file_name(formula: str, row: Mapping[str, Any], file_format: str) -> str:
    """Return a file name such as ``SrTiO3_01_Pm-3m_-8.4236.cif``; ``/`` in a symbol becomes ``_``.

    Args:
        formula: of the search.
        row: of ``query.ranked``.
        file_format: cif, poscar or extxyz.
    """
    symbol = _UNSAFE.sub("_", row["spacegroup_symbol"] or "unknown")
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
    atoms: Atoms = orm.load_node(row["uuid"]).get_ase()
    if file_format == "cif":
        return str(CifWriter(AseAtomsAdaptor.get_structure(atoms), symprec=symprec))
    if symprec is not None:
        atoms = symmetrise(atoms, symprec)
    if file_format == "extxyz":
        values = {key: row[key] for key in _VALUES}
        return to_extxyz([(atoms, {**values, "energy_per_atom": row["energy"]})])
    structure = AseAtomsAdaptor.get_structure(atoms).get_sorted_structure()
    comment = f"{atoms.get_chemical_formula()} {row['label']} {row['energy']:.6f} eV/atom {row['uuid']}"
    return Poscar(structure, comment=comment).get_str(significant_figures=10)
