"""The work of ``gnoa`` in independent pieces: one space group with one Wyckoff assignment each.

An assignment has a random generator of its own and a short history of its optimiser, so that the pool depends neither
on the order of the assignments nor on how many are computed at a time.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.frequencies import draw_group
from aiida_fuse2.core.crystal.known import groups_for, primitive_units
from aiida_fuse2.core.crystal.symmetry import SymmetryError, primitive_cell
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.generators.symmetric import PRIMITIVE_SYMPREC
from aiida_fuse2.core.generators.templates import Template, draw_template
from aiida_fuse2.core.rng import Purpose, keyed_generator
from aiida_fuse2.core.settings import SearchSettings

from .networks import Network
from .optimisers import OPTIMISERS, minimise
from .penalties import PENALTY, Penalised, Penalties, Penalty


@dataclass(frozen=True)
class Assignment:
    """A space group with a Wyckoff assignment, both drawn at random, whose structures an optimiser proposes.

    Attributes:
        z: formula units in the primitive cell.
        index: number among the assignments of this Z, from 0.
        trials: structures that its optimiser proposes.
    """

    z: int
    index: int
    trials: int

    @property
    def cost(self) -> float:
        """Relative duration: larger cells take longer."""
        return self.z

    @property
    def key(self) -> str:
        """Name, unique in a job."""
        return f"z{self.z:03d}_{self.index:05d}"


@dataclass(frozen=True)
class Candidate:
    """A structure that an assignment keeps.

    Attributes:
        atoms: primitive cell.
        score: energy predicted by the network, eV/atom.
        space_group: number that it was built with.
        wyckoff: occupied positions.
        assignment: key of the assignment.
    """

    atoms: Atoms
    score: float
    space_group: int
    wyckoff: str
    assignment: str


@dataclass
class AssignmentResult:
    """The result of an assignment.

    Attributes:
        assignment: its key.
        candidates: best first.
        tried: structures proposed.
        scored: number of these that were given to the network.
        penalised: number of the others, by reason.
        cpu_seconds: CPU time.
    """

    assignment: str
    candidates: list[Candidate] = field(default_factory=list)
    tried: int = 0
    scored: int = 0
    penalised: Counter[str] = field(default_factory=Counter)
    cpu_seconds: float = 0.0


def z_values(settings: SearchSettings, limit: int) -> list[int]:
    """Return the numbers of formula units that are generated.

    Args:
        settings: of the search.
        limit: largest number of atoms of a structure.
    """
    least, most = settings.gnoa.formula_units or (1, limit)
    allowed = primitive_units(settings.known)
    fits = [z for z in settings.unit.z_values(limit, settings.pool.min_atoms) if least <= z <= most]
    return fits if allowed is None else [z for z in fits if z in allowed]


def _groups(settings: SearchSettings, z: int) -> tuple[int, ...]:
    """Return the space groups that ``z`` formula units are generated in."""
    return groups_for(settings.unit, z, settings.gnoa.space_groups, settings.known)


def check_gnoa(settings: SearchSettings, *, where: str = "settings") -> None:
    """Check that something can be generated.

    Raises:
        InputError: if no Z fits the atom limits, or no space group can be filled.
    """
    chosen, unit, limit = settings.gnoa, settings.unit, settings.initial_limit
    values = z_values(settings, limit)
    if not values:
        expected = (
            f"no number of formula units of {unit.formula} ({unit.n_atoms} atoms each) lies in it and between "
            f"pool.min_atoms = {settings.pool.min_atoms} and {limit} atoms"
        )
        raise InputError(f"{where}.gnoa.formula_units", chosen.formula_units, expected)
    if settings.known.space_groups is None and not any(_groups(settings, z) for z in values):
        shown = str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"
        expected = f"no Wyckoff positions of these can hold {shown} formula units of {unit.formula}; add others, e.g. 1"
        raise InputError(f"{where}.gnoa.space_groups", chosen.space_groups, expected)


def plan_assignments(settings: SearchSettings, limit: int) -> list[Assignment]:
    """Return the assignments of a pool.

    Args:
        settings: of the search.
        limit: largest number of atoms of a structure.
    """
    chosen = settings.gnoa
    assignments = []
    for z in z_values(settings, limit):
        if not _groups(settings, z):
            continue
        left, index = chosen.trials_per_z, 0
        while left > 0:
            assignments.append(Assignment(z, index, min(chosen.history, left)))
            left -= chosen.history
            index += 1
    return assignments


def _draw(assignment: Assignment, settings: SearchSettings, rng: np.random.Generator) -> Template:
    """Draw space group and Wyckoff assignment."""
    group = draw_group(_groups(settings, assignment.z), rng)
    counts = tuple(assignment.z * number for _, number in settings.unit.counts)
    return draw_template(settings.unit.elements, counts, group, rng, settings.known)


class _Objective:
    """Penalty, or the network's energy, of vectors of a template; counts what it sees."""

    def __init__(self, template: Template, penalties: Penalties, network: Network, result: AssignmentResult) -> None:
        self.template, self.penalties, self.network, self.result = template, penalties, network, result

    def __call__(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the objective of each vector, eV/atom."""
        structures = [self.template.decode(vector) for vector in vectors]
        found = [self.penalties.check(atoms) for atoms in structures]
        values = np.array([0.0 if penalty is None else penalty.value for penalty in found])
        clean = [i for i, penalty in enumerate(found) if penalty is None]
        for penalty in found:
            self._count(penalty)
        self.result.tried += len(vectors)
        if clean:
            values[clean] = self.network.score([structures[i] for i in clean])
        failed = ~np.isfinite(values)
        values[failed] = PENALTY
        self.result.penalised.update([str(Penalty.NETWORK)] * int(failed.sum()))
        self.result.scored += len(clean) - int(failed.sum())
        return values

    def _count(self, penalty: Penalised | None) -> None:
        if penalty is not None:
            self.result.penalised[str(penalty.reason)] += 1


def run_assignment(
    assignment: Assignment, settings: SearchSettings, limit: int, pool_number: int, network: Network
) -> AssignmentResult:
    """Optimise the structures of an assignment; except for the CPU time, only the arguments decide the result.

    Args:
        assignment: the assignment.
        settings: of the search.
        limit: largest number of atoms of a structure.
        pool_number: how many pools the search has filled before; part of the random key.
        network: loaded.
    """
    started = time.process_time()
    result = AssignmentResult(assignment.key)
    rng = keyed_generator(
        settings.seed, Purpose.POOL, walker=assignment.z, generation=pool_number, trial=assignment.index
    )
    template = _draw(assignment, settings, rng)
    penalties = Penalties(settings.unit, settings.resolved_radii, limit, settings.gnoa, settings.validity)
    optimiser = OPTIMISERS[settings.gnoa.optimizer](template, assignment.trials, rng)
    objective = _Objective(template, penalties, network, result)
    vectors, values = minimise(optimiser, objective, assignment.trials)
    for i in np.argsort(values, kind="stable"):
        if values[i] >= PENALTY or len(result.candidates) == settings.gnoa.keep:
            break
        _keep(template, vectors[i], float(values[i]), settings, result)
    result.cpu_seconds = time.process_time() - started
    return result


def _keep(
    template: Template, vector: NDArray[np.float64], value: float, settings: SearchSettings, result: AssignmentResult
) -> None:
    """Keep a structure in its own primitive cell, which may be smaller than that of the template."""
    try:
        atoms = primitive_cell(template.decode(vector), PRIMITIVE_SYMPREC)
    except SymmetryError as error:
        result.penalised[error.reason] += 1
        return
    if settings.unit.z_of(atoms) is None or len(atoms) < settings.pool.min_atoms:
        result.penalised["outside_limits"] += 1
        return
    atoms.wrap()
    result.candidates.append(Candidate(atoms, value, template.space_group, template.wyckoff, result.assignment))
