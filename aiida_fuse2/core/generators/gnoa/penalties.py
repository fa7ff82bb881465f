"""Penalties of structures that are not plausible crystals: the reason, and a measure of how implausible they are.

Penalties rank above every energy, so that an optimiser removes them first; a penalised structure is never
given to the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.crystal.validity import (
    cell_heights,
    check_validity,
    has_sound_cell,
    isolated_atoms,
    least_packing,
)
from aiida_fuse2.core.settings import GnoaSettings, ValiditySettings

PENALTY = 1000.0
"""Objective of a penalised structure, to which its measure is added, eV/atom; no crystal comes near it."""


class Penalty(StrEnum):
    """Why a structure is penalised; other reasons are those of ``Rejection``."""

    VOLUME = "absurd_volume"
    CONTACT = "contact"
    GAP = "gap"
    ISOLATED = "isolated_atom"
    NETWORK = "network_failed"


@dataclass(frozen=True)
class Penalised:
    """A penalty.

    Attributes:
        reason: identifier of the reason.
        measure: distance from a plausible crystal, from 0.
    """

    reason: str
    measure: float

    @property
    def value(self) -> float:
        """The objective, eV/atom."""
        return PENALTY + self.measure


def widest_gap(atoms: Atoms) -> float:
    """Return the height of the widest slab without an atom's centre, parallel to a face of the cell, Å."""
    fractional = np.sort(atoms.get_scaled_positions(), axis=0)
    steps = np.diff(np.concatenate([fractional, fractional[:1] + 1.0]), axis=0)
    return float((steps.max(axis=0) * cell_heights(atoms.cell.array)).max())


def _overlap(atoms: Atoms, radii: NDArray[np.float64], factor: float) -> float:
    """Return the sum over pairs of how far they are below ``factor`` times the sum of radii, relative, per atom."""
    cutoff = 2 * factor * float(radii.max())
    first, second, distances = neighbour_list("ijd", atoms, cutoff)
    least = factor * (radii[first] + radii[second])
    return float(np.maximum(1 - distances / least, 0).sum()) / len(atoms)


@dataclass(frozen=True)
class Penalties:
    """Checks every structure that an optimiser proposes.

    Attributes:
        unit: the composition.
        radii: radius of each element, Å.
        max_atoms: largest number of atoms of the cell that is relaxed.
        settings: limits of the generator.
        validity: limits of every trial of the search.
    """

    unit: FormulaUnit
    radii: Mapping[str, float]
    max_atoms: int
    settings: GnoaSettings
    validity: ValiditySettings

    def check(self, atoms: Atoms) -> Penalised | None:
        """Return the first penalty of a structure, or None if it can be given to the network."""
        if not has_sound_cell(atoms):
            return Penalised(Penalty.VOLUME, PENALTY)
        packing = float((4 / 3 * np.pi * covalent_radii[atoms.numbers] ** 3).sum() / atoms.get_volume())
        if not least_packing(self.unit, self.validity) <= packing <= self.validity.packing_max:
            return Penalised(Penalty.VOLUME, abs(float(np.log(packing))))
        radii = np.array([self.radii[symbol] for symbol in atoms.get_chemical_symbols()])
        overlap = _overlap(atoms, radii, self.settings.contact_factor)
        if overlap > 0:
            return Penalised(Penalty.CONTACT, 1 + overlap)
        return self._check_space(atoms) or self._check_validity(atoms, radii)

    def _check_space(self, atoms: Atoms) -> Penalised | None:
        gap = widest_gap(atoms)
        if gap > self.settings.max_gap:
            return Penalised(Penalty.GAP, gap / self.settings.max_gap - 1)
        alone = isolated_atoms(atoms, self.validity.isolated_distance)
        return Penalised(Penalty.ISOLATED, len(alone) / len(atoms)) if alone else None

    def _check_validity(self, atoms: Atoms, radii: NDArray[np.float64]) -> Penalised | None:
        """Apply the checks of every trial of the search."""
        refusal = check_validity(
            atoms, unit=self.unit, radii=self.radii, max_atoms=self.max_atoms, settings=self.validity
        )
        factor = max(self.validity.contact_factor, self.settings.contact_factor)
        return None if refusal is None else Penalised(str(refusal), _overlap(atoms, radii, factor))
