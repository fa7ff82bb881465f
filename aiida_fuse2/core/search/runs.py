"""Several independent runs of one search: the results of each, and which structures are the same.

The paper makes three runs per experiment and reports the lowest (Collins et al., Faraday Discuss. 2024,
DOI 10.1039/D4FD00094C). How far their lowest energies lie apart, and how many of them found the lowest
crystal, shows whether the search was long enough.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiida_fuse2.core.crystal.uniqueness import FINGERPRINT_TOLERANCE, fingerprint_distance

Key = tuple[int, str]
"""A structure of several runs: number of the run and label of its trial."""

BEST_COLUMNS = ("energy", "label", "n_atoms", "z", "spacegroup", "spacegroup_loose", "spacegroup_symbol_loose")
"""Values of the summary about the lowest structure of a run."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The results of one run.

    Attributes:
        run: its number, from 0.
        seed: seed of its random decisions.
        tried: number of relaxations, failed ones included.
        explored: number of relaxations that gave a structure with its energy.
        unique: number of explored structures that are equal to none before them.
        best: row of its lowest structure as ranked (energy in eV/atom), or None if it has none.
        structure_number: number of structures relaxed until that was found.
    """

    run: int
    seed: int
    tried: int = 0
    explored: int = 0
    unique: int = 0
    best: Mapping[str, Any] | None = None
    structure_number: int | None = None


def summarise_runs(
    results: Sequence[RunResult], same: Callable[[int, int], bool], *, window: float
) -> dict[str, Any] | None:
    """Return the results of runs, side by side.

    Args:
        results: results of all runs.
        same: returns whether the lowest structures of two runs, given by numbers, are one crystal.
        window: largest difference of energies of equal structures, eV/atom.

    Returns:
        ``runs``: a row for each, with its lowest structure, ``difference`` (eV/atom above the lowest of all)
        and ``is_lowest_crystal``; ``lowest`` (``run``, ``energy``), ``mean``, ``spread`` (highest less lowest)
        and ``standard_deviation`` (of the sample; None for one run) of the lowest energies, eV/atom; ``hits``:
        runs whose lowest structure is the lowest crystal; ``successful``: runs that found any. None if
        no run has found a structure.
    """
    energies = {result.run: float(result.best["energy"]) for result in results if result.best is not None}
    if not energies:
        return None
    first = min(energies, key=lambda run: (energies[run], run))
    lowest = energies[first]
    hits = {run for run, e in energies.items() if run == first or (e - lowest <= window and same(first, run))}
    return {
        "runs": [_summary_row(result, lowest, hits) for result in results],
        "lowest": {"run": first, "energy": lowest},
        "mean": fmean(energies.values()),
        "spread": max(energies.values()) - lowest,
        "standard_deviation": stdev(energies.values()) if len(energies) > 1 else None,
        "hits": len(hits),
        "successful": len(energies),
    }


def _summary_row(result: RunResult, lowest: float, hits: set[int]) -> dict[str, Any]:
    best = result.best or {}
    return {
        "run": result.run,
        "seed": result.seed,
        "tried": result.tried,
        "explored": result.explored,
        "unique": result.unique,
        **{name: best.get(name) for name in BEST_COLUMNS},
        "structure_number": result.structure_number,
        "difference": best["energy"] - lowest if best else None,
        "is_lowest_crystal": result.run in hits,
    }


@dataclass
class _Crystal:
    """A crystal that one or several runs found; its row is that of lowest energy."""

    key: Key
    row: Mapping[str, Any]
    fingerprint: NDArray[np.float64]
    counts: dict[int, int] = field(default_factory=dict)

    def count(self, run: int, found: int) -> None:
        """Count structures of a run that equal it."""
        self.counts[run] = self.counts.get(run, 0) + found


def merge_ranked(
    ranked: Sequence[Sequence[Mapping[str, Any]]],
    fingerprint: Callable[[Key], NDArray[np.float64]],
    same: Callable[[Key, Key], bool],
    *,
    window: float,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Return the unique structures of several runs, lowest energy first.

    Structures of one run have been compared by that run and are not compared again.

    Args:
        ranked: for each run its unique structures, lowest first; with energy (eV/atom), ``label`` and ``found``.
        fingerprint: returns the fingerprint of a structure, shape (36,).
        same: returns whether two structures are one crystal; called only if energies and fingerprints are close.
        window: largest difference of energies of equal structures, eV/atom.
        limit: number of structures to return; all if None. Structures of too high energy are not compared.

    Returns:
        The row of the lowest of equal structures, with ``rank`` and ``delta`` (eV/atom) among all runs,
        ``run`` (the run that it is from), ``runs`` (that found it), ``found`` (number of times) and ``found_by_run``.
    """
    crystals: list[_Crystal] = []
    for energy, run, label, row in heapq.merge(*(_entries(run, rows) for run, rows in enumerate(ranked))):
        is_full = limit is not None and len(crystals) >= limit
        if is_full and energy - crystals[-1].row["energy"] > window:
            break
        new = _Crystal((run, label), row, fingerprint((run, label)))
        equal = _find_equal(crystals, new, same, window)
        if equal is not None:
            equal.count(run, row["found"])
        elif not is_full:
            new.count(run, row["found"])
            crystals.append(new)
    return [_merged_row(number, crystal, crystals[0]) for number, crystal in enumerate(crystals, start=1)]


def _entries(run: int, rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, int, str, Mapping[str, Any]]]:
    return [(row["energy"], run, row["label"], row) for row in rows]


def _find_equal(
    crystals: Sequence[_Crystal], new: _Crystal, same: Callable[[Key, Key], bool], window: float
) -> _Crystal | None:
    """Return the crystal that a structure equals, or None; the nearest fingerprint is compared first."""
    distances = []
    for crystal in reversed(crystals):  # the nearest in energy are the last
        if new.row["energy"] - crystal.row["energy"] > window:
            break
        distance = float(fingerprint_distance(crystal.fingerprint, new.fingerprint))
        if crystal.key[0] != new.key[0] and distance <= FINGERPRINT_TOLERANCE:
            distances.append((distance, crystal.key, crystal))
    return next((crystal for _, key, crystal in sorted(distances, key=lambda d: d[:2]) if same(key, new.key)), None)


def _merged_row(number: int, crystal: _Crystal, lowest: _Crystal) -> dict[str, Any]:
    return {
        **crystal.row,
        "rank": number,
        "delta": crystal.row["energy"] - lowest.row["energy"],
        "run": crystal.key[0],
        "runs": sorted(crystal.counts),
        "found": sum(crystal.counts.values()),
        "found_by_run": dict(sorted(crystal.counts.items())),
    }
