"""The lowest different structures of a search, described."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ase import Atoms

from aiida_fuse2.core.answer.candidates import OTHER_TYPES, are_copies
from aiida_fuse2.core.answer.settings import AnswerSettings
from aiida_fuse2.core.crystal.protostructure import protostructure_label
from aiida_fuse2.core.crystal.symmetry import SymmetryError, find_symmetry, primitive_cell
from aiida_fuse2.core.crystal.uniqueness import UniqueIndex, match_structures
from aiida_fuse2.core.prototypes.naming import TypeIndex, TypeName, is_known_type
from aiida_fuse2.core.relaxers import RelaxedStructure
from aiida_fuse2.core.search.trials import TrialInfo
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.protocols import protocol_inputs

from .results import FoundStructure

KEPT = 10
"""Number of different structures that a row describes, before those of other known types are added."""


@dataclass(frozen=True, eq=False)
class Found:
    """A structure that a search has relaxed, with its origin."""

    info: TrialInfo
    result: RelaxedStructure

    @property
    def energy(self) -> float:
        """Energy, eV/atom."""
        return float(self.result.values["energy"])


@dataclass(frozen=True, eq=False)
class Copies:
    """A structure that a search has found once or several times.

    Attributes:
        energy: lowest energy, eV/atom.
        best: the most symmetric of the copies in its basin; of those with equal symmetry the lowest.
    """

    energy: float
    best: Found


def lowest_structures(
    found: Sequence[Found],
    settings: SearchSettings,
    symprec: float,
    most: int = KEPT,
    name: Callable[[Atoms], TypeName] | None = None,
) -> list[Copies]:
    """Return the lowest structures of which no two are equal, or slightly displaced copies, lowest first.

    Up to twice as many are added if they are the lowest of other known structure types within the energy window of
    finishing, as when a search is finished (``worth_finishing``).

    Of copies whose energies differ by no more than those of one basin, the most symmetric is returned: a relaxation
    that stops at its threshold leaves displacements, which hide the symmetry of one copy and not of another.

    Args:
        found: relaxed structures in any order.
        settings: when two structures are equal, and by how much energies in one basin differ.
        symprec: tolerance of the symmetry, Å.
        most: largest number of structures to return before those of other known types are added.
        name: returns the type of a structure; None if there is no library.
    """
    uniqueness, tolerance = settings.uniqueness, settings.acceptance.energy_tolerance
    finishing = protocol_inputs(None, name="finish")
    answer = parse_settings(AnswerSettings, finishing["settings"])
    index, groups = UniqueIndex(), dict[str, list[Found]]()
    types: set[str] = set()
    limit = (1 + OTHER_TYPES) * most
    for one in sorted(found, key=lambda one: one.energy):
        if len(groups) >= most and one.energy > list(groups.values())[-1][0].energy + tolerance:
            above = one.energy - next(iter(groups.values()))[0].energy
            if name is None or len(groups) == limit or above > finishing["window"]:
                break
        vector = one.result.fingerprint
        if vector is None:
            continue
        near = index.near(one.energy, vector, uniqueness.energy_window)
        equal = (n for n in near if match_structures(one.result.atoms, groups[n][0].result.atoms, stol=uniqueness.stol))
        label = next(equal, None) or _copied(one, groups, answer)
        if label is not None and one.energy <= groups[label][0].energy + tolerance:
            groups[label].append(one)
        elif label is None and len(groups) < limit:
            kind = "" if name is None else name(one.result.atoms).text
            if len(groups) < most or (is_known_type(kind) and kind not in types):
                index.add(one.info.label, one.energy, vector)
                groups[one.info.label] = [one]
                types.add(kind)
    return [Copies(copies[0].energy, _most_symmetric(copies, symprec)) for copies in groups.values()]


def _copied(one: Found, groups: Mapping[str, Sequence[Found]], settings: AnswerSettings) -> str | None:
    """Return the label of the structure of which another one is a copy at the same energy; None if there is none."""
    for label, (lowest, *_) in groups.items():
        if one.energy <= lowest.energy + settings.energy and are_copies(
            one.result.atoms, lowest.result.atoms, settings
        ):
            return label
    return None


def _most_symmetric(copies: Sequence[Found], symprec: float) -> Found:
    """Return the copy with the most operations per atom; of several the lowest in energy."""
    if len({one.result.values["spacegroup_loose"] for one in copies}) == 1:
        return copies[0]
    return max(copies, key=lambda one: _operations_per_atom(one.result.atoms, symprec))


def _operations_per_atom(atoms: Atoms, symprec: float) -> float:
    try:
        return find_symmetry(atoms, symprec).n_rotations / len(primitive_cell(atoms, symprec))
    except SymmetryError:
        return 0.0


def describe(found: Copies, index: TypeIndex | None, symprec: float) -> FoundStructure:
    """Return the row of a structure.

    Args:
        found: the structure.
        index: types of a library, or None if there is no library.
        symprec: tolerance of the protostructure, Å.
    """
    one = found.best
    atoms, values, info = one.result.atoms, one.result.values, one.info
    return FoundStructure(
        energy=round(found.energy, 6),
        spacegroup=values["spacegroup"],
        spacegroup_loose=values["spacegroup_loose"],
        protostructure=protostructure_label(atoms, symprec) or "",
        type="" if index is None else index.name(atoms).text,
        move=info.move,
        origin=info.origin,
        prototype=info.prototype,
        **geometry(atoms),
    )


def geometry(atoms: Atoms) -> dict[str, Any]:
    """Return a geometry as the row of a structure has it."""
    return {
        "symbols": atoms.get_chemical_formula(mode="reduce"),
        "cell": [[round(float(x), 4) for x in vector] for vector in atoms.cell.array],
        "positions": [[round(float(x), 4) for x in place] for place in atoms.get_scaled_positions()],
    }


def energy_by_space_group(found: Sequence[Found]) -> dict[int, float]:
    """Return the lowest energy by space group at the loose tolerance, eV/atom."""
    energies: dict[int, float] = {}
    for one in found:
        number = int(one.result.values["spacegroup_loose"])
        energies[number] = min(one.energy, energies.get(number, one.energy))
    return {number: round(energy, 6) for number, energy in sorted(energies.items())}
