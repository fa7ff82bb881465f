"""The progress of searches, and of several runs of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiida import orm
from plumpy import ProcessState

from aiida_fuse2.core.search.state import SearchState
from aiida_fuse2.core.settings import SearchSettings
from aiida_fuse2.query.loading import searches_of_runs

from .activity import search_phase
from .links import NEWEST_FIRST
from .loading import TERMINATED
from .stopping import STOP_EXTRA
from .structures import find_structures, given_targets

RATE_WINDOW = 10
"""Number of generations over which the current speed of a search is averaged."""

MINUTE, HOUR, DAY = 60, 3600, 86400
"""Length in seconds."""

STOPPED_EXIT = 700
"""Lowest exit status of searches that were stopped but are usable."""


@dataclass(frozen=True, kw_only=True)
class BestFound:
    """The structure of lowest energy so far.

    Attributes:
        pk: primary key of its StructureData.
        energy: eV/atom.
        symbol: international symbol of its space group at the loose tolerance, or empty.
        number: number of the space group, or None.
        n_atoms: number of atoms of its cell, or None.
        structure_number: number of structures relaxed until it was found.
    """

    pk: int
    energy: float
    symbol: str
    number: int | None
    n_atoms: int | None
    structure_number: int


@dataclass(frozen=True, kw_only=True)
class ProcessProgress:
    """The state of the process of a search, of several runs of one, or of a refinement, in AiiDA.

    Attributes:
        pk: primary key of the process.
        process_state: state of the process in AiiDA: created, running, waiting, finished, excepted or killed.
        is_paused: whether the process is paused.
        is_stopping: whether it was asked to stop, and has not ended.
        exit_status: exit status once it has finished.
        exit_message: exit message once it has finished.
        elapsed: time from its submission until now or until its end, s.
    """

    pk: int
    process_state: str
    is_paused: bool
    is_stopping: bool
    exit_status: int | None
    exit_message: str | None
    elapsed: float

    @property
    def is_terminated(self) -> bool:
        """Whether it has ended, well or badly."""
        return self.process_state in TERMINATED

    @property
    def has_failed(self) -> bool:
        """Whether it has ended without a usable result."""
        finished = self.process_state == ProcessState.FINISHED.value
        usable = finished and (self.exit_status == 0 or (self.exit_status or 0) >= STOPPED_EXIT)
        return self.is_terminated and not usable


@dataclass(frozen=True, kw_only=True)
class Progress(ProcessProgress):
    """The progress of a search.

    Attributes:
        state: state after the last generation, or the one that the search continues from; None before the first.
        best: the structure of lowest energy, or None.
        phase: current phase as text.
        rate: structures per hour, or None while unknown.
        targets: names of its targets; the found ones are in ``state``.
    """

    state: SearchState | None
    best: BestFound | None
    phase: str
    rate: float | None
    targets: tuple[str, ...] = ()

    @property
    def tried(self) -> int:
        """Number of relaxations so far, with failed ones."""
        return 0 if self.state is None else self.state.tried

    def seconds_left(self, settings: SearchSettings) -> float | None:
        """Return the time until one of the limits is reached at the current speed, s."""
        state = self.state
        if self.is_terminated or not self.rate or state is None:
            return None
        left: float = min(settings.max_structures - state.tried, settings.rmax - state.since_best)
        if settings.max_cpu_hours is not None and state.cpu_seconds:
            left = min(left, (3600 * settings.max_cpu_hours - state.cpu_seconds) * state.tried / state.cpu_seconds)
        seconds = 3600 * max(left, 0) / self.rate
        if settings.max_wall_hours is None:
            return seconds
        return min(seconds, max(3600 * settings.max_wall_hours - self.elapsed, 0))


@dataclass(frozen=True, kw_only=True)
class RunsProgress(ProcessProgress):
    """The progress of several runs of a search.

    Attributes:
        n_runs: number of runs in all.
        searches: searches of the runs that have begun, in the order of their numbers.
    """

    n_runs: int
    searches: tuple[Progress, ...]

    @property
    def phase(self) -> str:
        """Current phase of the runs as text."""
        ended = sum(search.is_terminated for search in self.searches)
        return f"{len(self.searches) - ended} of {self.n_runs} runs under way, {ended} ended"

    @property
    def tried(self) -> int:
        """Number of relaxations of all runs, with failed ones."""
        return sum(search.state.tried for search in self.searches if search.state is not None)

    @property
    def best(self) -> BestFound | None:
        """The structure of lowest energy of all runs, or None."""
        return None if self.lowest is None else self.searches[self.lowest].best

    @property
    def rate(self) -> float | None:
        """Structures per hour of the unfinished runs, or None while unknown."""
        rates = [search.rate for search in self.searches if search.rate is not None and not search.is_terminated]
        return sum(rates) if rates else None

    @property
    def lowest(self) -> int | None:
        """Number of the run with the lowest energy, or None."""
        energies = {i: s.best.energy for i, s in enumerate(self.searches) if s.best is not None}
        return min(energies, key=lambda run: (energies[run], run)) if energies else None

    @property
    def energies(self) -> list[float]:
        """The lowest energy of each run that has found a structure, eV/atom."""
        return [search.best.energy for search in self.searches if search.best is not None]


def progress(search: int) -> Progress:
    """Return the progress of a search; a few cheap queries, whatever its length.

    Args:
        search: primary key of the search.

    Raises:
        CyclicSearchError: if it continues from itself.
    """
    process, ctime = process_values(search)
    generations = _last_generations(search)
    start = _start_values(search)
    values = generations[0][1] if generations else start
    state = None if values is None else SearchState.from_dict(values)
    return Progress(
        **process,
        state=state,
        best=None if state is None else _find_best(search, state),
        phase="" if process["process_state"] in TERMINATED else search_phase(search, state),
        rate=_rate(generations, ctime, 0 if start is None else start["tried"]),
        targets=tuple(name for (name,) in given_targets(search)),
    )


def runs_progress(runs: int) -> RunsProgress:
    """Return the progress of several runs of a search.

    Args:
        runs: primary key of the runs.
    """
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": runs}, tag="runs")
    builder.append(orm.Int, with_outgoing="runs", edge_filters={"label": "runs"}, project="attributes.value")
    return RunsProgress(
        **process_values(runs)[0],
        n_runs=builder.first(flat=True),
        searches=tuple(progress(search.pk) for search in searches_of_runs(runs)),
    )


def process_values(pk: int) -> tuple[dict[str, Any], datetime]:
    """Return the values of ``ProcessProgress`` of a process by their names, and when it was made."""
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"id": pk}, project=["attributes", "extras", "ctime", "mtime"])
    attributes, extras, ctime, mtime = builder.first()
    process_state = attributes.get("process_state") or ProcessState.CREATED.value
    has_ended = process_state in TERMINATED
    values = {
        "pk": pk,
        "process_state": process_state,
        "is_paused": bool(attributes.get("paused", False)),
        "is_stopping": bool(extras.get(STOP_EXTRA, False)) and not has_ended,
        "exit_status": attributes.get("exit_status"),
        "exit_message": attributes.get("exit_message") or attributes.get("exception"),
        "elapsed": elapsed(pk, ctime, mtime, has_ended=has_ended),
    }
    return values, ctime


def elapsed(process: int, ctime: datetime, mtime: datetime, *, has_ended: bool) -> float:
    """Return the time that a process has run until now or until its end, s.

    Its last output was made as it ended. Only without outputs is the last change of its node taken as
    the end: a label, or an archive that is imported over it, can change the node later.

    Args:
        process: primary key of a search, runs or a refinement.
        ctime: time when its node was made.
        mtime: time when its node was changed last.
        has_ended: whether it has ended, well or badly.
    """
    if not has_ended:
        return (datetime.now(tz=UTC) - ctime).total_seconds()
    builder = orm.QueryBuilder().append(orm.ProcessNode, filters={"id": process}, tag="process")
    builder.append(orm.Data, with_incoming="process", project="ctime", tag="output").order_by({"output": NEWEST_FIRST})
    return ((builder.limit(1).first(flat=True) or mtime) - ctime).total_seconds()


def duration_text(seconds: float) -> str:
    """Return a time with at most two units: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds / MINUTE:.0f} min"
    if seconds < DAY:
        hours, minutes = divmod(round(seconds / MINUTE), 60)
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(seconds / HOUR), 24)
    return f"{days} d {hours} h"


def present_state(search: int) -> SearchState | None:
    """Return the state after the last generation, or the one that the search continues from; None before either.

    Args:
        search: primary key of the search.
    """
    generations = _last_generations(search)
    values = generations[0][1] if generations else _start_values(search)
    return None if values is None else SearchState.from_dict(values)


def _last_generations(search: int) -> list[tuple[datetime, dict[str, Any]]]:
    """Return when the last generations were decided and the states that followed, the last generation first.

    A step that ran twice gives the same state twice, so the newest is correct whichever branch survives.
    """
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"id": search}, tag="search")
    builder.append(
        orm.CalcFunctionNode,
        with_incoming="search",
        filters={"attributes.process_label": "decide"},
        project="ctime",
        tag="decide",
    )
    edge = {"label": "state"}
    builder.append(orm.Dict, with_incoming="decide", edge_filters=edge, project="attributes", tag="state")
    by_generation = {"attributes.generation": {"order": "desc", "cast": "i"}}
    builder.order_by([{"state": by_generation}, {"decide": NEWEST_FIRST}]).limit(RATE_WINDOW)
    return [(time, values) for time, values in builder.all()]


def _start_values(search: int) -> dict[str, Any] | None:
    """Return the state that a search continues from, changed to fit its settings; None if it began without one."""
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search}, tag="search")
    resume = {"attributes.process_label": "resume"}
    builder.append(orm.CalcFunctionNode, with_incoming="search", filters=resume, tag="resume")
    builder.append(orm.Dict, with_incoming="resume", project="attributes")
    fitted: dict[str, Any] | None = builder.order_by({"resume": NEWEST_FIRST}).first(flat=True)
    if fitted is not None:
        return fitted
    builder = orm.QueryBuilder().append(orm.Dict, project="attributes", tag="state")
    builder.append(orm.WorkChainNode, filters={"id": search}, with_incoming="state", edge_filters={"label": "state"})
    return builder.first(flat=True)


def _rate(generations: Sequence[tuple[datetime, dict[str, Any]]], start: datetime, tried_before: int) -> float | None:
    """Return structures per hour over the last generations."""
    if not generations:
        return None
    time, newest = generations[0]
    earlier, tried = start, tried_before
    if len(generations) == RATE_WINDOW:
        earlier, tried = generations[-1][0], generations[-1][1]["tried"]
    hours = (time - earlier).total_seconds() / 3600
    return (newest["tried"] - tried) / hours if hours > 0 else None


def _find_best(search: int, state: SearchState) -> BestFound | None:
    if state.best is None:
        return None
    uuid = find_structures(search, [state.best.label]).get(state.best.label)
    if uuid is None:
        return None
    builder = orm.QueryBuilder().append(orm.StructureData, filters={"uuid": uuid}, project="id", tag="structure")
    builder.append(orm.ProcessNode, with_outgoing="structure", tag="job")  # a job, or tiers
    row = f"attributes.by_label.{state.best.label}"
    builder.append(orm.Dict, with_incoming="job", edge_filters={"label": "results"}, project=row)
    known: dict[str, Any] = next((found for _, found in builder.all() if found), {})
    return BestFound(
        pk=orm.load_node(uuid).pk,
        energy=state.best.energy,
        symbol=known.get("spacegroup_symbol_loose") or "",
        number=known.get("spacegroup_loose"),
        n_atoms=known.get("n_atoms"),
        structure_number=state.best.structure_number,
    )
