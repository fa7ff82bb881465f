"""``provided``: the user's own structures, screened before they enter the pool.

The paper starts from structures of other programs in the same way (section 2.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from ase import Atoms

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.crystal.symmetry import SymmetryError, primitive_cell
from aiida_fuse2.core.crystal.validity import Rejection, has_sound_cell
from aiida_fuse2.core.settings import PROVIDED

from .base import Generator

PRIMITIVE_SYMPREC = 0.01
"""Tolerance for finding the primitive cell, Å: files give coordinates with as few as four digits."""

FULL_OCCUPANCY_TOLERANCE = 1e-3
"""A site counts as full if its occupancy is nearer to 1 than this."""

MAX_REDUCTION = 32
"""Largest accepted ratio of a given cell to its primitive cell: 2 x 2 x 2 face-centred cells. spglib takes
seconds for thousands of atoms."""


class Provided(Generator):
    """Stands for the user's structures: it makes none, so every search needs a pool of them."""

    name = PROVIDED
    in_process = True
    makes_structures = False


class ProvidedRejection(StrEnum):
    """Why a provided structure cannot enter a search, besides the checks of every trial."""

    NOT_PERIODIC = "not_periodic"
    PARTIAL = "partial_occupancy"
    NO_SYMMETRY = "no_symmetry"


@dataclass(frozen=True, kw_only=True)
class ScreenedStructures:
    """Provided structures after screening.

    Attributes:
        kept: primitive cells, in the given order, with numbers, positions and cell only.
        rejected: index of each other structure, from 0, with the identifier of the reason.
    """

    kept: list[Atoms]
    rejected: list[tuple[int, str]]


def _site_occupancies(site: Any) -> list[float]:
    """Return the occupancies of a site: ``{'Sr': 0.5, 'Ca': 0.5}``, one number, or several."""
    values = list(site.values()) if isinstance(site, Mapping) else np.ravel(site).tolist()
    return [float(value) for value in values]


def has_partial_occupancy(atoms: Atoms) -> bool:
    """Return whether a structure has sites that are shared or not full.

    It reads the values of ASE's readers: ``info['occupancy']`` (by kind of site, from CIF) and arrays
    ``occupancy`` or ``occupancies`` (by atom, from extended XYZ).

    Raises:
        ValueError: if an occupancy is not a number.
    """
    noted = atoms.info.get("occupancy")
    sites = noted.values() if isinstance(noted, Mapping) else [] if noted is None else [noted]
    values = [value for site in sites for value in _site_occupancies(site)]
    for name in ("occupancy", "occupancies"):
        if name in atoms.arrays:
            values.extend(_site_occupancies(atoms.arrays[name]))
    return not all(abs(value - 1.0) <= FULL_OCCUPANCY_TOLERANCE for value in values)


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=True)


def _reduced(atoms: Atoms) -> Atoms:
    """Return the primitive cell; the given cell, if it is primitive already."""
    primitive = primitive_cell(atoms, PRIMITIVE_SYMPREC)
    return primitive if len(primitive) < len(atoms) else atoms


def _refusal(atoms: Atoms, unit: FormulaUnit) -> str | None:
    """Return why a structure cannot be used in any cell, or None."""
    if not atoms.pbc.all():
        return ProvidedRejection.NOT_PERIODIC
    if has_partial_occupancy(atoms):
        return ProvidedRejection.PARTIAL
    if len(atoms) == 0 or unit.z_of(atoms) is None:
        return Rejection.COMPOSITION
    if not has_sound_cell(atoms):
        return Rejection.CELL
    return None


def _screen(
    atoms: Atoms, unit: FormulaUnit, max_atoms: int, check: Callable[[Atoms], str | None]
) -> tuple[Atoms | None, str]:
    """Return the structure to keep, or None with the reason."""
    refusal = _refusal(atoms, unit)
    if refusal is not None:
        return None, refusal
    if len(atoms) > MAX_REDUCTION * max_atoms:
        return None, Rejection.SIZE
    try:
        reduced = _reduced(_bare(atoms))
    except SymmetryError:
        return None, ProvidedRejection.NO_SYMMETRY
    if unit.z_of(reduced) is None:  # atoms on top of each other were merged
        return None, ProvidedRejection.NO_SYMMETRY
    if len(reduced) > max_atoms:
        return None, Rejection.SIZE
    reason = check(reduced.copy())
    return (reduced, "") if reason is None else (None, reason)


def screen_provided(
    structures: Sequence[Atoms],
    *,
    unit: FormulaUnit,
    max_atoms: int,
    check: Callable[[Atoms], str | None],
) -> ScreenedStructures:
    """Keep the structures that a search can use, as primitive cells; the given structures are not changed.

    A structure must be periodic with full sites, consist of whole formula units, and have at most
    ``max_atoms`` in its primitive cell, which is the cell that is relaxed.

    Args:
        structures: the structures.
        unit: the composition of the search.
        max_atoms: largest number of atoms of a primitive cell.
        check: further test of the primitive cell; returns the identifier of a reason, or None.
    """
    kept: list[Atoms] = []
    rejected: list[tuple[int, str]] = []
    for index, atoms in enumerate(structures):
        found, reason = _screen(atoms, unit, max_atoms, check)
        if found is None:
            rejected.append((index, str(reason)))
        else:
            kept.append(found)
    return ScreenedStructures(kept=kept, rejected=rejected)
