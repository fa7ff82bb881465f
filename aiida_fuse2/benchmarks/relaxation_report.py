"""Evaluation of rows of relaxations: each method against one of them, on the starts that both have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.relaxers.failures import CONVERGED

from .relaxations import row_key
from .results import RelaxationRow
from .statistics import Estimate, median, ratio_of_rates

HOUR = 3600.0
"""Length in seconds."""

ALL = "all"
"""Name in place of a generator: starts of all generators."""

CLEARLY = 5.0
"""Energies further apart than this belong to different basins, meV/atom."""

Start = tuple[str, int, str, int, int]
"""A start among the results: composition, largest number of atoms, generator, seed, number."""


@dataclass(frozen=True, kw_only=True)
class MethodFigures:
    """The results of a method for starts of one generator, or of all.

    Attributes:
        method: name of the method.
        generator: generator of the starts, or ``all``.
        potentials: codes that computed it; empty if the rows do not say.
        starts: number of relaxed starts.
        per_cpu_hour: converged structures per CPU-hour.
        ratio: ratio of this rate to that of the method compared with, on the shared starts; None if there are none.
        energy_differences: final energies minus those of the method compared with, if both converged, meV/atom.
        energy_difference: their median, meV/atom.
        evaluations_mean: mean number of evaluations of the potential per start.
        evaluations_max: largest number of evaluations for a start.
        failures: numbers of failures by reason.
        cpu_seconds: CPU time of all its relaxations, s.
    """

    method: str
    generator: str
    potentials: tuple[str, ...]
    starts: int
    per_cpu_hour: float
    ratio: Estimate | None
    energy_differences: tuple[float, ...]
    energy_difference: Estimate | None
    evaluations_mean: float
    evaluations_max: int
    failures: Mapping[str, int]
    cpu_seconds: float

    @property
    def lower(self) -> int:
        """Number of starts that ended clearly lower than with the method compared with."""
        return sum(d < -CLEARLY for d in self.energy_differences)

    @property
    def higher(self) -> int:
        """Number of starts that ended clearly higher."""
        return sum(d > CLEARLY for d in self.energy_differences)


def compare_methods(rows: Sequence[RelaxationRow], against: str, rng: np.random.Generator) -> list[MethodFigures]:
    """Return the figures of each method: for all starts, then for those of each generator.

    Args:
        rows: rows of any methods; if a relaxation has several rows the last counts.
        against: method that the others are compared with.
        rng: random generator of the bootstrap.

    Raises:
        InputError: if that method has no rows.
    """
    by_method: dict[str, dict[Start, RelaxationRow]] = {}
    for row in rows:
        name, *start = row_key(row)
        by_method.setdefault(name, {})[tuple(start)] = row  # type: ignore[index]
    if against not in by_method:
        raise InputError("--against", against, f"has no results in this file; there are {', '.join(by_method)}")
    generators = sorted({row.generator for row in rows})
    figures = []
    for method, found in by_method.items():
        for generator in (ALL, *generators) if len(generators) > 1 else (ALL,):
            chosen = {k: r for k, r in found.items() if generator in {ALL, r.generator}}
            if chosen:
                figures.append(_figures(method, generator, chosen, by_method[against], rng))
    return figures


def _figures(
    method: str,
    generator: str,
    rows: Mapping[Start, RelaxationRow],
    base: Mapping[Start, RelaxationRow],
    rng: np.random.Generator,
) -> MethodFigures:
    seconds = sum(r.cpu_seconds for r in rows.values())
    converged = sum(r.status == CONVERGED for r in rows.values())
    shared = [(row, base[start]) for start, row in rows.items() if start in base]
    ratio = ratio_of_rates(
        np.array([a.status == CONVERGED for a, _ in shared], dtype=bool),
        np.array([a.cpu_seconds for a, _ in shared], dtype=float),
        np.array([b.status == CONVERGED for _, b in shared], dtype=bool),
        np.array([b.cpu_seconds for _, b in shared], dtype=float),
        rng,
    )
    apart = tuple(
        1000 * (a.energy - b.energy)
        for a, b in shared
        if a.status == b.status == CONVERGED and a.energy is not None and b.energy is not None
    )
    return MethodFigures(
        method=method,
        generator=generator,
        potentials=tuple(sorted({r.potential for r in rows.values() if r.potential})),
        starts=len(rows),
        per_cpu_hour=HOUR * converged / seconds if seconds else 0.0,
        ratio=ratio,
        energy_differences=apart,
        energy_difference=median(apart),
        evaluations_mean=float(np.mean([r.evaluations for r in rows.values()])),
        evaluations_max=max(r.evaluations for r in rows.values()),
        failures=dict(Counter(r.status for r in rows.values() if r.status != CONVERGED)),
        cpu_seconds=seconds,
    )
