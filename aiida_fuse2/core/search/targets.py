"""Targets: known structures that a search looks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.symmetry import primitive_cell
from aiida_fuse2.core.crystal.uniqueness import (
    FINGERPRINT_STOL,
    FINGERPRINT_TOLERANCE,
    displacement_reduced,
    fingerprint,
    fingerprint_distance,
    reduce_structure,
)
from aiida_fuse2.core.errors import ReasonedError

from .state import FoundTarget
from .trials import Trial, TrialInfo

TARGET = "target"
"""Origin of a target that is relaxed to get its energy; it never enters the search."""

TARGET_PREFIX = "target_"
"""Start of the label of a target; its name follows."""


@dataclass(frozen=True, eq=False)
class ExploredStructure:
    """The values of a relaxed structure that decide whether it is a target.

    Attributes:
        label: label of its trial.
        number: number of structures relaxed until it was found.
        energy: eV/atom.
        fingerprint: shape (36,).
    """

    label: str
    number: int
    energy: float
    fingerprint: NDArray[np.float64]


def relaxed_cell(atoms: Atoms, symprec: float) -> Atoms:
    """Return the primitive cell of a target, which a search would relax; the given cell if there is none.

    Args:
        atoms: as it was given.
        symprec: tolerance of spglib, Å.
    """
    try:
        return primitive_cell(atoms, symprec)
    except ReasonedError:
        return atoms


def target_trial(name: str, position: int, atoms: Atoms, symprec: float) -> Trial:
    """Return a target as a structure to be relaxed.

    Args:
        name: name of the target.
        position: position among the targets.
        atoms: as it was given.
        symprec: tolerance for its primitive cell, Å.
    """
    info = TrialInfo(
        label=TARGET_PREFIX + name,
        generation=0,
        walker=0,
        trial=position,
        attempt=0,
        move="",
        origin=TARGET,
        parent="",
        symmetric_start=False,
    )
    return Trial(info, relaxed_cell(atoms, symprec))


@dataclass(frozen=True, eq=False)
class TargetFinder:
    """Finds targets among relaxed structures.

    A structure is a target if pymatgen's StructureMatcher says so (``scale=False``), after the same comparison of
    fingerprints as for duplicates.

    Attributes:
        targets: structures by name, relaxed with the potential of the search if that was possible.
        geometry: returns a relaxed structure by label; called only if the fingerprint is near.
        stol: largest root-mean-square displacement as a fraction of (volume per atom)^(1/3).
    """

    targets: Mapping[str, Atoms]
    geometry: Callable[[str], Atoms]
    stol: float

    def add_found(
        self, found: Mapping[str, FoundTarget], explored: Iterable[ExploredStructure]
    ) -> dict[str, FoundTarget]:
        """Return the targets found before, and for each other target the first structure that equals it, if any does.

        Args:
            found: by name.
            explored: in the order in which they were tried.
        """
        structures = list(explored)
        first = {name: self.first(name, structures) for name in self.targets if name not in found}
        return {**found, **{name: match for name, match in first.items() if match is not None}}

    def first(self, name: str, explored: Iterable[ExploredStructure]) -> FoundTarget | None:
        """Return the first structure that equals a target, or None."""
        target = self.targets[name]
        vector, reduced = fingerprint(target), reduce_structure(target)
        tolerance = FINGERPRINT_TOLERANCE * max(1.0, self.stol / FINGERPRINT_STOL)
        for structure in explored:
            if fingerprint_distance(structure.fingerprint, vector) > tolerance:
                continue
            rms = displacement_reduced(reduce_structure(self.geometry(structure.label)), reduced, stol=self.stol)
            if rms is not None:
                return FoundTarget(structure.label, structure.number, structure.energy, round(rms, 5))
        return None


def missed_text(above: float | None, who: str = "the search") -> str:
    """Return what is said about a target that was not found.

    Args:
        above: energy of the target above the lowest structure, eV/atom; None if it is not known.
        who: what did not find it.
    """
    if above is None:
        return "not found"
    distance = f"{1000 * abs(above):.1f} meV/atom"
    if float(f"{1000 * above:.1f}") < 0:
        return f"lies {distance} below your best: {who} missed it"
    return f"not found; lies {distance} above your best"
