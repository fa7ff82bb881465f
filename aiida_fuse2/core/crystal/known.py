"""Which cells agree with what is known of a structure: its cell, its space group, its formula units, its density."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
from ase import units
from ase.data import atomic_masses, atomic_numbers, covalent_radii
from ase.geometry import cellpar_to_cell
from numpy.typing import NDArray

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.chemistry.molecular import SPREAD, molecular_volume
from aiida_fuse2.core.settings import KnownSettings
from aiida_fuse2.core.settings.space_groups import P1, parse_space_groups

from .families import HEXAGONAL_GAMMA, RIGHT_ANGLE
from .wyckoff import can_hold, lattice_type, primitive_basis

ALL_GROUPS = "1-230"

PACKING = (0.15, 1.2)
"""Least and largest volume of covalent spheres over that of a crystal: real ones have 0.19 to 1.06."""

ROUNDING = 1e-9

ROUNDED = 9
"""Digits of the vectors of primitive cells that are compared."""


@cache
def centring(number: int) -> int:
    """Return the number of lattice points in the conventional cell of a space group: 1, 2, 3 or 4."""
    return round(1.0 / abs(float(np.linalg.det(primitive_basis(number)))))


def ideal_cell(known: KnownSettings, number: int, axes: Sequence[int] = (0, 1, 2)) -> NDArray[np.float64] | None:
    """Return lengths and angles of the known cell as the crystal system of a space group has them, shape (6,).

    None if they differ by more than the tolerance, or no cell is known.

    Args:
        known: what is known.
        number: number of the space group.
        axes: which axis of the known cell is a, b and c.
    """
    if known.cell is None:
        return None
    given = np.array([known.cell[axis] for axis in axes] + [known.cell[3 + axis] for axis in axes])
    ideal, system = given.copy(), lattice_type(number)
    alike = {"cubic": 3, "tetragonal": 2, "trigonal": 2, "hexagonal": 2}.get(system, 0)
    if alike:
        ideal[:alike] = given[:alike].mean()
    if system == "monoclinic":
        ideal[[3, 5]] = RIGHT_ANGLE
    elif system != "triclinic":
        ideal[3:] = RIGHT_ANGLE
    if system in {"trigonal", "hexagonal"}:
        ideal[5] = HEXAGONAL_GAMMA
    off = np.abs(np.concatenate([given[:3] / ideal[:3] - 1, np.radians(given[3:] - ideal[3:])]))
    return ideal if (off <= known.cell_tolerance + ROUNDING).all() else None


@lru_cache(maxsize=64)
def cell_volume(known: KnownSettings) -> float | None:
    """Return the volume of the known cell, Å³, or None."""
    return None if known.cell is None else float(abs(np.linalg.det(cellpar_to_cell(known.cell))))


@lru_cache(maxsize=65536)
def agrees(unit: FormulaUnit, known: KnownSettings, number: int, z: int) -> bool:
    """Return whether a structure can have a space group and as many formula units in its primitive cell.

    If a cell is known, but neither Z nor density, formula units may have the volume of a crystal.

    Args:
        unit: the composition.
        known: what is known.
        number: number of the space group.
        z: formula units in the primitive cell.
    """
    if known.space_groups is not None and number not in parse_space_groups(known.space_groups):
        return False
    in_cell, volume = z * centring(number), cell_volume(known)
    if known.z is not None and in_cell not in known.z:
        return False
    if volume is None:
        return True
    low, high = known_volumes(known, unit.symbols(1)) or _usual_volumes(unit)
    strain = 1 + 3 * known.cell_tolerance
    has_room = low / strain <= volume / in_cell <= high * strain
    if not has_room and (known.z is None or known.density is not None):
        return False
    return ideal_cell(known, number) is not None


def _usual_volumes(unit: FormulaUnit) -> tuple[float, float]:
    """Return the least and the largest volume of a formula unit in crystals, Å³."""
    molecular = molecular_volume(unit)
    if molecular is not None:
        return unit.n_atoms * molecular / SPREAD, unit.n_atoms * molecular * SPREAD
    spheres = covalent_volume(unit)
    return spheres / PACKING[1], spheres / PACKING[0]


def covalent_volume(unit: FormulaUnit) -> float:
    """Return the volume of the covalent spheres of a formula unit, Å³."""
    return 4 / 3 * np.pi * sum(number * float(covalent_radii[atomic_numbers[s]]) ** 3 for s, number in unit.counts)


@lru_cache(maxsize=64)
def known_lattices(
    unit: FormulaUnit, known: KnownSettings, max_atoms: int, min_atoms: int
) -> tuple[tuple[int, tuple[tuple[float, ...], ...]], ...]:
    """Return the primitive lattices that the known cell can have, without their symmetry, each once.

    Args:
        unit: the composition.
        known: what is known, with a cell.
        max_atoms: largest number of atoms of a primitive cell.
        min_atoms: smallest number of atoms of a primitive cell.

    Returns:
        Formula units, and the vectors of the primitive cell in units of those of the known cell, as rows.
    """
    groups = parse_space_groups(known.space_groups or ALL_GROUPS)
    found = {
        (z, tuple(map(tuple, primitive_basis(number).round(ROUNDED).tolist())))
        for z in unit.z_values(max_atoms, min_atoms)
        for number in groups
        if agrees(unit, known, number, z)
    }
    return tuple(sorted(found))


@lru_cache(maxsize=4096)
def groups_for(unit: FormulaUnit, z: int, selection: str, known: KnownSettings) -> tuple[int, ...]:
    """Return the space groups that agree with what is known and whose Wyckoff positions can hold formula units.

    Args:
        unit: the composition.
        z: formula units in the primitive cell.
        selection: space groups to choose from, if none are known.
        known: what is known.
    """
    counts = tuple(z * number for _, number in unit.counts)
    chosen = parse_space_groups(known.space_groups or selection)
    return tuple(g for g in chosen if agrees(unit, known, g, z) and (g == P1 or can_hold(g, counts)))


def fitting_units(unit: FormulaUnit, max_atoms: int, min_atoms: int, selection: str, known: KnownSettings) -> list[int]:
    """Return the numbers of formula units of primitive cells that have a space group and lie within the limits.

    Args:
        unit: the composition.
        max_atoms: largest number of atoms of the primitive cell.
        min_atoms: smallest number of atoms of the primitive cell.
        selection: space groups to choose from, if none are known.
        known: what is known.
    """
    allowed = primitive_units(known)
    fits = [z for z in unit.z_values(max_atoms, min_atoms) if allowed is None or z in allowed]
    if known.z is None and known.space_groups is None and known.cell is None:
        return fits  # some group holds any number
    return [z for z in fits if groups_for(unit, z, selection, known)]


@lru_cache(maxsize=1024)
def primitive_units(known: KnownSettings) -> frozenset[int] | None:
    """Return the numbers of formula units that a primitive cell can have, or None if any.

    They are the known ones over the numbers of lattice points in the conventional cells of the known space groups.

    Args:
        known: what is known.
    """
    if known.z is None:
        return None
    points = {centring(number) for number in parse_space_groups(known.space_groups or ALL_GROUPS)}
    return frozenset(z // n for z in known.z for n in points if z % n == 0)


def known_volumes(known: KnownSettings, symbols: Sequence[str]) -> tuple[float, float] | None:
    """Return the least and the largest volume of atoms that the known density allows, Å³; None if it is not known.

    Args:
        known: what is known.
        symbols: elements of the atoms.
    """
    if known.density is None:
        return None
    grams = sum(float(atomic_masses[atomic_numbers[s]]) for s in symbols) / units.mol * 1e24  # times Å³ in a cm³
    most, least = 1.0 + known.density_tolerance, 1.0 - known.density_tolerance
    return grams / (known.density * most), grams / (known.density * least)
