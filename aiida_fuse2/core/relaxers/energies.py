"""Which energies of a potential are possible, eV per atom."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.chgnet.weights import element_energies
from aiida_fuse2.core.settings import CHGNET, PAIR, RelaxSettings

from .failures import Failure

LARGEST_ENERGY = 1000.0
"""Largest distance from separate atoms or ions, eV/atom: lattices of ions of charge 7 have a tenth of it, and 10 TPa,
the highest pressure of a search, a few hundred."""

TOTAL_ENERGY = 30.0
"""Times Z to the power 7/3, eV: no atom has a lower energy with all its electrons. That of Thomas and Fermi is 20.9
times that, which relativity lowers by a tenth at most."""

DEEPEST = 2.0
"""Largest energy below CHGNet's fit to the elements, eV/atom: 1532 known crystals are at most 1.43 below it."""

DEEPEST_TIMES_VOLUME = 60.0
"""Largest product of this energy and the volume per atom, eV Å³ per atom²: atoms that are bound deeply have neighbours,
so they lie close together. The same crystals have at most 30."""

GULP, VASP = "gulp", "vasp"
"""Names of tiers."""

FROM_ATOMS = frozenset({CHGNET, PAIR, GULP, VASP})
"""Calculators and tiers whose energies are relative to separate atoms or ions; those of others may be total energies
of all electrons."""


def lowest_energy(numbers: NDArray[np.int64], source: str) -> float:
    """Return the lowest possible energy, eV/atom.

    Args:
        numbers: atomic numbers, shape (n,).
        source: calculator or tier.
    """
    if source in FROM_ATOMS:
        return -LARGEST_ENERGY
    return -LARGEST_ENERGY - TOTAL_ENERGY * float(np.mean(np.asarray(numbers, dtype=float) ** (7 / 3)))


def lowest_trained(numbers: NDArray[np.int64], volume: float, settings: RelaxSettings) -> tuple[float, str]:
    """Return the energy below which a potential is wrong, eV/atom, and why, for people.

    Args:
        numbers: atomic numbers, shape (n,).
        volume: per atom, Å³.
        settings: settings of the tier. CHGNet adds to a linear fit to the elements, which says what a crystal can have.
    """
    if settings.calculator != CHGNET:
        return lowest_energy(numbers, settings.calculator), "the lowest possible"
    fit = float(element_energies(settings.model)[numbers - 1].mean())
    deepest = min(DEEPEST, DEEPEST_TIMES_VOLUME / volume)
    return (
        fit - deepest,
        f"{deepest:.2g} below CHGNet's fit to the elements; at {volume:.3g} Å³ per atom no crystal is deeper",
    )


def check_energy(energy: float, numbers: NDArray[np.int64], source: str) -> None:
    """Refuse a potential energy that is physically impossible.

    Args:
        energy: potential energy without pressure times volume, eV/atom.
        numbers: atomic numbers, shape (n,).
        source: calculator or tier.

    Raises:
        RelaxationError: ``energy_not_finite``, ``energy_impossible``.
    """
    if not math.isfinite(energy):
        raise RelaxationError(Failure.NOT_FINITE, f"energy {energy}")
    lowest = lowest_energy(numbers, source)
    if not lowest <= energy <= LARGEST_ENERGY:
        detail = f"{energy:.6g} eV/atom is not between {lowest:.6g} and {LARGEST_ENERGY:g}"
        raise RelaxationError(Failure.ENERGY, detail)
