"""The lowest different structures of a search, described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiida_fuse2.core.crystal.protostructure import protostructure_label
from aiida_fuse2.core.crystal.uniqueness import UniqueIndex, match_structures
from aiida_fuse2.core.prototypes.naming import TypeIndex
from aiida_fuse2.core.relaxers import RelaxedStructure
from aiida_fuse2.core.search.trials import TrialInfo
from aiida_fuse2.core.settings import UniquenessSettings

from .results import FoundStructure

KEPT = 10
"""Number of different structures that a row describes."""


@dataclass(frozen=True, eq=False)
class Found:
    """A structure that a search has relaxed, with its origin."""

    info: TrialInfo
    result: RelaxedStructure

    @property
    def energy(self) -> float:
        """Energy, eV/atom."""
        return float(self.result.values["energy"])


def lowest_structures(found: Sequence[Found], uniqueness: UniquenessSettings, most: int = KEPT) -> list[Found]:
    """Return the lowest structures of which no two are equal, lowest first.

    Args:
        found: relaxed structures in any order.
        uniqueness: when two structures are equal.
        most: largest number of structures to return.
    """
    index, kept = UniqueIndex(), dict[str, Found]()
    for one in sorted(found, key=lambda one: one.energy):
        if len(kept) == most:
            break
        vector = one.result.fingerprint
        if vector is None:
            continue
        near = index.near(one.energy, vector, uniqueness.energy_window)
        atoms = one.result.atoms
        if any(match_structures(atoms, kept[label].result.atoms, stol=uniqueness.stol) for label in near):
            continue
        index.add(one.info.label, one.energy, vector)
        kept[one.info.label] = one
    return list(kept.values())


def describe(one: Found, index: TypeIndex | None, symprec: float) -> FoundStructure:
    """Return the row of a structure.

    Args:
        one: the structure.
        index: types of a library, or None if there is no library.
        symprec: tolerance of the protostructure, Å.
    """
    atoms, values, info = one.result.atoms, one.result.values, one.info
    return FoundStructure(
        energy=round(one.energy, 6),
        spacegroup=values["spacegroup"],
        spacegroup_loose=values["spacegroup_loose"],
        protostructure=protostructure_label(atoms, symprec) or "",
        type="" if index is None else index.name(atoms).text,
        move=info.move,
        origin=info.origin,
        prototype=info.prototype,
        symbols=atoms.get_chemical_formula(mode="reduce"),
        cell=[[round(float(x), 4) for x in vector] for vector in atoms.cell.array],
        positions=[[round(float(x), 4) for x in place] for place in atoms.get_scaled_positions()],
    )


def energy_by_space_group(found: Sequence[Found]) -> dict[int, float]:
    """Return the lowest energy by space group at the loose tolerance, eV/atom."""
    energies: dict[int, float] = {}
    for one in found:
        number = int(one.result.values["spacegroup_loose"])
        energies[number] = min(one.energy, energies.get(number, one.energy))
    return {number: round(energy, 6) for number, energy in sorted(energies.items())}
