"""Searches and several runs of one in the graph: how to find them, and their settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aiida import orm
from aiida.common.exceptions import MultipleObjectsError, NotExistent

from aiida_fuse2.core.errors import Fuse2Error
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.protocols import completed_settings

from .links import NEWEST_FIRST
from .nodes import load_node
from .orphans import ENDED, ORPHAN

PROCESS_TYPE = "aiida.workflows:fuse2.search"

RUNS_PROCESS_TYPE = "aiida.workflows:fuse2.runs"

TERMINATED = ENDED


class NoSearchError(Fuse2Error):
    """The node is no search."""


def load_search(identifier: int | str | None = None, *, expected: str = "a search") -> orm.WorkChainNode:
    """Return a search by primary key or UUID (or its beginning); the newest one of the profile by default.

    Args:
        identifier: primary key or UUID, or None.
        expected: what a message says that the node should have been.

    Raises:
        NoSearchError: if there is no such node, or it is not a search.
    """
    if identifier is None:
        return _newest(PROCESS_TYPE)
    node = load_search_or_runs(identifier, expected=expected)
    if is_runs(node):
        pks = ", ".join(str(search.pk) for search in searches_of_runs(node.pk))
        raise NoSearchError(
            f"node {identifier} is not one search but several runs; name one of them: {pks or 'none yet'}"
        )
    return node


def load_search_or_runs(identifier: int | str | None = None, *, expected: str = "a search") -> orm.WorkChainNode:
    """Return a search, or several runs of one, by primary key or UUID (or its beginning).

    By default the newest of the profile; instead of a search that belongs to runs, the runs.

    Args:
        identifier: primary key or UUID, or None.
        expected: what a message says that the node should have been.

    Raises:
        NoSearchError: if there is no such node, or it is neither.
    """
    if identifier is None:
        newest = _newest(PROCESS_TYPE, RUNS_PROCESS_TYPE)
        caller = newest.caller
        return caller if caller is not None and is_runs(caller) else newest
    text = str(identifier)
    try:
        node = load_node(text)
    except (NotExistent, ValueError) as error:
        raise NoSearchError(f"there is no node {text!r} in this profile") from error
    except MultipleObjectsError as error:
        raise NoSearchError(f"several nodes begin with {text!r}") from error
    if not isinstance(node, orm.WorkChainNode) or node.process_type not in {PROCESS_TYPE, RUNS_PROCESS_TYPE}:
        kind = node.process_label if isinstance(node, orm.ProcessNode) else type(node).__name__
        raise NoSearchError(f"node {text} is not {expected} but a {kind}; `verdi process list -a` lists processes")
    if not _with_settings(node.process_type, pk=node.pk).count():
        raise NoSearchError(
            f"search {text} has no settings in this profile: it was cut off while it was made, "
            "or imported without its inputs"
        )
    return node


def with_callers(process: orm.ProcessNode | None) -> Iterator[orm.ProcessNode]:
    """Yield a process, its caller, the caller of that, and so on; each once, whatever the links are."""
    seen: set[int] = set()
    while process is not None and process.pk not in seen:
        seen.add(process.pk)
        yield process
        process = process.caller


def is_runs(node: orm.WorkChainNode) -> bool:
    """Return whether a node is several runs of a search."""
    return bool(node.process_type == RUNS_PROCESS_TYPE)


def _with_settings(*process_types: str, pk: int | None = None, project: Sequence[str] = ("*",)) -> orm.QueryBuilder:
    """Return a query of searches and runs that have settings, newest first.

    A kill while a search is made leaves a search without inputs, and so does the import of a part of the graph.

    Args:
        process_types: process types of the nodes.
        pk: primary key of one of them.
        project: values that are returned of each.
    """
    filters: dict[str, Any] = {"process_type": {"in": list(process_types)}}
    builder = orm.QueryBuilder()
    builder.append(
        orm.WorkChainNode, filters=filters if pk is None else filters | {"id": pk}, project=list(project), tag="search"
    )
    labels = {"label": {"in": ["settings", "search__settings"]}}
    builder.append(orm.Dict, with_outgoing="search", edge_filters=labels)
    return builder.order_by({"search": NEWEST_FIRST})


def _newest(*process_types: str) -> orm.WorkChainNode:
    found = _with_settings(*process_types).first(flat=True)
    if found is None:
        raise NoSearchError("there is no search in this profile yet; start one with `aiida-fuse2 run`")
    return found


def search_settings(search: orm.WorkChainNode) -> SearchSettings:
    """Return the settings of a search; in one of an earlier version, missing settings have their defaults."""
    return parse_settings(SearchSettings, completed_settings(search.inputs.settings.get_dict()))


def search_settings_of(search: int) -> SearchSettings:
    """As ``search_settings``, by primary key and in one query."""
    builder = orm.QueryBuilder().append(orm.Dict, project="attributes", tag="settings")
    edge = {"label": "settings"}
    builder.append(orm.WorkChainNode, filters={"id": search}, with_incoming="settings", edge_filters=edge)
    return parse_settings(SearchSettings, completed_settings(builder.first(flat=True)))


def runs_settings(runs: orm.WorkChainNode) -> SearchSettings:
    """Return the settings of run 0; run i has that seed plus i."""
    return parse_settings(SearchSettings, completed_settings(runs.inputs.search.settings.get_dict()))


def run_searches(runs: orm.WorkChainNode) -> list[orm.WorkChainNode]:
    """Return the searches of the runs that have begun, in the order of their numbers."""
    return [orm.load_node(search.pk) for search in searches_of_runs(runs.pk)]


def single_searches(node: orm.WorkChainNode) -> list[orm.WorkChainNode]:
    """Return the searches of a node: itself, or those of its runs that have begun."""
    return run_searches(node) if is_runs(node) else [node]


def active_searches(runs: orm.WorkChainNode) -> list[orm.WorkChainNode]:
    """Return the unfinished searches of runs; none for a single search."""
    if not is_runs(runs):
        return []
    return [orm.load_node(search.pk) for search in searches_of_runs(runs.pk) if not search.has_ended]


def listed() -> tuple[list[int], list[int]]:
    """Return the primary keys of the running and of the ended processes, newest first each.

    Several runs of a search count as one, which has ended when all its searches have.
    """
    rows = _with_settings(PROCESS_TYPE, RUNS_PROCESS_TYPE, project=["id", "attributes.process_state"]).all()
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={"process_type": RUNS_PROCESS_TYPE}, project="id", tag="runs")
    builder.append(orm.WorkChainNode, filters={"process_type": PROCESS_TYPE}, with_incoming="runs", project="id")
    runs_of = {search: runs for runs, search in builder.all()}
    active = {runs_of.get(pk, pk) for pk, state in rows if state not in TERMINATED}
    own = [pk for pk, _ in rows if pk not in runs_of]
    return [pk for pk in own if pk in active], [pk for pk in own if pk not in active]


RUN_LINK = "run_"
"""Start of the label of the link to the search of a run; the number of the run follows."""


@dataclass(frozen=True, kw_only=True)
class RunSearch:
    """The search of a run.

    Attributes:
        run: number of the run, from 0.
        pk: primary key of the search.
        has_ended: whether the search has ended, well or badly.
    """

    run: int
    pk: int
    has_ended: bool


def searches_of_runs(runs: int) -> list[RunSearch]:
    """Return the searches that runs have begun, by the number of the run.

    Runs begin in the order of their numbers, so the n-th of this list belongs to run n. A search that a kill has left
    behind while it was made has not begun.

    Args:
        runs: primary key of the runs.
    """
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": runs}, tag="runs")
    builder.append(
        orm.WorkChainNode,
        with_incoming="runs",
        edge_filters={"label": {"like": f"{RUN_LINK}%"}},
        edge_project="label",
        filters={"process_type": PROCESS_TYPE, "attributes": {"has_key": "process_state"}},
        project=["id", "attributes.process_state", "attributes.exception"],
    )
    found = [
        RunSearch(run=int(label.removeprefix(RUN_LINK)), pk=pk, has_ended=state in ENDED)
        for pk, state, exception, label in builder.all()
        if exception != ORPHAN
    ]
    return sorted(found, key=lambda search: search.run)
