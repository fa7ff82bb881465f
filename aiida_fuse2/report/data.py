"""The data of a report as plain values, without AiiDA."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
from ase import Atoms

from aiida_fuse2.core.answer.second import Order
from aiida_fuse2.core.moves import find_move, ordered
from aiida_fuse2.core.prototypes.naming import is_known_type
from aiida_fuse2.core.relaxers.failures import CONVERGED, KNOWN
from aiida_fuse2.core.search.acceptance import ACCEPTED
from aiida_fuse2.core.search.refining import REFINED
from aiida_fuse2.core.search.trials import RATTLE

from .patterns import WAVELENGTH, Pattern

INITIAL = "initial population"
RATTLED = "rattled copy"
NEW_START = "new start"

MIN_CORRELATED = 5
"""Smallest number of structures for which a rank correlation is given."""


@dataclass(frozen=True, kw_only=True)
class WalkerTrace:
    """The history of one walker, one value per generation.

    Attributes:
        tried: number of structures that the whole search had tried after the generation.
        energy: energy of the walker's current structure, eV/atom; None before it has one.
        temperature: eV/atom.
    """

    tried: list[int]
    energy: list[float | None]
    temperature: list[float]


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownStructure:
    """A structure that the page draws and offers as CIF.

    Attributes:
        label: label of its trial, or of the phase.
        atoms: relaxed structure; of a phase its conventional cell.
        cif: content of its CIF in P1, or None if it cannot be written as CIF.
        cif_symmetrised: the same with the symmetry of the loose tolerance, or None if that is another crystal.
        file_name: name of the CIF file.
        conventional: conventional cell with the symmetry of the loose tolerance, which is drawn; None if that is
            another crystal, and the relaxed cell is drawn.
        targets: targets that it equals, with name and root-mean-square displacement, Å.
    """

    label: str
    atoms: Atoms
    cif: str | None
    cif_symmetrised: str | None
    file_name: str
    conventional: Atoms | None = None
    targets: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TierFigures:
    """The figures of one tier of relaxation.

    Attributes:
        name: name of the tier.
        entered: number of structures that it was given.
        converged: number of structures that it relaxed.
        cpu_seconds: CPU time of all of them, s.
        energies: energies of each structure that all tiers relaxed, in this tier and in the last one, eV/atom.
    """

    name: str
    entered: int
    converged: int
    cpu_seconds: float
    energies: Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportData:
    """The data of a report.

    Attributes:
        formula: formula of the composition, reduced.
        kind: ``search`` or ``refinement``.
        pk: primary key of the search or the refinement.
        uuid: its UUID.
        status: its status, for people.
        has_failed: whether it ended without a usable result.
        created: time of its submission, ISO 8601.
        elapsed: wall time, s.
        origin: what it began with, for people: starts, seed and largest cell of a search, searches of a refinement.
        settings: its settings.
        tiers: name and settings of each tier of relaxation, in their order.
        software: versions of packages by name.
        rows: rows of ``conversions.history_rows``, one per trial.
        ranked: result of ``query.ranked``, lowest energy first; those compared with a measured pattern have
            ``pattern``, the values of a ``PatternMatch``.
        walkers: history of each walker.
        rejections: numbers of rejected attempts at trials by reason.
        structures: structures that are drawn, by label.
        patterns: patterns of X-ray diffraction.
        radiation: radiation of the patterns, for people.
        tier_figures: figures of each tier, in their order; empty if there is only one.
        targets: known structures, and those that equal them; rows of ``targets.Target``.
        relaxed_to: limits to which the structures were relaxed, as text.
        answer: what gave the answer, for people.
        phases: rows of ``query.finishes.phases``, the answer; empty if there is none. Those that are drawn are among
            ``structures`` by their labels.
        order: order of the phases under two potentials; None if there is one potential.
        conclusion: what was found, how sure that is, and what to do next: heading and text of each.
        learned: what the policy has learned: kind, name, trials, successes and rate of each arm.
    """

    formula: str
    kind: str
    pk: int
    uuid: str
    status: str
    has_failed: bool
    created: str
    elapsed: float
    origin: str
    settings: Mapping[str, Any]
    tiers: Sequence[tuple[str, Mapping[str, Any]]]
    software: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]
    ranked: Sequence[Mapping[str, Any]]
    walkers: Sequence[WalkerTrace]
    rejections: Mapping[str, int] = field(default_factory=dict)
    structures: Mapping[str, ShownStructure] = field(default_factory=dict)
    patterns: Sequence[Pattern] = ()
    radiation: str = WAVELENGTH
    tier_figures: Sequence[TierFigures] = ()
    targets: Sequence[Mapping[str, Any]] = ()
    relaxed_to: str = ""
    answer: str = ""
    phases: Sequence[Mapping[str, Any]] = ()
    order: Order | None = None
    conclusion: Sequence[tuple[str, str]] = ()
    learned: Sequence[tuple[str, str, float, float, float | None]] = ()

    @cached_property
    def explored(self) -> pd.DataFrame:
        """The relaxed structures, one row each, in the order of the trials.

        Columns: ``number`` of the trial, ``generation``, ``walker``, ``energy`` and ``lowest`` until then (eV/atom),
        ``volume`` (Å³/atom), ``group`` (that of its phase, else that at the loose tolerance), ``phase`` (its rank, or
        0), ``accepted``, ``cpu`` of its relaxation and ``cpu_total`` of all trials until then, with failed ones (s).
        """
        total, table, place = 0.0, [], ("number", "generation", "walker", "energy")
        named = {row["rank"]: phase_name(row) for row in self.phases}
        for row in self.rows:
            cpu = row.get("cpu_seconds") or 0.0
            total += cpu
            if is_explored(row):
                phase = row.get("phase") or 0
                group = named.get(phase) or f"{row['spacegroup_symbol_loose'] or '?'} ({row['spacegroup_loose']})"
                volume, is_accepted = row["volume"] / row["n_atoms"], row["outcome"] in ACCEPTED
                lowest = row["best_energy"]
                start = (row[name] for name in place)
                table.append((*start, lowest, volume, group, phase, is_accepted, cpu, total))
        columns = ("lowest", "volume", "group", "phase", "accepted", "cpu", "cpu_total")
        return pd.DataFrame(table, columns=[*place, *columns])


def phase_name(row: Mapping[str, Any]) -> str:
    """Return rank, space group and structure type of a phase of the answer."""
    name = str(row["type"])
    known = f", {name.partition(' (')[0]}" if is_known_type(name) else ""
    return f"{row['rank']}. {row['spacegroup_symbol']}{known}"


def move_name(row: Mapping[str, Any]) -> str:
    """Return the origin of a trial: its move, the source of a new structure without one, or what was refined."""
    if row["origin"] == REFINED:
        return f"refined from {row['parent']}"
    if row["origin"] == RATTLE:
        return RATTLED
    if not row["move"]:
        return f"{NEW_START if row['generation'] else INITIAL} ({row['origin']})"
    name = full_name(row["move"])
    return name if row["origin"] == "move" else f"{name} ({row['origin']})"


def full_name(name: str) -> str:
    """Return a move with its description; only its name if it is not installed."""
    move = find_move(name)
    return name if move is None else move.full_name


def is_explored(row: Mapping[str, Any]) -> bool:
    """Return whether a trial was relaxed and has an energy."""
    return bool(row["status"] == CONVERGED)


def tier_figures(names: Sequence[str], passed: Iterable[Sequence[Mapping[str, Any]]]) -> list[TierFigures]:
    """Return the figures of each tier.

    Args:
        names: names of the tiers, in their order.
        passed: results of the tiers that each trial passed through (``core.tiers.TIERS``).
    """
    rows = [list(row) for row in passed]
    whole = [row for row in rows if len(row) == len(names) and all(tier["status"] == CONVERGED for tier in row)]
    figures = []
    for position, name in enumerate(names):
        own = [row[position] for row in rows if len(row) > position]
        figures.append(
            TierFigures(
                name=name,
                entered=len(own),
                converged=sum(tier["status"] == CONVERGED for tier in own),
                cpu_seconds=float(sum(tier.get("cpu_seconds") or 0.0 for tier in own)),
                energies=[(float(row[position]["energy"]), float(row[-1]["energy"])) for row in whole],
            )
        )
    return figures


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return Spearman's rank correlation of two values per structure; None if it is not defined."""
    from scipy.stats import spearmanr

    if len(pairs) < MIN_CORRELATED:
        return None
    first, second = zip(*pairs, strict=True)
    if len(set(first)) == 1 or len(set(second)) == 1:
        return None
    return float(spearmanr(first, second).statistic)


def ancestors(rows: Sequence[Mapping[str, Any]], label: str) -> list[Mapping[str, Any]]:
    """Return the lineage of a structure from its first ancestor to itself.

    Args:
        rows: rows of the history; the lineage ends at an ancestor that is not among them.
        label: label of the structure's trial.
    """
    by_label = {row["label"]: row for row in rows}
    line = []
    while label in by_label:
        line.append(by_label.pop(label))
        label = line[-1]["parent"]
    return line[::-1]


def best_start(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the structure of lowest energy of the initial population, or None if there is none."""
    start = [row for row in rows if row["generation"] == 0 and is_explored(row)]
    return min(start, key=lambda row: (row["energy"], row["number"]), default=None)


def best_path(data: ReportData) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Return the best structure of the initial population and the best of all; None if there is none."""
    start = best_start(data.rows)
    if start is None or not data.ranked:
        return None
    return start, next(row for row in data.rows if row["label"] == data.ranked[0]["label"])


def walk(rows: Sequence[Mapping[str, Any]], walker: int) -> list[Mapping[str, Any]]:
    """Return the start and the accepted steps of a walker, in their order."""
    return [
        row
        for row in rows
        if row["walker"] == walker and is_explored(row) and (row["outcome"] in ACCEPTED or row["outcome"] == "initial")
    ]


def move_counts(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each move in its order, its name, trials, accepted steps and new lowest energies.

    New starts beside the walk follow, by generator, and rattled copies. Trials that make up the initial population are
    omitted.
    """
    found: dict[str, Counter[str]] = {}
    lowest: float | None = None
    for row in rows:
        is_best = is_explored(row) and bool(lowest is None or row["energy"] < lowest)
        if is_best:
            lowest = row["energy"]
        if not row["generation"]:  # of the initial population, or refined
            continue
        counts = found.setdefault(row["move"] or move_name(row), Counter())
        counts.update(trials=1, accepted=row["outcome"] in ACCEPTED, best=is_best)
        counts.update(failed=not is_explored(row) and row["status"] != KNOWN)
    others = sorted({move_name(row) for row in rows if row["generation"] and not row["move"]})
    return [
        {
            "name": name if name in others else full_name(name),
            **{key: int(found[name][key]) for key in ("trials", "accepted", "best", "failed")},
        }
        for name in [*ordered(set(found) - set(others)), *others]
    ]


def failure_counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the failed relaxations by reason, the most frequent first."""
    counts = Counter(row["status"] for row in rows if row["status"] not in {CONVERGED, KNOWN})
    return dict(counts.most_common())


def labels_to_draw(rows: Sequence[Mapping[str, Any]], ranked: Sequence[Mapping[str, Any]], number: int) -> list[str]:
    """Return the labels of the structures that a page draws.

    The best ones, the best of the initial population, and the ancestors of the best one, of which the last
    ``number`` count.

    Args:
        rows: rows of the history.
        ranked: lowest energy first.
        number: number of best structures, at least 1.
    """
    labels = [row["label"] for row in ranked[:number]]
    start = best_start(rows)
    if start is not None:
        labels.append(start["label"])
    if ranked:
        labels += [row["label"] for row in ancestors(rows, ranked[0]["label"])[-number:]]
    return list(dict.fromkeys(labels))
