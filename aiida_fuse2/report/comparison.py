"""Several searches side by side, as in tables 1 to 6 of the paper: plain values, no AiiDA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from .data import best_start, is_explored


@dataclass(frozen=True, kw_only=True)
class SearchFigures:
    """The costs and results of one search.

    Attributes:
        pk: primary key of the search or the refinement.
        formula: formula of the composition, reduced.
        starts: generators of its starting structures with their shares, for people.
        potential: potential that gave the energies; energies of different potentials are not compared.
        seed: seed of the search; None for a refinement.
        name: name of the paper's experiment that it was set up as, or empty.
        tiers_before: potentials of the earlier tiers, in their order.
        tried: number of structures, with failed ones.
        cpu_seconds: CPU time of all relaxations, s.
        start_energy: lowest of the initial population, eV/atom, or None.
        energy: lowest of the search, eV/atom, or None.
        steps: structure number and energy (eV/atom) of each new lowest one; a refinement has the order of the
            structures before it.
        kind: ``search`` or ``refinement``.
    """

    pk: int
    formula: str
    starts: str
    potential: str
    seed: int | None
    tried: int
    cpu_seconds: float
    start_energy: float | None
    energy: float | None
    steps: tuple[tuple[int, float], ...]
    tiers_before: tuple[str, ...] = ()
    kind: str = "search"
    name: str = ""

    @property
    def experiment(self) -> str:
        """Name of the group of searches with the same starts and potentials, set up as the same experiment."""
        return ", ".join([self.name or self.starts, *self.tiers_before, self.potential])


@dataclass(frozen=True, kw_only=True)
class ExperimentFigures:
    """The searches of one experiment for one composition.

    Attributes:
        formula: formula of the composition.
        experiment: title of the experiment; see ``titles``.
        starts: generators of the starting structures of the first search.
        searches: primary keys of the searches.
        tried: number of structures of all of them.
        seconds: CPU time per structure, s, or None if none was tried.
        speedup: CPU time per structure of the baseline over that of this experiment (tables 1 and 3), or None.
        energy: lowest of all of them, eV/atom (tables 2 and 4), or None.
        is_lowest: whether no other experiment with this potential went lower by more than the tolerance.
        improvement: mean change from the best of the initial population to the best of the search, meV/atom
            (table 6), or None.
        reached: number of searches that came within the tolerance of the lowest energy of all experiments.
        structures: median number of structures until they reached it, or None.
    """

    formula: str
    experiment: str
    starts: str
    searches: tuple[int, ...]
    tried: int
    seconds: float | None
    speedup: float | None
    energy: float | None
    is_lowest: bool
    improvement: float | None
    reached: int
    structures: float | None


def figures_of_rows(rows: Sequence[Mapping[str, Any]], **identity: Any) -> SearchFigures:
    """Return the figures of a search from the rows of its history.

    Args:
        rows: rows of ``conversions.history_rows``.
        identity: ``pk``, ``formula``, ``starts``, ``potential``, ``seed``, ``kind`` and, if there are some,
            ``tiers_before`` and ``name``.
    """
    steps: list[tuple[int, float]] = []
    for row in rows:
        if is_explored(row) and (not steps or row["energy"] < steps[-1][1]):
            steps.append((int(row["number"]), float(row["energy"])))
    start = best_start(rows)
    return SearchFigures(
        **identity,
        tried=len(rows),
        cpu_seconds=float(sum(row.get("cpu_seconds") or 0.0 for row in rows)),
        start_energy=None if start is None else float(start["energy"]),
        energy=steps[-1][1] if steps else None,
        steps=tuple(steps),
    )


def titles(searches: Sequence[SearchFigures]) -> dict[int, str]:
    """Return the title of the experiment of each search, by the primary key of the search.

    It is the name of the paper's experiment, if all searches of that name for the composition have the same starts and
    potentials; otherwise it is all of these.
    """
    of_name: dict[tuple[str, str], set[str]] = {}
    for search in searches:
        of_name.setdefault((search.formula, search.name), set()).add(f"{search.starts}, {search.experiment}")
    return {
        search.pk: search.name if search.name and len(of_name[search.formula, search.name]) == 1 else search.experiment
        for search in searches
    }


def compare(searches: Sequence[SearchFigures], *, baseline: str, tolerance: float) -> list[ExperimentFigures]:
    """Return the figures of each composition and experiment, in the order in which they are named.

    Args:
        searches: searches to be compared.
        baseline: title of the experiment that speed is compared with.
        tolerance: difference of energies that does not count, eV/atom.
    """
    groups: dict[tuple[str, str], list[SearchFigures]] = {}
    named = titles(searches)
    for search in searches:
        groups.setdefault((search.formula, named[search.pk]), []).append(search)
    order = list(dict.fromkeys(search.formula for search in searches))
    lowest: dict[tuple[str, str], float] = {}
    for search in searches:
        key = (search.formula, search.potential)
        if search.energy is not None:
            lowest[key] = min(lowest.get(key, search.energy), search.energy)
    seconds = {key: _seconds(group) for key, group in groups.items()}
    return [
        _experiment(
            group,
            title=key[1],
            seconds=seconds[key],
            baseline=seconds.get((key[0], baseline)),
            limit=lowest.get((key[0], group[0].potential), 0.0) + tolerance,
        )
        for key, group in sorted(groups.items(), key=lambda item: order.index(item[0][0]))
    ]


def _seconds(group: Sequence[SearchFigures]) -> float | None:
    tried = sum(search.tried for search in group)
    return sum(search.cpu_seconds for search in group) / tried if tried else None


def _experiment(
    group: Sequence[SearchFigures], *, title: str, seconds: float | None, baseline: float | None, limit: float
) -> ExperimentFigures:
    """Return the figures of one experiment; ``limit`` is the energy that counts as the lowest, eV/atom."""
    energies = [search.energy for search in group if search.energy is not None]
    changes = [1000 * (s.energy - s.start_energy) for s in group if s.energy is not None and s.start_energy is not None]
    numbers = [next((n for n, e in search.steps if e <= limit), None) for search in group]
    found = [number for number in numbers if number is not None]
    return ExperimentFigures(
        formula=group[0].formula,
        experiment=title,
        starts=group[0].starts,
        searches=tuple(search.pk for search in group),
        tried=sum(search.tried for search in group),
        seconds=seconds,
        speedup=baseline / seconds if baseline and seconds else None,
        energy=min(energies, default=None),
        is_lowest=bool(energies) and min(energies) <= limit,
        improvement=fmean(changes) if changes else None,
        reached=len(found),
        structures=median(found) if found else None,
    )


def values(searches: Sequence[SearchFigures], table: Sequence[ExperimentFigures]) -> dict[str, Any]:
    """Return a comparison in plain values."""
    return {"experiments": [asdict(row) for row in table], "searches": [asdict(search) for search in searches]}
