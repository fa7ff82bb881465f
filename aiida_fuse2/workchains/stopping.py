"""How a search is asked to end, and the jobs that it then waits for no longer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiida import orm

from .orphans import ENDED

STOP_EXTRA = "fuse2_stop"
"""Extra of a search that asks it to stop after the present generation, or at once if it is ``STOP_NOW``.

Of tiers it asks them to submit nothing else.
"""

STOP_NOW = "now"
"""Value of the extra for a search that is to leave its present generation out."""


def stop_request(process: int) -> Any:
    """Return what the extra of a process asks for now, or None: it is set while the process runs.

    Args:
        process: primary key of a search, runs or tiers.
    """
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": process}, project="extras")
    return builder.first(flat=True).get(STOP_EXTRA) or None


def jobs_to_kill(searches: Sequence[int]) -> list[orm.ProcessNode]:
    """Return the jobs that searches wait for; tiers among what they wait for are asked to submit nothing else.

    Args:
        searches: primary keys of searches and runs.
    """
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": {"in": list(searches)}}, tag="search")
    running = {"attributes.process_state": {"!in": sorted(ENDED)}}
    builder.append(orm.ProcessNode, with_incoming="search", filters=running)
    called = builder.all(flat=True)
    jobs = [node for node in called if isinstance(node, orm.CalcJobNode)]
    for tiers in (node for node in called if isinstance(node, orm.WorkChainNode)):
        tiers.base.extras.set(STOP_EXTRA, STOP_NOW)  # first: it is to submit nothing else
        builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": tiers.pk}, tag="tiers")
        builder.append((orm.CalcJobNode, orm.WorkChainNode), with_incoming="tiers", filters=running)
        jobs += builder.all(flat=True)
    return jobs
