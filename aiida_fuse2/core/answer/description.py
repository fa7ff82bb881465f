"""The description of a symmetric structure: its cells, Wyckoff positions, density and coordination."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.symmetry import StandardCell, find_symmetry, primitive_cell, standard_cell

from .ladder import EXACT

NO_COORDINATION = "not determined"
"""Coordination of an atom for which the analysis fails."""

CELL_PARAMETERS = ("a", "b", "c", "alpha", "beta", "gamma")
"""Names of the edges (Å) and angles (degrees) of a cell."""

MOMENTS_NOTE = (
    "Moments are magnitudes: how they are ordered (ferromagnetic, antiferromagnetic, ...) does not follow from them."
)
"""What is said with magnetic moments."""

DECIMALS = 6
"""Decimals of coordinates."""

TO_DENSITY = 1e24 / units.mol
"""g/cm³ of one atomic mass unit per Å³."""


@dataclass(frozen=True, eq=False)
class Description:
    """A structure as it is printed.

    Attributes:
        conventional: conventional cell in the standard setting of the space group.
        primitive: primitive cell.
        values: plain values: space group, ``z`` (formula units in the conventional cell), cell parameters (Å,
            degrees), ``density`` (g/cm³), ``sites``, the Wyckoff positions with their atoms, and ``moments`` of the
            atoms of the conventional cell (Bohr magnetons), or None.
    """

    conventional: Atoms
    primitive: Atoms
    values: dict[str, Any]


def describe_phase(atoms: Atoms, moments: Sequence[float] | None = None) -> Description:
    """Return the description of a structure.

    Args:
        atoms: the structure, symmetrised; not changed.
        moments: magnitude of the magnetic moment of each atom, Bohr magnetons, if the potential gives them.

    Raises:
        SymmetryError: if spglib finds no symmetry.
    """
    from pymatgen.core import Composition

    standard = standard_cell(atoms, EXACT)
    cell, primitive = standard.atoms, primitive_cell(standard.atoms, EXACT)
    composition = Composition(cell.get_chemical_formula())
    values = {
        "formula": composition.reduced_formula,
        "spacegroup": standard.number,
        "spacegroup_symbol": find_symmetry(cell, EXACT).symbol,
        "hall_symbol": standard.hall_symbol,
        "z": int(composition.get_reduced_composition_and_factor()[1]),
        "n_atoms": len(primitive),
        "n_atoms_conventional": len(cell),
        "volume": float(primitive.get_volume()),
        "density": float(cell.get_masses().sum() / cell.get_volume() * TO_DENSITY),
        **{name: float(value) for name, value in zip(CELL_PARAMETERS, cell.cell.cellpar(), strict=True)},
        "sites": _sites(standard, moments),
        "moments": None if moments is None else _moments(standard, moments),
    }
    return Description(conventional=cell, primitive=primitive, values=values)


def _moments(standard: StandardCell, moments: Sequence[float]) -> list[float]:
    """Return the moment of each atom of the conventional cell."""
    found = np.zeros(len(standard.atoms))
    for orbit, origin in zip(standard.orbits, standard.origins, strict=True):
        found[list(orbit)] = moments[origin]
    return [float(moment) for moment in found]


def _sites(standard: StandardCell, moments: Sequence[float] | None) -> list[dict[str, Any]]:
    """Return the occupied Wyckoff positions: element, letter, multiplicity, coordinates, coordination, moment."""
    neighbours = _coordination(standard)
    rows = [
        {
            "element": str(standard.atoms.symbols[orbit[0]]),
            "multiplicity": len(orbit),
            "letter": letter,
            "coordinates": _coordinates(standard.atoms.get_scaled_positions()[list(orbit)]),
            "coordination": around,
            "moment": None if moments is None else float(moments[origin]),
        }
        for orbit, letter, origin, around in zip(
            standard.orbits, standard.letters, standard.origins, neighbours, strict=True
        )
    ]
    return sorted(rows, key=lambda row: (row["element"], row["multiplicity"], row["letter"], row["coordinates"]))


def _coordinates(places: NDArray[np.float64]) -> list[float]:
    """Return the coordinates of the atom of an orbit that is nearest to the origin along the edges of the cell."""
    rounded = [[abs(round(float(x), DECIMALS)) % 1.0 for x in place] for place in places]
    return min(rounded, key=lambda place: (round(sum(place), DECIMALS - 1), place))


def _coordination(standard: StandardCell) -> list[str]:
    """Return the neighbours of the first atom of each orbit as text, such as ``6 O``.

    They are those of CrystalNN (Pan et al., Inorg. Chem. 2021, 60, 1590, DOI 10.1021/acs.inorgchem.0c02996).
    """
    from pymatgen.analysis.local_env import CrystalNN
    from pymatgen.io.ase import AseAtomsAdaptor

    structure, near, found = AseAtomsAdaptor.get_structure(standard.atoms), CrystalNN(), []
    for orbit in standard.orbits:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of structures without oxidation states
            try:
                counts = near.get_cn_dict(structure, orbit[0])
            except Exception:  # noqa: BLE001 - pymatgen raises many kinds for unusual structures
                counts = {}
        text = ", ".join(f"{number} {element}" for element, number in sorted(counts.items()))
        found.append(text or NO_COORDINATION)
    return found
