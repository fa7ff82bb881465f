"""Which cells agree with what is known of a structure: its space group, its formula units, its density."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
from ase import units
from ase.data import atomic_masses, atomic_numbers

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.settings import KnownSettings
from aiida_fuse2.core.settings.space_groups import P1, parse_space_groups

from .wyckoff import can_hold, primitive_basis

ALL_GROUPS = "1-230"


@cache
def centring(number: int) -> int:
    """Return the number of lattice points in the conventional cell of a space group: 1, 2, 3 or 4."""
    return round(1.0 / abs(float(np.linalg.det(primitive_basis(number)))))


def agrees(known: KnownSettings, number: int, z: int) -> bool:
    """Return whether a structure can have a space group and as many formula units in its primitive cell.

    Args:
        known: what is known.
        number: number of the space group.
        z: formula units in the primitive cell.
    """
    if known.space_groups is not None and number not in parse_space_groups(known.space_groups):
        return False
    return known.z is None or z * centring(number) in known.z


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
    return tuple(g for g in chosen if agrees(known, g, z) and (g == P1 or can_hold(g, counts)))


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
    if known.z is None and known.space_groups is None:
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
