"""Processes without an end that a killed worker of the daemon has left behind."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ProcessState

ORPHAN = "its worker was killed; the step was made again"
"""What is written to such a process as its exception."""

ENDED = frozenset({ProcessState.FINISHED.value, ProcessState.EXCEPTED.value, ProcessState.KILLED.value})
"""States of processes that have ended."""

UNFINISHED: dict[str, Any] = {"attributes": {"and": [{"!has_key": "sealed"}, {"!has_key": "checkpoints"}]}}
"""Filter of processes that no worker can take up: there is nothing to take them up from, and they have not ended."""


def seal_orphans(search: orm.WorkChainNode) -> list[int]:
    """Seal what a search has called and no worker will ever end, so that it can be exported.

    A worker that is killed while it makes the node of a process leaves it without a state, and then not even
    ``verdi process repair`` finds it; without a checkpoint that repairs nothing. A search runs its calcfunctions,
    which have no checkpoints, inside its own steps, one at a time: between two of them none can be alive. Jobs and
    searches have a checkpoint from the moment that whoever calls them knows of them. So call this from a step of the
    search (or runs) itself, or once that has ended.

    Args:
        search: a search, or runs of one, that is between two calls, or has ended.

    Returns:
        Primary keys of those that were sealed, as excepted unless they had ended.
    """
    has_ended = search.process_state is not None and search.process_state.value in ENDED
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search.pk}, tag="search")
    builder.append(orm.ProcessNode, filters=UNFINISHED, with_incoming="search", project=["*", "attributes"])
    sealed = []
    for node, attributes in builder.all():
        if attributes.get("process_state") not in ENDED:
            node.set_process_state(ProcessState.EXCEPTED)
            node.set_exception(ORPHAN)
        elif not has_ended:
            continue  # its worker may be about to do that
        node.seal()
        sealed.append(node.pk)
    return sealed
