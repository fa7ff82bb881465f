"""The details that `status` shows of one search: walkers, moves, failures, speed, remaining work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.columns import Columns
from rich.console import Group
from rich.table import Table

from aiida_fuse2.calculations.conversions import history_rows
from aiida_fuse2.core.answer.second import SECOND
from aiida_fuse2.core.search.evidence import Evidence, evidence_of_rows
from aiida_fuse2.core.search.policy import BANDIT, KINDS, Learned
from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.core.settings import SearchSettings
from aiida_fuse2.query.chain import generation_records
from aiida_fuse2.query.status import HOUR, Progress, duration_text
from aiida_fuse2.report.data import move_counts

from .progress import acceptance_text, best_text, speed_text, targets_text
from .tables import coloured, counts_text, plain_table, spacegroup_text


@dataclass(frozen=True, kw_only=True)
class WalkerNow:
    """The current state of one walker.

    Attributes:
        walker: index of the walker.
        energy: energy of its current structure, eV/atom, or None before it has one.
        spacegroup: space group of this structure at the loose tolerance, or None.
        spacegroup_symbol: its symbol, or empty.
        temperature: eV/atom.
        stale: structures since its last downhill step.
        is_melted: whether ``stale`` has passed the melting threshold.
        accepted: steps accepted.
        rejected: steps rejected.
    """

    walker: int
    energy: float | None
    spacegroup: int | None
    spacegroup_symbol: str
    temperature: float
    stale: int
    is_melted: bool
    accepted: int
    rejected: int


@dataclass(frozen=True, kw_only=True)
class Details:
    """The details of one search besides its progress.

    Attributes:
        walkers: current state of the walkers.
        moves: rows of ``report.data.move_counts``.
        per_cpu_hour: structures per hour of CPU time, or None while unknown.
        seconds_left: longest remaining time at the current speed, s, or None if it is not known.
        cpu_seconds_left: CPU time until ``max_structures`` at the cost of the earlier structures, s, or None.
        evidence: what the search says about what it has not found, or None before its first state.
        phase: lowest phase of the newest answer, a row of ``query.finishes.phases``; None if there is no answer.
    """

    walkers: tuple[WalkerNow, ...]
    moves: tuple[dict[str, Any], ...]
    per_cpu_hour: float | None
    seconds_left: float | None
    cpu_seconds_left: float | None
    evidence: Evidence | None = None
    phase: Mapping[str, Any] | None = None

    def values(self, state: SearchState | None) -> dict[str, Any]:
        """Return plain values for scripts."""
        own = asdict(self)
        del own["phase"]  # in the values of the row of the table
        return {
            "failures": {} if state is None else state.failures,
            "restarts": {} if state is None else state.restarts,
            "learned": {} if state is None else state.learned.to_dict()["arms"],
            "targets": {} if state is None else {name: asdict(found) for name, found in state.targets.items()},
            **own,
            "evidence": None if self.evidence is None else self.evidence.values(),
        }


def details(reached: Progress, settings: SearchSettings, phase: Mapping[str, Any] | None = None) -> Details:
    """Return the details of a search, from projections of its nodes only.

    Args:
        reached: progress of the search.
        settings: settings of the search.
        phase: lowest phase of its newest answer, if there is one.
    """
    state = reached.state
    if state is None:
        return Details(walkers=(), moves=(), per_cpu_hour=None, seconds_left=None, cpu_seconds_left=None)
    seconds = state.cpu_seconds / state.tried if state.tried else 0.0
    left = 0 if reached.is_terminated else max(settings.max_structures - state.tried, 0)
    rows = history_rows(record.columns for record in generation_records(reached.pk))
    return Details(
        walkers=tuple(_walkers(rows, state, settings)),
        moves=tuple(move_counts(rows)),
        per_cpu_hour=HOUR / seconds if seconds else None,
        seconds_left=reached.seconds_left(settings),
        cpu_seconds_left=left * seconds if seconds and left else None,
        evidence=evidence_of_rows(rows, settings),
        phase=phase,
    )


def _walkers(rows: Sequence[Mapping[str, Any]], state: SearchState, settings: SearchSettings) -> list[WalkerNow]:
    groups = {row["label"]: row for row in rows}
    return [
        WalkerNow(
            walker=index,
            energy=walker.energy,
            spacegroup=groups.get(walker.current or "", {}).get("spacegroup_loose"),
            spacegroup_symbol=groups.get(walker.current or "", {}).get("spacegroup_symbol_loose") or "",
            temperature=walker.thermostat.temperature,
            stale=walker.thermostat.stale,
            is_melted=walker.thermostat.is_melted(settings.acceptance),
            accepted=walker.accepted,
            rejected=walker.rejected,
        )
        for index, walker in enumerate(state.walkers)
    ]


# --- texts --------------------------------------------------------------------------------------


def details_view(found: Details, reached: Progress, settings: SearchSettings) -> Group:
    """Return the details of a search for a terminal.

    Args:
        found: details of the search.
        reached: progress of the search.
        settings: settings of the search.
    """
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    for title, value in _facts(found, reached, settings):
        facts.add_row(title, value)
    tables = [walkers_table(found.walkers, settings)] if found.walkers else []
    tables += [moves_table(found.moves)] if found.moves else []
    if settings.policy == BANDIT and reached.state is not None:
        tables.append(learned_table(reached.state.learned))
    return Group(facts, "", Columns(tables, padding=(1, 4)))  # side by side if the terminal is wide


def _facts(found: Details, reached: Progress, settings: SearchSettings) -> list[tuple[str, str]]:
    state = reached.state
    if state is None:
        return [("structures", "none yet")]
    unique = f"{state.tried} of {settings.max_structures} tried, {state.explored} explored, {state.unique} unique"
    facts = [
        ("generation", f"{max(state.generation - 1, 0)}; {state.since_best} structures since the best"),
        ("structures", unique),
        ("best", best_text(reached.best)),
        *([] if found.phase is None else [("best phase", _phase_text(found.phase))]),
        ("accepted", acceptance_text(state)),
        ("failed", counts_text(state.failures)),
        ("begun anew", counts_text(state.restarts)),
        ("speed", _speed(found, reached, settings)),
    ]
    if reached.targets:
        facts.append(("target", targets_text(reached)))
    if found.evidence is not None and found.evidence.tried:
        facts.append(("evidence", found.evidence.text()))
    return facts


def _phase_text(phase: Mapping[str, Any]) -> str:
    """Return energy, space group and structure type of a phase."""
    group = spacegroup_text(phase["spacegroup_symbol"], phase["spacegroup"])
    by = f" ({phase['potential']})" if phase.get(SECOND) and isinstance(phase.get("potential"), str) else ""
    return f"{phase['energy']:.4f} eV/atom{by} {group}, {phase['type']}"


def _speed(found: Details, reached: Progress, settings: SearchSettings) -> str:
    parts = [speed_text(reached, settings)]
    if found.per_cpu_hour is not None:
        parts.append(f"{found.per_cpu_hour:.0f} per CPU hour")
    if found.cpu_seconds_left is not None:
        parts.append(f"{duration_text(found.cpu_seconds_left)} of CPU time until {settings.max_structures}")
    return "; ".join(parts)


def walkers_table(walkers: Sequence[WalkerNow], settings: SearchSettings) -> Table:
    """Return the walkers as a table."""
    numbers = ("T\neV/atom", "since\ndownhill", "accepted", "rejected")
    columns = [("walker", True), ("E\neV/atom", True), ("space group", False), *((title, True) for title in numbers)]
    table = plain_table([*columns, ("", False)], header_style="dim")
    for now in walkers:
        table.add_row(
            str(now.walker),
            "" if now.energy is None else f"{now.energy:.4f}",
            "" if now.energy is None else spacegroup_text(now.spacegroup_symbol, now.spacegroup),
            f"{now.temperature:.3f}",
            f"{now.stale}/{settings.acceptance.melt_threshold}",
            str(now.accepted),
            str(now.rejected),
            coloured(("melted" if now.is_melted else "", "yellow")),
        )
    return table


def learned_table(learned: Learned) -> Table:
    """Return what the policy has learned; older trials count less."""
    columns = (("", False), ("learned", False), ("trials", True), ("successes", True), ("per mean cost", True))
    table = plain_table(columns, header_style="dim")
    for kind in KINDS:
        arms = learned.arms.get(kind, {})
        for position, name in enumerate(sorted(arms, key=lambda name: (len(name), name))):
            arm = arms[name]
            rate = f"{arm.successes / arm.cost:.2f}" if arm.cost else ""
            numbers = (f"{arm.trials:.0f}", f"{arm.successes:.1f}", rate)
            table.add_row(kind if position == 0 else "", name or "pool", *numbers)
    return table


def moves_table(moves: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of the results of each move."""
    numbers = ("trials", "accepted", "", "new lowest", "failed")
    table = plain_table([("move", False), *((title, True) for title in numbers)], header_style="dim")
    for row in moves:
        share = f"{100 * row['accepted'] / row['trials']:.0f} %" if row["trials"] else ""
        numbers = (str(row["trials"]), str(row["accepted"]), share, str(row["best"]), str(row["failed"]))
        table.add_row(str(row["name"]), *numbers)
    return table
