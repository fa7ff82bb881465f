"""Evaluation of searches against known space groups and structures: hits among the lowest, and causes of misses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from ase import Atoms

from .csp_entries import Entry
from .results import FoundStructure, SearchRow, SecondOrder
from .search_report import setting_labels, setting_of
from .searches import row_key
from .statistics import Estimate, success_rate

SYMPREC = 0.1
"""Tolerance of the space groups, Å: that of CSPBench."""

TOP = 5
"""Number of the lowest different structures among which a hit counts, besides the lowest alone."""

ANSWER = "answer"
"""End of the label of a setting whose phases, not whose relaxed structures, are judged."""

ALL = "all"
"""Name of all categories together."""


class Cause(StrEnum):
    """Why a search missed: the first that holds."""

    LIMIT = "limit of atoms"
    POTENTIAL = "potential"
    LIBRARY = "library"
    SEARCH = "search"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A search, judged by what is known of its composition.

    Attributes:
        setting: label of the setting.
        key: identifier of the entry.
        composition: its formula as it is written.
        category: its category.
        spacegroup: number of the known space group.
        lowest_spacegroup: number of the space group of the lowest structure; None if there is none.
        lowest_type: structure type of the lowest structure, or empty.
        rank: place of the first of the lowest different structures with the known space group, from 1; None if none of
            those in the row has it.
        above: lowest energy in the known space group above the lowest of all, meV/atom; None if none was found, or
            relaxed with the second potential where that orders.
        has_structure: whether the structure is known.
        matched: place of the first that matches the known structure, from 1; None if none does.
        missed_first: why the lowest is not of the known space group; None if it is.
        missed: why none of the lowest five is; None if one is.
        cpu_seconds: CPU time of the search, s; 0 if the known cell is beyond the limit of atoms.
        distinct: number of different phases among the lowest five structures; None if they were not finished.
        answer_seconds: CPU time of finishing, s; None likewise.
    """

    setting: str
    key: str
    composition: str
    category: str
    spacegroup: int
    lowest_spacegroup: int | None
    lowest_type: str
    rank: int | None
    above: float | None
    has_structure: bool
    matched: int | None
    missed_first: Cause | None
    missed: Cause | None
    cpu_seconds: float
    distinct: int | None
    answer_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class CategoryFigures:
    """Results of the searches of a category with one setting.

    Attributes:
        setting: label of the setting.
        category: its name, or ``all``.
        entries: number of entries that were measured, or are beyond the limit of atoms.
        first: rate of entries whose lowest structure has the known space group.
        top: rate of entries of which one of the lowest five has it.
        structures: number of these entries whose structure is known.
        matched_first: rate of those whose lowest structure matches it; None without such entries.
        matched_top: rate of those of which one of the lowest five matches it.
        missed_first: numbers of misses of the first by cause.
        missed: numbers of misses of the lowest five by cause.
        above: median of how far the known space group lies above the lowest energy, in misses of the lowest five that
            are put down to the potential, meV/atom; None without any.
        cpu_seconds: mean CPU time of a search, s; None if there was none.
        distinct: mean number of different phases among the lowest five structures; None if none were finished.
        answer_seconds: mean CPU time of finishing a search, s; None likewise.
    """

    setting: str
    category: str
    entries: int
    first: Estimate
    top: Estimate
    structures: int
    matched_first: Estimate | None
    matched_top: Estimate | None
    missed_first: Mapping[Cause, int]
    missed: Mapping[Cause, int]
    above: float | None
    cpu_seconds: float | None
    distinct: float | None
    answer_seconds: float | None


@dataclass(frozen=True)
class CspReport:
    """Evaluation of the searches of a file.

    Attributes:
        predictions: each search, judged.
        figures: figures of each setting: of all entries, then by category.
        entries: number of entries.
        potentials: names of the potentials.
    """

    predictions: Sequence[Prediction]
    figures: Sequence[CategoryFigures]
    entries: int
    potentials: Sequence[str]


def report_csp(
    rows: Sequence[SearchRow],
    entries: Sequence[Entry],
    *,
    max_atoms: int,
    seed: int,
    structures: Mapping[str, Atoms] | None = None,
) -> CspReport:
    """Return the evaluation of searches; of rows that measure the same the last counts.

    Args:
        rows: rows of any searches; those of other compositions, limits of atoms and seeds are left out.
        entries: what is known.
        max_atoms: limit of atoms of the searches.
        seed: seed of the searches.
        structures: known structures by key of their entry.
    """
    limits = {entry.unit.formula: entry.limit(max_atoms) for entry in entries}
    described = [row for row in rows if row.lowest or not row.explored]  # rows of earlier versions are not
    chosen = [row for row in described if row.seed == seed and limits.get(row.composition) == row.max_atoms]
    unique = list({row_key(row): row for row in chosen}.values())
    labels = setting_labels(unique)
    by_setting: dict[str, dict[str, SearchRow]] = {label: {} for label in labels.values()}
    for row in unique:
        label = labels[setting_of(row)]
        by_setting[label][row.composition] = row
        if row.answer is not None:
            by_setting.setdefault(f"{label}, {ANSWER}", {})[row.composition] = _of_phases(row, row.answer)
        if row.answer is not None and row.second is not None:
            own = f"{label}, {ANSWER} by {row.second.potential}"
            by_setting.setdefault(own, {})[row.composition] = _of_second(row, row.answer, row.second)
    predictions = [
        _judged(label, entry, own.get(entry.unit.formula), (structures or {}).get(entry.key), max_atoms)
        for label, own in by_setting.items()
        for entry in entries
        if entry.unit.formula in own or entry.atoms > entry.limit(max_atoms)
    ]
    categories = [ALL, *dict.fromkeys(entry.category for entry in entries)]
    figures = [
        _figures(label, category, found)
        for label in by_setting
        for category in categories
        if (found := [p for p in predictions if p.setting == label and category in {ALL, p.category}])
    ]
    names = {row.potential for row in unique} | {_named(row.second) for row in unique if row.second is not None}
    return CspReport(predictions, figures, len(entries), sorted(names))


def _named(second: SecondOrder) -> str:
    """Return the name of a second potential with the version of its package."""
    return " ".join([second.potential, *(v for name, v in second.versions.items() if name != "weights")])


def _of_phases(row: SearchRow, phases: Sequence[FoundStructure]) -> SearchRow:
    """Return a row whose lowest structures are its phases, which join the space groups that were found."""
    groups = dict(row.space_groups)
    for phase in phases:
        number = phase.spacegroup_loose
        groups[number] = min(phase.energy, groups.get(number, phase.energy))
    return row.model_copy(update={"lowest": list(phases), "space_groups": groups})


def _of_second(row: SearchRow, phases: Sequence[FoundStructure], second: SecondOrder) -> SearchRow:
    """Return a row whose lowest structures are its phases under a second potential; as without it if a phase failed.

    Groups that it has no energy of remain as found, with NaN.
    """
    ordered = [
        phase.model_copy(update=relaxed.model_dump())
        for phase, relaxed in zip(phases, second.phases, strict=True)
        if relaxed.energy is not None
    ]
    answer = _of_phases(row, phases)
    seconds = (row.answer_seconds or 0.0) + second.cpu_seconds
    if len(ordered) < len(phases):
        return answer.model_copy(update={"answer_seconds": seconds})
    ordered.sort(key=lambda phase: phase.energy)
    groups = dict.fromkeys(answer.space_groups, np.nan)
    groups |= {phase.spacegroup_loose: phase.energy for phase in reversed(ordered)}
    return answer.model_copy(update={"lowest": ordered, "space_groups": groups, "answer_seconds": seconds})


def _judged(label: str, entry: Entry, row: SearchRow | None, known: Atoms | None, max_atoms: int) -> Prediction:
    """Return an entry with its row, if it is not beyond the limit of atoms."""
    row = None if entry.atoms > entry.limit(max_atoms) else row
    lowest: Sequence[FoundStructure] = () if row is None else row.lowest
    is_answer = any(one.places for one in lowest)
    rank = next((n for n, one in enumerate(lowest, start=1) if one.spacegroup_loose == entry.spacegroup), None)
    best = None if row is None else row.space_groups.get(entry.spacegroup)
    return Prediction(
        setting=label,
        key=entry.key,
        composition=entry.name,
        category=entry.category,
        spacegroup=entry.spacegroup,
        lowest_spacegroup=lowest[0].spacegroup_loose if lowest else None,
        lowest_type=lowest[0].type if lowest else "",
        rank=rank,
        above=None if best is None or np.isnan(best) or not lowest else round(1000 * (best - lowest[0].energy), 2),
        has_structure=known is not None,
        matched=None if known is None else _match(known, lowest),
        missed_first=None if rank == 1 else _cause(entry, row),
        missed=None if rank is not None and rank <= TOP else _cause(entry, row),
        cpu_seconds=0.0 if row is None else row.cpu_seconds,
        distinct=sum(min(one.places) <= TOP for one in lowest) if is_answer else None,
        answer_seconds=row.answer_seconds if row is not None and is_answer else None,
    )


def _cause(entry: Entry, row: SearchRow | None) -> Cause:
    """Return why a search missed."""
    if row is None:
        return Cause.LIMIT
    if entry.spacegroup in row.space_groups:
        return Cause.POTENTIAL
    if row.prototypes is not None and entry.spacegroup not in row.prototypes:
        return Cause.LIBRARY
    return Cause.SEARCH


def _match(known: Atoms, lowest: Sequence[FoundStructure]) -> int | None:
    """Return the place of the first structure that matches the known one; pymatgen's matcher with its defaults."""
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.io.ase import AseAtomsAdaptor

    matcher, target = StructureMatcher(), AseAtomsAdaptor.get_structure(known)
    found = (n for n, one in enumerate(lowest, 1) if matcher.fit(target, AseAtomsAdaptor.get_structure(one.atoms())))
    return next(found, None)


def _rate(places: Sequence[int | None], most: int) -> Estimate:
    """Return the rate of places up to a largest one."""
    return success_rate(sum(place is not None and place <= most for place in places), len(places))


def _figures(label: str, category: str, found: Sequence[Prediction]) -> CategoryFigures:
    ranks = [p.rank for p in found]
    matches = [p.matched for p in found if p.has_structure]
    above = [p.above for p in found if p.missed is Cause.POTENTIAL and p.above is not None]
    seconds = [p.cpu_seconds for p in found if p.missed is not Cause.LIMIT]
    return CategoryFigures(
        setting=label,
        category=category,
        entries=len(found),
        first=_rate(ranks, 1),
        top=_rate(ranks, TOP),
        structures=len(matches),
        matched_first=_rate(matches, 1) if matches else None,
        matched_top=_rate(matches, TOP) if matches else None,
        missed_first=dict(Counter(p.missed_first for p in found if p.missed_first is not None)),
        missed=dict(Counter(p.missed for p in found if p.missed is not None)),
        above=float(np.median(above)) if above else None,
        cpu_seconds=_mean(seconds),
        distinct=_mean([p.distinct for p in found if p.distinct is not None]),
        answer_seconds=_mean([p.answer_seconds for p in found if p.answer_seconds is not None]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
