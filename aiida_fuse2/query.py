"""Questions to the graph about a search: how far it is, and what it has found.

All of them work while the search runs, after it has ended, and on an imported archive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida import orm
from aiida.common.exceptions import MultipleObjectsError, NotExistent
from numpy.typing import NDArray
from plumpy import ProcessState

from aiida_fuse2.calculations.conversions import history_rows, rank
from aiida_fuse2.core.errors import Fuse2Error, InputError
from aiida_fuse2.core.runs import Key, merge_ranked
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.core.state import SearchState
from aiida_fuse2.core.uniqueness import decode_fingerprint, match_reduced, reduce_structure
from aiida_fuse2.environment import node_identifier
from aiida_fuse2.parsers.relax import EXTRAS_KEY
from aiida_fuse2.workchains.protocols import completed_settings
from aiida_fuse2.workchains.records import (
    GenerationRecord,
    explored_structures,
    find_structures,
    generation_records,
)
from aiida_fuse2.workchains.runs import searches_of_runs
from aiida_fuse2.workchains.search import COMPARABLE, STOP_EXTRA, STOP_NOW
from aiida_fuse2.worker.names import RESULTS_FILE

if TYPE_CHECKING:
    from pymatgen.core import Structure

PROCESS_TYPE = "aiida.workflows:fuse2.search"

RUNS_PROCESS_TYPE = "aiida.workflows:fuse2.runs"

RATE_WINDOW = 10
"""Generations over which the present speed of a search is taken."""

KILL_TIMEOUT = 30
"""How long the daemon may take to kill a job, s."""

MAX_CHILDREN = 40
"""Newest called processes that are looked at to tell what a search is doing."""

TERMINATED = frozenset({ProcessState.FINISHED.value, ProcessState.EXCEPTED.value, ProcessState.KILLED.value})

STOPPED_EXIT = 700
"""Exit statuses from here on belong to searches that were stopped but are usable."""

STEPS = {
    "begin": "starting",
    "propose": "proposing generation {generation}",
    "decide": "deciding on generation {generation}",
    "summarise": "summarising",
}
"""What a search does, by the calcfunction that it called last."""


class NoSearchError(Fuse2Error):
    """A node that was to be a search is none."""


@dataclass(frozen=True, kw_only=True)
class BestFound:
    """The structure of lowest energy so far.

    Attributes:
        pk: of its StructureData.
        energy: eV/atom.
        symbol: international symbol of its space group at the loose tolerance, or empty.
        number: of the space group, or None.
        n_atoms: of its cell, or None.
        structure_number: how many structures had been relaxed when it was found.
    """

    pk: int
    energy: float
    symbol: str
    number: int | None
    n_atoms: int | None
    structure_number: int


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a search is.

    Attributes:
        pk: of the search.
        process_state: of AiiDA: created, running, waiting, finished, excepted or killed.
        is_paused: whether the process is paused.
        is_stopping: whether it was asked to stop.
        exit_status: once it has finished.
        exit_message: once it has finished.
        state: after the last generation, or that which the search goes on from; None before the first has ended.
        best: the structure of lowest energy, or None.
        phase: what the search is doing, for people.
        rate: structures per hour, or None while unknown.
        elapsed: since it was submitted, or until it ended, s.
    """

    pk: int
    process_state: str
    is_paused: bool
    is_stopping: bool
    exit_status: int | None
    exit_message: str | None
    state: SearchState | None
    best: BestFound | None
    phase: str
    rate: float | None
    elapsed: float

    @property
    def is_terminated(self) -> bool:
        """Whether the search has ended, well or badly."""
        return self.process_state in TERMINATED

    @property
    def has_failed(self) -> bool:
        """Whether the search has ended without being usable."""
        finished = self.process_state == ProcessState.FINISHED.value
        usable = finished and (self.exit_status == 0 or (self.exit_status or 0) >= STOPPED_EXIT)
        return self.is_terminated and not usable

    @property
    def tried(self) -> int:
        """Relaxations so far, failed ones included."""
        return 0 if self.state is None else self.state.tried

    def seconds_left(self, settings: SearchSettings) -> float | None:
        """Return the time until one of the limits is reached at the present speed, s."""
        if self.is_terminated or not self.rate or self.state is None:
            return None
        left = min(settings.max_structures - self.state.tried, settings.rmax - self.state.since_best)
        return 3600 * max(left, 0) / self.rate


# --- the search ---------------------------------------------------------------------------------


def load_search(identifier: int | str | None = None) -> orm.WorkChainNode:
    """Return a search by primary key or UUID (or its beginning); the newest one of the profile by default.

    Raises:
        NoSearchError: where there is no such node, or it is not a search.
    """
    if identifier is None:
        return _newest(PROCESS_TYPE)
    node = load_search_or_runs(identifier)
    if is_runs(node):
        pks = ", ".join(str(search.pk) for search in searches_of_runs(node.pk))
        raise NoSearchError(
            f"node {identifier} is not one search but several runs; name one of them: {pks or 'none yet'}"
        )
    return node


def load_search_or_runs(identifier: int | str | None = None) -> orm.WorkChainNode:
    """Return a search, or several runs of one, by primary key or UUID (or its beginning).

    By default the newest of the profile; a search that belongs to runs stands back for these.

    Raises:
        NoSearchError: where there is no such node, or it is neither.
    """
    if identifier is None:
        newest = _newest(PROCESS_TYPE, RUNS_PROCESS_TYPE)
        caller = newest.caller
        return caller if caller is not None and is_runs(caller) else newest
    text = str(identifier)
    try:
        node = orm.load_node(node_identifier(text))
    except (NotExistent, ValueError) as error:
        raise NoSearchError(f"there is no node {text!r} in this profile") from error
    except MultipleObjectsError as error:
        raise NoSearchError(f"several nodes begin with {text!r}") from error
    if not isinstance(node, orm.WorkChainNode) or node.process_type not in {PROCESS_TYPE, RUNS_PROCESS_TYPE}:
        kind = node.process_label if isinstance(node, orm.ProcessNode) else type(node).__name__
        raise NoSearchError(f"node {text} is not a search but a {kind}; `verdi process list -a` lists processes")
    return node


def is_runs(node: orm.WorkChainNode) -> bool:
    """Tell whether a node stands for several runs of a search."""
    return bool(node.process_type == RUNS_PROCESS_TYPE)


def _newest(*process_types: str) -> orm.WorkChainNode:
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"process_type": {"in": list(process_types)}}, tag="search")
    found = builder.order_by({"search": {"id": "desc"}}).first(flat=True)
    if found is None:
        raise NoSearchError("there is no search in this profile yet; start one with `aiida-fuse2 run`")
    return found


def search_settings(search: orm.WorkChainNode) -> SearchSettings:
    """Return the settings of a search; one made by an earlier version takes defaults for what that did not know."""
    return parse_settings(SearchSettings, completed_settings(search.inputs.settings.get_dict()))


def search_settings_of(search: int) -> SearchSettings:
    """As ``search_settings``, by primary key and in one query."""
    builder = orm.QueryBuilder().append(orm.Dict, project="attributes", tag="settings")
    edge = {"label": "settings"}
    builder.append(orm.WorkChainNode, filters={"id": search}, with_incoming="settings", edge_filters=edge)
    return parse_settings(SearchSettings, completed_settings(builder.first(flat=True)))


def listed() -> tuple[list[int], list[int]]:
    """Return the primary keys of what runs and of what has ended, newest first each.

    Of several runs of a search only they themselves, which have ended when all their searches have.
    """
    filters = {"process_type": {"in": [PROCESS_TYPE, RUNS_PROCESS_TYPE]}}
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters=filters, project=["id", "attributes.process_state"], tag="node")
    rows = builder.order_by({"node": {"id": "desc"}}).all()
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"process_type": RUNS_PROCESS_TYPE}, project="id", tag="runs")
    builder.append(orm.WorkChainNode, with_incoming="runs", project="id")
    runs_of = {search: runs for runs, search in builder.all()}
    active = {runs_of.get(pk, pk) for pk, state in rows if state not in TERMINATED}
    own = [pk for pk, _ in rows if pk not in runs_of]
    return [pk for pk in own if pk in active], [pk for pk in own if pk not in active]


def ask_to_stop(search: orm.WorkChainNode, *, now: bool = False) -> None:
    """Ask a search to end after its present generation, or at once and without it.

    Its running jobs go on until they are killed (``kill_jobs``). Of runs, all that are under way are asked,
    and no other one begins.
    """
    request = STOP_NOW if now else True
    search.base.extras.set(STOP_EXTRA, request)  # first: a search that begins now is asked by its runs
    for active in active_searches(search):
        active.base.extras.set(STOP_EXTRA, request)


def active_searches(runs: orm.WorkChainNode) -> list[orm.WorkChainNode]:
    """Return the searches of runs that are under way; none for a single search."""
    if not is_runs(runs):
        return []
    return [orm.load_node(search.pk) for search in searches_of_runs(runs.pk) if not search.has_ended]


def kill_jobs(search: orm.WorkChainNode) -> int:
    """Kill the jobs that a search waits for, or all searches of runs, and return their number.

    A search that was asked to stop now then ends; another one submits them again.
    """
    from aiida.engine.processes.control import kill_processes

    searches = [search.pk, *(active.pk for active in active_searches(search))]
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": {"in": searches}}, tag="search")
    running = {"attributes.process_state": {"!in": sorted(TERMINATED)}}
    builder.append(orm.CalcJobNode, with_incoming="search", filters=running)
    jobs = builder.all(flat=True)
    if jobs:
        kill_processes(jobs, msg_text="the search was asked to stop at once", timeout=KILL_TIMEOUT)
    return len(jobs)


# --- progress -----------------------------------------------------------------------------------


def progress(search: int) -> Progress:
    """Return how far a search is; a few cheap queries, whatever its length.

    Args:
        search: primary key of the search.
    """
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"id": search}, project=["attributes", "extras", "ctime", "mtime"])
    attributes, extras, ctime, mtime = builder.first()
    process_state = attributes.get("process_state") or ProcessState.CREATED.value
    end = mtime if process_state in TERMINATED else datetime.now(tz=UTC)
    generations = _last_generations(search)
    start = _start_values(search)
    values = generations[0][1] if generations else start
    state = None if values is None else SearchState.from_dict(values)
    return Progress(
        pk=search,
        process_state=process_state,
        is_paused=bool(attributes.get("paused", False)),
        is_stopping=bool(extras.get(STOP_EXTRA, False)),
        exit_status=attributes.get("exit_status"),
        exit_message=attributes.get("exit_message") or attributes.get("exception"),
        state=state,
        best=None if state is None else _find_best(search, state),
        phase="" if process_state in TERMINATED else _phase(search, state),
        rate=_rate(generations, ctime, 0 if start is None else start["tried"]),
        elapsed=(end - ctime).total_seconds(),
    )


def _last_generations(search: int) -> list[tuple[datetime, dict[str, Any]]]:
    """Return when the last generations were decided and the states that followed, newest first.

    A step that ran twice gives the same state twice, so the newest is right whichever branch survives.
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
    builder.append(orm.Dict, with_incoming="decide", edge_filters={"label": "state"}, project="attributes")
    builder.order_by({"decide": {"id": "desc"}}).limit(RATE_WINDOW)
    return [(time, values) for time, values in builder.all()]


def _start_values(search: int) -> dict[str, Any] | None:
    """Return the state that a search goes on from, or None where it began anew."""
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
    builder = orm.QueryBuilder().append(orm.StructureData, filters={"uuid": uuid}, project=["id", "extras"])
    pk, extras = builder.first()
    known = extras.get(EXTRAS_KEY, {})
    return BestFound(
        pk=pk,
        energy=state.best.energy,
        symbol=known.get("spacegroup_symbol_loose") or "",
        number=known.get("spacegroup_loose"),
        n_atoms=known.get("n_atoms"),
        structure_number=state.best.structure_number,
    )


def _phase(search: int, state: SearchState | None) -> str:
    """Return what a search is doing, from the processes that it called last."""
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"id": search}, tag="search")
    builder.append(orm.ProcessNode, with_incoming="search", project="attributes", edge_project="label", tag="child")
    builder.order_by({"child": {"id": "desc"}}).limit(MAX_CHILDREN)
    children = builder.all()
    if not children:
        return "starting"
    attributes, label = children[0]
    generation = 0 if state is None else state.generation
    if label.startswith("pool_"):
        return "filling the pool " + _jobs_text([attributes])
    if label.startswith("relax_"):
        step = label.rpartition("_")[0]
        jobs = [values for values, name in children if name.rpartition("_")[0] == step]
        return f"relaxing generation {int(step.rpartition('_')[2])} {_jobs_text(jobs)}"
    return STEPS.get(attributes.get("process_label", ""), "running").format(generation=generation)


def _jobs_text(jobs: Sequence[dict[str, Any]]) -> str:
    """Return the states of jobs, and how much the running ones have done where their files are on this machine."""
    states = Counter(_job_state(attributes) for attributes in jobs)
    shown = ", ".join(f"{number} {state}" if len(jobs) > 1 else state for state, number in sorted(states.items()))
    done = sum(_lines_written(attributes.get("remote_workdir")) for attributes in jobs)
    relaxed = f"{done} relaxed; " if done else ""
    return f"({relaxed}job{'s' if len(jobs) > 1 else ''}: {shown})"


def _job_state(attributes: dict[str, Any]) -> str:
    if attributes.get("paused"):
        return "paused"
    if attributes.get("process_state") in TERMINATED:
        return "ended"
    if attributes.get("state") == "withscheduler":
        return attributes.get("scheduler_state") or "submitted"
    return attributes.get("state") or "waiting"


def _lines_written(folder: str | None) -> int:
    """Return how many results a job has written, or 0 where its folder is on another machine."""
    if folder is None:
        return 0
    try:
        return (Path(folder) / RESULTS_FILE).read_bytes().count(b"\n")
    except OSError:
        return 0


# --- what was found -----------------------------------------------------------------------------


def ranked(search: orm.WorkChainNode) -> list[dict[str, Any]]:
    """Return the unique explored structures of a search, lowest energy first.

    Args:
        search: running or ended.

    Returns:
        The rows of ``conversions.rank`` with the primary key (``pk``) and ``uuid`` of each structure.
    """
    rows = rank(history_rows(record.columns for record in generation_records(search.pk)), search_settings(search).unit)
    known = explored_structures(search.pk)
    return [{**row, **known.get(row["label"], {"pk": None, "uuid": None})} for row in rows]


# --- several runs -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RunsProgress:
    """How far several runs of a search are.

    Attributes:
        pk: of the runs.
        n_runs: how many there are to be.
        process_state: of AiiDA: created, running, waiting, finished, excepted or killed.
        is_paused: whether their process is paused.
        is_stopping: whether they were asked to stop.
        exit_status: once they have finished.
        exit_message: once they have finished.
        searches: of the runs that have begun, in the order of their numbers.
        elapsed: since they were submitted, or until they ended, s.
    """

    pk: int
    n_runs: int
    process_state: str
    is_paused: bool
    is_stopping: bool
    exit_status: int | None
    exit_message: str | None
    searches: tuple[Progress, ...]
    elapsed: float

    @property
    def is_terminated(self) -> bool:
        """Whether the runs have ended, well or badly."""
        return self.process_state in TERMINATED

    @property
    def has_failed(self) -> bool:
        """Whether the runs have ended without being usable."""
        finished = self.process_state == ProcessState.FINISHED.value
        usable = finished and (self.exit_status == 0 or (self.exit_status or 0) >= STOPPED_EXIT)
        return self.is_terminated and not usable

    @property
    def phase(self) -> str:
        """What the runs are doing, for people."""
        ended = sum(search.is_terminated for search in self.searches)
        return f"{len(self.searches) - ended} of {self.n_runs} runs under way, {ended} ended"

    @property
    def tried(self) -> int:
        """Relaxations of all runs, failed ones included."""
        return sum(search.state.tried for search in self.searches if search.state is not None)

    @property
    def best(self) -> BestFound | None:
        """The structure of lowest energy of all runs, or None."""
        return None if self.lowest is None else self.searches[self.lowest].best

    @property
    def rate(self) -> float | None:
        """Structures per hour of the runs that are under way, or None while unknown."""
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


def runs_progress(runs: int) -> RunsProgress:
    """Return how far several runs of a search are.

    Args:
        runs: primary key of the runs.
    """
    builder = orm.QueryBuilder()
    builder.append(
        orm.WorkChainNode, filters={"id": runs}, project=["attributes", "extras", "ctime", "mtime"], tag="runs"
    )
    builder.append(orm.Int, with_outgoing="runs", edge_filters={"label": "runs"}, project="attributes.value")
    attributes, extras, ctime, mtime, n_runs = builder.first()
    process_state = attributes.get("process_state") or ProcessState.CREATED.value
    end = mtime if process_state in TERMINATED else datetime.now(tz=UTC)
    return RunsProgress(
        pk=runs,
        n_runs=n_runs,
        process_state=process_state,
        is_paused=bool(attributes.get("paused", False)),
        is_stopping=bool(extras.get(STOP_EXTRA, False)),
        exit_status=attributes.get("exit_status"),
        exit_message=attributes.get("exit_message") or attributes.get("exception"),
        searches=tuple(progress(search.pk) for search in searches_of_runs(runs)),
        elapsed=(end - ctime).total_seconds(),
    )


def runs_settings(runs: orm.WorkChainNode) -> SearchSettings:
    """Return the settings of run 0; run i has that seed plus i."""
    return parse_settings(SearchSettings, completed_settings(runs.inputs.search.settings.get_dict()))


def run_searches(runs: orm.WorkChainNode) -> list[orm.WorkChainNode]:
    """Return the searches of the runs that have begun, in the order of their numbers."""
    return [orm.load_node(search.pk) for search in searches_of_runs(runs.pk)]


def combined(searches: Sequence[orm.WorkChainNode], n: int | None = None) -> list[dict[str, Any]]:
    """Return the unique explored structures of several searches, lowest energy first.

    Structures of two searches are equal where their energies lie within the energy window of the first search
    and its matcher says so. Only structures that have to be compared are loaded.

    Args:
        searches: running or ended, for one composition and with one potential.
        n: how many structures to return; all where None.

    Returns:
        The rows of ``ranked``; see ``core.runs.merge_ranked`` for what each has about the runs that found it. A run
        is the place of a search in ``searches``.

    Raises:
        InputError: where the energies of the searches cannot be compared.
    """
    if not searches:
        return []
    settings = _comparable_settings(searches)
    records = [generation_records(search.pk) for search in searches]
    known = [explored_structures(search.pk) for search in searches]
    rows = merge_ranked(
        [rank(history_rows(record.columns for record in chain), settings.unit) for chain in records],
        _fingerprints(records),
        _comparison(known, settings.uniqueness.stol),
        window=settings.uniqueness.energy_window,
        limit=n,
    )
    return [{**row, **known[row["run"]].get(row["label"], {"pk": None, "uuid": None})} for row in rows]


def _comparable_settings(searches: Sequence[orm.WorkChainNode]) -> SearchSettings:
    """Return the settings of the first search, if the energies of the others can be compared with its."""
    settings, relax = search_settings(searches[0]), searches[0].inputs.relax.settings.get_dict()
    for search in searches[1:]:
        formula, tier = search_settings(search).unit.formula, search.inputs.relax.settings.get_dict()
        if formula != settings.unit.formula:
            raise InputError("composition", formula, f"search {searches[0].pk} is one for {settings.unit.formula}")
        for name in COMPARABLE:
            if tier.get(name) != relax.get(name):
                expected = f"search {searches[0].pk} has {relax.get(name)!r}: energies cannot be compared"
                raise InputError(f"relax.settings.{name}", tier.get(name), expected)
    return settings


def _fingerprints(records: Sequence[Sequence[GenerationRecord]]) -> Callable[[Key], NDArray[Any]]:
    """Return what reads the fingerprint of a structure from the records of its run."""
    texts = [
        dict(
            pair
            for record in chain
            for pair in zip(record.columns["label"], record.columns["fingerprint"], strict=True)
        )
        for chain in records
    ]
    return lambda key: decode_fingerprint(texts[key[0]][key[1]])


def _comparison(known: Sequence[dict[str, dict[str, Any]]], stol: float) -> Callable[[Key, Key], bool]:
    """Return what compares two structures of runs; each is loaded and reduced once."""

    @cache
    def reduced(key: Key) -> Structure:
        return reduce_structure(orm.load_node(known[key[0]][key[1]]["pk"]).get_ase())

    def same(a: Key, b: Key) -> bool:
        if not all(label in known[run] for run, label in (a, b)):
            return False  # left out of an imported archive
        return match_reduced(reduced(a), reduced(b), stol=stol)

    return same
