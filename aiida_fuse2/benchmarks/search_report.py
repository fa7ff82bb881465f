"""Evaluation of rows of searches: energies against targets, time to target, rates of success."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .course import reached_at
from .results import Improvement, SearchRow
from .searches import row_key
from .statistics import Estimate, success_rate
from .survival import SurvivalFigures, compare_settings, searched

Place = tuple[str, int]
"""Composition and largest number of atoms."""

Setting = tuple[str, str, str, float, str]
"""Starts, protocol, overrides as JSON, budget in CPU seconds, and library of prototypes."""

TargetOf = Callable[[SearchRow], float | None]
"""Function that returns the target of a search, eV/atom."""


def own_target(row: SearchRow) -> float | None:
    """Return the target that a search was made with, eV/atom."""
    return row.target


@dataclass(frozen=True, kw_only=True)
class SearchFigures:
    """The results of searches for a composition with one setting.

    Attributes:
        composition: formula.
        max_atoms: largest number of atoms of a structure.
        setting: label of the setting.
        seeds: number of searches.
        target: eV/atom, or None.
        best: lowest energy of all, eV/atom; None if nothing was found.
        spacegroup: space group of that structure, at the loose tolerance.
        above_target: lowest energy minus the target, meV/atom.
        median_above_target: median over the searches, meV/atom.
        structures: median number of relaxations.
        success: rate of searches that reached the target; None without a target.
        successes: number of these searches.
        seconds_to_target: median CPU time of these searches until the target, s.
        structures_to_target: median number of structures of these searches until the target.
    """

    composition: str
    max_atoms: int
    setting: str
    seeds: int
    target: float | None
    best: float | None
    spacegroup: str | None
    above_target: float | None
    median_above_target: float | None
    structures: float
    success: Estimate | None
    successes: int
    seconds_to_target: float | None
    structures_to_target: float | None


@dataclass(frozen=True, kw_only=True)
class SettingFigures:
    """The results of a setting for all compositions that have a target.

    Attributes:
        setting: label of the setting.
        compositions: number of compositions with a target.
        compositions_reached: number of compositions whose target at least one search reached.
        searches: number of searches.
        success: rate of searches that reached their target.
        successes: number of these searches.
    """

    setting: str
    compositions: int
    compositions_reached: int
    searches: int
    success: Estimate
    successes: int


@dataclass(frozen=True, kw_only=True)
class SearchReport:
    """Figures of all searches of a file.

    Attributes:
        rows: searches by composition and largest number of atoms, then by label of the setting.
        figures: figures of each composition and setting.
        settings: figures of each setting.
        survival: CPU time to the targets of compositions that were searched with several settings.
        compositions: number of compositions with a target.
        reached: compositions whose target at least one search of any setting reached.
    """

    rows: Mapping[Place, Mapping[str, Sequence[SearchRow]]]
    figures: Sequence[SearchFigures]
    settings: Sequence[SettingFigures]
    survival: Sequence[SurvivalFigures]
    compositions: int
    reached: Sequence[str]


def setting_of(row: SearchRow) -> Setting:
    """Return the setting of a search."""
    return row.generator, row.protocol, row.overrides, row.budget, row.library


def setting_labels(rows: Sequence[SearchRow]) -> dict[Setting, str]:
    """Return a label for each setting: its generator, and the values that differ between settings."""
    settings = sorted({setting_of(row) for row in rows})
    varied = [len({setting[k] for setting in settings}) > 1 for k in range(4)]
    libraries = {setting[4] for setting in settings if setting[4]}
    overrides = {setting: dict(_flat(json.loads(setting[2]))) for setting in settings}
    labels = {}
    for setting in settings:
        generator, protocol, _, budget, library = setting
        parts = [generator]
        if varied[1]:
            parts.append(protocol)
        if varied[2]:
            own = overrides[setting]
            differing = [k for k in own if any(k not in o or o[k] != own[k] for o in overrides.values())]
            parts += [f"{key}={own[key]}" for key in differing] or ["as the protocol"]
        if varied[3]:
            parts.append(f"{budget:g} s")
        if len(libraries) > 1 and library:
            parts.append(library)
        labels[setting] = ", ".join(parts)
    return labels


def _flat(overrides: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield overrides as ``pool.size`` with their values; the outermost names are omitted."""
    for key, value in overrides.items():
        name = f"{before}.{key}" if before else key
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield name.removeprefix("relax.").removeprefix("settings."), value


def report_searches(rows: Sequence[SearchRow], target_of: TargetOf = own_target) -> SearchReport:
    """Return the evaluation of searches; if a search has several rows the last counts.

    Args:
        rows: rows of any searches.
        target_of: function that returns the target of a search.
    """
    unique = list({row_key(row): row for row in rows}.values())
    labels = setting_labels(unique)
    grouped: dict[Place, dict[str, list[SearchRow]]] = {(row.composition, row.max_atoms): {} for row in unique}
    for row in sorted(unique, key=setting_of):
        place = (row.composition, row.max_atoms)
        grouped[place].setdefault(labels[setting_of(row)], []).append(row)
    figures = [_figures(place, label, found, target_of) for place, by in grouped.items() for label, found in by.items()]
    settings = [s for label in labels.values() if (s := _setting_figures(label, figures)) is not None]
    aimed = {(f.composition, f.max_atoms) for f in figures if f.target is not None}
    reached = {(f.composition, f.max_atoms) for f in figures if f.successes}
    return SearchReport(
        rows=grouped,
        figures=figures,
        settings=settings,
        survival=_survival(grouped, target_of),
        compositions=len(aimed),
        reached=[place[0] for place in grouped if place in reached],
    )


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def best_within(row: SearchRow) -> Improvement | None:
    """Return the lowest energy that a search had found at the end of its budget."""
    return next((i for i in reversed(row.course) if i.cpu_seconds <= row.budget), None)


def _figures(place: Place, label: str, rows: Sequence[SearchRow], target_of: TargetOf) -> SearchFigures:
    target = target_of(rows[0])
    found = [improvement for row in rows if (improvement := best_within(row)) is not None]
    best = min(found, key=lambda improvement: improvement.energy, default=None)
    hits = [hit for row in rows if (hit := reached_at(row.course, target, row.budget)) is not None]
    above = [1000 * (improvement.energy - target) for improvement in found] if target is not None else []
    return SearchFigures(
        composition=place[0],
        max_atoms=place[1],
        setting=label,
        seeds=len(rows),
        target=target,
        best=best.energy if best is not None else None,
        spacegroup=best.spacegroup if best is not None else None,
        above_target=min(above, default=None),
        median_above_target=_median(above),
        structures=float(np.median([row.structures for row in rows])),
        success=success_rate(len(hits), len(rows)) if target is not None else None,
        successes=len(hits),
        seconds_to_target=_median([hit.cpu_seconds for hit in hits]),
        structures_to_target=_median([hit.structures for hit in hits]),
    )


def _survival(rows: Mapping[Place, Mapping[str, Sequence[SearchRow]]], target_of: TargetOf) -> list[SurvivalFigures]:
    groups = {}
    for place, by in rows.items():
        target = target_of(next(iter(by.values()))[0])
        if target is not None:
            groups[place] = {label: [searched(row, target) for row in own] for label, own in by.items()}
    return compare_settings(groups)


def _setting_figures(label: str, figures: Sequence[SearchFigures]) -> SettingFigures | None:
    own = [f for f in figures if f.setting == label and f.target is not None]
    if not own:
        return None
    searches, successes = sum(f.seeds for f in own), sum(f.successes for f in own)
    return SettingFigures(
        setting=label,
        compositions=len(own),
        compositions_reached=sum(f.successes > 0 for f in own),
        searches=searches,
        success=success_rate(successes, searches),
        successes=successes,
    )
