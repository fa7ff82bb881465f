"""The course of a search under a budget of CPU time: its lowest energies, and what it found in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from aiida_fuse2.core.relaxers import RelaxedStructure
from aiida_fuse2.core.relaxers.failures import CONVERGED
from aiida_fuse2.core.search.trials import TrialInfo
from aiida_fuse2.worker.processes import cpu_seconds

from .lowest import Found
from .results import BestStructure, Improvement

TARGET_TOLERANCE = 0.001
"""A search has reached its target if its lowest energy is at most this far above it, eV/atom."""

IMPROVEMENT = 1e-6
"""Least energy difference that counts as an improvement, eV/atom: the digits in the results."""


def reached_at(course: Sequence[Improvement], target: float | None, budget: float) -> Improvement | None:
    """Return when a search first reached its target, or None if it did not within its budget.

    Args:
        course: each new lowest energy.
        target: eV/atom, or None if it has none.
        budget: CPU time, s.
    """
    if target is None:
        return None
    return next((i for i in course if i.energy <= target + TARGET_TOLERANCE and i.cpu_seconds <= budget), None)


class Course:
    """Counts the structures of a search, and keeps each new lowest energy and what was found in time.

    Attributes:
        started: reading of the CPU clock when the search began, s.
        found: structures whose relaxation ended within the budget.
    """

    def __init__(self, budget: float) -> None:
        self.started = cpu_seconds()
        self.budget = budget
        self.found: list[Found] = []
        self.tried = self.evaluations = 0
        self.failures: Counter[str] = Counter()
        self.improvements: list[Improvement] = []
        self.best: BestStructure | None = None

    @property
    def seconds(self) -> float:
        """CPU time since the search began, s."""
        return cpu_seconds() - self.started

    def observe(self, info: TrialInfo, result: RelaxedStructure) -> None:
        """Count a relaxed structure."""
        self.tried += 1
        self.evaluations += result.values["evaluations"]
        if result.status != CONVERGED:
            self.failures[result.status] += 1
            return
        if self.seconds <= self.budget:
            self.found.append(Found(info, result))
        energy = float(result.values["energy"])
        if self.best is not None and energy > self.best.energy - IMPROVEMENT:
            return
        self.best = BestStructure(
            energy=round(energy, 6),
            n_atoms=result.values["n_atoms"],
            spacegroup=result.values["spacegroup_symbol"],
            spacegroup_loose=result.values["spacegroup_symbol_loose"],
            move=info.move,
            origin=info.origin,
        )
        self.improvements.append(
            Improvement(
                cpu_seconds=round(self.seconds, 2),
                structures=self.tried,
                energy=self.best.energy,
                spacegroup=self.best.spacegroup_loose,
            )
        )
