"""What a search is likely to cost: CPU time from a table of evaluation times, before anything is submitted.

A relaxation costs its number of evaluations times the CPU time of each, which grows with the cell. The cells of a
search are not known before; the mean over all that the generators can draw overestimates them, since moves and
prototypes favour small cells, and most structures are less dense than those of the table. The range of the model
corrects for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MINUTE, HOUR = 60, 3600
"""Length in seconds."""

UNITS = ((HOUR / 6, "CPU h", HOUR), (MINUTE, "CPU min", MINUTE), (0, "CPU s", 1))
"""Units of time, the shortest time that is given in each, and their lengths, s."""


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """How CPU times of evaluations become those of searches; the numbers are in ``protocols/cost.yaml``.

    Attributes:
        evaluations: evaluations per relaxation of a composition with ``unit_atoms`` atoms in its formula unit.
        unit_atoms: see ``evaluations``.
        growth: power of the atoms of the formula unit with which evaluations grow.
        range: lowest and highest cost of real searches over the product of evaluations and their times.
    """

    evaluations: float
    unit_atoms: float
    growth: float
    range: tuple[float, float]

    def evaluations_of(self, unit_atoms: int) -> float:
        """Return the evaluations per relaxation of a composition with this number of atoms in its formula unit."""
        return float(self.evaluations * (unit_atoms / self.unit_atoms) ** self.growth)


@dataclass(frozen=True, kw_only=True)
class SecondModel:
    """What a potential costs that orders answers; the numbers are in ``protocols/cost.yaml``.

    Attributes:
        evaluations: evaluations for a phase.
        start: CPU time until a process has loaded it, s.
        memory: of a process, and of each atom in addition, GB.
        reference: CPU time of an evaluation, s, by number of atoms.
    """

    evaluations: float
    start: float
    memory: tuple[float, float]
    reference: Mapping[int, float]

    def seconds(self, phases: int, processes: int, *, unit_atoms: int, max_atoms: int) -> tuple[float, float]:
        """Return the CPU time for one phase of one formula unit, and for the largest number of likely size, s.

        Args:
            phases: largest number of phases.
            processes: largest number of processes.
            unit_atoms: atoms of the formula unit.
            max_atoms: largest number of atoms of a structure.
        """
        sizes = likely_sizes(unit_atoms, max_atoms)
        times = [self.evaluations * evaluation_seconds(self.reference, size) for size in sizes]
        mean = sum(times) / len(times)
        return self.start + times[0], self.start * min(phases, processes) + phases * mean

    def memory_of(self, n_atoms: int) -> float:
        """Return the memory of a process that relaxes structures with at most this number of atoms, GB."""
        return self.memory[0] + self.memory[1] * n_atoms


def likely_sizes(unit_atoms: int, max_atoms: int) -> list[int]:
    """Return the numbers of atoms of the cells that generators draw, each equally often: whole formula units.

    Args:
        unit_atoms: atoms of the formula unit.
        max_atoms: largest number of atoms; at least one formula unit is taken.
    """
    return [z * unit_atoms for z in range(1, max(1, max_atoms // unit_atoms) + 1)]


def evaluation_seconds(table: Mapping[int, float], n_atoms: int) -> float:
    """Return the CPU time of an evaluation, s.

    Args:
        table: CPU time, s, by number of atoms.
        n_atoms: number of atoms; between those of the table the time is interpolated, outside it is proportional.
    """
    sizes = sorted(table)
    nearest = min(max(n_atoms, sizes[0]), sizes[-1])
    inside = float(np.interp(nearest, sizes, [table[size] for size in sizes]))
    return inside * n_atoms / nearest


def relaxation_seconds(
    table: Mapping[int, float], model: CostModel, *, unit_atoms: int, max_atoms: int
) -> tuple[float, float]:
    """Return the lowest and highest likely CPU time per structure of a search, s.

    Args:
        table: CPU time of an evaluation, s, by number of atoms.
        model: evaluations and range.
        unit_atoms: atoms of the formula unit.
        max_atoms: largest number of atoms of a structure.
    """
    sizes = likely_sizes(unit_atoms, max_atoms)
    mean = sum(evaluation_seconds(table, size) for size in sizes) / len(sizes)
    product = mean * model.evaluations_of(unit_atoms)
    return product * model.range[0], product * model.range[1]


def hours_text(seconds: Sequence[float]) -> str:
    """Return a range of CPU times in two digits, such as ``0.12 to 0.31 CPU h`` or ``2 to 5 CPU min``.

    Args:
        seconds: lowest and highest time, s.
    """
    unit, length = next((name, length) for least, name, length in UNITS if max(seconds) >= least)
    low, high = (_two_digits(value / length) for value in seconds)
    return f"{high} {unit}" if low == high else f"{low} to {high} {unit}"


def _two_digits(value: float) -> str:
    rounded = float(f"{value:.2g}")
    return f"{rounded:.0f}" if rounded >= 10 else f"{rounded:g}"
