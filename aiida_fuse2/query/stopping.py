"""Ending searches before their limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiida import orm

from .loading import active_searches
from .orphans import ENDED

KILL_TIMEOUT = 30
"""How long the daemon may take to kill a job, s."""


def ask_to_stop(search: orm.WorkChainNode, *, now: bool = False) -> None:
    """Ask a search to end after its current generation, or at once and without it.

    Its running jobs continue until they are killed (``kill_jobs``). For runs, all unfinished ones are asked,
    and no other run begins.
    """
    request = STOP_NOW if now else True
    search.base.extras.set(STOP_EXTRA, request)  # first: a search that begins now is asked by its runs
    for active in active_searches(search):
        active.base.extras.set(STOP_EXTRA, request)


def kill_jobs(search: orm.WorkChainNode) -> int:
    """Kill the jobs that a search waits for, or all searches of runs, and return their number.

    A search that was asked to stop now then ends; another one submits them again.
    """
    from aiida.engine.processes.control import kill_processes

    jobs = jobs_to_kill([search.pk, *(active.pk for active in active_searches(search))])
    if jobs:
        kill_processes(jobs, msg_text="the search was asked to stop at once", timeout=KILL_TIMEOUT)
    return len(jobs)


STOP_EXTRA = "fuse2_stop"
"""Extra of a search that asks it to stop after the current generation, or at once if it is ``STOP_NOW``.

It asks tiers to submit no more processes.
"""

STOP_NOW = "now"
"""Value of the extra for a search that is to omit its current generation."""


def stop_request(process: int) -> Any:
    """Return the current value of the extra of a process, or None: it is set while the process runs.

    Args:
        process: primary key of a search, runs or tiers.
    """
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": process}, project="extras")
    return builder.first(flat=True).get(STOP_EXTRA) or None


def jobs_to_kill(searches: Sequence[int]) -> list[orm.ProcessNode]:
    """Return the jobs that searches wait for; tiers that they wait for are asked to submit no more processes.

    Args:
        searches: primary keys of searches and runs.
    """
    builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": {"in": list(searches)}}, tag="search")
    running = {"attributes.process_state": {"!in": sorted(ENDED)}}
    builder.append(orm.ProcessNode, with_incoming="search", filters=running)
    called = builder.all(flat=True)
    jobs = [node for node in called if isinstance(node, orm.CalcJobNode)]
    for tiers in (node for node in called if isinstance(node, orm.WorkChainNode)):
        tiers.base.extras.set(STOP_EXTRA, STOP_NOW)  # first: it is to submit no more processes
        builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": tiers.pk}, tag="tiers")
        builder.append((orm.CalcJobNode, orm.WorkChainNode), with_incoming="tiers", filters=running)
        jobs += builder.all(flat=True)
    return jobs
