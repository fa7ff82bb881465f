"""``prototypes``: the composition in known structure types.

Every prototype of its anonymous formula, within the limit of atoms, is decorated with its elements in every way, scaled
to its volume, and screened by the energy of the search's potential at a few volumes, not relaxed. The structures are
the pool, lowest energy first; if no potential of the search can screen (DFT alone), the chemically most similar first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, permutations
from time import process_time
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.geometry import cellpar_to_cell

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.crystal.known import agrees, ideal_cell, known_volumes
from aiida_fuse2.core.crystal.symmetry import SymmetryError, primitive_cell, standard_cell
from aiida_fuse2.core.crystal.wyckoff import lattice_type
from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.prototypes.decorations import Decoration, candidates
from aiida_fuse2.core.prototypes.library import LABEL_SYMPREC, Prototype
from aiida_fuse2.core.prototypes.naming import type_displacement
from aiida_fuse2.core.relaxers import evaluator_of, potential_energy
from aiida_fuse2.core.settings import PROTOTYPES, KnownSettings, RelaxSettings, SearchSettings

from .base import PROTOTYPE, SCORE, PieceResult, PoolContext, PoolGenerator
from .templates import ORTHORHOMBIC

MAX_STRAIN = 0.1
"""Largest relative difference of the lengths of a prototype from those of a known cell, and of its angles, radians."""

NO_TYPE = "no_type"
"""Reason for an empty pool: the library has no type of this anonymous formula within the limit of atoms."""


@dataclass(frozen=True, eq=False)
class DecoratedPrototype:
    """All decorations of one prototype: a piece of work."""

    decorations: tuple[Decoration, ...]

    @property
    def key(self) -> str:
        """Key of the prototype."""
        return self.decorations[0].prototype.key

    @property
    def cost(self) -> float:
        """Number of atoms to compute."""
        return float(len(self.decorations) * len(self.decorations[0].prototype.atoms))


def usable(prototypes: Sequence[Prototype], unit: FormulaUnit, leave_out: str) -> list[Prototype]:
    """Return the prototypes that may be used, to measure what a library gives without the answer in it.

    Args:
        prototypes: a library.
        unit: the composition.
        leave_out: ``none``; ``compound``: those of the same reduced formula are left out; ``type``: all prototypes that
            are one type with one of these are left out as well.
    """
    if leave_out == "none":
        return list(prototypes)
    own = [prototype for prototype in prototypes if is_of_compound(prototype, unit)]
    if leave_out == "compound":
        return [prototype for prototype in prototypes if prototype not in own]
    return [prototype for prototype in prototypes if not any(_one_type(prototype, other) for other in own)]


def is_of_compound(prototype: Prototype, unit: FormulaUnit) -> bool:
    """Return whether a prototype's compound has the formula of a composition."""
    return unit.z_of(prototype.atoms) is not None


def _one_type(a: Prototype, b: Prototype) -> bool:
    return a is b or (a.type_label == b.type_label and type_displacement(a.atoms, b.atoms) is not None)


class Prototypes(PoolGenerator):
    """The composition in known structure types."""

    name = PROTOTYPES
    refills = False
    needs_library = True
    needs_tier = True

    def plan(self, pool: PoolContext) -> Sequence[DecoratedPrototype]:
        """Return the prototypes with their decorations; of too many decorations the chemically most similar."""
        settings = pool.settings
        library = [one for one in pool.library if _agrees(one, settings)]
        found = candidates(usable(library, settings.unit, settings.prototypes.leave_out), settings.unit, pool.limit)
        chosen = sorted(found[: settings.prototypes.screen], key=lambda decoration: decoration.prototype.key)
        groups = groupby(chosen, key=lambda decoration: decoration.prototype.key)
        return [DecoratedPrototype(tuple(decorations)) for _, decorations in groups]

    def prepare(self, pool: PoolContext) -> None:
        """Load the potential."""
        if pool.tier is not None:
            evaluator_of(pool.tier, pool.potential)

    def run(self, piece: DecoratedPrototype, pool: PoolContext) -> PieceResult:
        """Screen the decorations of a prototype."""
        started = process_time()
        structures: list[Atoms] = []
        refused: Counter[str] = Counter()
        for decoration in piece.decorations:
            try:
                structures.append(_screened(decoration, pool))
            except (RelaxationError, SymmetryError) as error:
                refused[error.reason] += 1
        counts = {
            "tried": len(piece.decorations),
            "rejected": dict(refused),
            "cpu_seconds": round(process_time() - started, 4),
        }
        return PieceResult(structures, counts)

    def lost(self, reason: str) -> PieceResult:
        """Return one structure tried, and why there is none."""
        return PieceResult([], {"tried": 1, "rejected": {reason: 1}, "cpu_seconds": 0.0})

    def summary(self, pool: PoolContext, counts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return the numbers of prototypes, decorations and rejected ones."""
        rejected: Counter[str] = sum((Counter(found["rejected"]) for found in counts.values()), Counter())
        if not counts:
            rejected[NO_TYPE] = 1
        return {
            "tried": sum(found["tried"] for found in counts.values()),
            "rejected": dict(sorted(rejected.items())),
            "prototypes": len(counts),
            "left_out": pool.settings.prototypes.leave_out,
        }


def _agrees(prototype: Prototype, settings: SearchSettings) -> bool:
    """Return whether the space group of a prototype, and its Z with another composition, may be right."""
    number = int(prototype.label.split("_")[2])
    return agrees(settings.unit, settings.known, number, len(prototype.atoms) // settings.unit.n_atoms)


def in_known_cell(atoms: Atoms, known: KnownSettings) -> Atoms:
    """Return the primitive cell of a structure whose conventional cell has become the known one.

    Args:
        atoms: the structure, in any volume.
        known: what is known, with a cell.

    Raises:
        RelaxationError: ``other_cell`` if lengths or angles differ by more than ``MAX_STRAIN`` at the same volume.
        SymmetryError: if spglib cannot find the conventional cell.
    """
    found = standard_cell(atoms, LABEL_SYMPREC)
    number, standard = found.number, found.atoms.copy()
    any_order = known.space_groups is None and lattice_type(number) == ORTHORHOMBIC
    for axes in permutations(range(3)) if any_order else [(0, 1, 2)]:
        ideal = ideal_cell(known, number, axes)
        if ideal is None:
            continue
        vectors = np.array(cellpar_to_cell(ideal))
        scale = np.cbrt(abs(np.linalg.det(vectors)) / standard.get_volume())
        lengths, angles = standard.cell.lengths() * scale, standard.cell.angles()
        off = np.abs(np.concatenate([lengths / ideal[:3] - 1, np.radians(angles - ideal[3:])]))
        if (off <= MAX_STRAIN).all():
            standard.set_cell(vectors, scale_atoms=True)
            return primitive_cell(standard, LABEL_SYMPREC)
    raise RelaxationError("other_cell")


def _screened(decoration: Decoration, pool: PoolContext) -> Atoms:
    """Return a decoration in the best of its volumes; without a potential, in that of its covalent spheres.

    If the density is known, volumes are relative to the one that follows from it, and others are left out; if the cell
    is known, there is only its own.

    The middle volume is tried first, then larger and smaller ones as long as the energy falls.

    Raises:
        RelaxationError: the reason at the last volume, if none has an energy.
    """
    known = pool.settings.known
    start, scales = decoration.atoms(), sorted(pool.settings.prototypes.scales)
    volumes = known_volumes(known, start.get_chemical_symbols())
    if known.cell is not None:
        start, scales = in_known_cell(start, known), [1.0]
    elif volumes is not None:
        start.set_cell(start.cell.array * np.cbrt(np.mean(volumes) / start.get_volume()), scale_atoms=True)
        scales = [scale for scale in scales if volumes[0] < start.get_volume() * scale**3 < volumes[1]] or [1.0]
    if pool.tier is None:
        return _described(start, decoration, decoration.distance)
    middle = len(scales) // 2
    best: tuple[float, Atoms] | None = None
    failure: RelaxationError | None = None
    for way in (range(middle, len(scales)), range(middle - 1, -1, -1)):
        for index in way:
            atoms = start.copy()
            atoms.set_cell(start.cell.array * scales[index], scale_atoms=True)
            try:
                enthalpy = _enthalpy(atoms, pool.tier, pool.potential)
            except RelaxationError as error:
                failure = error
                if best is None:
                    continue
                break
            if best is not None and enthalpy >= best[0]:
                break
            best = enthalpy, atoms
    if best is None:
        raise failure or RelaxationError("no_volume")
    return _described(best[1], decoration, best[0])


def _enthalpy(atoms: Atoms, tier: RelaxSettings, potential: str | None) -> float:
    """Return the enthalpy of a structure as it is, eV/atom.

    Raises:
        RelaxationError: if it cannot be computed.
    """
    energy = potential_energy(atoms, evaluator_of(tier, potential), tier)
    return (energy + tier.pressure * units.GPa * atoms.get_volume()) / len(atoms)


def _described(atoms: Atoms, decoration: Decoration, score: float) -> Atoms:
    """Return a structure of a pool."""
    prototype = decoration.prototype
    atoms.info = {
        SCORE: round(score, 6),
        PROTOTYPE: f"{prototype.key} {decoration.text}",
        "type": prototype.title,
    }
    return atoms
