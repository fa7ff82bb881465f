"""Checks of a trial structure; a rejection names its reason.

Covalent radii (Cordero et al., Dalton Trans. 2008, 2832, DOI 10.1039/B801115J) measure density and
coordination, because they are tabulated for every element and do not depend on what the user enters;
contacts are measured with the radii of the search. The windows of the protocols admit every published
structure of the paper, and common crystal types, with a wide margin: a trial is not relaxed yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.chemistry.molecular import molecular_volume

if TYPE_CHECKING:
    from aiida_fuse2.core.settings import ValiditySettings

MIN_HEIGHT = 0.7
"""Smallest distance between opposite faces of a cell, Å: a flatter cell holds no atom of any element."""

LOOSEST = 3.0
"""Largest volume of a trial over that of real crystals, if these consist of molecules or single atoms."""

MAX_LENGTH = 1000.0
"""Longest lattice vector of a crystal, Å."""


MAX_POSITION = 1e6
"""Largest coordinate of an atom, Å; neighbours of one much further away take seconds to find."""


class Rejection(StrEnum):
    """Why a structure is not worth relaxing."""

    CELL = "bad_cell"
    COMPOSITION = "wrong_composition"
    SIZE = "too_many_atoms"
    ISOLATED = "isolated_atom"
    CONTACT = "short_contact"
    DENSITY_LOW = "density_too_low"
    DENSITY_HIGH = "density_too_high"
    COORDINATION_LOW = "coordination_too_low"
    COORDINATION_HIGH = "coordination_too_high"


def cell_heights(cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distances between opposite faces of a cell, Å, shape (3,).

    Args:
        cell: lattice vectors as rows, Å, shape (3, 3), not singular.
    """
    heights: NDArray[np.float64] = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return heights


def has_sound_cell(atoms: Atoms) -> bool:
    """Return whether cell and positions are finite, none is far away, and the cell is neither flat nor gigantic."""
    cell = atoms.cell.array
    if not (np.isfinite(cell).all() and (np.abs(atoms.positions) < MAX_POSITION).all()):
        return False
    lengths = np.linalg.norm(cell, axis=1)
    if lengths.max() > MAX_LENGTH or abs(np.linalg.det(cell)) < MIN_HEIGHT**3:
        return False
    return bool(cell_heights(cell).min() >= MIN_HEIGHT)


def contact_thresholds(
    symbols: list[str], radii: Mapping[str, float], settings: ValiditySettings
) -> dict[tuple[str, str], float]:
    """Return the shortest allowed distance of each pair of elements, Å, both orders.

    ``contact_factor`` times the sum of the radii, or the distance that the user set for the pair.
    """
    elements = sorted(set(symbols))
    found: dict[tuple[str, str], float] = {}
    for a in elements:
        for b in elements:
            own = settings.min_distances.get(f"{a}-{b}", settings.min_distances.get(f"{b}-{a}"))
            found[a, b] = settings.contact_factor * (radii[a] + radii[b]) if own is None else own
    return found


def _pair_values(symbols: list[str], table: Mapping[tuple[str, str], float]) -> NDArray[np.float64]:
    """Return the table as a matrix over the atoms, shape (n, n)."""
    elements = sorted(set(symbols))
    small = np.array([[table[a, b] for b in elements] for a in elements])
    kinds = np.array([elements.index(s) for s in symbols])
    matrix: NDArray[np.float64] = small[np.ix_(kinds, kinds)]
    return matrix


def check_validity(
    atoms: Atoms, *, unit: FormulaUnit, radii: Mapping[str, float], max_atoms: int, settings: ValiditySettings
) -> Rejection | None:
    """Return why a structure is not valid, or None if it is.

    Args:
        atoms: the structure, as it would be relaxed; not changed.
        unit: the composition of the search.
        radii: radius of each element, Å.
        max_atoms: largest number of atoms allowed.
        settings: contact factor, shortest distances set by the user, windows.
    """
    if not has_sound_cell(atoms):
        return Rejection.CELL
    if unit.z_of(atoms) is None:
        return Rejection.COMPOSITION
    if len(atoms) > max_atoms:
        return Rejection.SIZE
    covalent = covalent_radii[atoms.numbers]
    packing = float((4.0 / 3.0 * np.pi * covalent**3).sum() / atoms.get_volume())
    if packing < least_packing(unit, settings):
        return Rejection.DENSITY_LOW
    if packing > settings.packing_max:
        return Rejection.DENSITY_HIGH
    is_molecular = molecular_volume(unit) is not None
    return _check_neighbours(atoms, radii, settings, coordination_min=0 if is_molecular else settings.coordination_min)


def least_packing(unit: FormulaUnit, settings: ValiditySettings) -> float:
    """Return the smallest volume of covalent spheres over the volume of the cell.

    Crystals of molecules or of noble gases are less dense: they may have ``LOOSEST`` times their usual volume.

    Args:
        unit: the composition.
        settings: settings with the limit for all other compositions.
    """
    volume = molecular_volume(unit)
    if volume is None:
        return settings.packing_min
    spheres = 4.0 / 3.0 * np.pi * covalent_radii[[atomic_numbers[symbol] for symbol in unit.symbols(1)]] ** 3
    return min(settings.packing_min, float(spheres.mean()) / (LOOSEST * volume))


def _check_neighbours(
    atoms: Atoms, radii: Mapping[str, float], settings: ValiditySettings, *, coordination_min: int
) -> Rejection | None:
    symbols = atoms.get_chemical_symbols()
    first, second, distances = neighbour_list("ijd", atoms, settings.isolated_distance)
    if len(np.unique(first)) < len(atoms):
        return Rejection.ISOLATED
    least = _pair_values(symbols, contact_thresholds(symbols, radii, settings))
    if (distances < least[first, second]).any():
        return Rejection.CONTACT
    covalent = covalent_radii[atoms.numbers]
    bonded = distances < settings.bond_factor * (covalent[first] + covalent[second])
    coordination = np.bincount(first[bonded], minlength=len(atoms))
    if coordination.min() < coordination_min:
        return Rejection.COORDINATION_LOW
    if coordination.max() > settings.coordination_max:
        return Rejection.COORDINATION_HIGH
    return None


def shortest_contact(atoms: Atoms) -> float:
    """Return the shortest distance as a fraction of the sum of covalent radii, periodic images included.

    Real crystals lie above 0.69 (W-W in WCl2). Machine-learned potentials are not trained on shorter ones and
    can have a deep false minimum there: CHGNet 0.3.0 gives SrTiO3 with two oxygen atoms 0.31 Å apart an
    energy 0.1 eV/atom below the perovskite.
    """
    cutoff = 2.0 * float(covalent_radii[atoms.numbers].max())
    first, second, distances = neighbour_list("ijd", atoms, cutoff)
    return shortest_of_pairs(atoms, first, second, distances)


def shortest_of_pairs(
    atoms: Atoms, first: NDArray[np.int64], second: NDArray[np.int64], distances: NDArray[np.float64]
) -> float:
    """Return the shortest of some distances (Å) between atoms as a fraction of the sum of covalent radii."""
    if not len(distances):
        return float("inf")
    covalent = covalent_radii[atoms.numbers]
    return float((distances / (covalent[first] + covalent[second])).min())


def isolated_atoms(atoms: Atoms, distance: float) -> list[int]:
    """Return the indices of atoms with no neighbour, periodic images included, within ``distance`` Å.

    CHGNet cannot handle a structure with such an atom (paper section 3.3).
    """
    first = neighbour_list("i", atoms, distance)
    return [int(i) for i in np.setdiff1d(np.arange(len(atoms)), first)]


def is_one_crystal(atoms: Atoms, distance: float) -> bool:
    """Return whether steps from atom to atom of at most ``distance`` Å lead everywhere in the crystal.

    If not, it consists of molecules, chains or layers that are farther apart: a potential with this cutoff says nothing
    about how they lie to each other. Eight cells, which hold every direction, are looked at.
    """
    first, second, shifts = neighbour_list("ijS", atoms, distance)
    edges = [
        (8 * first + np.array(cell) @ (4, 2, 1), 8 * second + (cell + shifts) % 2 @ (4, 2, 1))
        for cell in product((0, 1), repeat=3)
    ]
    rows, columns = np.concatenate(edges, axis=1)
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(8 * len(atoms), 8 * len(atoms)))
    return int(connected_components(graph, directed=False, return_labels=False)) == 1
