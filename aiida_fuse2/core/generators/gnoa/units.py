"""The work of ``gnoa`` in pieces that do not know of each other: one space group and Wyckoff assignment each.

A unit has a random generator of its own and a short history of its optimiser, so that the pool depends neither on
the order of the units nor on how many are computed at a time.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.crystal.symmetry import SymmetryError, primitive_cell
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.generators.symmetric import PRIMITIVE_SYMPREC
from aiida_fuse2.core.generators.templates import Template, draw_template
from aiida_fuse2.core.generators.wyckoff import can_hold
from aiida_fuse2.core.rng import Purpose, keyed_generator
from aiida_fuse2.core.settings import SearchSettings
from aiida_fuse2.core.settings.space_groups import P1, parse_space_groups

from .networks import Network
from .optimisers import OPTIMISERS, minimise
from .penalties import PENALTY, Penalised, Penalties, Penalty


@dataclass(frozen=True)
class Unit:
    """A piece of work.

    Attributes:
        z: formula units in the primitive cell.
        index: which of the units of this Z, from 0.
        trials: structures that its optimiser proposes.
    """

    z: int
    index: int
    trials: int

    @property
    def cost(self) -> float:
        """How long it takes: larger cells take longer."""
        return self.z

    @property
    def key(self) -> str:
        """Name, unique in a job."""
        return f"z{self.z:03d}_{self.index:05d}"


@dataclass(frozen=True)
class Candidate:
    """A structure that a unit keeps.

    Attributes:
        atoms: primitive cell.
        score: energy predicted by the network, eV/atom.
        space_group: number that it was built with.
        wyckoff: occupied positions.
        unit: key of the unit.
    """

    atoms: Atoms
    score: float
    space_group: int
    wyckoff: str
    unit: str


@dataclass
class UnitResult:
    """What came of a unit.

    Attributes:
        unit: its key.
        candidates: best first.
        tried: structures proposed.
        scored: of these, given to the network.
        penalised: the others by reason.
        cpu_seconds: spent.
    """

    unit: str
    candidates: list[Candidate] = field(default_factory=list)
    tried: int = 0
    scored: int = 0
    penalised: Counter[str] = field(default_factory=Counter)
    cpu_seconds: float = 0.0


@lru_cache(maxsize=1024)
def fillable_groups(unit: FormulaUnit, z: int, space_groups: str) -> tuple[int, ...]:
    """Return the space groups of a selection whose Wyckoff positions can hold ``z`` formula units."""
    counts = tuple(z * number for _, number in unit.counts)
    return tuple(g for g in parse_space_groups(space_groups) if g == P1 or can_hold(g, counts))


def z_values(settings: SearchSettings, limit: int) -> list[int]:
    """Return the numbers of formula units that are generated.

    Args:
        settings: of the search.
        limit: most atoms of a structure.
    """
    least, most = settings.gnoa.formula_units or (1, limit)
    return [z for z in settings.unit.z_values(limit, settings.pool.min_atoms) if least <= z <= most]


def check_gnoa(settings: SearchSettings, *, where: str = "settings") -> None:
    """Check that something can be generated.

    Raises:
        InputError: where no Z fits the atom limits, or no space group can be filled.
    """
    chosen, unit, limit = settings.gnoa, settings.unit, settings.initial_limit
    values = z_values(settings, limit)
    if not values:
        expected = (
            f"no number of formula units of {unit.formula} ({unit.n_atoms} atoms each) lies in it and between "
            f"pool.min_atoms = {settings.pool.min_atoms} and {limit} atoms"
        )
        raise InputError(f"{where}.gnoa.formula_units", chosen.formula_units, expected)
    groups = parse_space_groups(chosen.space_groups)
    counts = [tuple(z * number for _, number in unit.counts) for z in values]
    if P1 not in groups and not any(can_hold(g, n) for n in counts for g in reversed(groups)):
        shown = str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"
        expected = f"no Wyckoff positions of these can hold {shown} formula units of {unit.formula}; add others, e.g. 1"
        raise InputError(f"{where}.gnoa.space_groups", chosen.space_groups, expected)


def plan_units(settings: SearchSettings, limit: int) -> list[Unit]:
    """Return the units of a pool.

    Args:
        settings: of the search.
        limit: most atoms of a structure.
    """
    chosen = settings.gnoa
    units = []
    for z in z_values(settings, limit):
        if not fillable_groups(settings.unit, z, chosen.space_groups):
            continue
        left, index = chosen.trials_per_z, 0
        while left > 0:
            units.append(Unit(z, index, min(chosen.history, left)))
            left -= chosen.history
            index += 1
    return units


def _draw(unit: Unit, settings: SearchSettings, rng: np.random.Generator) -> Template:
    """Draw space group and Wyckoff assignment."""
    groups = fillable_groups(settings.unit, unit.z, settings.gnoa.space_groups)
    counts = tuple(unit.z * number for _, number in settings.unit.counts)
    return draw_template(settings.unit.elements, counts, groups[rng.integers(len(groups))], rng)


class _Objective:
    """Penalty, or the network's energy, of vectors of a template; counts what it sees."""

    def __init__(self, template: Template, penalties: Penalties, network: Network, result: UnitResult) -> None:
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


def run_unit(unit: Unit, settings: SearchSettings, limit: int, pool_number: int, network: Network) -> UnitResult:
    """Optimise the structures of a unit; nothing but the arguments decides the result, CPU time excepted.

    Args:
        unit: what to do.
        settings: of the search.
        limit: most atoms of a structure.
        pool_number: how many pools the search has filled before; part of the random key.
        network: loaded.
    """
    started = time.process_time()
    result = UnitResult(unit.key)
    rng = keyed_generator(settings.seed, Purpose.POOL, walker=unit.z, generation=pool_number, trial=unit.index)
    template = _draw(unit, settings, rng)
    penalties = Penalties(settings.unit, settings.resolved_radii, limit, settings.gnoa, settings.validity)
    optimiser = OPTIMISERS[settings.gnoa.optimizer](template, unit.trials, rng)
    objective = _Objective(template, penalties, network, result)
    vectors, values = minimise(optimiser, objective, unit.trials)
    for i in np.argsort(values, kind="stable"):
        if values[i] >= PENALTY or len(result.candidates) == settings.gnoa.keep:
            break
        _keep(template, vectors[i], float(values[i]), settings, result)
    result.cpu_seconds = time.process_time() - started
    return result


def _keep(
    template: Template, vector: NDArray[np.float64], value: float, settings: SearchSettings, result: UnitResult
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
    result.candidates.append(Candidate(atoms, value, template.space_group, template.wyckoff, result.unit))
