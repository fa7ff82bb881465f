"""Steps without an end that a killed worker of the daemon has left behind."""

from __future__ import annotations

from aiida import orm
from aiida.engine import ProcessState

ORPHAN = "its worker was killed; the step was made again"
"""What is written to such a step as its exception."""


def seal_orphans(search: orm.WorkChainNode) -> list[int]:
    """Seal the calcfunctions of a search that no process will ever end, so that it can be exported.

    A worker that is killed while it makes the node of a calcfunction leaves it without a state, and then not even
    ``verdi process repair`` finds it. A search runs its calcfunctions inside its own steps, one at a time: between two
    of them none can be alive. So call this from a step of the search itself, or once that has ended.

    Args:
        search: a search that is between two calcfunctions, or has ended.

    Returns:
        Primary keys of those that were sealed, as excepted.
    """
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search.pk}, tag="search")
    builder.append(orm.CalcFunctionNode, filters={"attributes": {"!has_key": "sealed"}}, with_incoming="search")
    orphans = builder.all(flat=True)
    for node in orphans:
        node.set_process_state(ProcessState.EXCEPTED)
        node.set_exception(ORPHAN)
        node.seal()
    return [node.pk for node in orphans]
