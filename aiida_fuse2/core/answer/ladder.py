"""The ladder of symmetries of one structure: relaxed tightly, then symmetrised step by step, as far as energies allow.

Structures that a search has relaxed are displaced from their symmetry by noise and by soft modes, and a potential has
shallow distortions that lie within its error. Each space group that is found at a rising tolerance gives a rung:
symmetrised, relaxed within its symmetry, and compared with the relaxed structure. The answer is the rung of highest
symmetry whose energy cannot be told from that of the lowest rung.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from aiida_fuse2.core.crystal.symmetry import SymmetryError, find_symmetry, primitive_cell, standard_cell
from aiida_fuse2.core.crystal.uniqueness import LATTICE_TOLERANCE
from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.evaluation import Evaluator
from aiida_fuse2.core.relaxers.driver import RelaxedStructure, relax
from aiida_fuse2.core.relaxers.failures import CONVERGED, Failure
from aiida_fuse2.core.settings import JOINT_LBFGS, RelaxSettings

from .settings import AnswerSettings
from .stability import Stability, examine

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher

EXACT = 1e-3
"""Tolerance for the symmetry of a structure that has been symmetrised, Å."""

SAME_ENERGY = 1e-5
"""Difference of energies that is noise, eV/atom."""

FARTHEST = 0.5
"""Largest rms displacement of a rung, Å: farther away it is another structure, not a parent of this one."""


DECIMALS = 4
"""Decimals of magnetic moments."""

Settled = tuple[Atoms, float, int]
"""A structure, its enthalpy (eV/atom), and the evaluations of the potential that it took."""

MEASURED = ("tolerance", "energy", "displacement", "evaluations")
"""Values of a rung that do not follow from its geometry."""


@dataclass(frozen=True, eq=False)
class Rung:
    """A structure of a ladder.

    Attributes:
        number: space-group number, 1-230.
        symbol: international symbol.
        order: number of symmetry operations, translations included, per atom: that of the point group over the atoms of
            the primitive cell.
        tolerance: tolerance at which the group was found, Å; 0 for the structure relaxed without symmetry.
        energy: enthalpy, eV/atom.
        displacement: rms displacement from the structure relaxed without symmetry, Å.
        evaluations: evaluations of the potential that it took.
        atoms: primitive cell; without symmetry, the cell that was relaxed.
        moments: magnitude of the magnetic moment of each atom, Bohr magnetons; None if the potential gives none.
    """

    number: int
    symbol: str
    order: float
    tolerance: float
    energy: float
    displacement: float
    evaluations: int
    atoms: Atoms
    moments: tuple[float, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without the geometry."""
        return {name: getattr(self, name) for name in ("number", "symbol", "order", *MEASURED)}

    @classmethod
    def of(
        cls,
        atoms: Atoms,
        *,
        tolerance: float,
        energy: float,
        displacement: float,
        evaluations: int,
        moments: tuple[float, ...] | None = None,
    ) -> Rung:
        """Return a rung, whose space group is that of its geometry."""
        try:
            symmetry, size = find_symmetry(atoms, EXACT), len(primitive_cell(atoms, EXACT))
            number, symbol, order = symmetry.number, symmetry.symbol, symmetry.n_rotations / size
        except SymmetryError:
            number, symbol, order = 1, "P1", 1 / len(atoms)
        return cls(number, symbol, order, tolerance, energy, displacement, evaluations, atoms, moments)


@dataclass(frozen=True, eq=False)
class Ladder:
    """The rungs of a structure.

    Attributes:
        status: ``converged``, or the reason why it has no rungs.
        detail: text for people, empty if converged.
        rungs: as relaxed without symmetry first, then by rising tolerance.
        fmax: limit that was reached without symmetry, eV/Å.
        potential: name of the potential.
        cpu_seconds: cost.
        stability: of the rung that the structure alone would answer with, or None if it was not examined.
        program: program of the last tier if rungs were not relaxed within their symmetry; otherwise empty.
    """

    status: str
    detail: str
    rungs: tuple[Rung, ...]
    fmax: float
    potential: str
    cpu_seconds: float
    stability: Stability | None = None
    program: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without the geometries and what follows from them."""
        return {
            **{name: getattr(self, name) for name in ("status", "detail", "fmax", "potential", "cpu_seconds")},
            "stability": None if self.stability is None else self.stability.to_dict(),
            "rungs": [
                {name: getattr(rung, name) for name in MEASURED}
                | {"moments": None if rung.moments is None else list(rung.moments)}
                for rung in self.rungs
            ],
        }


def climb(atoms: Atoms, evaluator: Evaluator, tier: RelaxSettings, settings: AnswerSettings) -> Ladder:
    """Return the ladder of a structure; a failure is an outcome with a name, never an exception.

    Args:
        atoms: the structure, as a search has relaxed it; not changed.
        evaluator: from ``make_evaluator``.
        tier: settings of the tier that relaxed it.
        settings: settings of the answer.

    Raises:
        MemoryError: if memory is lacking.
    """
    started = time.process_time()
    relaxed, fmax = _relax_tightly(atoms, evaluator, tier, settings)
    rungs: tuple[Rung, ...] = ()
    if relaxed.status == CONVERGED:
        within = _tight(tier, settings, fmax).model_copy(update={"keep_symmetry": True})

        def settle(candidate: Atoms) -> Settled | None:
            found = relax(candidate, evaluator, within)
            return _settled(found) if found.status == CONVERGED else None

        rungs = tuple(_with_moments(rung, evaluator) for rung in _rungs(_settled(relaxed), settle, settings))
    stability = None
    if rungs:
        stability = examine(rungs[choose(rungs, settings)].atoms, evaluator, settings.stability_atoms)
    seconds = round(time.process_time() - started, 4)
    return Ladder(relaxed.status, relaxed.detail, rungs, fmax, evaluator.name, seconds, stability)


def choose(rungs: Sequence[Rung], settings: AnswerSettings) -> int:
    """Return the index of the answer: the most symmetric rung that cannot be told from the lowest one.

    Args:
        rungs: rungs of a structure, at least one.
        settings: settings of the answer.
    """
    lowest = min(rung.energy for rung in rungs)
    near = [
        index
        for index, rung in enumerate(rungs)
        if rung.energy <= lowest + settings.energy and rung.displacement <= settings.max_displacement
    ]
    candidates = near or range(len(rungs))
    return max(candidates, key=lambda index: (round(rungs[index].order, 6) if near else 0, -rungs[index].energy))


def _tight(tier: RelaxSettings, settings: AnswerSettings, fmax: float) -> RelaxSettings:
    changes = {"optimizer": JOINT_LBFGS, "fmax": fmax, "max_steps": settings.max_evaluations, "keep_symmetry": False}
    return tier.model_copy(update=changes)


def _relax_tightly(
    atoms: Atoms, evaluator: Evaluator, tier: RelaxSettings, settings: AnswerSettings
) -> tuple[RelaxedStructure, float]:
    """Return a structure relaxed as tightly as the potential allows, and the limit that it reached, eV/Å."""
    limits = [settings.fmax, *([tier.fmax] if tier.fmax > settings.fmax else [])]
    for fmax in limits:
        relaxed = relax(atoms, evaluator, _tight(tier, settings, fmax))
        if relaxed.status != Failure.STEP_LIMIT:
            break
    return relaxed, fmax


def idealise(
    atoms: Atoms, energy: float, settings: AnswerSettings, *, max_tolerance: float, fmax: float, program: str
) -> Ladder:
    """Return the ladder of a structure that cannot be relaxed further: its rungs are symmetrised, and have its energy.

    Args:
        atoms: the structure, as the last tier has relaxed it; not changed.
        energy: its enthalpy, eV/atom.
        settings: settings of the answer.
        max_tolerance: largest tolerance at which space groups are looked for, Å: no energy tells whether they are
            those of another structure.
        fmax: limit of the last tier, eV/Å; 0 if it has another one.
        program: program of the last tier.
    """
    near = settings.model_copy(update={"tolerances": tuple(t for t in settings.tolerances if t <= max_tolerance)})
    found = _rungs((atoms, energy, 0), lambda candidate: (candidate, energy, 0), near)
    rungs = tuple(rung for rung in found if rung.displacement <= settings.max_displacement)
    return Ladder(CONVERGED, "", rungs, fmax, program, 0.0, program=program)


def _rungs(start: Settled, settle: Callable[[Atoms], Settled | None], settings: AnswerSettings) -> Iterator[Rung]:
    """Yield the rungs of a relaxed structure.

    Groups are looked for in the last rung whose energy is near to that of the lowest: it is nearer to them.

    Args:
        start: relaxed without symmetry.
        settle: returns a symmetrised structure relaxed within its symmetry, or None if that fails.
        settings: settings of the answer.
    """
    first = _rung(start, tolerance=0.0, displacement=0.0)
    rungs = [first]
    seen: set[tuple[int, int]] = set()
    for tolerance in settings.tolerances:
        lowest = min(rung.energy for rung in rungs)
        current = next(rung for rung in reversed(rungs) if rung.energy <= lowest + settings.energy)
        candidate = _symmetrised(current.atoms, tolerance, seen)
        if candidate is None:
            continue
        found = settle(candidate)
        moved = None if found is None else rms_displacement(first.atoms, found[0])
        if found is None or moved is None or moved > FARTHEST:
            continue
        rung = _rung(found, tolerance=tolerance, displacement=moved)
        equal = next((i for i, other in enumerate(rungs) if _are_same(other, rung)), None)
        if equal is None:
            rungs.append(rung)
        elif equal == 0:  # symmetrised, and otherwise the same
            rungs[0] = replace(rung, evaluations=first.evaluations + rung.evaluations)
    yield from rungs


def _symmetrised(atoms: Atoms, tolerance: float, seen: set[tuple[int, int]]) -> Atoms | None:
    """Return a primitive cell moved onto the symmetry found at a tolerance; None if there is none that is new.

    Args:
        atoms: the structure.
        tolerance: Å.
        seen: space groups and sizes of primitive cells that were found before; the new one is added.
    """
    try:
        cell = primitive_cell(standard_cell(atoms, tolerance).atoms, EXACT)
        key = find_symmetry(cell, EXACT).number, len(cell)
    except SymmetryError:
        return None
    if key in seen or key == (1, len(atoms)):
        return None
    seen.add(key)
    return cell


def _settled(found: RelaxedStructure) -> Settled:
    return found.atoms, float(found.values["energy"]), int(found.values["evaluations"])


def _with_moments(rung: Rung, evaluator: Evaluator) -> Rung:
    """Return a rung with its magnetic moments, if the potential gives them."""
    atoms = rung.atoms
    try:
        moments = evaluator.evaluate(atoms.numbers, atoms.positions, atoms.cell.array).moments
    except RelaxationError:
        return rung
    return rung if moments is None else replace(rung, moments=tuple(np.abs(moments).round(DECIMALS).tolist()))


def _rung(found: Settled, *, tolerance: float, displacement: float) -> Rung:
    atoms, energy, evaluations = found
    return Rung.of(atoms, tolerance=tolerance, energy=energy, displacement=displacement, evaluations=evaluations)


def _are_same(a: Rung, b: Rung) -> bool:
    """Return whether two rungs of one ladder are the same structure."""
    return (a.number, round(a.order, 6)) == (b.number, round(b.order, 6)) and abs(a.energy - b.energy) <= SAME_ENERGY


@lru_cache(maxsize=1)
def _matcher() -> StructureMatcher:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(ltol=LATTICE_TOLERANCE, stol=1.0, scale=False, primitive_cell=False, attempt_supercell=True)


def rms_displacement(atoms: Atoms, parent: Atoms) -> float | None:
    """Return the rms displacement of a structure from a more symmetric one, Å; None if it is no distortion of it.

    Args:
        atoms: the structure; no atom is left out, whatever its cell.
        parent: a primitive cell; not larger than the cell of the structure.
    """
    from pymatgen.io.ase import AseAtomsAdaptor

    first, second = (AseAtomsAdaptor.get_structure(each) for each in (atoms, parent))
    found = _matcher().get_rms_dist(first, second)
    if found is None:
        return None
    length = (0.5 * (first.volume / len(first) + second.volume / len(second))) ** (1 / 3)
    return float(found[0] * length)
