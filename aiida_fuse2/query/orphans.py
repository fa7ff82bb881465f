"""Unfinished processes that a killed worker of the daemon has left behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiida import orm
from aiida.engine import ProcessState

ORPHAN = "its worker was killed; the step was made again"
"""Text that such a process gets as its exception."""

ENDED = frozenset({ProcessState.FINISHED.value, ProcessState.EXCEPTED.value, ProcessState.KILLED.value})
"""States of processes that have ended."""

UNFINISHED: dict[str, Any] = {"attributes": {"and": [{"!has_key": "sealed"}, {"!has_key": "checkpoints"}]}}
"""Filter of processes that no worker can resume: they have no checkpoint and have not ended."""


OVER: dict[str, Any] = {"or": [{"attributes.process_state": {"in": sorted(ENDED)}}, UNFINISHED]}
"""Filter of processes that will not call others any more: they have ended, or are orphans themselves."""


@dataclass(frozen=True, kw_only=True)
class Orphan:
    """An unfinished process that no worker will end.

    Attributes:
        top: primary key of the process below which it was found.
        top_type: identifier of that process: ``aiida.workflows:...``, or None.
        top_state: state of that process, or None if a kill left it without one.
        pk: primary key of the orphan.
        label: name of its process class, or None.
        state: state of the orphan, or None.
    """

    top: int
    top_type: str | None
    top_state: str | None
    pk: int
    label: str | None
    state: str | None


def orphans_below(filters: Mapping[str, Any]) -> Iterator[Orphan]:
    """Yield the orphans below some processes, the nearest first; two queries for each level.

    The processes below a live one are skipped, since they may be alive, too. Links are followed once,
    wherever they lead: an orphan of several of the processes is reported for the nearest.

    Args:
        filters: filters of the processes on top. These can be alive themselves: see ``seal_orphans``.
    """
    project = ["id", "process_type", "attributes.process_state"]
    rows = orm.QueryBuilder().append(orm.WorkChainNode, filters=dict(filters), project=project).all()
    tops: dict[int, tuple[int, str | None, str | None]] = {pk: (pk, kind, state) for pk, kind, state in rows}
    level = list(tops)
    while level:
        builder = _callers(level)
        project = ["id", "attributes.process_label", "attributes.process_state"]
        builder.append(orm.ProcessNode, filters=UNFINISHED, with_incoming="caller", project=project)
        for caller, pk, label, state in builder.all():
            top, kind, top_state = tops[caller]
            yield Orphan(top=top, top_type=kind, top_state=top_state, pk=pk, label=label, state=state)
        builder = _callers(level).append(orm.WorkChainNode, filters=OVER, with_incoming="caller", project="id")
        below = {pk: tops[caller] for caller, pk in builder.all() if pk not in tops}
        tops |= below
        level = list(below)


def _callers(pks: Sequence[int]) -> orm.QueryBuilder:
    return orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": {"in": pks}}, project="id", tag="caller")


def seal_orphans(search: orm.WorkChainNode) -> list[int]:
    """Seal the orphans that a search has called, at any depth, so that it can be exported.

    A worker that is killed while it makes the node of a process leaves the node without a state, and then not even
    ``verdi process repair`` finds it; without a checkpoint that repairs nothing. A search runs its calcfunctions,
    which have no checkpoints, inside its own steps, one at a time: between two of them none can be alive. Jobs and
    searches have a checkpoint as soon as their caller knows of them. So call this from a step of the
    search (or runs, or tiers) itself, or after its end.

    Args:
        search: a search, runs of one, or tiers, between two calls or ended.

    Returns:
        Primary keys of the sealed processes; those that had not ended are excepted.
    """
    has_ended = search.process_state is not None and search.process_state.value in ENDED
    sealed = []
    for orphan in orphans_below({"id": search.pk}):
        node = orm.load_node(orphan.pk)
        if orphan.state not in ENDED:
            node.set_process_state(ProcessState.EXCEPTED)
            node.set_exception(ORPHAN)
        elif not has_ended:
            continue  # its worker may be about to do that
        node.seal()
        sealed.append(node.pk)
    return sealed
